/*
 * subscription: ask, enter, leave.
 */
#include "shards/cmd/subscription.h"

#include "core/check.h"
#include "core/log.h"
#include "shards/call.h"
#include "shards/channel/wire.h"
#include "shards/shard.h"

static struct sub *sub_at(const struct shard *shard, uint32_t index)
{
    struct sub *sub = slab_at(&shard->subs, index);
    check(sub != NULL);
    return sub;
}

uint32_t subscription_find(const struct shard *shard, const struct conn *conn, struct bytes channel)
{
    struct hub_entry *entry = hub_find(&shard->hub, channel);
    if (entry == NULL) return UINT32_MAX;
    struct handle hub = hub_handle(&shard->hub, entry);
    for (uint32_t at = conn->subs_first; at != UINT32_MAX;) {
        const struct sub *sub = sub_at(shard, at);
        if (sub->hub.index == hub.index && sub->hub.generation == hub.generation &&
            sub->state != SUB_LEAVING)
            return at;
        at = sub->next;
    }
    return UINT32_MAX;
}

static void sub_link(struct shard *shard, struct conn *conn, struct sub *sub, uint32_t index)
{
    sub->next = conn->subs_first;
    sub->prev = UINT32_MAX;
    if (sub->next != UINT32_MAX) sub_at(shard, sub->next)->prev = index;
    conn->subs_first = index;
    conn->subs_count++;
    metric_add(&shard->metrics, METRIC_SUBSCRIPTIONS, 1);
}

static void sub_free(struct shard *shard, struct conn *conn, struct sub *sub)
{
    if (sub->prev != UINT32_MAX)
        sub_at(shard, sub->prev)->next = sub->next;
    else
        conn->subs_first = sub->next;
    if (sub->next != UINT32_MAX) sub_at(shard, sub->next)->prev = sub->prev;
    check(conn->subs_count > 0);
    conn->subs_count--;
    metric_sub(&shard->metrics, METRIC_SUBSCRIPTIONS, 1);
    slab_put(&shard->subs, sub);
}

static void tell_home(struct shard *shard, struct hub_entry *entry, struct handle hub)
{
    struct letter_leave leave = {.hub = hub, .channel = hub_name(entry)};
    letter_post(shard->post, letter_pack_leave(shard->post, entry->home, &leave));
}

/* Takes a LIVE one out of the hub; its home hears of it. */
static void sub_leave_live(struct shard *shard, struct conn *conn, struct sub *sub)
{
    check(sub->state == SUB_LIVE);
    struct hub_entry *entry = hub_at(&shard->hub, sub->hub);
    check(entry != NULL);
    tell_home(shard, entry, sub->hub);
    uint32_t at = sub->at;
    uint32_t moved = hub_leave(&shard->hub, entry, at);
    if (moved != UINT32_MAX) sub_at(shard, moved)->at = at;
    sub_free(shard, conn, sub);
}

static void sub_leave(struct shard *shard, struct conn *conn, struct sub *sub)
{
    if (sub->state == SUB_LIVE)
        sub_leave_live(shard, conn, sub);
    else
        sub->state = SUB_LEAVING; /* undone when the home has answered */
}

void subscription_leave(struct shard *shard, struct conn *conn, struct bytes channel)
{
    uint32_t index = subscription_find(shard, conn, channel);
    if (index != UINT32_MAX) sub_leave(shard, conn, sub_at(shard, index));
}

void subscription_leave_all(struct shard *shard, struct conn *conn)
{
    for (uint32_t at = conn->subs_first; at != UINT32_MAX;) {
        struct sub *sub = sub_at(shard, at);
        at = sub->next;
        sub_leave(shard, conn, sub);
    }
}

void subscription_end(struct shard *shard, uint32_t index, uint32_t code, const char *reason)
{
    struct sub *sub = sub_at(shard, index);
    check(sub->state == SUB_LIVE);
    struct conn *conn = conn_at(shard, sub->conn);
    struct push push = {
        .kind = PUSH_UNSUBSCRIBE,
        .channel = hub_name(hub_at(&shard->hub, sub->hub)),
        .unsubscribe = {.code = code, .reason = reason},
    };
    conn_send_push(shard, conn, &push);
    /* The push may have ended the connection, and this subscription with it. */
    if (conn->state == CONN_WS) sub_leave_live(shard, conn, sub);
}

void subscription_tick(struct shard *shard, struct conn *conn)
{
    uint64_t now = shard->clock.wall_ms / 1000;
    uint64_t grace = shard->config->client_expired_close_delay_ms / 1000;
    for (uint32_t at = conn->subs_first; at != UINT32_MAX && conn->state == CONN_WS;) {
        struct sub *sub = sub_at(shard, at);
        uint32_t index = at;
        at = sub->next;
        if (sub->state == SUB_LIVE && sub->expires_s != 0 && now >= sub->expires_s + grace)
            subscription_end(shard, index, 2501, "subscription expired");
    }
}

static void reply_subscribed(struct shard *shard, struct conn *conn, uint32_t id,
                             const struct sub *sub, const struct answer *answer)
{
    struct wire_publication *publications =
        arena_get(&shard->arena, (answer->publications_count + (size_t)1) * sizeof *publications);
    for (uint32_t i = 0; i < answer->publications_count; i++)
        wire_of_publication(&answer->publications[i], answer->epoch, &publications[i]);
    uint64_t now = shard->clock.wall_ms / 1000;
    struct reply reply = {
        .id = id,
        .kind = CMD_SUBSCRIBE,
        .subscribe =
            {
                .was_recovering = answer->was_recovering,
                .recovered = answer->recovered,
                .publications = publications,
                .publications_count = answer->publications_count,
                .expires = sub->expires_s != 0,
                .ttl = sub->expires_s > now ? (uint32_t)(sub->expires_s - now) : 0,
            },
    };
    if (sub->is_recoverable && answer->is_recoverable) {
        reply.subscribe.recoverable = reply.subscribe.positioned = true;
        reply.subscribe.epoch = answer->epoch;
        reply.subscribe.offset = answer->offset;
    }
    conn_reply(shard, conn, &reply);
    if (answer->was_recovering)
        metric_add(&shard->metrics, answer->recovered ? METRIC_RECOVERED : METRIC_UNRECOVERED, 1);
}

static void on_subscribed(struct shard *shard, struct call *call, struct conn *conn,
                          const struct answer *answer)
{
    check(conn != NULL);
    struct sub *sub = sub_at(shard, call->sub);
    struct hub_entry *entry = hub_at(&shard->hub, sub->hub);
    check(entry != NULL && entry->pending > 0);
    bool is_wanted = sub->state == SUB_ASKED && conn->state == CONN_WS;

    if (answer->err != ERR_OK || !is_wanted) {
        /* The home counted us only when it said yes. */
        if (answer->err == ERR_OK) tell_home(shard, entry, sub->hub);
        hub_forget(&shard->hub, entry);
        sub_free(shard, conn, sub);
        /* An unsubscribe overtook it.  Temporary: an SDK that has subscribed again
         * meanwhile takes this for its new attempt, and any lasting error would
         * end the subscription for good. */
        if (conn->state == CONN_WS)
            conn_reply_error(shard, conn, call->id,
                             answer->err != ERR_OK ? answer->err : ERR_CONFLICT);
        return;
    }
    /* In this turn the hub and the reply: every later frame is above the reply's
     * position, because letters of one shard are one FIFO. */
    sub->at = hub_enter(&shard->hub, entry, call->conn, call->sub);
    sub->state = SUB_LIVE;
    reply_subscribed(shard, conn, call->id, sub, answer);
}

enum err subscription_begin(struct shard *shard, struct conn *conn,
                            const struct subscription_ask *ask)
{
    const struct cmd_subscribe *request = ask->request;
    if (subscription_find(shard, conn, request->channel) != UINT32_MAX)
        return ERR_ALREADY_SUBSCRIBED;
    if (conn->subs_count >= shard->config->client_channel_limit) return ERR_LIMIT_CHANNELS;

    struct hub_entry *entry = hub_expect(&shard->hub, request->channel);
    if (entry == NULL) return ERR_LIMIT_MEMORY;
    struct handle sub_handle, call_handle;
    struct sub *sub = slab_get(&shard->subs, &sub_handle);
    struct call *call;
    bool is_bulk = request->recover && ask->is_recoverable;
    enum err err =
        sub == NULL ? ERR_LIMIT_MEMORY
        : is_bulk   ? call_begin_bulk(shard, conn, entry->home, on_subscribed, &call, &call_handle)
                    : call_begin(shard, conn, entry->home, on_subscribed, &call, &call_handle);
    if (err != ERR_OK) {
        if (sub != NULL) slab_put(&shard->subs, sub);
        hub_forget(&shard->hub, entry);
        return err;
    }
    call->id = ask->id;
    call->sub = sub_handle.index;
    sub->conn = conn_index(shard, conn);
    sub->hub = hub_handle(&shard->hub, entry);
    sub->state = SUB_ASKED;
    sub->expires_s = ask->expires_s;
    sub->is_recoverable = ask->is_recoverable;
    sub_link(shard, conn, sub, sub_handle.index);

    struct letter_subscribe question = {
        .call = call_handle,
        .hub = sub->hub,
        .channel = request->channel,
        .epoch = request->epoch,
        .offset = request->offset,
        .recover = is_bulk,
        .reject_unrecovered = request->flag & SUBSCRIBE_FLAG_REJECT_UNRECOVERED,
    };
    call_post(shard, letter_pack_subscribe(shard->post, entry->home, &question));
    return ERR_OK;
}
