/*
 * subscription_ask: the question to the home, and what its answer means.
 */
#include <string.h>

#include "core/mem.h"
#include "shards/call.h"
#include "shards/channel/wire.h"
#include "shards/cmd/subscription_parts.h"

static struct sub_pending *pending_new(uint32_t sub, const struct subscription_ask *ask)
{
    size_t epoch = ask->epoch.size, data = ask->options.data.size;
    struct sub_pending *pending = mem_alloc(sizeof *pending + epoch + data);
    pending->sub = sub;
    pending->on_served = ask->on_served;
    pending->context = ask->context;
    pending->offset = ask->offset;
    pending->is_cache = ask->options.is_cache;
    if (epoch > 0) memcpy(pending->text, ask->epoch.at, epoch);
    if (data > 0) memcpy(pending->text + epoch, ask->options.data.at, data);
    pending->epoch = bytes_of(pending->text, epoch);
    pending->data = bytes_of(pending->text + epoch, data);
    return pending;
}

/* --- the answer --------------------------------------------------------------- */

/* The home's answer and what this side knows, as the client hears it. */
static void reply_of(struct shard *shard, const struct sub *sub, const struct answer *answer,
                     struct bytes data, struct reply_subscribe *reply)
{
    struct wire_publication *publications =
        arena_get(&shard->arena, (answer->publications_count + (size_t)1) * sizeof *publications);
    for (uint32_t i = 0; i < answer->publications_count; i++)
        wire_of_publication(&answer->publications[i], answer->epoch, &publications[i]);
    uint64_t now = shard->clock.wall_ms / 1000;
    /* Who began it renews it: of a server-side one the client knows no end. */
    bool expires = sub->expires_s != 0 && !(sub->flags & SUB_SERVER_SIDE);
    *reply = (struct reply_subscribe){
        .was_recovering = sub->flags & SUB_RECOVERS,
        .recovered = answer->recovered,
        .publications = publications,
        .publications_count = answer->publications_count,
        .data = data,
        .expires = expires,
        .ttl = expires && sub->expires_s > now ? (uint32_t)(sub->expires_s - now) : 0,
    };
    if (!answer->is_recoverable || !(sub->flags & (SUB_POSITIONED | SUB_RECOVERABLE))) return;
    reply->positioned = true;
    reply->recoverable = sub->flags & SUB_RECOVERABLE;
    reply->epoch = answer->epoch;
    reply->offset = answer->offset;
}

/* A server-side subscription of a client that is connected already. */
static void push_served(struct shard *shard, struct conn *conn, uint32_t index, enum err err,
                        const struct reply_subscribe *reply, void *context)
{
    (void)context;
    if (err != ERR_OK) return;
    struct push push = {
        .kind = PUSH_SUBSCRIBE,
        .channel = hub_name(hub_at(&shard->hub, sub_at(shard, index)->hub)),
        .subscribe = {.recoverable = reply->recoverable,
                      .positioned = reply->positioned,
                      .epoch = reply->epoch,
                      .offset = reply->offset,
                      .data = reply->data},
    };
    conn_send_push(shard, conn, &push);
    /* A Subscribe push has no room for what was missed: it follows, one by one. */
    for (uint32_t i = 0; i < reply->publications_count; i++) {
        if (reply->publications[i].is_opaque && conn->wire == WIRE_JSON)
            conn_end(shard, conn, CLOSE_INAPPROPRIATE);
        struct push missed = {
            .kind = PUSH_PUBLICATION,
            .channel = push.channel,
            .publication = reply->publications[i],
        };
        conn_send_push(shard, conn, &missed);
    }
}

/* It came to nothing: refused, or given up before the answer. */
static void answered_no(struct shard *shard, struct conn *conn, struct sub *sub,
                        const struct call *call, enum err err)
{
    struct sub_pending *pending = call->context;
    bool is_server_side = sub->flags & SUB_SERVER_SIDE;
    /* The home counted us only when it said yes. */
    if (err == ERR_OK) sub_tell_home(shard, conn, sub);
    hub_forget(&shard->hub, hub_at(&shard->hub, sub->hub));
    sub_free(shard, conn, sub);
    /* An unsubscribe overtook it.  Temporary: an SDK that has subscribed again
     * meanwhile takes this for its new attempt, and any lasting error would
     * end the subscription for good. */
    if (err == ERR_OK) err = ERR_CONFLICT;
    if (is_server_side)
        pending->on_served(shard, conn, call->sub, err, NULL, pending->context);
    else if (conn->state == CONN_WS)
        conn_reply_error(shard, conn, call->id, err);
}

static void answered_yes(struct shard *shard, struct conn *conn, struct sub *sub,
                         const struct call *call, const struct answer *answer)
{
    const struct sub_pending *pending = call->context;
    struct hub_entry *entry = hub_at(&shard->hub, sub->hub);
    uint32_t index = call->sub, code = sub->at;
    /* In this turn the hub and the reply: every later frame is above the reply's
     * position, because letters of one shard are one FIFO. */
    sub->at = hub_enter(&shard->hub, entry, call->conn, index);
    sub->state = SUB_LIVE;
    subscription_set_end(shard, conn, index, sub->expires_s);
    metric_add(&shard->metrics, METRIC_SUBSCRIBED, 1);
    struct reply reply = {.id = call->id, .kind = CMD_SUBSCRIBE};
    reply_of(shard, sub, answer, pending != NULL ? pending->data : BYTES_NONE, &reply.subscribe);
    if (reply.subscribe.was_recovering)
        metric_add(&shard->metrics, answer->recovered ? METRIC_RECOVER_YES : METRIC_RECOVER_NO, 1);
    if (answer->recovered)
        metric_observe(&shard->metrics, FAMILY_RECOVERED, answer->publications_count);
    bool ends = sub->flags & SUB_ENDS;
    if (sub->flags & SUB_SERVER_SIDE)
        pending->on_served(shard, conn, index, ERR_OK, &reply.subscribe, pending->context);
    else
        conn_reply(shard, conn, &reply);
    if (ends && conn->state == CONN_WS) sub_end_live(shard, conn, sub, code);
}

static void on_subscribed(struct shard *shard, struct call *call, struct conn *conn,
                          const struct answer *answer)
{
    check(conn != NULL);
    struct sub *sub = sub_at(shard, call->sub);
    check(hub_at(&shard->hub, sub->hub) != NULL && hub_at(&shard->hub, sub->hub)->pending > 0);
    bool is_wanted = sub->state == SUB_ASKED && conn->state == CONN_WS;
    if (answer->err != ERR_OK || !is_wanted)
        answered_no(shard, conn, sub, call, answer->err);
    else
        answered_yes(shard, conn, sub, call, answer);
    mem_free(call->context);
}

/* --- the question ------------------------------------------------------------- */

/* A subscription that was not asked for yet, linked to its connection. */
static enum err sub_new(struct shard *shard, struct conn *conn, const struct subscription_ask *ask,
                        struct sub **out)
{
    const struct sub_options *options = &ask->options;
    struct hub_entry *entry = hub_expect(&shard->hub, ask->channel);
    if (entry == NULL) return ERR_LIMIT_MEMORY;
    struct handle handle;
    struct sub *sub = slab_get(&shard->subs, &handle);
    if (sub == NULL) {
        hub_forget(&shard->hub, entry);
        return ERR_LIMIT_MEMORY;
    }
    bool recovers =
        ask->recover || (options->is_recoverable && options->is_cache && options->is_unasked);
    sub->conn = conn_index(shard, conn);
    sub->hub = hub_handle(&shard->hub, entry);
    sub->state = SUB_WAITS;
    sub->expires_s = options->expires_s;
    sub->flags =
        (uint16_t)((options->is_positioned ? SUB_POSITIONED : 0) |
                   (options->is_recoverable ? SUB_RECOVERABLE : 0) | (recovers ? SUB_RECOVERS : 0) |
                   (options->has_presence ? SUB_HAS_PRESENCE : 0) |
                   (options->tells_joins ? SUB_TELLS_JOINS : 0) |
                   (options->hears_joins ? SUB_HEARS_JOINS : 0));
    sub_link(shard, conn, sub, handle.index);
    subscription_set_info(shard, handle.index, options->chan_info);
    *out = sub;
    return ERR_OK;
}

/* Takes credit; what is recovered may be large.  A client-side one also waits until
 * what is unread has room for that. */
static enum err sub_call(struct shard *shard, struct conn *conn, const struct sub *sub,
                         bool is_bulk, struct call **call, struct handle *handle)
{
    uint32_t home = hub_at(&shard->hub, sub->hub)->home;
    if (!is_bulk) return call_begin(shard, conn, home, on_subscribed, call, handle);
    if (!(sub->flags & SUB_SERVER_SIDE))
        return call_begin_bulk(shard, conn, home, on_subscribed, call, handle);
    if (conn->bulk_count == BULK_CALLS_MAX) return ERR_CREDIT_SPENT;
    TRY(call_begin(shard, conn, home, on_subscribed, call, handle));
    (*call)->is_bulk = true;
    conn->bulk_count++;
    return ERR_OK;
}

/* The one before it in this channel was given up and the home has not answered: asked
 * now, the home would hear of the new one before it hears that the old one is gone,
 * and tell a leave of who is there. */
static bool is_before_leave(const struct shard *shard, const struct conn *conn,
                            const struct sub *sub)
{
    for (uint32_t at = conn->subs_first; at != UINT32_MAX;) {
        const struct sub *other = sub_at(shard, at);
        at = other->next;
        if (other->state == SUB_LEAVING && other->hub.index == sub->hub.index) return true;
    }
    return false;
}

/* Asks the home; `question` names what is recovered. */
static enum err sub_ask(struct shard *shard, struct conn *conn, struct sub *sub,
                        struct letter_subscribe *question, uint32_t id, void *context)
{
    check(sub->state == SUB_WAITS);
    const struct hub_entry *entry = hub_at(&shard->hub, sub->hub);
    struct call *call;
    if (is_before_leave(shard, conn, sub)) return ERR_CREDIT_SPENT;
    question->recover = sub->flags & SUB_RECOVERS && sub->flags & SUB_RECOVERABLE;
    TRY(sub_call(shard, conn, sub, question->recover, &call, &question->call));
    call->id = id;
    call->sub = sub_index(shard, sub);
    call->context = context;
    sub->state = SUB_ASKED;
    question->hub = sub->hub;
    question->wire = conn->wire;
    question->channel = hub_name(entry);
    question->has_presence = sub->flags & SUB_HAS_PRESENCE;
    question->tells_joins = sub->flags & SUB_TELLS_JOINS;
    question->hears_joins = sub->flags & SUB_HEARS_JOINS;
    const struct config_namespace *space = config_namespace_of(shard->config, question->channel);
    question->is_as_member = space != NULL && space->members_only;
    memcpy(question->client, conn->client, sizeof question->client);
    question->user = conn_user(conn);
    question->conn_info = conn_info(shard, conn);
    question->chan_info = subscription_info(shard, call->sub);
    call_post(shard, letter_pack_subscribe(shard->post, entry->home, question));
    return ERR_OK;
}

enum err subscription_begin(struct shard *shard, struct conn *conn,
                            const struct subscription_ask *ask)
{
    if (subscription_find(shard, conn, ask->channel) != UINT32_MAX) return ERR_ALREADY_SUBSCRIBED;
    TRY(subscription_room(shard, conn));
    if (ask->recover && ask->reject_unrecovered && !ask->options.is_recoverable)
        return ERR_UNRECOVERABLE;
    struct sub *sub;
    TRY(sub_new(shard, conn, ask, &sub));
    struct letter_subscribe question = {
        .epoch = ask->epoch,
        .offset = ask->offset,
        .reject_unrecovered = ask->reject_unrecovered,
        .is_cache = ask->options.is_cache,
    };
    bool has_data = ask->options.data.size > 0;
    struct sub_pending *pending = has_data ? pending_new(sub_index(shard, sub), ask) : NULL;
    enum err err = sub_ask(shard, conn, sub, &question, ask->id, pending);
    if (err == ERR_OK) return ERR_OK;
    mem_free(pending);
    hub_forget(&shard->hub, hub_at(&shard->hub, sub->hub));
    sub_free(shard, conn, sub);
    return err;
}

static enum err serve_ask(struct shard *shard, struct sub_pending *pending)
{
    struct sub *sub = sub_at(shard, pending->sub);
    struct letter_subscribe question = {
        .epoch = pending->epoch,
        .offset = pending->offset,
        .is_cache = pending->is_cache,
    };
    return sub_ask(shard, conn_at(shard, sub->conn), sub, &question, 0, pending);
}

enum err subscription_serve(struct shard *shard, struct conn *conn,
                            const struct subscription_ask *ask)
{
    check(conn->state == CONN_WS);
    if (subscription_find(shard, conn, ask->channel) != UINT32_MAX) return ERR_ALREADY_SUBSCRIBED;
    /* One that was given up and waits for its answer holds nobody's place. */
    enum err room = subscription_room(shard, conn);
    if (room == ERR_LIMIT_CHANNELS || conn->subs_count == UINT16_MAX) {
        conn_end(shard, conn, CLOSE_CHANNEL_LIMIT);
        return ERR_LIMIT_CHANNELS;
    }
    struct sub *sub;
    TRY(sub_new(shard, conn, ask, &sub));
    sub->flags |= SUB_SERVER_SIDE;
    if (ask->is_from_token) sub->flags |= SUB_FROM_TOKEN;
    struct sub_pending *pending = pending_new(sub_index(shard, sub), ask);
    if (pending->on_served == NULL) pending->on_served = push_served;
    /* Behind those that wait already, so that nobody is overtaken for ever. */
    bool is_first = list_is_empty(&shard->sub_waiting);
    if (!is_first || serve_ask(shard, pending) != ERR_OK) {
        map_put(&shard->sub_pendings, sub_key(&pending->sub), pending);
        list_append(&shard->sub_waiting, &pending->link);
    }
    return ERR_OK;
}

/* As many parked subscriptions of a connection as may be asked now wait for credit with
 * the others again. */
static void unpark(struct shard *shard, const struct conn *conn)
{
    uint32_t left = BULK_CALLS_MAX - conn->bulk_count;
    for (uint32_t at = conn->subs_first; at != UINT32_MAX && left > 0;
         at = sub_at(shard, at)->next) {
        if (sub_at(shard, at)->state != SUB_WAITS) continue;
        struct sub_pending *pending = map_find(&shard->sub_pendings, sub_key(&at));
        check(pending != NULL);
        if (list_is_linked(&pending->link)) continue;
        list_append(&shard->sub_waiting, &pending->link);
        check(shard->sub_parked > 0);
        shard->sub_parked--;
        left--;
    }
}

/* A crowd that comes back has many times what credit there is, and most of it waits for
 * large answers of its own connection.  Those are parked, and no turn walks them until
 * the connection has an answer or drops one that waited: there always is one of these
 * to come. */
void subscription_retry(struct shard *shard)
{
    for (uint32_t i = 0; i < shard->sub_unpark.count && shard->sub_parked > 0; i++) {
        const struct conn *conn = conn_at(shard, shard->sub_unpark.items[i]);
        if (conn != NULL) unpark(shard, conn);
    }
    shard->sub_unpark.count = 0;
    list_each (node, &shard->sub_waiting) {
        struct sub_pending *pending = container_of(node, struct sub_pending, link);
        const struct conn *conn = conn_at(shard, sub_at(shard, pending->sub)->conn);
        if (conn->bulk_count == BULK_CALLS_MAX) {
            list_remove(node);
            shard->sub_parked++;
            continue;
        }
        if (serve_ask(shard, pending) != ERR_OK) break;
        list_remove(node);
        struct sub_pending *served = map_remove(&shard->sub_pendings, sub_key(&pending->sub));
        check(served == pending);
    }
}
