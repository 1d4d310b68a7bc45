/* Channels opened and closed, and the link on which their announcements arrive.
 *
 * An open first subscribes, then reads: what is published in between is held
 * and follows the snapshot.  Confirmations come in the order in which channels
 * were asked for, so a count tells which one is meant, also when a channel was
 * closed and opened again meanwhile. */
#include "core/check.h"
#include "core/mem.h"
#include "storage/redis/redis.h"
#include "storage/redis/slots.h"

#include <stdio.h>

/* --- subscriptions -------------------------------------------------------------------------- */

void subscribe_queue(struct redis_store *redis, struct redis_channel *channel)
{
    struct redis_server *server = redis_server_of(redis, channel->partition);
    channel->is_subscribed = false;
    channel->subscribe_seq = 0;
    list_remove(&channel->queue);
    list_append(&server->subscribes, &channel->queue);
}

static uint32_t queued_partition(struct list *node)
{
    return container_of(node, struct redis_channel, queue)->partition;
}

struct resp_out *subscribe_begin(struct redis_server *server, uint32_t count, uint32_t partition,
                                 bool is_apart)
{
    struct resp_out *out = link_out(&server->feed);
    uint32_t at = (server->groups_first + server->groups_count++) % REDIS_SUBSCRIBE_GROUPS_MAX;
    check(server->groups_count <= REDIS_SUBSCRIBE_GROUPS_MAX);
    server->groups[at] = (struct subscribe_group){(uint16_t)count, (uint16_t)partition, is_apart};
    resp_begin(out, 1 + count);
    resp_text(out, "SSUBSCRIBE");
    return out;
}

static void subscribe_write(struct redis_server *server, uint32_t count)
{
    char key[REDIS_KEY_MAX];
    struct resp_out *out =
        subscribe_begin(server, count, queued_partition(server->subscribes.next), false);
    for (; count > 0; count--) {
        struct list *node = list_take(&server->subscribes);
        struct redis_channel *channel = container_of(node, struct redis_channel, queue);
        channel->subscribe_seq = ++server->subscribes_sent;
        resp_bytes(out,
                   redis_key(server->redis, key, channel->partition, "c:", channel->channel->name));
    }
}

static uint32_t subscribe_count(const struct redis_server *server)
{
    uint64_t unconfirmed = server->subscribes_sent - server->subscribes_confirmed;
    uint32_t room =
        unconfirmed >= REDIS_SUBSCRIBES_MAX ? 0 : REDIS_SUBSCRIBES_MAX - (uint32_t)unconfirmed;
    uint32_t most = min_u32(room, REDIS_SUBSCRIBES_PER_COMMAND), count = 0;
    bool is_cluster = server->redis->node->options.mode == CONFIG_REDIS_CLUSTER;
    for (struct list *node = server->subscribes.next; node != &server->subscribes && count < most;
         node = node->next) {
        /* A Cluster takes the channels of one slot in one command. */
        if (is_cluster && queued_partition(node) != queued_partition(server->subscribes.next))
            break;
        count++;
    }
    return count;
}

static void opens_expire(struct redis_store *redis)
{
    uint64_t now_ms = redis_now_ms(redis);
    while (!list_is_empty(&redis->opening)) {
        struct redis_channel *channel =
            container_of(redis->opening.next, struct redis_channel, opening);
        if (channel->due_ms > now_ms) break;
        feed_fail(redis, channel, ERR_STORE_DOWN);
    }
}

static void opens_refuse(struct redis_store *redis)
{
    struct list *node;
    while ((node = list_take(&redis->refused)) != NULL) {
        struct store_open *op = container_of(node, struct store_open, link);
        redis->pending--;
        op->on_opened(op, ERR_LIMIT_MEMORY, NULL);
    }
}

void feed_submit(struct redis_store *redis)
{
    opens_refuse(redis);
    for (uint32_t i = 0; i < redis->servers_count; i++) {
        struct redis_server *server = redis->servers[i];
        uint32_t count = 0;
        while (link_is_ready(&server->feed) && (count = subscribe_count(server)) > 0)
            subscribe_write(server, count);
    }
    opens_expire(redis);
}

static void unsubscribe(struct redis_store *redis, const struct redis_channel *channel)
{
    struct redis_server *server = redis_server_of(redis, channel->partition);
    char key[REDIS_KEY_MAX];
    if (channel->subscribe_seq == 0 || !link_is_ready(&server->feed)) return;
    struct resp_out *out = link_out(&server->feed);
    resp_begin(out, 2);
    resp_text(out, "SUNSUBSCRIBE");
    resp_bytes(out, redis_key(redis, key, channel->partition, "c:", channel->channel->name));
}

/* --- channels -------------------------------------------------------------------------------- */

static void channel_destroy(struct redis_store *redis, struct redis_channel *channel)
{
    unsubscribe(redis, channel);
    feed_clear(channel);
    list_remove(&channel->link);
    list_remove(&channel->queue);
    list_remove(&channel->opening);
    void *removed = map_remove(&redis->channels_by_name, channel->channel->name);
    check(removed == channel);
    channel->channel->engine = NULL;
    slab_put(&redis->channels, channel);
}

void redis_open(struct store *store, struct store_open *op)
{
    struct redis_store *redis = redis_of(store);
    check(op->on_opened != NULL && op->channel->engine == NULL);
    struct handle handle;
    struct redis_channel *channel = slab_get(&redis->channels, &handle);
    redis->pending++;
    if (channel == NULL) {
        list_append(&redis->refused, &op->link);
        return;
    }
    channel->channel = op->channel;
    channel->op = op;
    channel->partition = redis_partition_of(redis, op->channel->name);
    const struct link *feed = &redis_server_of(redis, channel->partition)->feed;
    channel->due_ms = link_is_ready(feed) ? redis_now_ms(redis) + redis->node->options.io_timeout_ms
                                          : link_due_ms(feed);
    list_init(&channel->held);
    list_append(&redis->partitions[channel->partition].channels, &channel->link);
    list_append(&redis->opening, &channel->opening);
    map_put(&redis->channels_by_name, op->channel->name, channel);
    op->channel->engine = channel;
    op->engine = channel;
    subscribe_queue(redis, channel);
}

void redis_close(struct store *store, struct store_channel *channel)
{
    struct redis_store *redis = redis_of(store);
    struct redis_channel *closed = channel->engine;
    if (closed == NULL) return; /* its open failed */
    check(closed->channel == channel && closed->state == CHANNEL_LIVE);
    channel_destroy(redis, closed);
}

void feed_begin(struct redis_store *redis, struct redis_channel *channel)
{
    check(channel->state == CHANNEL_READING && channel->op != NULL);
    channel->state = CHANNEL_LIVE;
    channel->op->engine = NULL;
    channel->op = NULL;
    redis->pending--;
}

void feed_fail(struct redis_store *redis, struct redis_channel *channel, enum err err)
{
    check(channel->state != CHANNEL_LIVE && err != ERR_OK);
    struct store_open *op = channel->op;
    metric_add(redis->store.env.metrics, METRIC_STORE_ERRORS, 1);
    channel_destroy(redis, channel);
    redis->pending--;
    op->engine = NULL;
    op->on_opened(op, err, NULL);
}

/* --- the link -------------------------------------------------------------------------------- */

void feed_on_ready(struct link *link)
{
    struct redis_server *server = link->owner;
    server->subscribes_sent = server->subscribes_confirmed = 0;
    server->groups_first = server->groups_count = 0;
    server->probe_heard_ms = redis_now_ms(server->redis);
    server_subscribe_probe(server);
}

void feed_on_lost(struct link *link)
{
    struct redis_server *server = link->owner;
    struct redis_store *redis = server->redis;
    for (uint32_t i = 0; i < redis->node->options.partitions; i++) {
        if (redis->partitions[i].server != server) continue;
        list_each (node, &redis->partitions[i].channels) {
            subscribe_queue(redis, container_of(node, struct redis_channel, link));
        }
    }
    server->is_resubscribing = true;
    redis_peers_on_feed_lost(server);
    if (!server->is_stopped) route_want(redis);
}

static struct subscribe_group *group_first(struct redis_server *server)
{
    return server->groups_count == 0 ? NULL : &server->groups[server->groups_first];
}

static void group_drop(struct redis_server *server)
{
    check(server->groups_count > 0);
    server->groups_first = (server->groups_first + 1) % REDIS_SUBSCRIBE_GROUPS_MAX;
    server->groups_count--;
}

/* One channel of the oldest command, in either case. */
static void on_confirmed(struct redis_server *server)
{
    struct subscribe_group *group = group_first(server);
    if (group == NULL) {
        link_drop(&server->feed, "Redis confirmed a subscription that nobody asked for");
    } else if (--group->left == 0) {
        group_drop(server);
    }
}

static void on_subscribed(struct redis_server *server, struct bytes name)
{
    struct redis_store *redis = server->redis;
    server->subscribes_confirmed++;
    struct redis_channel *channel = map_find(&redis->channels_by_name, name);
    bool is_ours = channel != NULL && channel->subscribe_seq == server->subscribes_confirmed &&
                   redis_server_of(redis, channel->partition) == server;
    if (is_ours) {
        channel->is_subscribed = true;
        list_remove(&channel->opening);
        if (channel->state == CHANNEL_SUBSCRIBING) read_open(redis, channel);
    }
    /* Everything is subscribed again: what was missed meanwhile shows in the heads. */
    bool is_through = server->subscribes_confirmed == server->subscribes_sent &&
                      list_is_empty(&server->subscribes);
    if (server->is_resubscribing && is_through) {
        server->is_resubscribing = false;
        sweep_soon(redis);
    }
}

/* The slot is elsewhere, and the oldest command that is not confirmed was for it: its
 * channels are asked for there.  Otherwise it was an SUNSUBSCRIBE, and there is nothing
 * left to leave. */
static void on_subscribe_moved(struct redis_server *server, uint32_t slot,
                               const struct redis_place *place)
{
    struct redis_store *redis = server->redis;
    const struct subscribe_group *group = group_first(server);
    route_want(redis);
    if (group == NULL || cluster_slot(redis, group->partition) != slot) return;
    uint32_t partition = group->partition;
    if (!group->is_apart) server->subscribes_confirmed += group->left;
    group_drop(server);
    if (redis_server_of(redis, partition) != server) return; /* known, and asked for there */
    struct redis_server *to = server_get(redis, place);
    if (to == NULL || to == server) {
        link_drop(&server->feed, "Redis names no server that holds the slot of a subscription");
    } else {
        route_move(redis, partition, to); /* asks for all of its channels there */
    }
}

/* An error in place of confirmations. */
static void on_refused(struct redis_server *server, const struct reply *reply)
{
    uint32_t slot;
    struct redis_place place;
    char problem[HELLO_PROBLEM_MAX];
    if (slots_moved_read(reply->text, &server->place, &slot, &place) == ERR_OK) {
        on_subscribe_moved(server, slot, &place);
        return;
    }
    bool is_forbidden = reply_is_error(reply, "NOPERM");
    snprintf(problem, sizeof problem, "Redis at %s refuses a subscription%s (%.*s)",
             server->place.text,
             is_forbidden ? "; the user needs the channels of redis.prefix" : "",
             (int)min_u64(reply->text.size, 120), (const char *)reply->text.at);
    link_drop(&server->feed, problem);
}

/* A pushed SUNSUBSCRIBE: the slot left this server. */
static void on_unsubscribed(struct redis_server *server, struct bytes name)
{
    struct redis_store *redis = server->redis;
    struct redis_channel *channel = map_find(&redis->channels_by_name, name);
    bool is_ours = channel != NULL && channel->is_subscribed &&
                   redis_server_of(redis, channel->partition) == server;
    if (!is_ours) return; /* we asked for it, or know already */
    server->is_resubscribing = true;
    subscribe_queue(redis, channel);
    route_want(redis);
}

/* "<prefix>:{p<k>}:<kind>:<name>" without all that stands before the kind. */
static struct bytes key_rest(const struct redis_store *redis, struct bytes key)
{
    size_t skip = strlen(redis->node->options.prefix) + 1;
    if (key.size <= skip) return BYTES_NONE;
    const uint8_t *end = memchr(key.at + skip, '}', key.size - skip);
    if (end == NULL || end + 2 > key.at + key.size) return BYTES_NONE;
    return bytes_of(end + 2, (size_t)(key.at + key.size - end - 2));
}

static bool bytes_skip(struct bytes *bytes, const char *start)
{
    size_t size = strlen(start);
    if (bytes->size < size || memcmp(bytes->at, start, size) != 0) return false;
    *bytes = bytes_of(bytes->at + size, bytes->size - size);
    return true;
}

void feed_on_push(struct link *link, const struct reply *reply)
{
    struct redis_server *server = link->owner;
    struct redis_store *redis = server->redis;
    struct bytes kind = reply_text(reply_item(reply, 0));
    struct bytes name = key_rest(redis, reply_text(reply_item(reply, 1)));
    if (reply->type == REPLY_ERROR) {
        on_refused(server, reply);
        return;
    }
    if (bytes_equal_text(kind, "ssubscribe")) on_confirmed(server);
    if (redis_peers_on_push(server, kind, reply_text(reply_item(reply, 1)), name,
                            reply_text(reply_item(reply, 2))))
        return;
    bool is_channel = bytes_skip(&name, "c:");
    bool is_probe = !is_channel && bytes_skip(&name, "probe:");
    if (bytes_equal_text(kind, "ssubscribe")) {
        if (is_channel) on_subscribed(server, name);
    } else if (bytes_equal_text(kind, "sunsubscribe")) {
        if (is_channel) on_unsubscribed(server, name);
        if (is_probe) route_want(redis); /* the slot left this server */
    } else if (bytes_equal_text(kind, "smessage") && is_probe) {
        server_on_probe(server, reply_text(reply_item(reply, 2)));
    } else if (bytes_equal_text(kind, "smessage") && is_channel) {
        struct redis_channel *channel = map_find(&redis->channels_by_name, name);
        if (channel != NULL && channel->is_subscribed)
            feed_take(server, channel, reply_text(reply_item(reply, 2)));
    }
}
