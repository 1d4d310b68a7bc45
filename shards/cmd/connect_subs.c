/*
 * connect_subs: wishes, answers, and what is held meanwhile.
 */
#include "shards/cmd/connect_subs.h"

#include <string.h>

#include "core/check.h"
#include "core/mem.h"
#include "proto/jwt.h"
#include "shards/cmd/connecting.h"
#include "shards/cmd/rules.h"
#include "shards/cmd/subscription.h"
#include "shards/shard.h"

/* The stage's own, while its answers come. */
struct subscribing {
    uint32_t left;  /* answers to come */
    enum err err;   /* of the first that failed */
    uint64_t bytes; /* of the recovered publications kept */
    struct reply_connect_sub *results;
    uint32_t results_count;
};

/* --- copies ------------------------------------------------------------------- */

/* Copies into one block, after a pass that only counts (`at` is NULL then). */
struct copier {
    uint8_t *at;
    size_t size;
};

static struct bytes copy_bytes(struct copier *copier, struct bytes bytes)
{
    copier->size += bytes.size;
    if (copier->at == NULL || bytes.size == 0) return bytes;
    memcpy(copier->at, bytes.at, bytes.size);
    struct bytes copy = bytes_of(copier->at, bytes.size);
    copier->at += bytes.size;
    return copy;
}

static void copy_publication(struct copier *copier, struct wire_publication *publication)
{
    publication->data = copy_bytes(copier, publication->data);
    publication->epoch = copy_bytes(copier, publication->epoch);
    publication->tags = copy_bytes(copier, publication->tags);
    if (!publication->has_info) return;
    publication->info.user = copy_bytes(copier, publication->info.user);
    publication->info.conn_info = copy_bytes(copier, publication->info.conn_info);
    publication->info.chan_info = copy_bytes(copier, publication->info.chan_info);
}

/* Views of the turn become views of `connecting`. */
static void keep_publications(struct connecting *connecting, struct reply_subscribe *reply)
{
    uint32_t count = reply->publications_count;
    if (count == 0) return;
    struct wire_publication *kept = connecting_alloc(connecting, count * sizeof *kept);
    memcpy(kept, reply->publications, count * sizeof *kept);
    struct copier copier = {0};
    for (uint32_t i = 0; i < count; i++) copy_publication(&copier, &kept[i]);
    copier.at = connecting_alloc(connecting, copier.size + 1);
    for (uint32_t i = 0; i < count; i++) copy_publication(&copier, &kept[i]);
    reply->publications = kept;
}

static uint64_t publications_bytes(const struct reply_subscribe *reply)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < reply->publications_count; i++)
        bytes += reply->publications[i].data.size + reply->publications[i].tags.size +
                 reply->publications[i].info.conn_info.size +
                 reply->publications[i].info.chan_info.size;
    return bytes;
}

/* --- wishes ------------------------------------------------------------------- */

struct wish {
    struct bytes channel;
    struct sub_options options;
    bool is_from_token;
    const struct cmd_connect_sub *position; /* in the request, or NULL */
};

/* By channel, and in order of arrival; everything in the turn's arena. */
struct wishes {
    struct map by_channel;
    struct wish *items;
    uint32_t count;
};

static struct wish *wish_of(struct wishes *wishes, struct bytes channel)
{
    struct wish *wish = map_find(&wishes->by_channel, channel);
    if (wish != NULL) return wish;
    wish = &wishes->items[wishes->count++];
    *wish = (struct wish){.channel = channel};
    map_put(&wishes->by_channel, wish->channel, wish);
    return wish;
}

static enum err wish_of_server(const struct shard *shard, struct wishes *wishes,
                               struct bytes channel, struct wish **wish)
{
    const struct config_namespace *space;
    TRY(rules_space(shard, channel, &space));
    *wish = wish_of(wishes, channel);
    options_of_namespace(space, &(*wish)->options);
    return ERR_OK;
}

static enum err wish_by_token(const struct shard *shard, const struct conn *conn,
                              struct wishes *wishes)
{
    const struct connecting *connecting = conn->connecting;
    for (uint32_t i = 0; i < connecting->token_subs_count; i++) {
        const struct jwt_sub *sub = &connecting->token_subs[i];
        struct wish *wish;
        TRY(wish_of_server(shard, wishes, sub->channel, &wish));
        options_override(&wish->options, &sub->override);
        options_say(&wish->options, conn, &sub->info, &sub->data);
        wish->is_from_token = true;
    }
    return ERR_OK;
}

/* [ns:]#user */
static enum err wish_personal(struct shard *shard, const struct conn *conn, struct wishes *wishes)
{
    const struct config *config = shard->config;
    struct bytes user = conn_user(conn);
    if (!config->client_subscribe_to_user_personal_channel_enabled || user.size == 0) return ERR_OK;
    struct bytes space = bytes_of_text(config->client_subscribe_to_user_personal_channel_namespace);
    size_t room = space.size + 2 + user.size;
    uint8_t *name = arena_get(&shard->arena, room);
    struct writer writer = writer_of(name, room);
    write_bytes(&writer, space);
    if (space.size > 0) write_u8(&writer, config_boundary(config));
    write_u8(&writer, '#');
    write_bytes(&writer, user);
    struct wish *wish;
    TRY(wish_of_server(shard, wishes, writer_bytes(&writer), &wish));
    wish->is_from_token = false;
    return ERR_OK;
}

/* What the client names.  ERR_UNKNOWN_CHANNEL ends the connection with 3501; what it
 * could not subscribe to itself is passed over. */
static enum err wish_by_request(struct shard *shard, const struct conn *conn, struct wishes *wishes)
{
    const struct cmd_connect *request = &conn->connecting->request;
    for (uint32_t i = 0; i < request->subs_count; i++) {
        const struct cmd_connect_sub *sub = &request->subs[i];
        struct wish *wish = map_find(&wishes->by_channel, sub->channel);
        if (wish == NULL) {
            const struct config_namespace *space;
            enum err err = rules_channel(shard, sub->channel, &space);
            if (err == ERR_UNKNOWN_CHANNEL) return err;
            if (err != ERR_OK || rules_may_subscribe(shard, conn, sub->channel, space) != ERR_OK)
                continue;
            wish = wish_of(wishes, sub->channel);
            options_of_namespace(space, &wish->options);
        }
        wish->position = sub;
    }
    return ERR_OK;
}

/* Everything that is wished for; false when that ended the connect. */
static bool collect(struct shard *shard, struct conn *conn, struct wishes *wishes)
{
    enum err err = wish_by_token(shard, conn, wishes);
    if (err == ERR_OK) err = wish_personal(shard, conn, wishes);
    if (err != ERR_OK) {
        connecting_fail(shard, conn, err);
        return false;
    }
    if (wish_by_request(shard, conn, wishes) != ERR_OK) {
        conn_end(shard, conn, CLOSE_BAD_REQUEST);
        return false;
    }
    if (wishes->count > shard->config->client_channel_limit) {
        conn_end(shard, conn, CLOSE_CHANNEL_LIMIT);
        return false;
    }
    return true;
}

/* --- answers ------------------------------------------------------------------ */

static void on_served(struct shard *shard, struct conn *conn, uint32_t sub, enum err err,
                      const struct reply_subscribe *reply, void *context)
{
    (void)context;
    /* Ended on the way; what it had is given back with it. */
    if (conn->state != CONN_WS || !(conn->flags & CONN_CONNECTING)) return;
    struct connecting *connecting = conn->connecting;
    struct subscribing *subscribing = connecting->subscribing;
    check(subscribing != NULL && subscribing->left > 0);
    subscribing->left--;
    if (err == ERR_OK) {
        const struct sub *entered = slab_at(&shard->subs, sub);
        struct bytes name = hub_name(hub_at(&shard->hub, entered->hub));
        struct reply_connect_sub *result = &subscribing->results[subscribing->results_count++];
        result->channel = connecting_keep(connecting, name);
        result->subscribe = *reply;
        struct reply_subscribe *kept = &result->subscribe;
        subscribing->bytes += publications_bytes(reply);
        if (subscribing->bytes > HISTORY_BYTES_MAX && reply->publications_count > 0) {
            kept->offset = reply->publications[reply->publications_count - 1].offset;
            kept->recovered = false;
            kept->publications_count = 0;
        }
        kept->epoch = connecting_keep(connecting, kept->epoch);
        kept->data = connecting_keep(connecting, kept->data);
        keep_publications(connecting, kept);
    } else if (subscribing->err == ERR_OK) {
        subscribing->err = err;
    }
    if (subscribing->left == 0) connecting_go_on(shard, conn);
}

/* Asks for all; false when the connection ended over it. */
static bool serve_all(struct shard *shard, struct conn *conn, const struct wishes *wishes)
{
    struct connecting *connecting = conn->connecting;
    struct subscribing *subscribing = connecting_alloc(connecting, sizeof *subscribing);
    connecting->subscribing = subscribing;
    subscribing->results =
        connecting_alloc(connecting, (wishes->count + 1) * sizeof *subscribing->results);
    for (uint32_t i = 0; i < wishes->count; i++) {
        const struct wish *wish = &wishes->items[i];
        struct subscription_ask ask = {
            .channel = wish->channel,
            .options = wish->options,
            .is_from_token = wish->is_from_token,
            .on_served = on_served,
        };
        if (wish->position != NULL) {
            ask.recover = wish->position->recover;
            ask.epoch = wish->position->epoch;
            ask.offset = wish->position->offset;
        }
        enum err err = subscription_serve(shard, conn, &ask);
        if (err == ERR_LIMIT_CHANNELS) return false;
        /* The server API was faster: the client hears of it by a push. */
        if (err == ERR_ALREADY_SUBSCRIBED) continue;
        if (err == ERR_OK)
            subscribing->left++;
        else if (subscribing->err == ERR_OK)
            subscribing->err = err;
    }
    return true;
}

enum connect_step connect_subscribe(struct shard *shard, struct conn *conn)
{
    struct connecting *connecting = conn->connecting;
    if (connecting->subscribing == NULL) {
        struct wishes wishes = {0};
        uint32_t most = connecting->token_subs_count + connecting->request.subs_count + 1;
        wishes.items = arena_get(&shard->arena, most * sizeof *wishes.items);
        map_init(&wishes.by_channel, rng_next(&shard->rng));
        bool goes_on = collect(shard, conn, &wishes) && serve_all(shard, conn, &wishes);
        map_fini(&wishes.by_channel);
        if (!goes_on) return CONNECT_OVER;
    }
    struct subscribing *subscribing = connecting->subscribing;
    if (subscribing->left > 0) return CONNECT_WAITS;
    if (subscribing->err != ERR_OK) {
        enum err err = subscribing->err;
        subscription_leave_all(shard, conn);
        connecting_fail(shard, conn, err);
        return CONNECT_OVER;
    }
    connecting->reply_subs = subscribing->results;
    connecting->reply_subs_count = subscribing->results_count;
    return CONNECT_DONE;
}

bool connect_subs_match(const struct shard *shard, const struct conn *conn,
                        const struct jwt_claims *claims)
{
    for (uint32_t i = 0; i < claims->subs_count; i++)
        if (subscription_find(shard, conn, claims->subs[i].channel) == UINT32_MAX) return false;
    for (uint32_t at = conn->subs_first; at != UINT32_MAX;) {
        const struct sub *sub = slab_at(&shard->subs, at);
        at = sub->next;
        if (!(sub->flags & SUB_FROM_TOKEN)) continue;
        struct bytes name = hub_name(hub_at(&shard->hub, sub->hub));
        bool is_there = false;
        for (uint32_t i = 0; i < claims->subs_count && !is_there; i++)
            is_there = bytes_equal(claims->subs[i].channel, name);
        if (!is_there) return false;
    }
    return true;
}

/* --- what is held ------------------------------------------------------------- */

bool connect_hold(struct shard *shard, struct conn *conn, struct frame *frame)
{
    check(conn->flags & CONN_CONNECTING);
    uint8_t stage = conn->connecting->stage;
    if (stage != CONNECT_STAGE_SUBSCRIBE && stage != CONNECT_STAGE_DIGEST) return false;
    struct connect_held *held = &conn->connecting->held;
    uint64_t most =
        max_u64(shard->config->client_queue_max_bytes, shard->config->websocket_message_max_bytes);
    if (held->count > 0 && held->bytes + frame->size > most) {
        conn_end(shard, conn, CLOSE_SLOW);
        return true;
    }
    if (held->count == held->room) {
        held->room = max_u32(4, 2 * held->room);
        held->frames = mem_resize(held->frames, held->room * sizeof(struct frame *));
    }
    frame_ref(frame);
    held->frames[held->count++] = frame;
    held->bytes += frame->size;
    return true;
}

void connect_release(struct shard *shard, struct conn *conn)
{
    /* Off the connection first: a push may end it. */
    struct connect_held held = conn->connecting->held;
    conn->connecting->held = (struct connect_held){0};
    for (uint32_t i = 0; i < held.count; i++) {
        conn_push(shard, conn, held.frames[i]);
        frame_unref(&shard->frames, held.frames[i]);
    }
    mem_free(held.frames);
}

void connect_drop_held(struct shard *shard, struct connecting *connecting)
{
    struct connect_held *held = &connecting->held;
    for (uint32_t i = 0; i < held->count; i++) frame_unref(&shard->frames, held->frames[i]);
    mem_free(held->frames);
    *held = (struct connect_held){0};
}
