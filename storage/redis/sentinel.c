#include "storage/redis/sentinel.h"

#include "core/check.h"
#include "core/log.h"
#include "core/mem.h"
#include "storage/redis/redis.h"

#define ASK_MS      1000
#define ASK_SOON_MS 100

void sentinel_write(const struct redis_options *options, struct resp_out *out)
{
    resp_begin(out, 3);
    resp_text(out, "SENTINEL");
    resp_text(out, "MASTER");
    resp_text(out, options->sentinel_master);
}

/* The value behind `name` in a list of pairs. */
static struct bytes pair_value(const struct reply *reply, const char *name)
{
    for (uint32_t i = 0; i + 1 < reply->count; i += 2) {
        if (bytes_equal_text(reply_text(reply->items[i]), name))
            return reply_text(reply->items[i + 1]);
    }
    return BYTES_NONE;
}

enum err sentinel_read(const struct reply *reply, const struct redis_place *asked,
                       struct redis_place *place, uint64_t *epoch)
{
    uint64_t port = 0;
    if (reply->type == REPLY_ERROR) return ERR_NOT_FOUND;
    if (reply->type != REPLY_ARRAY) return ERR_STORE_CORRUPT;
    struct bytes host = pair_value(reply, "ip");
    bool is_good = host.size > 0 && bytes_to_u64(pair_value(reply, "port"), &port) &&
                   bytes_to_u64(pair_value(reply, "config-epoch"), epoch) &&
                   place_of(host, port, asked, place) == ERR_OK;
    return is_good ? ERR_OK : ERR_STORE_CORRUPT;
}

/* --- each shard asks -------------------------------------------------------------------------- */

static void sentinels_on_timer(struct timer *timer);

static void sentinels_arm(struct redis_store *redis, uint64_t pause_ms)
{
    wheel_arm(redis->store.env.wheel, &redis->sentinels_timer, redis_now_ms(redis) + pause_ms,
              sentinels_on_timer);
}

static void primary_take(struct redis_store *redis, const struct redis_place *place, uint64_t epoch)
{
    struct redis_server *server = server_get(redis, place);
    bool has_moved = false;
    if (server == NULL) return;
    for (uint32_t i = 0; i < redis->node->options.partitions; i++)
        has_moved = route_claim(redis, i, server, epoch) || has_moved;
    if (!has_moved) return;
    for (uint32_t i = 0; i < redis->servers_count; i++)
        redis->servers[i]->is_listed = redis->servers[i] == server;
    redis->root = server;
    if (redis->store.env.shard == 0)
        log_warn("the Sentinels have another primary address=%s", place->text);
}

static void call_write(struct link_call *call, struct link *link, struct resp_out *out)
{
    (void)call;
    sentinel_write(link->options, out);
}

static void call_on_end(struct link_call *call, enum err err, const struct reply *reply)
{
    struct sentinel *sentinel = container_of(call, struct sentinel, call);
    struct redis_store *redis = sentinel->redis;
    struct redis_place place;
    uint64_t epoch;
    sentinel->is_calling = false;
    if (err != ERR_OK) return;
    err = sentinel_read(reply, sentinel->link.place, &place, &epoch);
    if (err == ERR_OK) {
        primary_take(redis, &place, epoch);
    } else if (redis->store.env.shard == 0) {
        log_error("what a Sentinel says of the primary cannot be used address=%s",
                  sentinel->link.place->text);
    }
}

static void sentinels_on_timer(struct timer *timer)
{
    struct redis_store *redis = container_of(timer, struct redis_store, sentinels_timer);
    for (uint32_t i = 0; i < redis->node->seeds_count; i++) {
        struct sentinel *sentinel = &redis->sentinels[i];
        if (sentinel->is_calling || !link_is_ready(&sentinel->link)) continue;
        sentinel->is_calling = true;
        link_call(&sentinel->link, &sentinel->call, link_due_ms(&sentinel->link));
    }
    sentinels_arm(redis, ASK_MS);
}

void sentinels_want(struct redis_store *redis)
{
    sentinels_arm(redis, ASK_SOON_MS);
}

static void sentinel_on_ready(struct link *link)
{
    sentinels_want(((struct sentinel *)link->owner)->redis);
}

/* The others are asked, and this one again when it is back. */
static void sentinel_on_lost(struct link *link)
{
    (void)link;
}

static const struct link_events sentinel_events = {.on_ready = sentinel_on_ready,
                                                   .on_lost = sentinel_on_lost};

void sentinels_start(struct redis_store *redis)
{
    const struct redis_node *node = redis->node;
    redis->sentinels = mem_alloc(node->seeds_count * sizeof *redis->sentinels);
    for (uint32_t i = 0; i < node->seeds_count; i++) {
        struct sentinel *sentinel = &redis->sentinels[i];
        sentinel->redis = redis;
        sentinel->call.write = call_write;
        sentinel->call.on_end = call_on_end;
        link_start(&sentinel->link, &redis->links, &node->options, &node->seeds[i], LINK_SENTINEL,
                   &sentinel_events, sentinel);
    }
    sentinels_arm(redis, ASK_MS);
}

void sentinels_flush(struct redis_store *redis)
{
    for (uint32_t i = 0; i < redis->node->seeds_count && redis->sentinels != NULL; i++)
        link_flush(&redis->sentinels[i].link);
}

void sentinels_fini(struct redis_store *redis)
{
    wheel_disarm(redis->store.env.wheel, &redis->sentinels_timer);
    mem_free(redis->sentinels);
    redis->sentinels = NULL;
}
