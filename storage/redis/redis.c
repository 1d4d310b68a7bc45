/* The engine's table, the node, the store of a shard and its health. */
#include "storage/redis/redis.h"

#include <stdio.h>
#include <stdlib.h>

#include "core/check.h"
#include "core/entropy.h"
#include "core/hash.h"
#include "core/log.h"
#include "core/mem.h"
#include "storage/engines.h"
#include "storage/redis/find.h"
#include "storage/redis/known.h"
#include "storage/redis/peers_parts.h"
#include "storage/redis/sealed.h"
#include "storage/redis/sentinel.h"
#include "storage/redis/slots.h"

/* "1" and the lineages of all other primaries. */
#define FRESHNESS_MAX (1 + REDIS_SERVERS_MAX * (LINEAGE_MAX + 1))

#define OPENED_ARENA_KEEP (256u << 10)

/* --- words that several files write ---------------------------------------------------------- */

struct bytes redis_key(const struct redis_store *redis, char *key, uint32_t partition,
                       const char *kind, struct bytes name)
{
    struct writer writer = writer_of(key, REDIS_KEY_MAX);
    write_text(&writer, redis->node->options.prefix);
    write_text(&writer, ":{p");
    write_decimal(&writer, partition);
    write_text(&writer, "}:");
    write_text(&writer, kind);
    write_bytes(&writer, name);
    check(!writer.failed);
    return writer_bytes(&writer);
}

void redis_draw_letters(char letters[REDIS_BOOT_SIZE + 1])
{
    uint8_t bytes[REDIS_BOOT_SIZE];
    entropy_fill(bytes, sizeof bytes);
    for (uint32_t i = 0; i < REDIS_BOOT_SIZE; i++) letters[i] = (char)('a' + bytes[i] % 26);
    letters[REDIS_BOOT_SIZE] = 0;
}

/* The next letters, as an odometer turns: no two calls offer the same epoch, and
 * no call pays for a system call. */
static void turn_letters(char letters[REDIS_BOOT_SIZE + 1])
{
    for (uint32_t i = REDIS_BOOT_SIZE; i > 0; i--) {
        letters[i - 1] = letters[i - 1] == 'z' ? 'a' : (char)(letters[i - 1] + 1);
        if (letters[i - 1] != 'a') return;
    }
}

/* How much the lineage that a script is told can be relied on; lua/partition.lua.  In a
 * Cluster a partition may have come from a server that lives, by a slot that moved:
 * nothing is lost then, unless this one was a replica of that one and replaced it. */
static struct bytes write_freshness(const struct link *link, char text[FRESHNESS_MAX])
{
    const struct redis_server *server = link->owner;
    const struct redis_store *redis = server->redis;
    const char *parent = link->hello.server.parent;
    bool is_cluster = redis->node->options.mode == CONFIG_REDIS_CLUSTER;
    bool is_fresh = is_cluster ? link_is_doubt_settled(link) : link_is_lineage_fresh(link);
    struct writer writer = writer_of(text, FRESHNESS_MAX);
    write_text(&writer, is_fresh ? "1" : "0");
    for (uint32_t i = 0; i < redis->servers_count && is_cluster && is_fresh; i++) {
        const struct redis_server *other = redis->servers[i];
        const char *lineage = server_said(other)->lineage;
        bool is_living = other != server && other->is_listed && link_is_ready(&other->commands) &&
                         lineage[0] != 0;
        if (!is_living || strcmp(server_said(other)->replication_id, parent) == 0) continue;
        write_text(&writer, " ");
        write_text(&writer, lineage);
    }
    check(!writer.failed);
    return writer_bytes(&writer);
}

void redis_write_script(struct link *link, struct resp_out *out, enum script script,
                        uint32_t partition, uint32_t count)
{
    const struct redis_server *server = link->owner;
    struct redis_store *redis = server->redis;
    const struct hello_server *said = &link->hello.server;
    bool is_cluster = redis->node->options.mode == CONFIG_REDIS_CLUSTER;
    char key[REDIS_KEY_MAX], freshness[FRESHNESS_MAX], known[KNOWN_TEXT_MAX];
    struct writer writer = writer_of(known, sizeof known);
    turn_letters(redis->letters);
    resp_begin(out, 4 + is_cluster + 4 + count);
    resp_text(out, "EVALSHA");
    resp_text(out, said->digests[script]);
    resp_number(out, 1 + is_cluster);
    resp_bytes(out, redis_key(redis, key, partition, "meta", BYTES_NONE));
    if (is_cluster) resp_bytes(out, redis_key(redis, key, partition, "never", BYTES_NONE));
    resp_text(out, said->lineage);
    known_write(link, partition, &writer);
    check(!writer.failed);
    resp_bytes(out, writer_bytes(&writer));
    resp_text(out, redis->letters);
    resp_bytes(out, write_freshness(link, freshness));
}

uint32_t redis_partition_of(const struct redis_store *redis, struct bytes name)
{
    return (uint32_t)(hash_bytes(name, 0) % redis->node->options.partitions);
}

void redis_reserve(struct redis_store *redis, uint32_t count)
{
    if (count <= redis->publications_max) return;
    redis->publications_max = count * 2;
    redis->publications =
        mem_resize(redis->publications, redis->publications_max * sizeof *redis->publications);
}

struct redis_server *redis_server_of(const struct redis_store *redis, uint32_t partition)
{
    check(partition < redis->node->options.partitions);
    return redis->partitions[partition].server;
}

void redis_call_behind(struct redis_store *redis, uint32_t partition, struct link_call *call)
{
    struct link *link = server_writes(redis_server_of(redis, partition));
    if (redis->node->options.wait_replicas > 0) {
        call->route = 0;
        link_call(link, call, link_due_ms(link));
    } else {
        redis_call(redis, partition, call);
    }
}

/* --- the node -------------------------------------------------------------------------------- */

/* Pub/sub knows no databases: two of one server would hear each other. */
static void node_prefix(const struct config *config, char prefix[REDIS_PREFIX_MAX + 1])
{
    struct writer writer = writer_of(prefix, REDIS_PREFIX_MAX);
    write_text(&writer, config->redis_prefix);
    if (config->redis_db > 0) {
        write_text(&writer, ".");
        write_decimal(&writer, config->redis_db);
    }
    prefix[writer.failed ? 0 : writer.used] = 0;
}

static void node_options(struct redis_node *node, const struct config *config)
{
    struct redis_options *options = &node->options;
    options->mode = (enum config_redis_mode)config->redis_mode;
    options->user = config->redis_user;
    options->password = config->redis_password;
    options->sentinel_user = config->redis_sentinel_user;
    options->sentinel_password = config->redis_sentinel_password;
    options->sentinel_master = config->redis_sentinel_master;
    node_prefix(config, node->prefix);
    options->prefix = node->prefix;
    options->db = config->redis_db;
    options->partitions = config->redis_partitions;
    options->connect_timeout_ms = config->redis_connect_timeout_ms;
    options->io_timeout_ms = config->redis_io_timeout_ms;
    options->server_name = config->redis_tls_server_name;
    options->wait_replicas = config->redis_wait_replicas;
    options->wait_timeout_ms = config->redis_wait_timeout_ms;
}

static enum err redis_node_open(const struct config *config, struct workers *workers,
                                uint32_t shards_count, struct store_node **node)
{
    (void)workers, (void)shards_count;
    struct redis_node *opened = mem_alloc(sizeof *opened);
    char problem[HELLO_PROBLEM_MAX];
    opened->node.engine = &store_engine_redis;
    opened->config = config;
    redis_draw_letters(opened->letters);
    struct redis_options *options = &opened->options;
    node_options(opened, config);
    enum err err = ERR_OK;
    if (strlen(config->redis_prefix) > 128 || strpbrk(config->redis_prefix, "{} ") != NULL) {
        log_error("redis.prefix must be at most 128 characters, none of them a brace or a space");
        err = ERR_BAD_REQUEST;
    } else if (options->wait_replicas > 0 && options->wait_timeout_ms >= options->io_timeout_ms) {
        log_error("redis.wait_timeout must be shorter than redis.io_timeout: what waits for "
                  "replicas must not be taken for silence");
        err = ERR_BAD_REQUEST;
    } else {
        err = keyring_load(config, &opened->keyring);
    }
    if (err == ERR_OK) err = wrap_context(config, &options->secure);
    if (err == ERR_OK) {
        err = find_servers(opened, problem);
        if (err == ERR_OK) err = sealed_check(opened, problem);
        if (err != ERR_OK) log_error("%s", problem);
    }
    if (opened->server.time_ms > 0)
        opened->age_base_ms = opened->server.time_ms - clock_mono_ns() / 1000000u;
    if (err != ERR_OK) {
        secure_context_destroy(options->secure);
        keyring_fini(&opened->keyring);
        mem_free(opened->view);
        mem_free(opened);
        return err;
    }
    *node = &opened->node;
    return ERR_OK;
}

static void redis_node_close(struct store_node *base)
{
    struct redis_node *node = container_of(base, struct redis_node, node);
    secure_context_destroy(node->options.secure);
    keyring_fini(&node->keyring);
    mem_free(node->view);
    mem_free(node);
}

/* --- time ------------------------------------------------------------------------------------ */

/* A moment of the turn is not quite the moment of the answer. */
#define TIME_SLACK_MS 50

/* A machine that slept, a primary with another clock: whoever comes later begins with the
 * server's time, so this node goes along, back too. */
void redis_hear_time(struct redis_store *redis, uint64_t time_ms, uint64_t asked_ms)
{
    uint64_t now_ms = redis_now_ms(redis), base_ms = redis->store.age_base_ms;
    check(asked_ms <= now_ms);
    if (time_ms <= now_ms + TIME_SLACK_MS) return; /* no clock that was ever set */
    uint64_t least_ms = time_ms - now_ms - TIME_SLACK_MS;
    uint64_t most_ms = time_ms - asked_ms + TIME_SLACK_MS;
    redis->store.age_base_ms = min_u64(max_u64(base_ms, least_ms), most_ms);
}

/* --- the store of a shard -------------------------------------------------------------------- */

static struct store *redis_attach(struct store_node *base, const struct store_env *env)
{
    struct redis_node *node = container_of(base, struct redis_node, node);
    struct redis_store *redis = mem_alloc(sizeof *redis);
    uint64_t seed;
    redis->store =
        (struct store){.engine = base->engine, .env = *env, .age_base_ms = node->age_base_ms};
    redis->node = node;
    entropy_fill(&seed, sizeof seed);
    redis_draw_letters(redis->letters);
    redis_seals_init(&redis->seals, &node->keyring, seed);
    arena_init(&redis->opened, OPENED_ARENA_KEEP);
    map_init(&redis->channels_by_name, seed);
    slab_init(&redis->channels, "redis channels", sizeof(struct redis_channel), REDIS_CHANNELS_MAX);
    redis->partitions = mem_alloc(node->options.partitions * sizeof *redis->partitions);
    for (uint32_t i = 0; i < node->options.partitions; i++) {
        list_init(&redis->partitions[i].channels);
        list_init(&redis->partitions[i].held);
    }
    list_init(&redis->batches);
    list_init(&redis->opening);
    list_init(&redis->holding);
    list_init(&redis->refused);
    links_init(&redis->links, SOCK_LINK, env->loop, env->wheel, env->clock, env->rng);
    redis->health =
        mem_alloc((REDIS_SERVERS_MAX + CONFIG_REDIS_ADDRESSES_MAX) * sizeof *redis->health);
    route_start(redis);
    redis_peers_start(redis);
    sweep_start(redis);
    listing_start(redis);
    forget_start(redis);
    if (env->shard == 0 && env->config->redis_streams_enabled) groups_start(redis);
    return &redis->store;
}

static void redis_detach(struct store *store)
{
    struct redis_store *redis = redis_of(store);
    check(redis->pending == 0);
    check(redis->channels_by_name.count == 0);
    links_fini(&redis->links);
    wheel_disarm(store->env.wheel, &redis->sweep_timer);
    groups_stop(redis);
    listing_stop(redis);
    route_fini(redis);
    append_abandon(redis);
    forget_stop(redis);
    redis_peers_fini(redis);
    known_fini(redis);
    for (uint32_t i = 0; i < redis->servers_count; i++) server_destroy(redis->servers[i]);
    mem_free(redis->health);
    check(redis->sweep_calls == 0 && list_is_empty(&redis->batches));
    map_fini(&redis->channels_by_name);
    slab_fini(&redis->channels);
    redis_seals_fini(&redis->seals);
    arena_fini(&redis->opened);
    mem_free(redis->partitions);
    mem_free(redis->publications);
    mem_free(redis);
}

static void redis_submit(struct store *store)
{
    struct redis_store *redis = redis_of(store);
    append_submit(redis);
    sealed_submit(redis);
    route_submit(redis);
    feed_submit(redis);
    redis_peers_submit(redis);
    for (uint32_t i = 0; i < redis->servers_count; i++) server_flush(redis->servers[i]);
    sentinels_flush(redis);
}

static uint32_t redis_pending(const struct store *store)
{
    const struct redis_store *redis = (const struct redis_store *)store;
    return redis->pending + redis_peers_pending(redis);
}

/* A primary that holds nothing of ours is none of our trouble. */
static void health_servers(const struct redis_store *redis, struct store_health *health)
{
    health->servers = redis->health;
    for (uint32_t i = 0; i < redis->servers_count; i++) {
        struct redis_server *server = redis->servers[i];
        if (server->partitions_count == 0) continue;
        redis->health[health->servers_count++] = (struct store_server){
            .address = server->place.text, .role = "primary", .problem = server_problem(server)};
    }
    for (uint32_t i = 0; i < redis->node->seeds_count && redis->sentinels != NULL; i++) {
        const struct link *link = &redis->sentinels[i].link;
        bool is_fine = link_is_ready(link) || link->attempts == 0;
        redis->health[health->servers_count++] =
            (struct store_server){.address = link->place->text,
                                  .role = "sentinel",
                                  .problem = is_fine ? NULL : link->problem};
    }
}

static void redis_health(const struct store *store, struct store_health *health)
{
    const struct redis_store *redis = (const struct redis_store *)store;
    const struct store_server *troubled = NULL;
    bool is_durable = true;
    *health = (struct store_health){.latency_us = redis->latency_us};
    health_servers(redis, health);
    for (uint32_t i = 0; i < health->servers_count; i++) {
        const struct store_server *server = &health->servers[i];
        bool is_primary = strcmp(server->role, "primary") == 0;
        if (is_primary && server->problem != NULL && troubled == NULL) troubled = server;
    }
    for (uint32_t i = 0; i < redis->servers_count; i++) {
        const struct hello_server *said = server_said(redis->servers[i]);
        if (redis->servers[i]->partitions_count == 0) continue;
        if (said->lineage[0] == 0) said = &redis->node->server;
        is_durable = is_durable && said->is_durable;
    }
    const char *problem = troubled == NULL ? NULL : troubled->problem;
    if (problem == NULL && redis->is_partitions_other)
        problem = "Redis was begun anew with another redis.partitions than this node has";
    if (problem == NULL && redis->seals.is_foreign)
        problem = "some publications are sealed with a key that is not configured here";
    if (problem == NULL) problem = damage_problem(redis);
    health->is_ok = problem == NULL;
    health->durability = is_durable ? "durable" : "written";
    health->groups = redis->groups.rows;
    health->groups_count = redis->groups.count;
    bool is_named = troubled != NULL && strstr(problem, troubled->address) == NULL;
    snprintf(health->detail, sizeof health->detail, "%.*s%s%.*s", 60,
             is_named ? troubled->address : "", is_named ? ": " : "", STORE_DETAIL_MAX - 64,
             problem == NULL ? "Redis answers" : problem);
}

const struct store_engine store_engine_redis = {
    .has_others = true,
    .peers = &redis_peers_table,
    .name = "redis",
    .node_open = redis_node_open,
    .node_close = redis_node_close,
    .attach = redis_attach,
    .detach = redis_detach,
    .open = redis_open,
    .close = redis_close,
    .append = redis_append,
    .read = redis_read,
    .submit = redis_submit,
    .pending = redis_pending,
    .health = redis_health,
    .sync = redis_sync,
    .moves = redis_moves,
    .memberships = redis_memberships,
};
