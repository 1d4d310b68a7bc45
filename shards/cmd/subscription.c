/*
 * subscription: found, left, ended; subscription_ask.c begins them.
 */
#include "shards/cmd/subscription_parts.h"

#include <string.h>

#include "core/mem.h"

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

enum err subscription_room(const struct shard *shard, const struct conn *conn)
{
    uint32_t limit = shard->config->client_channel_limit, left = 0;
    if (conn->subs_count < limit) return ERR_OK;
    for (uint32_t at = conn->subs_first; at != UINT32_MAX; at = sub_at(shard, at)->next)
        left += sub_at(shard, at)->state == SUB_LEAVING;
    check(left <= conn->subs_count);
    return conn->subs_count - left < limit ? ERR_CREDIT_SPENT : ERR_LIMIT_CHANNELS;
}

/* Its chan_info, by its index: few have one, so it has no field there. */
struct sub_info {
    uint32_t sub;
    uint32_t size;
    uint8_t bytes[];
};

struct bytes subscription_info(const struct shard *shard, uint32_t index)
{
    if (!(sub_at(shard, index)->flags & SUB_HAS_INFO)) return BYTES_NONE;
    const struct sub_info *info = map_find(&shard->sub_infos, sub_key(&index));
    check(info != NULL);
    return bytes_of(info->bytes, info->size);
}

struct bytes subscription_info_of(const struct shard *shard, const struct conn *conn,
                                  struct bytes channel)
{
    if (shard->sub_infos.count == 0) return BYTES_NONE;
    uint32_t index = subscription_find(shard, conn, channel);
    return index == UINT32_MAX ? BYTES_NONE : subscription_info(shard, index);
}

void subscription_set_info(struct shard *shard, uint32_t index, struct bytes bytes)
{
    struct sub *sub = sub_at(shard, index);
    if (sub->flags & SUB_HAS_INFO) mem_free(map_remove(&shard->sub_infos, sub_key(&index)));
    sub->flags &= (uint16_t)~SUB_HAS_INFO;
    if (bytes.size == 0) return;
    struct sub_info *info = mem_alloc(sizeof *info + bytes.size);
    info->sub = index;
    info->size = (uint32_t)bytes.size;
    memcpy(info->bytes, bytes.at, bytes.size);
    map_put(&shard->sub_infos, sub_key(&info->sub), info);
    sub->flags |= SUB_HAS_INFO;
}

void sub_link(struct shard *shard, struct conn *conn, struct sub *sub, uint32_t index)
{
    sub->next = conn->subs_first;
    sub->prev = UINT32_MAX;
    if (sub->next != UINT32_MAX) sub_at(shard, sub->next)->prev = index;
    conn->subs_first = index;
    conn->subs_count++;
    metric_add(&shard->metrics, METRIC_SUBSCRIPTIONS, 1);
    metric_add(&shard->metrics, METRIC_ACTIONS_ADD_SUBSCRIPTION, 1);
}

void sub_free(struct shard *shard, struct conn *conn, struct sub *sub)
{
    subscription_set_info(shard, sub_index(shard, sub), BYTES_NONE);
    if (sub->prev != UINT32_MAX)
        sub_at(shard, sub->prev)->next = sub->next;
    else
        conn->subs_first = sub->next;
    if (sub->next != UINT32_MAX) sub_at(shard, sub->next)->prev = sub->prev;
    check(conn->subs_count > 0);
    conn->subs_count--;
    metric_sub(&shard->metrics, METRIC_SUBSCRIPTIONS, 1);
    metric_add(&shard->metrics, METRIC_ACTIONS_REMOVE_SUBSCRIPTION, 1);
    slab_put(&shard->subs, sub);
}

void sub_tell_home(struct shard *shard, const struct conn *conn, const struct sub *sub)
{
    const struct hub_entry *entry = hub_at(&shard->hub, sub->hub);
    struct letter_leave leave = {
        .hub = sub->hub,
        .channel = hub_name(entry),
        .wire = conn->wire,
        .has_presence = sub->flags & SUB_HAS_PRESENCE,
        .tells_joins = sub->flags & SUB_TELLS_JOINS,
        .hears_joins = sub->flags & SUB_HEARS_JOINS,
    };
    memcpy(leave.client, conn->client, sizeof leave.client);
    letter_post(shard->post, letter_pack_leave(shard->post, entry->home, &leave));
}

/* Takes a LIVE one out of the hub; its home hears of it. */
static void sub_leave_live(struct shard *shard, struct conn *conn, struct sub *sub)
{
    check(sub->state == SUB_LIVE);
    struct hub_entry *entry = hub_at(&shard->hub, sub->hub);
    check(entry != NULL);
    sub_tell_home(shard, conn, sub);
    uint32_t at = sub->at;
    uint32_t moved = hub_leave(&shard->hub, entry, at);
    if (moved != UINT32_MAX) sub_at(shard, moved)->at = at;
    sub_free(shard, conn, sub);
}

/* One that nobody was asked about yet comes to nothing. */
static void sub_drop_waiting(struct shard *shard, struct conn *conn, struct sub *sub)
{
    check(sub->state == SUB_WAITS);
    uint32_t index = sub_index(shard, sub);
    struct sub_pending *pending = map_remove(&shard->sub_pendings, sub_key(&index));
    check(pending != NULL);
    if (!list_is_linked(&pending->link)) shard->sub_parked--;
    list_remove(&pending->link);
    /* Its place may be a parked one's. */
    if (shard->sub_parked > 0) indexes_add(&shard->sub_unpark, sub->conn);
    shard->is_credit_back = true;
    hub_forget(&shard->hub, hub_at(&shard->hub, sub->hub));
    sub_free(shard, conn, sub);
    if (pending->on_served != NULL)
        pending->on_served(shard, conn, index, ERR_CONFLICT, NULL, pending->context);
    mem_free(pending);
}

static void sub_leave(struct shard *shard, struct conn *conn, struct sub *sub)
{
    switch ((enum sub_state)sub->state) {
    case SUB_LIVE: sub_leave_live(shard, conn, sub); break;
    case SUB_WAITS: sub_drop_waiting(shard, conn, sub); break;
    case SUB_ASKED: /* undone when the home has answered */
    case SUB_LEAVING: sub->state = SUB_LEAVING; break;
    }
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

static const char *reason_of(enum unsubscribe_code code)
{
    switch (code) {
    case UNSUBSCRIBE_SERVER: return "server unsubscribe";
    case UNSUBSCRIBE_INSUFFICIENT: return "insufficient state";
    case UNSUBSCRIBE_EXPIRED: return "subscription expired";
    case UNSUBSCRIBE_INVALIDATED: return "state invalidated";
    }
    impossible("no other code is sent");
}

void sub_end_live(struct shard *shard, struct conn *conn, struct sub *sub,
                  enum unsubscribe_code code)
{
    check(sub->state == SUB_LIVE);
    struct push push = {
        .kind = PUSH_UNSUBSCRIBE,
        .channel = hub_name(hub_at(&shard->hub, sub->hub)),
        .unsubscribe = {.code = code, .reason = reason_of(code)},
    };
    metric_add_code(&shard->metrics, FAMILY_UNSUBSCRIBES, code);
    conn_send_push(shard, conn, &push);
    /* The push may have ended the connection, and this subscription with it. */
    if (conn->state == CONN_WS) sub_leave_live(shard, conn, sub);
}

static void sub_unsubscribe(struct shard *shard, struct conn *conn, struct sub *sub,
                            enum unsubscribe_code code)
{
    if (sub->state == SUB_LIVE) {
        sub_end_live(shard, conn, sub, code);
        return;
    }
    if (sub->state == SUB_LEAVING || sub->flags & SUB_ENDS) return;
    sub->flags |= SUB_ENDS;
    sub->at = code;
}

uint32_t subscription_unsubscribe(struct shard *shard, struct conn *conn, struct bytes channel,
                                  enum unsubscribe_code code)
{
    uint32_t count = 0;
    if (channel.size > 0) {
        uint32_t index = subscription_find(shard, conn, channel);
        if (index == UINT32_MAX) return 0;
        sub_unsubscribe(shard, conn, sub_at(shard, index), code);
        return 1;
    }
    for (uint32_t at = conn->subs_first; at != UINT32_MAX && conn->state == CONN_WS; count++) {
        struct sub *sub = sub_at(shard, at);
        at = sub->next;
        sub_unsubscribe(shard, conn, sub, code);
    }
    return count;
}

void subscription_end(struct shard *shard, uint32_t index, enum unsubscribe_code code)
{
    struct sub *sub = sub_at(shard, index);
    struct conn *conn = conn_at(shard, sub->conn);
    check(code == UNSUBSCRIBE_INSUFFICIENT || code == UNSUBSCRIBE_EXPIRED);
    if (sub->flags & SUB_SERVER_SIDE)
        conn_end(shard, conn, code == UNSUBSCRIBE_EXPIRED ? CLOSE_SUB_EXPIRED : CLOSE_INSUFFICIENT);
    else
        sub_end_live(shard, conn, sub, code);
}

/* UINT64_MAX: never, or not yet. */
static uint64_t end_of(const struct shard *shard, const struct sub *sub)
{
    if (sub->state != SUB_LIVE || sub->expires_s == 0) return UINT64_MAX;
    return sub->expires_s + (shard->config->client_expired_sub_close_delay_ms + 999) / 1000;
}

uint64_t subscription_first_end(const struct shard *shard, const struct conn *conn)
{
    uint64_t first = UINT64_MAX;
    for (uint32_t at = conn->subs_first; at != UINT32_MAX; at = sub_at(shard, at)->next)
        first = min_u64(first, end_of(shard, sub_at(shard, at)));
    return first;
}

void subscription_set_end(struct shard *shard, struct conn *conn, uint32_t index,
                          uint32_t expires_s)
{
    struct sub *sub = sub_at(shard, index);
    sub->expires_s = expires_s;
    if (end_of(shard, sub) == UINT64_MAX) return;
    conn->flags |= CONN_SUBS_END;
    if (conn->flags & CONN_CONNECTED) conn_schedule(shard, conn);
}

void subscription_tick(struct shard *shard, struct conn *conn)
{
    uint64_t now = shard->clock.wall_ms / 1000;
    for (uint32_t at = conn->subs_first; at != UINT32_MAX && conn->state == CONN_WS;) {
        struct sub *sub = sub_at(shard, at);
        uint32_t index = at;
        at = sub->next;
        if (now >= end_of(shard, sub)) subscription_end(shard, index, UNSUBSCRIBE_EXPIRED);
    }
}
