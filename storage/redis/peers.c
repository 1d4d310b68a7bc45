/* The shard's part in the fleet set up and torn down: the pub/sub channels that are
 * not of an open channel, and the tick. */
#include "core/check.h"
#include "core/mem.h"
#include "storage/redis/peers_parts.h"

#include <stdio.h>

/* Leases, retries and deadlines are looked at so often. */
#define PEERS_TICK_MS 250

const struct store_peers redis_peers_table = {
    .enter = redis_enter,
    .leave = redis_leave,
    .roll = redis_roll,
    .survey = redis_survey,
    .answer = redis_answer,
    .tell = redis_tell,
    .goodbye = redis_goodbye,
};

void peers_write_script(struct link *link, struct resp_out *out, enum script script,
                        uint32_t partition, const char *mode, uint32_t count)
{
    redis_write_script(link, out, script, partition, 1 + count);
    resp_text(out, mode);
}

/* --- publishing ------------------------------------------------------------------------------ */

struct publish_call {
    struct link_call call;
    struct redis_store *redis;
    char name[REDIS_KEY_MAX];
    uint32_t head_size, body_size;
    uint8_t bytes[];
};

static void publish_write(struct link_call *base, struct link *link, struct resp_out *out)
{
    (void)link;
    struct publish_call *call = container_of(base, struct publish_call, call);
    char key[REDIS_KEY_MAX];
    resp_begin(out, 3);
    resp_text(out, "SPUBLISH");
    resp_bytes(out, redis_key(call->redis, key, 0, call->name, BYTES_NONE));
    resp_pair(out, bytes_of(call->bytes, call->head_size),
              bytes_of(call->bytes + call->head_size, call->body_size));
}

/* Who waits for it has a deadline. */
static void publish_on_end(struct link_call *base, enum err err, const struct reply *reply)
{
    (void)err, (void)reply;
    struct publish_call *call = container_of(base, struct publish_call, call);
    call->redis->pending--;
    mem_free(call);
}

void peers_publish(struct redis_store *redis, const char *kind, const char *name, struct bytes head,
                   struct bytes body)
{
    struct publish_call *call = mem_alloc(sizeof *call + head.size + body.size);
    call->redis = redis;
    call->call.write = publish_write;
    call->call.on_end = publish_on_end;
    int used = snprintf(call->name, sizeof call->name, "%s%s", kind, name);
    check(used > 0 && (size_t)used < sizeof call->name);
    call->head_size = (uint32_t)head.size;
    call->body_size = (uint32_t)body.size;
    memcpy(call->bytes, head.at, head.size);
    if (body.size > 0) memcpy(call->bytes + head.size, body.at, body.size);
    redis->pending++;
    redis_call(redis, 0, &call->call);
}

/* --- what is heard --------------------------------------------------------------------------- */

static void feed_ask(struct redis_store *redis, struct peer_feed *feed, const char *kind,
                     const char *name)
{
    struct redis_server *server = redis_server_of(redis, feed->partition);
    char key[REDIS_KEY_MAX];
    /* Its partition moved. */
    if (feed->server != server) *feed = (struct peer_feed){.partition = feed->partition};
    if (feed->server != NULL || !link_is_ready(&server->feed)) return;
    struct resp_out *out = subscribe_begin(server, 1, feed->partition, true);
    resp_bytes(out, redis_key(redis, key, feed->partition, kind, bytes_of_text(name)));
    feed->server = server;
}

static void feed_forget(struct peer_feed *feed, const struct redis_server *server)
{
    if (feed->server != server) return;
    feed->server = NULL;
    feed->is_on = false;
}

void redis_peers_on_feed_lost(struct redis_server *server)
{
    struct redis_peers *peers = server->redis->peers;
    feed_forget(&peers->all, server);
    feed_forget(&peers->mail, server);
    for (uint32_t i = 0; i < peers->users_count; i++) feed_forget(&peers->users[i], server);
}

/* "<prefix>:{p<k>}:…" */
static bool partition_of(const struct redis_store *redis, struct bytes key, uint64_t *partition)
{
    size_t skip = strlen(redis->node->options.prefix) + strlen(":{p");
    const uint8_t *end = key.size <= skip ? NULL : memchr(key.at, '}', key.size);
    if (end == NULL || end <= key.at + skip) return false;
    return bytes_to_u64(bytes_of(key.at + skip, (size_t)(end - key.at) - skip), partition) &&
           *partition < redis->node->options.partitions;
}

static struct peer_feed *feed_of(struct redis_peers *peers, struct bytes name, uint64_t partition)
{
    if (bytes_equal_text(name, "all")) return &peers->all;
    if (bytes_equal_text(name, "users"))
        return partition < peers->users_count ? &peers->users[partition] : NULL;
    bool is_box = name.size == 4 + BOX_SIZE && memcmp(name.at, "box:", 4) == 0 &&
                  memcmp(name.at + 4, peers->box, BOX_SIZE) == 0;
    return is_box ? &peers->mail : NULL;
}

bool redis_peers_on_push(struct redis_server *server, struct bytes kind, struct bytes key,
                         struct bytes name, struct bytes message)
{
    struct redis_store *redis = server->redis;
    struct redis_peers *peers = redis->peers;
    uint64_t partition;
    if (!partition_of(redis, key, &partition)) return false;
    struct peer_feed *feed = feed_of(peers, name, partition);
    if (feed == NULL) return false;
    bool is_users = feed != &peers->all && feed != &peers->mail;
    if (bytes_equal_text(kind, "ssubscribe")) {
        feed->is_on = true;
        if (is_users) tell_confirmed(redis, (uint32_t)partition);
    } else if (bytes_equal_text(kind, "sunsubscribe")) {
        feed_forget(feed, server);
    } else if (is_users) {
        tell_take(redis, (uint32_t)partition, message);
    } else {
        nodes_take(redis, feed == &peers->all, message);
    }
    return true;
}

/* --- life ------------------------------------------------------------------------------------ */

static void peers_on_timer(struct timer *timer)
{
    struct redis_peers *peers = container_of(timer, struct redis_peers, timer);
    struct redis_store *redis = peers->redis;
    uint64_t now_ms = redis_now_ms(redis);
    nodes_tick(redis, now_ms);
    presence_tick(redis, now_ms);
    tell_tick(redis, now_ms);
    wheel_arm(redis->store.env.wheel, timer, now_ms + PEERS_TICK_MS, peers_on_timer);
}

void redis_peers_start(struct redis_store *redis)
{
    struct redis_peers *peers = mem_alloc(sizeof *peers);
    char letters[REDIS_BOOT_SIZE + 1];
    redis->peers = peers;
    peers->redis = redis;
    redis_draw_letters(letters);
    snprintf(peers->box, sizeof peers->box, "%s%s", redis->node->letters, letters);
    check(strlen(peers->box) == BOX_SIZE);
    uint32_t partitions = redis->node->options.partitions;
    peers->parts = mem_alloc(partitions * sizeof *peers->parts);
    for (uint32_t i = 0; i < partitions; i++) list_init(&peers->parts[i].changes);
    list_init(&peers->busy);
    list_init(&peers->surveys);
    list_init(&peers->telling);
    peers->users_count = min_u32(REDIS_USER_PARTITIONS, partitions);
    for (uint32_t i = 0; i < peers->users_count; i++) peers->users[i].partition = i;
    nodes_renew(redis);
    wheel_arm(redis->store.env.wheel, &peers->timer, redis_now_ms(redis), peers_on_timer);
}

void redis_peers_submit(struct redis_store *redis)
{
    struct redis_peers *peers = redis->peers;
    feed_ask(redis, &peers->all, "all", "");
    feed_ask(redis, &peers->mail, "box:", peers->box);
    for (uint32_t i = 0; i < peers->users_count; i++)
        feed_ask(redis, &peers->users[i], "users", "");
    presence_submit(redis);
}

uint32_t redis_peers_pending(const struct redis_store *redis)
{
    return redis->peers->is_flowing ? redis->peers->changes_count : 0;
}

void redis_peers_fini(struct redis_store *redis)
{
    struct redis_peers *peers = redis->peers;
    wheel_disarm(redis->store.env.wheel, &peers->timer);
    tell_fini(redis);
    presence_fini(redis);
    nodes_fini(redis);
    mem_free(peers->parts);
    mem_free(peers);
    redis->peers = NULL;
}
