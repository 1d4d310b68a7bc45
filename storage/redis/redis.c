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
#include "storage/redis/ask.h"
#include "storage/redis/peers_parts.h"

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

void redis_write_script(struct link *link, struct resp_out *out, enum script script,
                        uint32_t partition, uint32_t count)
{
    const struct redis_server *server = link->owner;
    struct redis_store *redis = server->redis;
    const struct hello_server *said = &link->hello.server;
    char key[REDIS_KEY_MAX];
    turn_letters(redis->letters);
    resp_begin(out, 4 + 4 + count);
    resp_text(out, "EVALSHA");
    resp_text(out, said->digests[script]);
    resp_text(out, "1");
    resp_bytes(out, redis_key(redis, key, partition, "meta", BYTES_NONE));
    resp_text(out, said->lineage);
    resp_text(out, said->is_durable ? "1" : "0");
    resp_text(out, redis->letters);
    resp_text(out, link_is_lineage_fresh(link) ? "1" : "0");
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

void redis_call(struct redis_store *redis, uint32_t partition, struct link_call *call)
{
    struct link *link = &redis_server_of(redis, partition)->commands;
    link_call(link, call, link_due_ms(link));
}

void redis_call_behind(struct redis_store *redis, uint32_t partition, struct link_call *call)
{
    struct redis_server *server = redis_server_of(redis, partition);
    bool is_waiting = redis->node->options.wait_replicas > 0;
    struct link *link = is_waiting ? &server->publish : &server->commands;
    link_call(link, call, link_due_ms(link));
}

/* --- the node -------------------------------------------------------------------------------- */

/* "redis://host:port", "host:port", "host" or "[::1]:port". */
static enum err address_parse(const char *text, struct redis_place *place)
{
    static const char scheme[] = "redis://";
    char host[128];
    uint16_t port = 6379;
    const char *at =
        strncmp(text, scheme, sizeof scheme - 1) == 0 ? text + sizeof scheme - 1 : text;
    size_t size = strcspn(at, "/");
    snprintf(place->text, sizeof place->text, "%.*s", (int)min_u64(size, 100), at);
    if (size == 0 || size >= sizeof host || (at[size] == '/' && at[size + 1] != 0))
        return ERR_BAD_REQUEST;
    snprintf(host, sizeof host, "%.*s", (int)size, at);
    char *colon = strrchr(host, ':');
    char *bracket = strrchr(host, ']');
    if (colon != NULL && (bracket == NULL || colon > bracket)) {
        uint64_t number = 0;
        bool is_port =
            bytes_to_u64(bytes_of_text(colon + 1), &number) && number >= 1 && number <= UINT16_MAX;
        if (!is_port) return ERR_BAD_REQUEST;
        port = (uint16_t)number;
        *colon = 0;
    }
    char *name = host;
    if (host[0] == '[' && bracket != NULL) {
        *bracket = 0;
        name = host + 1;
    }
    return net_address_resolve(name, port, &place->address);
}

static enum err redis_node_open(const struct config *config, struct workers *workers,
                                uint32_t shards_count, struct store_node **node)
{
    (void)workers, (void)shards_count;
    struct redis_node *opened = mem_alloc(sizeof *opened);
    struct redis_options *options = &opened->options;
    char problem[HELLO_PROBLEM_MAX];
    opened->node.engine = &store_engine_redis;
    opened->config = config;
    redis_draw_letters(opened->letters);
    options->user = config->redis_user;
    options->password = config->redis_password;
    options->prefix = config->redis_prefix;
    options->db = config->redis_db;
    options->partitions = config->redis_partitions;
    options->connect_timeout_ms = config->redis_connect_timeout_ms;
    options->io_timeout_ms = config->redis_io_timeout_ms;
    options->server_name = config->redis_tls_server_name;
    options->wait_replicas = config->redis_wait_replicas;
    options->wait_timeout_ms = config->redis_wait_timeout_ms;
    enum err err = address_parse(config->redis_address, &opened->place);
    if (err != ERR_OK) {
        log_error("redis.address cannot be used; write host:port of a server that can be found "
                  "address=\"%s\"",
                  opened->place.text);
    } else if (strlen(options->prefix) > 128 || strpbrk(options->prefix, "{} ") != NULL) {
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
        err = ask_hello(options, &opened->place, options->connect_timeout_ms, &opened->server,
                        problem);
        if (err != ERR_OK) log_error("%s", problem);
    }
    if (err != ERR_OK) {
        secure_context_destroy(options->secure);
        keyring_fini(&opened->keyring);
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
    mem_free(node);
}

/* --- the store of a shard -------------------------------------------------------------------- */

static struct store *redis_attach(struct store_node *base, const struct store_env *env)
{
    struct redis_node *node = container_of(base, struct redis_node, node);
    struct redis_store *redis = mem_alloc(sizeof *redis);
    uint64_t seed;
    redis->store = (struct store){.engine = base->engine, .env = *env};
    redis->node = node;
    entropy_fill(&seed, sizeof seed);
    redis_draw_letters(redis->letters);
    redis_seals_init(&redis->seals, &node->keyring, seed);
    arena_init(&redis->opened, OPENED_ARENA_KEEP);
    map_init(&redis->channels_by_name, seed);
    slab_init(&redis->channels, "redis channels", sizeof(struct redis_channel), REDIS_CHANNELS_MAX);
    redis->partitions = mem_alloc(node->options.partitions * sizeof *redis->partitions);
    for (uint32_t i = 0; i < node->options.partitions; i++)
        list_init(&redis->partitions[i].channels);
    list_init(&redis->batches);
    list_init(&redis->opening);
    list_init(&redis->holding);
    list_init(&redis->refused);
    links_init(&redis->links, env->loop, env->wheel, env->clock, env->rng);
    struct redis_server *server = mem_alloc(sizeof *server);
    redis->servers[redis->servers_count++] = server;
    server_start(server, redis, &node->place);
    for (uint32_t i = 0; i < node->options.partitions; i++) redis->partitions[i].server = server;
    redis_peers_start(redis);
    sweep_start(redis);
    if (env->shard == 0 && env->config->redis_streams_enabled) groups_start(redis);
    return &redis->store;
}

static void redis_detach(struct store *store)
{
    struct redis_store *redis = redis_of(store);
    check(redis->pending == 0);
    check(redis->channels_by_name.count == 0);
    links_fini(&redis->links);
    append_abandon(redis);
    wheel_disarm(store->env.wheel, &redis->sweep_timer);
    groups_stop(redis);
    for (uint32_t i = 0; i < redis->servers_count; i++) {
        server_fini(redis->servers[i]);
        mem_free(redis->servers[i]);
    }
    redis_peers_fini(redis);
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
    feed_submit(redis);
    redis_peers_submit(redis);
    for (uint32_t i = 0; i < redis->servers_count; i++) server_flush(redis->servers[i]);
}

static uint32_t redis_pending(const struct store *store)
{
    const struct redis_store *redis = (const struct redis_store *)store;
    return redis->pending + redis_peers_pending(redis);
}

static void redis_health(const struct store *store, struct store_health *health)
{
    const struct redis_store *redis = (const struct redis_store *)store;
    const char *problem = NULL;
    bool is_durable = true;
    for (uint32_t i = 0; i < redis->servers_count; i++) {
        const struct hello_server *said = server_said(redis->servers[i]);
        if (said->lineage[0] == 0) said = &redis->node->server;
        is_durable = is_durable && said->is_durable;
        if (problem == NULL) problem = server_problem(redis->servers[i]);
    }
    *health = (struct store_health){.is_ok = problem == NULL,
                                    .latency_us = redis->latency_us,
                                    .durability = is_durable ? "durable" : "written",
                                    .groups = redis->groups.rows,
                                    .groups_count = redis->groups.count};
    if (problem == NULL && redis->seals.is_foreign) {
        problem = "some publications are sealed with a key that is not configured here";
        health->is_ok = false;
    }
    snprintf(health->detail, sizeof health->detail, "%.*s", (int)sizeof health->detail - 1,
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
};
