/*
 * config_check: rules between options, and what two snapshots differ in.
 *
 * An error is a combination that cannot do what it says; a warning is one that
 * works and probably is not meant.
 */
#include <stdio.h>

#include "core/check.h"
#include "core/config_parts.h"
#include "core/log.h"
#include "core/net.h"
#include "core/pattern.h"

/* A subscription without history has no position to tell: what only allows one, or
 * tells it, is idle.  force_recovery promises what cannot be kept. */
static void check_without_history(struct config_reader *reader,
                                  const struct config_namespace *space, const char *path)
{
    const struct {
        const char *name;
        bool is_set;
    } idle[] = {{"allow_recovery", space->allow_recovery},
                {"force_positioning", space->force_positioning},
                {"allow_positioning", space->allow_positioning}};
    for (size_t i = 0; i < array_count(idle); i++)
        if (idle[i].is_set)
            config_warn(reader, 0, path,
                        "%s does nothing without history; set history_size and history_ttl",
                        idle[i].name);
    if (space->force_recovery)
        config_error(reader, 0, path,
                     "force_recovery needs history; set history_size and history_ttl");
}

static void check_namespace(struct config_reader *reader, const struct config_namespace *space)
{
    char path[CONFIG_PATH_MAX];
    if (space->name[0] == 0)
        snprintf(path, sizeof(path), "%s", CONFIG_WITHOUT_PATH);
    else
        snprintf(path, sizeof(path), "%s[%s]", CONFIG_NAMESPACES_PATH, space->name);

    if (space->history_ttl_ms > 0 && space->history_size == 0)
        config_error(reader, 0, path,
                     "history needs both history_size and history_ttl; history_size is not set");
    if (!config_has_history(space)) check_without_history(reader, space, path);
    if (strcmp(space->name, "receipts") == 0)
        config_error(reader, 0, path,
                     "is the name of companions: receipts:X tells of the members of X");
    char why[PATTERN_WHY_MAX];
    if (pattern_check(space->channel_regex, why) != ERR_OK)
        config_error(reader, 0, path, "channel_regex is no expression: %s", why);
    if (config_has_history(space) && space->history_meta_ttl_ms < space->history_ttl_ms)
        config_error(reader, 0, path,
                     "history_meta_ttl is shorter than history_ttl: positions would be "
                     "forgotten before publications");
}

/* True exactly when only this machine can reach the port. */
static bool is_loopback(const char *address)
{
    return strncmp(address, "127.", 4) == 0 || strcmp(address, "::1") == 0 ||
           strcmp(address, "localhost") == 0;
}

static void check_access(struct config_reader *reader, const struct config *config)
{
    bool is_local = is_loopback(config->http_server_address);
    if (config->client_insecure && !is_local)
        config_warn(reader, 0, "client.insecure",
                    "everybody who reaches this port may read and publish everything");
    if (config->http_api_insecure && !is_local)
        config_warn(reader, 0, "http_api.insecure",
                    "everybody who reaches this port may call the server API");
    config_check_tokens(reader, config, is_local);
}

static void check_prefix(struct config_reader *reader, const char *path, const char *prefix)
{
    size_t size = strlen(prefix);
    bool is_fine = size > 1 && size <= 200 && prefix[0] == '/' && prefix[size - 1] != '/';
    for (size_t i = 0; i < size; i++)
        if (prefix[i] <= ' ' || prefix[i] > '~' || strchr("?#%", prefix[i]) != NULL)
            is_fine = false;
    if (!is_fine)
        config_error(reader, 0, path,
                     "wants a path such as /api: it begins with '/', does not end "
                     "with one, and has no '?', '#', '%%' or spaces");
}

/* The form only: what a key file holds is looked at by the start. */
static void check_keys(struct config_reader *reader, const struct config *config)
{
    const struct {
        const char *path, *text;
    } keys[] = {{"storage.key", config->storage_key},
                {"storage.previous_keys", config->storage_previous_keys}};
    for (size_t i = 0; i < array_count(keys); i++) {
        const char *at = keys[i].text;
        for (size_t size; *at != 0; at += size + strspn(at + size, ", ")) {
            size = strspn(at, "0123456789abcdefABCDEF");
            bool is_end = at[size] == 0 || (i > 0 && strchr(", ", at[size]) != NULL);
            if (size == 64 && is_end) continue;
            config_error(reader, 0, keys[i].path,
                         "wants 64 hexadecimal digits, as openssl rand -hex 32 prints them");
            break;
        }
    }
    bool has_key = keys[0].text[0] != 0 || keys[1].text[0] != 0;
    bool has_file = config->storage_key_file[0] != 0;
    if (has_key && has_file)
        config_error(reader, 0, "storage.key_file",
                     "stands in place of storage.key and storage.previous_keys, not beside them");
    if ((has_key || has_file) && config->storage_engine == CONFIG_ENGINE_MEMORY)
        config_warn(reader, 0, "storage.key", "does nothing: storage.engine memory stores nothing");
    if ((has_key || has_file) && config->storage_engine == CONFIG_ENGINE_REDIS &&
        (config->redis_streams_enabled || config->redis_streams_conversations))
        config_error(reader, 0, "redis.streams",
                     "would show other programs what storage.key seals; leave one of them out");
}

static void check_redis(struct config_reader *reader, const struct config *config)
{
    bool is_used = config->storage_engine == CONFIG_ENGINE_REDIS;
    if (is_used && config->redis_address[0] == 0 && config->redis_addresses.count == 0)
        config_error(reader, 0, "redis.address", "the Redis store needs an address");
    if (strpbrk(config->redis_prefix, "{} \t\r\n") != NULL)
        config_error(reader, 0, "redis.prefix",
                     "holds a brace or a space; braces choose cluster slots");
    if (is_used && config->redis_mode == CONFIG_REDIS_STANDALONE &&
        config->redis_addresses.count > 1)
        config_error(reader, 0, "redis.addresses", "several need redis.mode: sentinel, or cluster");
    if (is_used && config->redis_mode == CONFIG_REDIS_SENTINEL &&
        config->redis_sentinel_master[0] == 0)
        config_error(reader, 0, "redis.sentinel_master",
                     "wants what the Sentinels call the primary, for example mymaster");
    if (is_used && config->redis_mode == CONFIG_REDIS_CLUSTER && config->redis_db != 0)
        config_error(reader, 0, "redis.db", "wants to be 0: a Redis Cluster has no other");
    if (config->redis_addresses.count > CONFIG_REDIS_ADDRESSES_MAX)
        config_error(reader, 0, "redis.addresses", "has room for %u",
                     (unsigned)CONFIG_REDIS_ADDRESSES_MAX);
    if (!is_used && (config->redis_streams_enabled || config->redis_streams_conversations))
        config_warn(reader, 0, "redis.streams",
                    "does nothing without Redis; set storage.engine to redis");
}

static void check_redis_links(struct config_reader *reader, const struct config *config)
{
    const char *cert = config->redis_tls_cert_pem, *key = config->redis_tls_key_pem;
    bool has_parts = cert[0] != 0 || key[0] != 0 || config->redis_tls_server_ca_pem[0] != 0 ||
                     config->redis_tls_server_name[0] != 0 ||
                     config->redis_tls_insecure_skip_verify;
    /* Silence would be a password on the wire in the clear. */
    if (has_parts && !config->redis_tls_enabled)
        config_error(reader, 0, "redis.tls.enabled",
                     "is not set, and other options of redis.tls are");
    bool is_secure = strncmp(config->redis_address, "rediss:", 7) == 0;
    for (uint32_t i = 0; i < config->redis_addresses.count; i++)
        is_secure = is_secure || strncmp(config->redis_addresses.items[i], "rediss:", 7) == 0;
    if (is_secure && !config->redis_tls_enabled)
        config_error(reader, 0, "redis.tls.enabled", "is not set, and rediss:// asks for it");
    if ((cert[0] != 0) != (key[0] != 0))
        config_error(reader, 0, cert[0] != 0 ? "redis.tls.key_pem" : "redis.tls.cert_pem",
                     "is missing: a certificate and its private key go together");
    if (config->redis_wait_replicas > 0 &&
        config->redis_wait_timeout_ms >= config->redis_io_timeout_ms)
        config_error(reader, 0, "redis.wait_timeout",
                     "wants to be shorter than redis.io_timeout, or waiting is taken for silence");
}

void config_check(struct config_reader *reader, const struct config *config)
{
    check(config != NULL);
    if (config->client_pong_timeout_ms >= config->client_ping_interval_ms)
        config_error(reader, 0, "client.pong_timeout",
                     "wants to be shorter than client.ping_interval");
    struct net_address address;
    if (config->http_server_address[0] != 0 &&
        net_address_local(config->http_server_address, 1, &address) != ERR_OK)
        config_error(reader, 0, "http_server.address",
                     "wants a number such as 127.0.0.1 or ::1, or localhost, or nothing for every "
                     "address");
    if (config->log_level == LOG_TRACE)
        config_warn(reader, 0, "log.level", "trace is debug here: no line is finer");
    check_prefix(reader, "http_api.handler_prefix", config->http_api_handler_prefix);
    check_prefix(reader, "websocket.handler_prefix", config->websocket_handler_prefix);
    if (config->storage_engine == CONFIG_ENGINE_EMBEDDED && config->storage_path[0] == 0)
        config_error(reader, 0, "storage.path", "the embedded store needs a directory");
    check_redis(reader, config);
    check_keys(reader, config);
    check_redis_links(reader, config);
    uint16_t cpus[CONFIG_CPUS_MAX];
    uint32_t cpus_count;
    if (config_cpus(config->shards_cpus, cpus, &cpus_count) != ERR_OK)
        config_error(reader, 0, "shards.cpus", "wants CPU numbers such as 0-3,8");
    if (config->receipts_small_channel > config->receipts_large_channel ||
        config->receipts_large_channel > config->receipts_huge_channel)
        config_error(reader, 0, "receipts",
                     "wants small_channel_threshold <= large_channel_threshold <= "
                     "huge_channel_threshold");
    check_namespace(reader, &config->without_namespace);
    for (uint32_t i = 0; i < config->namespaces_count; i++)
        check_namespace(reader, &config->namespaces[i]);
    check_access(reader, config);
}

uint32_t config_compare(const struct config *before, const struct config *after, config_say_fn say,
                        void *context)
{
    const char *name = after->path != NULL ? after->path : "options";
    struct config_reader reader = {.name = name, .say = say, .context = context};
    uint32_t count = 0;
    for (uint32_t i = 0; i < config_rows_count; i++) {
        const struct config_row *row = &config_rows[i];
        if (row->is_now || config_value_equal(row, before, after)) continue;
        config_warn(&reader, 0, row->path, "changed, and takes effect at the next start");
        count++;
    }
    return count;
}

uint32_t config_keep_started(const struct config *before, struct config *after, config_say_fn say,
                             void *context)
{
    check(before != after);
    uint32_t count = config_compare(before, after, say, context);
    for (uint32_t i = 0; i < config_rows_count; i++)
        if (!config_rows[i].is_now) config_value_copy(&config_rows[i], before, after, after->arena);
    return count;
}

static void describe_row(const struct config_row *row,
                         void (*print)(void *context, const char *line), void *context)
{
    static const char *const types[] = {"truth", "number", "number", "duration", "size",
                                        "text",  "secret", "one of", "list"};
    char line[700], values[200] = "", fallback[100] = "";
    if (row->type == CONFIG_ENUM) {
        config_value_list(row, values, sizeof(values));
    } else if (row->least[0] != 0 || row->most[0] != 0) {
        snprintf(values, sizeof(values), "%.80s to %.80s", row->least, row->most);
    }
    if (row->fallback[0] != 0) snprintf(fallback, sizeof(fallback), "`%.90s`", row->fallback);
    snprintf(line, sizeof(line), "| `%s` | %s%s%s | %s | %s |", row->path, types[row->type],
             values[0] != 0 ? " " : "", values, fallback, row->text);
    print(context, line);
}

void config_describe(void (*print)(void *context, const char *line), void *context)
{
    check(print != NULL);
    print(context, "| option | value | default | meaning |");
    print(context, "|---|---|---|---|");
    for (uint32_t i = 0; i < config_rows_count; i++) describe_row(&config_rows[i], print, context);
    print(context, "");
    print(context,
          "In `channel.without_namespace` and in each of `channel.namespaces[]` (which also "
          "have a `name`):");
    print(context, "");
    print(context, "| option | value | default | meaning |");
    print(context, "|---|---|---|---|");
    for (uint32_t i = 0; i < config_namespace_rows_count; i++)
        describe_row(&config_namespace_rows[i], print, context);
    print(context, "");
    print(context, "Options of Centrifugo that load with a warning and are not served yet:");
    print(context, "");
    print(context, "| option | note |");
    print(context, "|---|---|");
    for (uint32_t i = 0; i < config_known_rows_count; i++) {
        const struct config_known_row *row = &config_known_rows[i];
        char line[400];
        snprintf(line, sizeof(line), "| `%s%s` | %s |",
                 row->is_of_namespace ? "channel.namespaces[]." : "", row->path, row->note);
        print(context, line);
    }
}
