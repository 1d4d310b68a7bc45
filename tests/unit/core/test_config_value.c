/*
 * test_config_value: what people write, and what they are told when it is wrong.
 *
 * Every type at its limits, one below and one above; every refusal by its whole
 * sentence; no sentence with a secret.
 */
#include "config_said.h"

#include "core/log.h"

static void every_row_has_a_default_within_its_limits(void **state)
{
    (void)state;
    struct config *config = good("");
    char why[CONFIG_WHY_MAX];
    for (uint32_t i = 0; i < config_rows_count; i++) {
        const struct config_row *row = &config_rows[i];
        assert_true(strlen(row->text) > 10);
        assert_true(strlen(row->path) < 90);
        if (row->type == CONFIG_ENUM || row->type == CONFIG_TEXT_LIST) continue;
        if (row->least[0] != 0)
            assert_true(config_value_set(row, row->least, config, config->arena, why));
        if (row->most[0] != 0)
            assert_true(config_value_set(row, row->most, config, config->arena, why));
    }
    config_destroy(config);
}

static void enumerators_follow_their_rows(void **state)
{
    (void)state;
    struct config *config =
        good("storage: {engine: redis, durability: written}\nlog: {level: warn}\n");
    assert_int_equal(config->storage_engine, CONFIG_ENGINE_REDIS);
    assert_int_equal(config->storage_durability, CONFIG_WRITTEN);
    assert_int_equal(config->log_level, LOG_WARN);
    config_destroy(config);
    config = good("storage: {engine: memory}\nlog: {level: none}\n");
    assert_int_equal(config->storage_engine, CONFIG_ENGINE_MEMORY);
    assert_int_equal(config->log_level, LOG_NONE);
    config_destroy(config);
}

static void modes_of_redis_want_what_they_need(void **state)
{
    (void)state;
    struct config *config = good("storage: {engine: redis}\n"
                                 "redis: {mode: sentinel, addresses: [a, b], sentinel_master: m}");
    assert_int_equal(config->redis_mode, CONFIG_REDIS_SENTINEL);
    assert_int_equal(config->redis_addresses.count, 2);
    config_destroy(config);
    config = good("storage: {engine: redis}\nredis: {mode: cluster, addresses: [a, b, c]}");
    assert_int_equal(config->redis_mode, CONFIG_REDIS_CLUSTER);
    config_destroy(config);
    config = good("redis: {mode: sentinel, db: 3}"); /* not used */
    config_destroy(config);
    bad("storage: {engine: redis}\nredis: {mode: sentinel, addresses: [a]}",
        "c.yaml: redis.sentinel_master: wants what the Sentinels call the primary, for example "
        "mymaster");
    bad("storage: {engine: redis}\nredis: {mode: cluster, db: 1}",
        "c.yaml: redis.db: wants to be 0: a Redis Cluster has no other");
    bad("storage: {engine: redis}\nredis: {addresses: [a, b]}",
        "c.yaml: redis.addresses: several need redis.mode: sentinel, or cluster");
    char text[200] = "redis: {addresses: [a";
    for (uint32_t count = 2; count <= CONFIG_REDIS_ADDRESSES_MAX; count++) strcat(text, ", a");
    char more[sizeof text + 8];
    snprintf(more, sizeof more, "%s]}", text);
    config_destroy(good(more));
    snprintf(more, sizeof more, "%s, a]}", text);
    bad(more, "c.yaml: redis.addresses: has room for 15");
}

static uint32_t warned(const char *sentence)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < said.warnings_count; i++)
        count += strcmp(said.warnings[i], sentence) == 0;
    return count;
}

static void levels_are_taken_in_any_case(void **state)
{
    (void)state;
    static const char told[] = "c.yaml: log.level: trace is debug here: no line is finer";
    struct config *config = good("log: {level: INFO}");
    assert_int_equal(config->log_level, LOG_INFO);
    config_destroy(config);
    config = good("log: {level: Warn}");
    assert_int_equal(config->log_level, LOG_WARN);
    assert_int_equal(warned(told), 0);
    config_destroy(config);
    config = good("log: {level: TRACE}");
    assert_int_equal(config->log_level, LOG_TRACE);
    assert_int_equal(warned(told), 1);
    config_destroy(config);
}

/* The first boundary, whichever it is; the others are bytes of the name. */
static void every_boundary_ends_a_namespace(void **state)
{
    (void)state;
    static const char boundaries[] = ":./;@~+=!%&^";
    for (const char *at = boundaries; *at != 0; at++) {
        char text[120], channel[] = "aa?b?c", other[] = "aa-b";
        snprintf(text, sizeof(text),
                 "channel: {namespace_boundary: '%c', namespaces: [{name: aa}]}", *at);
        struct config *config = good(text);
        assert_int_equal(config_boundary(config), *at);
        channel[2] = channel[4] = *at;
        const struct config_namespace *space = config_namespace_of(config, bytes_of_text(channel));
        assert_ptr_equal(space, &config->namespaces[0]);
        other[2] = *at == ':' ? '.' : ':';
        space = config_namespace_of(config, bytes_of_text(other));
        assert_ptr_equal(space, &config->without_namespace);
        config_destroy(config);
    }
}

/* Centrifugo starts with these; only force_recovery stops it. */
static void what_does_nothing_without_history_is_a_warning(void **state)
{
    (void)state;
    static const char *const names[] = {"allow_recovery", "force_positioning", "allow_positioning"};
    for (size_t i = 0; i < array_count(names); i++) {
        char text[120], sentence[200];
        snprintf(text, sizeof(text), "channel: {namespaces: [{name: aa, %s: true}]}", names[i]);
        snprintf(sentence, sizeof(sentence),
                 "c.yaml: channel.namespaces[aa]: %s does nothing without history; set "
                 "history_size and history_ttl",
                 names[i]);
        struct config *config = good(text);
        assert_int_equal(warned(sentence), 1);
        config_destroy(config);
        snprintf(text, sizeof(text),
                 "channel: {namespaces: [{name: aa, %s: true, history_size: 1, history_ttl: 1s}]}",
                 names[i]);
        config = good(text);
        assert_int_equal(warned(sentence), 0);
        config_destroy(config);
    }
}

static void durations_mean_what_they_say(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t ms;
    } rows[] = {{"25s", 25000},      {"5m", 300000},         {"1500ms", 1500},   {"1h", 3600000},
                {"1.5s", 1500},      {"1m30s", 90000},       {"0.5h", 1800000},  {"1s500ms", 1500},
                {"1000000us", 1000}, {"1000000001ns", 1001}, {"30m30m", 3600000}};
    for (size_t i = 0; i < array_count(rows); i++) {
        char text[120];
        snprintf(text, sizeof(text), "shutdown: {timeout: %s}", rows[i].text);
        struct config *config = good(text);
        if (config->shutdown_timeout_ms != rows[i].ms) print_message("%s\n", rows[i].text);
        assert_int_equal(config->shutdown_timeout_ms, rows[i].ms);
        config_destroy(config);
    }
    struct config *config = good("shutdown: {timeout: 0}\nstorage: {dedup_horizon: 30d}");
    assert_int_equal(config->shutdown_timeout_ms, 0);
    assert_int_equal(config->storage_dedup_horizon_ms, UINT64_C(30) * 86400 * 1000);
    config_destroy(config);
}

static void durations_without_sense_are_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {"abc",
                                        "25 s",
                                        "s",
                                        "-5s",
                                        "5x",
                                        "1..5s",
                                        "1.s",
                                        ".5s",
                                        "+5s",
                                        "5s5",
                                        "1e3s",
                                        "99999999999999999999h",
                                        "2562047h2562047h"};
    for (size_t i = 0; i < array_count(texts); i++) {
        char text[120], sentence[200];
        snprintf(text, sizeof(text), "shutdown: {timeout: '%s'}", texts[i]);
        snprintf(sentence, sizeof(sentence),
                 "c.yaml:1: shutdown.timeout: '%s' is not a duration; "
                 "write for example 25s, 5m or 1h30m",
                 texts[i]);
        bad(text, sentence);
    }
    bad("client:\n  ping_interval: 25\n",
        "c.yaml:2: client.ping_interval: '25' has no unit; write for example 25s or 25ms");
    bad("client:\n  ping_interval: abc\n",
        "c.yaml:2: client.ping_interval: 'abc' is not a duration; "
        "write for example 25s, 5m or 1h30m");
    bad_as("c.json", "{\"client\":{\"ping_interval\":25}}",
           "c.json:1: client.ping_interval: '25' has no unit; write for example 25s or 25ms");
}

static void sizes_are_binary(void **state)
{
    (void)state;
    struct config *config = good("client: {queue_max_size: 65536}\nstorage: {index_lag_max: 1GiB}\n"
                                 "websocket: {message_size_limit: 64KiB}");
    assert_int_equal(config->client_queue_max_bytes, 65536);
    assert_int_equal(config->storage_index_lag_max_bytes, 1u << 30);
    assert_int_equal(config->websocket_message_max_bytes, 65536);
    config_destroy(config);
    bad("client: {queue_max_size: 64KB}", "c.yaml:1: client.queue_max_size: '64KB' is not a size; "
                                          "write for example 65536, 64KiB or 1MiB");
    bad("client: {queue_max_size: 99999999999GiB}",
        "c.yaml:1: client.queue_max_size: '99999999999GiB' is not a size; "
        "write for example 65536, 64KiB or 1MiB");
}

static void limits_hold_at_one_below_and_one_above(void **state)
{
    (void)state;
    struct config *config = good("client: {channel_limit: 1}\nhttp_server: {port: 65535}");
    assert_int_equal(config->client_channel_limit, 1);
    assert_int_equal(config->http_server_port, 65535);
    config_destroy(config);
    bad("client: {channel_limit: 0}",
        "c.yaml:1: client.channel_limit: '0' is less than the least, 1");
    bad("http_server: {port: 65536}",
        "c.yaml:1: http_server.port: '65536' is more than the most, 65535");
    bad("http_server: {port: 4294967296}",
        "c.yaml:1: http_server.port: '4294967296' is more than the most, 65535");
    bad("client: {connection_limit: 4294967296}",
        "c.yaml:1: client.connection_limit: '4294967296' is more than the most, 4294967295");
    bad("client: {ping_interval: 999ms}",
        "c.yaml:1: client.ping_interval: '999ms' is less than the least, 1s");
    bad("websocket: {message_size_limit: 65MiB}",
        "c.yaml:1: websocket.message_size_limit: '65MiB' is more than the most, 64MiB");
}

static void other_values_are_refused_with_what_is_wanted(void **state)
{
    (void)state;
    bad("client: {insecure: yes}",
        "c.yaml:1: client.insecure: 'yes' is not a truth value; write true or false");
    bad("client: {channel_limit: 1.5}",
        "c.yaml:1: client.channel_limit: '1.5' is not a whole number");
    bad("client: {channel_limit: -1}",
        "c.yaml:1: client.channel_limit: '-1' is not a whole number");
    bad("log: {level: loud}",
        "c.yaml:1: log.level: 'loud' is not one of trace, debug, info, warn, error, none");
    bad("channel: {namespace_boundary: '#'}",
        "c.yaml:1: channel.namespace_boundary: '#' is not one of "
        ":, ., /, ;, @, ~, +, =, !, %, &, ^");
    bad("client: {insecure: [true]}", "c.yaml:1: client.insecure: wants true or false, not a list");
    bad("client: {allowed_origins: '*'}",
        "c.yaml:1: client.allowed_origins: wants a list of texts, for example "
        "[\"https://chat.example\"], not a single value");
    bad("client: {allowed_origins: [a, [b]]}",
        "c.yaml:1: client.allowed_origins: item 2 of the list is not a text");
    bad("client:\n  insecure:\n",
        "c.yaml:2: client.insecure: has no value; write true or false, or remove the line");
    bad("client: 5", "c.yaml:1: client: wants a section of options");
    bad("- a", "c.yaml:1: wants a section of options");
}

static void an_unknown_name_is_answered_with_the_nearest(void **state)
{
    (void)state;
    bad("client:\n  insecur: true\n",
        "c.yaml:2: client.insecur: unknown option; did you mean client.insecure?");
    bad("client: {tokn: {hmac_secret_key: x}}",
        "c.yaml:1: client.tokn: unknown option; did you mean client.token?");
    bad("clint: {}", "c.yaml:1: clint: unknown option; did you mean client?");
    bad("allowed_origins: ['*']\n",
        "c.yaml:1: allowed_origins: unknown option; did you mean client.allowed_origins?");
    bad("cleint: {}\n", "c.yaml:1: cleint: unknown option; did you mean client?");
    bad("elsewhere: {}\n",
        "c.yaml:1: elsewhere: unknown option; allowed here: client, http_api, "
        "read_index, health, "
        "prometheus, debug, log, http_server, websocket, channel, receipts, storage, redis, "
        "shards, "
        "shutdown, node");
    bad("health: {\"som\\ne\": 1}",
        "c.yaml:1: health.som?e: unknown option; allowed here: enabled");
    bad("health: {some_thing_else: 1}",
        "c.yaml:1: health.some_thing_else: unknown option; allowed here: enabled");
    bad("channel:\n  namespaces:\n    - name: chat\n      histroy_size: 10\n",
        "c.yaml:4: channel.namespaces[chat].histroy_size: unknown option; "
        "did you mean channel.without_namespace.history_size?");
}

static void every_mistake_is_told_up_to_a_limit(void **state)
{
    (void)state;
    assert_null(read_as("c.yaml", "client: {insecure: 1, channel_limit: x}\nlog: {level: y}\n"));
    assert_int_equal(said.errors_count, 3);
    char text[4000] = "";
    for (uint32_t i = 0; i < 50; i++)
        snprintf(text + strlen(text), 40, "nothing_of_ours_%u: 1\n", i);
    assert_null(read_as("c.yaml", text));
    assert_int_equal(said.errors_count, CONFIG_ERRORS_MAX + 1);
    assert_string_equal(said.errors[CONFIG_ERRORS_MAX], "c.yaml: and 30 mistakes more");
}

static void secrets_are_never_shown(void **state)
{
    (void)state;
    read_as("c.yaml",
            "client: {token: {hmac_secret_key: [s3cr3t]}}\nhttp_api: {key: {s3cr3t: s3cr3t}}\n"
            "redis: {password: s3cr3t, db: x}\n");
    assert_true(said.errors_count >= 3);
    for (uint32_t i = 0; i < said.errors_count; i++) assert_null(strstr(said.errors[i], "s3cr3t"));
    struct config *before = good("redis: {password: s3cr3t}\nhttp_api: {key: s3cr3t}");
    struct config *after = good("redis: {password: other}\nclient: {insecure: true}");
    memset(&said, 0, sizeof(said));
    assert_int_equal(config_compare(before, after, on_say, &said), 1);
    assert_string_equal(said.warnings[0],
                        "options: redis.password: changed, and takes effect at the next start");
    config_destroy(before);
    config_destroy(after);
}

static void a_reload_keeps_what_only_a_start_can_take(void **state)
{
    (void)state;
    struct config *before = good("redis: {password: first}\nwebsocket: {handler_prefix: /ws}\n"
                                 "shards: {count: 3}\nhttp_api: {key: a}");
    struct config *after = good("redis: {password: second}\nhttp_api: {key: b}\n"
                                "client: {allowed_origins: [x, y]}");
    memset(&said, 0, sizeof(said));
    assert_int_equal(config_keep_started(before, after, on_say, &said), 3);
    config_destroy(before); /* the values were copied */
    assert_string_equal(after->redis_password, "first");
    assert_string_equal(after->websocket_handler_prefix, "/ws");
    assert_int_equal(after->shards_count, 3);
    assert_string_equal(after->http_api_key, "b");
    assert_int_equal(after->client_allowed_origins.count, 2);
    config_destroy(after);
}

static void links_to_redis_are_looked_at(void **state)
{
    (void)state;
    bad("redis: {tls: {server_ca_pem: ca.pem}}",
        "c.yaml: redis.tls.enabled: is not set, and other options of redis.tls are");
    bad("redis: {address: 'rediss://localhost'}",
        "c.yaml: redis.tls.enabled: is not set, and rediss:// asks for it");
    bad("redis: {addresses: [a, 'rediss://b']}",
        "c.yaml: redis.tls.enabled: is not set, and rediss:// asks for it");
    bad("redis: {tls: {insecure_skip_verify: true}}",
        "c.yaml: redis.tls.enabled: is not set, and other options of redis.tls are");
    bad("redis: {tls: {enabled: true, cert_pem: a.pem}}",
        "c.yaml: redis.tls.key_pem: is missing: a certificate and its private key go together");
    bad("redis: {tls: {enabled: true, key_pem: a.pem}}",
        "c.yaml: redis.tls.cert_pem: is missing: a certificate and its private key go together");
    bad("redis: {wait_replicas: 1, wait_timeout: 4s}",
        "c.yaml: redis.wait_timeout: wants to be shorter than redis.io_timeout, or waiting is "
        "taken for silence");
    config_destroy(good("redis: {wait_replicas: 1, wait_timeout: 3999ms}"));
    config_destroy(good("redis: {wait_timeout: 4s}"));
    config_destroy(good("redis: {tls: {enabled: true, cert_pem: a.pem, key_pem: b.pem}}"));
}

int main(void)
{
    doc_setup();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(links_to_redis_are_looked_at),
        cmocka_unit_test(every_row_has_a_default_within_its_limits),
        cmocka_unit_test(enumerators_follow_their_rows),
        cmocka_unit_test(modes_of_redis_want_what_they_need),
        cmocka_unit_test(levels_are_taken_in_any_case),
        cmocka_unit_test(every_boundary_ends_a_namespace),
        cmocka_unit_test(what_does_nothing_without_history_is_a_warning),
        cmocka_unit_test(durations_mean_what_they_say),
        cmocka_unit_test(durations_without_sense_are_refused),
        cmocka_unit_test(sizes_are_binary),
        cmocka_unit_test(limits_hold_at_one_below_and_one_above),
        cmocka_unit_test(other_values_are_refused_with_what_is_wanted),
        cmocka_unit_test(an_unknown_name_is_answered_with_the_nearest),
        cmocka_unit_test(every_mistake_is_told_up_to_a_limit),
        cmocka_unit_test(secrets_are_never_shown),
        cmocka_unit_test(a_reload_keeps_what_only_a_start_can_take),
    };
    return cmocka_run_group_tests_name("config_value", tests, NULL, NULL);
}
