/* A Redis Cluster, asked again and again who holds what: every few seconds, and
 * soon whenever something speaks for a change.  Any of its servers may answer;
 * the higher configuration epoch is right (route_claim). */
#include "core/check.h"
#include "core/log.h"
#include "core/mem.h"
#include "storage/redis/redis.h"
#include "storage/redis/slots.h"

#define VIEW_MS      5000
#define VIEW_SOON_MS 100

static void cluster_on_timer(struct timer *timer);

static void cluster_arm(struct redis_store *redis, uint64_t due_ms)
{
    wheel_arm(redis->store.env.wheel, &redis->cluster_timer, due_ms, cluster_on_timer);
}

/* The servers of the view, in its order; NULL where there was no room for one. */
static void view_servers(struct redis_store *redis, const struct slots_view *view,
                         struct redis_server *servers[SLOTS_PRIMARIES_MAX])
{
    for (uint32_t i = 0; i < redis->servers_count; i++) redis->servers[i]->is_listed = false;
    for (uint32_t i = 0; i < view->primaries_count; i++) {
        servers[i] = server_get(redis, &view->primaries[i].place);
        if (servers[i] != NULL) servers[i]->is_listed = true;
    }
}

uint32_t cluster_slot(const struct redis_store *redis, uint32_t partition)
{
    char key[REDIS_KEY_MAX];
    return slots_of(redis_key(redis, key, partition, "", BYTES_NONE));
}

static uint32_t root_slot(const struct redis_store *redis)
{
    char key[REDIS_KEY_MAX];
    struct writer writer = writer_of(key, sizeof key);
    write_text(&writer, redis->node->options.prefix);
    write_text(&writer, ":partitions");
    return slots_of(writer_bytes(&writer));
}

static void view_take(struct redis_store *redis, const struct slots_view *view)
{
    struct redis_server *servers[SLOTS_PRIMARIES_MAX] = {0};
    uint32_t moved = 0;
    view_servers(redis, view, servers);
    for (uint32_t i = 0; i < redis->node->options.partitions; i++) {
        const struct slots_primary *owner = slots_view_owner(view, cluster_slot(redis, i));
        struct redis_server *server = owner == NULL ? NULL : servers[owner - view->primaries];
        if (server != NULL) moved += route_claim(redis, i, server, owner->epoch);
    }
    const struct slots_primary *root = slots_view_owner(view, root_slot(redis));
    if (root != NULL && servers[root - view->primaries] != NULL)
        redis->root = servers[root - view->primaries];
    if (moved > 0 && redis->store.env.shard == 0)
        log_info("the Redis Cluster has other primaries for %u of %u partitions", (unsigned)moved,
                 (unsigned)redis->node->options.partitions);
}

static void view_write(struct link_call *call, struct link *link, struct resp_out *out)
{
    struct redis_store *redis = container_of(call, struct redis_store, cluster_call);
    redis->cluster_asked = link->owner;
    resp_begin(out, 2);
    resp_text(out, "CLUSTER");
    resp_text(out, "NODES");
}

static void view_on_end(struct link_call *call, enum err err, const struct reply *reply)
{
    struct redis_store *redis = container_of(call, struct redis_store, cluster_call);
    struct slots_view *view = mem_alloc(sizeof *view);
    redis->is_cluster_calling = false;
    if (err == ERR_OK) err = slots_view_read(reply_text(reply), &redis->cluster_asked->place, view);
    if (err == ERR_OK) view_take(redis, view);
    mem_free(view);
    uint64_t pause_ms = err == ERR_OK ? VIEW_MS : VIEW_SOON_MS;
    cluster_arm(redis, redis_now_ms(redis) + pause_ms);
    if (redis->is_cluster_wanted) cluster_want(redis);
}

/* One after the other: one of them may be cut off from the rest. */
static struct redis_server *cluster_choose(struct redis_store *redis)
{
    for (uint32_t i = 0; i < redis->servers_count; i++) {
        struct redis_server *server = redis->servers[++redis->cluster_turn % redis->servers_count];
        if (link_is_ready(&server->commands)) return server;
    }
    return NULL;
}

static void cluster_on_timer(struct timer *timer)
{
    struct redis_store *redis = container_of(timer, struct redis_store, cluster_timer);
    struct redis_server *server = cluster_choose(redis);
    check(!redis->is_cluster_calling);
    if (server == NULL) {
        cluster_arm(redis, redis_now_ms(redis) + VIEW_SOON_MS);
        return;
    }
    redis->is_cluster_calling = true;
    redis->is_cluster_wanted = false;
    redis->cluster_asked_ms = redis_now_ms(redis);
    link_call(&server->commands, &redis->cluster_call, link_due_ms(&server->commands));
}

void cluster_want(struct redis_store *redis)
{
    redis->is_cluster_wanted = true;
    if (redis->is_cluster_calling) return;
    cluster_arm(redis, max_u64(redis_now_ms(redis), redis->cluster_asked_ms + VIEW_SOON_MS));
}

void cluster_start(struct redis_store *redis)
{
    redis->cluster_call.write = view_write;
    redis->cluster_call.on_end = view_on_end;
    view_take(redis, redis->node->view);
    cluster_arm(redis, redis_now_ms(redis) + VIEW_MS);
}

void cluster_fini(struct redis_store *redis)
{
    check(!redis->is_cluster_calling);
    wheel_disarm(redis->store.env.wheel, &redis->cluster_timer);
}
