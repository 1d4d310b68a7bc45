/*
 * test_config: files in, snapshots or sentences out.
 *
 * Each case parses a text and looks at the snapshot, or at the whole sentence.
 */
#include "config_said.h"

#include <stdlib.h>

#include "core/limits.h"
#include "core/mem.h"

static void no_name_stands_twice_in_the_tables(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < config_rows_count; i++) {
        for (uint32_t k = 0; k < i; k++)
            assert_string_not_equal(config_rows[i].path, config_rows[k].path);
        for (uint32_t k = 0; k < config_known_rows_count; k++)
            if (!config_known_rows[k].is_of_namespace)
                assert_string_not_equal(config_rows[i].path, config_known_rows[k].path);
    }
    for (uint32_t i = 0; i < config_namespace_rows_count; i++)
        for (uint32_t k = 0; k < config_known_rows_count; k++)
            if (config_known_rows[k].is_of_namespace)
                assert_string_not_equal(config_namespace_rows[i].path, config_known_rows[k].path);
}

static void an_empty_file_gives_the_documented_defaults(void **state)
{
    (void)state;
    struct config *config = good("# nothing\n");
    assert_false(config->client_insecure);
    assert_int_equal(config->client_channel_limit, 128);
    assert_int_equal(config->client_queue_max_bytes, 1048576);
    assert_int_equal(config->client_ping_interval_ms, 25000);
    assert_int_equal(config->client_pong_timeout_ms, 8000);
    assert_int_equal(config->client_stale_close_delay_ms, 10000);
    assert_int_equal(config->client_expired_close_delay_ms, 25000);
    assert_int_equal(config->client_history_max_publications, 300);
    assert_int_equal(config->client_recovery_max_publications, 300);
    assert_int_equal(config->client_connection_limit, 0);
    assert_int_equal(config->http_server_port, 8000);
    assert_string_equal(config->http_server_address, "");
    assert_string_equal(config->http_api_handler_prefix, "/api");
    assert_int_equal(config->websocket_message_max_bytes, 65536);
    assert_int_equal(config->channel_max_length, CHANNEL_NAME_MAX);
    assert_int_equal(config->storage_engine, CONFIG_ENGINE_EMBEDDED);
    assert_int_equal(config->storage_dedup_horizon_ms, UINT64_C(7) * 86400 * 1000);
    assert_string_equal(config->redis_address, "redis://127.0.0.1:6379");
    assert_int_equal(config->redis_partitions, 1024);
    assert_int_equal(config->shutdown_timeout_ms, 30000);
    assert_int_equal(config->client_allowed_origins.count, 0);
    assert_int_equal(config->namespaces_count, 0);
    assert_int_equal(config->without_namespace.history_meta_ttl_ms, UINT64_C(720) * 3600 * 1000);
    /* Nobody can connect: that is said, and it starts. */
    assert_int_equal(said.warnings_count, 1);
    config_destroy(config);
}

static const char file_yaml[] = "client:\n"
                                "  allowed_origins: [\"https://chat.example\", '*']\n"
                                "  token:\n"
                                "    hmac_secret_key: 0123456789abcdef\n"
                                "  ping_interval: 30s\n"
                                "http_api:\n"
                                "  key: k\n"
                                "http_server: {port: \"9000\"}\n"
                                "channel:\n"
                                "  history_meta_ttl: 100h\n"
                                "  without_namespace:\n"
                                "    allow_subscribe_for_client: true\n"
                                "  namespaces:\n"
                                "    - name: chat\n"
                                "      history_size: 1000\n"
                                "      history_ttl: 300s\n"
                                "      force_recovery: true\n"
                                "    - name: alerts-2\n"
                                "      history_size: 1\n"
                                "      history_ttl: 5m\n"
                                "      history_meta_ttl: 10m\n";
static const char file_json[] =
    "{\"client\":{\"allowed_origins\":[\"https://chat.example\",\"*\"],\"token\":"
    "{\"hmac_secret_key\":\"0123456789abcdef\"},\"ping_interval\":\"30s\"},\"http_api\":{\"key\":"
    "\"k\"},"
    "\"http_server\":{\"port\":9000},\"channel\":{\"history_meta_ttl\":\"100h\",\"without_"
    "namespace\":"
    "{\"allow_subscribe_for_client\":true},\"namespaces\":[{\"name\":\"chat\",\"history_size\":"
    "1000,"
    "\"history_ttl\":\"300s\",\"force_recovery\":true},{\"name\":\"alerts-2\",\"history_size\":1,"
    "\"history_ttl\":\"5m\",\"history_meta_ttl\":\"10m\"}]}}";

static void look_at_file(const struct config *config)
{
    assert_int_equal(said.warnings_count, 0);
    assert_int_equal(config->client_allowed_origins.count, 2);
    assert_string_equal(config->client_allowed_origins.items[0], "https://chat.example");
    assert_string_equal(config->client_allowed_origins.items[1], "*");
    assert_string_equal(config->client_token_hmac_secret_key, "0123456789abcdef");
    assert_string_equal(config->http_api_key, "k");
    assert_int_equal(config->client_ping_interval_ms, 30000);
    assert_int_equal(config->http_server_port, 9000);
    assert_true(config->without_namespace.allow_subscribe_for_client);
    assert_false(config_has_history(&config->without_namespace));
    assert_int_equal(config->namespaces_count, 2);
    assert_string_equal(config->namespaces[0].name, "alerts-2");
    assert_int_equal(config->namespaces[0].history_meta_ttl_ms, 600000);
    assert_string_equal(config->namespaces[1].name, "chat");
    assert_int_equal(config->namespaces[1].history_size, 1000);
    assert_int_equal(config->namespaces[1].history_ttl_ms, 300000);
    assert_int_equal(config->namespaces[1].history_meta_ttl_ms, UINT64_C(360000) * 1000);
    assert_true(config->namespaces[1].force_recovery);
    assert_true(config_has_history(&config->namespaces[1]));
}

static void yaml_and_json_say_the_same(void **state)
{
    (void)state;
    struct config *config = good(file_yaml);
    look_at_file(config);
    config_destroy(config);
    config = read_as("c.json", file_json);
    assert_non_null(config);
    look_at_file(config);
    config_destroy(config);
}

static void a_known_option_warns_once_and_never_stops(void **state)
{
    (void)state;
    struct config *config = good(
        "client: {insecure: true}\nhttp_server: {address: 127.0.0.1}\n"
        "swagger: {enabled: true}\nadmin:\n  enabled: true\n  password: p4ss\n"
        "channel:\n  without_namespace: {allow_tags_filter: true}\n"
        "  namespaces: [{name: aa, allow_tags_filter: true}, {name: bb, allow_tags_filter: true}]\n"
        "proxies: []\nsse: {enabled: true}\nuni_grpc: {port: 11000}\n");
    assert_int_equal(said.warnings_count, 6);
    assert_string_equal(said.warnings[0], "c.yaml:3: swagger: known option, not served yet");
    assert_string_equal(said.warnings[1], "c.yaml:4: admin: known option, not served yet");
    assert_string_equal(
        said.warnings[2],
        "c.yaml:8: channel.without_namespace.allow_tags_filter: known option, not served yet");
    assert_string_equal(said.warnings[3], "c.yaml:10: proxies: known option, not served yet");
    config_destroy(config);
}

static void every_known_row_is_reached(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < config_known_rows_count; i++) {
        const struct config_known_row *row = &config_known_rows[i];
        char path[200], text[2000];
        snprintf(path, sizeof(path), "%s%.*s",
                 row->is_of_namespace ? "channel.without_namespace." : "",
                 (int)config_known_size(row), row->path);
        /* a.b.c becomes {"a":{"b":{"c":1}}} */
        size_t used = 0, depth = 1;
        used += (size_t)snprintf(text, sizeof(text), "{\"");
        for (const char *at = path; *at != 0; at++) {
            if (*at == '.') depth++;
            used += (size_t)snprintf(text + used, sizeof(text) - used, *at == '.' ? "\":{\"" : "%c",
                                     *at);
        }
        used += (size_t)snprintf(text + used, sizeof(text) - used, "\":1");
        while (depth-- > 0) used += (size_t)snprintf(text + used, sizeof(text) - used, "}");
        struct config *config = read_as("c.json", text);
        assert_non_null(config);
        assert_non_null(strstr(said.warnings[0], "known option, not served yet"));
        config_destroy(config);
    }
}

static void a_name_that_stands_twice_is_refused(void **state)
{
    (void)state;
    bad("client:\n  insecure: true\n  channel_limit: 1\n  insecure: false\n",
        "c.yaml:4: 'insecure' stands twice, first in line 2");
    bad("channel:\n  namespaces:\n    - name: chat\n    - name: chat\n",
        "c.yaml:2: channel.namespaces: the name 'chat' stands twice");
    assert_null(read_as("c.json", "{\"client\":{\"insecure\":true,\"insecure\":false}}"));
    assert_non_null(strstr(said.errors[0], "c.json: this is not JSON: line 1 column"));
}

static void namespaces_need_good_names(void **state)
{
    (void)state;
    bad("channel: {namespaces: [{history_size: 1}]}",
        "c.yaml:1: channel.namespaces[0]: a namespace needs a name, for example name: chat");
    bad("channel: {namespaces: [{name: a}]}", "c.yaml:1: channel.namespaces[0]: name wants 2 to "
                                              "128 letters, digits, '-' or '_', nothing else");
    bad("channel: {namespaces: [{name: 'a:b'}]}",
        "c.yaml:1: channel.namespaces[0]: name wants 2 to 128 letters, digits, '-' or '_', nothing "
        "else");
    bad("channel: {namespaces: {chat: {}}}",
        "c.yaml:1: channel.namespaces: wants a list: one '- name: ...' for each namespace");
    bad("channel: {namespaces: [chat]}",
        "c.yaml:1: channel.namespaces[0]: wants a section of options with a name");
    bad("channel: {without_namespace: {name: x}}",
        "c.yaml:1: channel.without_namespace.name: unknown option; did you mean node.name?");
}

static void channels_find_their_namespace(void **state)
{
    (void)state;
    struct config *config =
        good("channel:\n  namespaces:\n    - name: ch\n    - name: chat\n    - name: chatter\n");
    static const struct {
        const char *channel, *name;
    } rows[] = {{"news", ""},        {"", ""},          {"$news", ""},
                {"$", ""},           {"ch:1", "ch"},    {"chat:1", "chat"},
                {"$chat:1", "chat"}, {"chat:", "chat"}, {"chatter:a:b", "chatter"},
                {"chat:x:y", "chat"}};
    for (size_t i = 0; i < array_count(rows); i++) {
        const struct config_namespace *space =
            config_namespace_of(config, bytes_of_text(rows[i].channel));
        assert_non_null(space);
        assert_string_equal(space->name, rows[i].name);
    }
    static const char *const unknown[] = {"c:1", "cha:1", "chats:1", "$$chat:1",
                                          ":x",  "$:x",   "Chat:1"};
    for (size_t i = 0; i < array_count(unknown); i++)
        assert_null(config_namespace_of(config, bytes_of_text(unknown[i])));
    config_destroy(config);
}

static void history_of_a_size_alone_is_kept_for_a_week(void **state)
{
    (void)state;
    struct config *config =
        good("channel:\n  without_namespace: {history_size: 5, history_meta_ttl: 1h}\n"
             "  namespaces:\n    - {name: aa, history_size: 1}\n"
             "    - {name: bb, history_size: 1, history_ttl: 1h}\n    - {name: cc}\n");
    assert_int_equal(config->without_namespace.history_ttl_ms, 3600000);
    assert_int_equal(config->namespaces[0].history_ttl_ms, 7 * 86400000u);
    assert_int_equal(config->namespaces[1].history_ttl_ms, 3600000);
    assert_int_equal(config->namespaces[2].history_ttl_ms, 0);
    config_destroy(config);
}

#define DIGITS "0123456789abcdef0123456789ABCDEF0123456789abcdef0123456789ABCDEF"

static void keys_of_the_store_are_looked_at(void **state)
{
    (void)state;
    bad("storage: {key: '" DIGITS "0'}",
        "c.yaml: storage.key: wants 64 hexadecimal digits, as openssl rand -hex 32 prints them");
    bad("storage: {key: '" DIGITS "," DIGITS "'}",
        "c.yaml: storage.key: wants 64 hexadecimal digits, as openssl rand -hex 32 prints them");
    bad("storage: {previous_keys: '" DIGITS ", secret'}",
        "c.yaml: storage.previous_keys: wants 64 hexadecimal digits, as openssl rand -hex 32 "
        "prints them");
    bad("storage: {key: '" DIGITS "', key_file: keys}",
        "c.yaml: storage.key_file: stands in place of storage.key and storage.previous_keys, not "
        "beside them");
    bad("storage: {engine: redis, key: '" DIGITS "'}\nredis: {streams: {enabled: true}}",
        "c.yaml: redis.streams: would show other programs what storage.key seals; leave one of "
        "them out");
    config_destroy(good("storage: {engine: redis, key: '" DIGITS "'}"));
    config_destroy(good("storage: {key: '" DIGITS "', previous_keys: '" DIGITS ", " DIGITS "'}"));
}

static void rules_between_options_are_told(void **state)
{
    (void)state;
    bad("client: {ping_interval: 5s, pong_timeout: 5s}",
        "c.yaml: client.pong_timeout: wants to be shorter than client.ping_interval");
    bad("channel: {without_namespace: {history_ttl: 5s}}",
        "c.yaml: channel.without_namespace: history needs both history_size and history_ttl; "
        "history_size is not set");
    bad("channel: {namespaces: [{name: aa, force_recovery: true}]}",
        "c.yaml: channel.namespaces[aa]: force_recovery needs history; "
        "set history_size and history_ttl");
    bad("channel: {namespaces: [{name: aa, history_size: 1, history_ttl: 2h, history_meta_ttl: "
        "1h}]}",
        "c.yaml: channel.namespaces[aa]: history_meta_ttl is shorter than history_ttl: positions "
        "would be forgotten before publications");
    bad("http_api: {handler_prefix: api/}", "c.yaml: http_api.handler_prefix: wants a path such as "
                                            "/api: it begins with '/', does not end "
                                            "with one, and has no '?', '#', '%' or spaces");
    struct config *config = good("client: {insecure: true}\nhttp_api: {insecure: true}");
    assert_int_equal(said.warnings_count, 2);
    assert_string_equal(said.warnings[0],
                        "c.yaml: client.insecure: everybody who reaches this port "
                        "may read and publish everything");
    config_destroy(config);
}

static void what_yaml_hides_is_refused_by_name(void **state)
{
    (void)state;
    bad("client: &a {insecure: true}",
        "c.yaml:1: anchors (&name) are not read; write the value out");
    bad("client:\n  insecure: *a", "c.yaml:2: aliases (*name) are not read; write the value out");
    bad("client: !x {}", "c.yaml:1: tags (!name) are not read; the option decides the type");
    bad("client: {}\n---\nclient: {}", "c.yaml:2: a second document begins here; one is read");
    bad("? [a, b]\n: c", "c.yaml:1: the name of an option must be a text");
    bad("client:\n\tinsecure: true",
        "c.yaml:2: this is not YAML: found character that cannot start "
        "any token");
    bad("client: \"a\\0b\"", "c.yaml:1: a text holds a zero byte");
}

static void depth_and_size_have_limits(void **state)
{
    (void)state;
    char text[400] = "";
    memset(text, '[', CONFIG_DEPTH_MAX + 1);
    bad(text, "c.yaml:1: nested deeper than 16 levels");
    bad_as("c.json", "[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]", "c.json: nested deeper than 16 levels");
    char *longer = mem_alloc(CONFIG_TEXT_MAX + 100);
    size_t used = (size_t)snprintf(longer, 40, "node: {name: \"");
    memset(longer + used, 'a', CONFIG_TEXT_MAX + 1);
    bad(longer, "c.yaml:1: this is not YAML: found unexpected end of stream");
    strcpy(longer + used + CONFIG_TEXT_MAX + 1, "\"}");
    bad(longer, "c.yaml:1: a text is longer than 8192 bytes");
    mem_free(longer);
}

static void overrides_win_over_the_file(void **state)
{
    (void)state;
    memset(&said, 0, sizeof(said));
    const struct config_override overrides[] = {
        {"http_server.port", "9001", "--port"},
        {"storage.path", "/var/lib/x", "--data"},
        {"client.allowed_origins", "https://a.example,https://b.example", "--origins"},
    };
    struct config *config = NULL;
    enum err err = config_parse(bytes_of_text("http_server: {port: 9000}"), "c.yaml", overrides, 3,
                                on_say, &said, &config);
    assert_int_equal(err, ERR_OK);
    assert_int_equal(config->http_server_port, 9001);
    assert_string_equal(config->storage_path, "/var/lib/x");
    assert_int_equal(config->client_allowed_origins.count, 2);
    assert_string_equal(config->client_allowed_origins.items[1], "https://b.example");
    config_destroy(config);

    config = NULL;
    const struct config_override wrong = {"http_server.port", "99999", "--port"};
    err = config_load(NULL, &wrong, 1, on_say, &said, &config);
    assert_int_equal(err, ERR_BAD_REQUEST);
    assert_null(config);
    assert_string_equal(said.errors[0], "--port: '99999' is more than the most, 65535");
}

static void cpu_lists_are_numbers_and_ranges(void **state)
{
    (void)state;
    uint16_t cpus[CONFIG_CPUS_MAX];
    uint32_t count = 9;
    assert_int_equal(config_cpus("", cpus, &count), ERR_OK);
    assert_int_equal(count, 0);
    assert_int_equal(config_cpus("8,0-3,2,1023", cpus, &count), ERR_OK);
    static const uint16_t expected[] = {0, 1, 2, 3, 8, 1023};
    assert_int_equal(count, 6);
    assert_memory_equal(cpus, expected, sizeof(expected));
    static const char *const wrong[] = {
        ",", "1,", "a", "1-", "-1", "3-1", "1024", "0-1024", "1 ", "1;2", "0-18446744073709551616"};
    for (size_t i = 0; i < array_count(wrong); i++)
        assert_int_equal(config_cpus(wrong[i], cpus, &count), ERR_BAD_REQUEST);
    bad("shards: {cpus: 1..3}", "c.yaml: shards.cpus: wants CPU numbers such as 0-3,8");
}

static void load_reads_a_file_or_says_why_not(void **state)
{
    (void)state;
    char path[] = "/tmp/test_config_XXXXXX.yaml";
    int file = mkstemps(path, 5);
    assert_true(file >= 0);
    FILE *stream = fdopen(file, "w");
    fputs(file_yaml, stream);
    fclose(stream);
    memset(&said, 0, sizeof(said));
    struct config *config = NULL;
    assert_int_equal(config_load(path, NULL, 0, on_say, &said, &config), ERR_OK);
    look_at_file(config);

    /* A reload reads the same file again, with the same overrides. */
    stream = fopen(path, "a");
    fputs("log: {level: debug}\n", stream);
    fclose(stream);
    struct config *after = NULL;
    assert_int_equal(config_reload(config, on_say, &said, &after), ERR_OK);
    look_at_file(after);
    assert_int_not_equal(after->log_level, config->log_level);
    config_destroy(after);
    config_destroy(config);

    stream = fopen(path, "w");
    for (uint32_t i = 0; i <= CONFIG_FILE_MAX / 16; i++) fputs("# 16 characters\n", stream);
    fclose(stream);
    config = NULL;
    assert_int_equal(config_load(path, NULL, 0, on_say, &said, &config), ERR_IO);
    assert_non_null(strstr(said.errors[0], "is larger than 1048576 bytes"));
    remove(path);
    memset(&said, 0, sizeof(said));
    assert_int_equal(config_load("/nowhere/c.yaml", NULL, 0, on_say, &said, &config), ERR_IO);
    assert_string_equal(said.errors[0],
                        "/nowhere/c.yaml: cannot be opened: No such file or directory");
    assert_null(config);
}

static void memory_comes_home(void **state)
{
    (void)state;
    uint64_t before = mem_used();
    config_destroy(good(file_yaml));
    read_as("c.yaml", "client: {insecure: x}");
    config_destroy(NULL);
    assert_int_equal(mem_used(), before);
}

/* Cut at every byte, and with every byte flipped, a file is taken or answered. */
static void damage_is_taken_or_told(void **state)
{
    (void)state;
    char *text = mem_text(file_yaml, sizeof(file_yaml) - 1);
    for (size_t at = 0; at < sizeof(file_yaml) - 1; at++) {
        char kept = text[at];
        text[at] = 0;
        config_destroy(read_as("c.yaml", text));
        text[at] = (char)(kept ^ 0x15);
        config_destroy(read_as("c.yaml", text));
        text[at] = kept;
    }
    mem_free(text);
}

static uint32_t lines_seen;
static void count_line(void *context, const char *line)
{
    (void)context;
    assert_true(strlen(line) < 650);
    lines_seen++;
}

static void describe_has_a_line_for_each_option(void **state)
{
    (void)state;
    lines_seen = 0;
    config_describe(count_line, NULL);
    assert_int_equal(lines_seen, config_rows_count + config_namespace_rows_count +
                                     config_known_rows_count + 12);
}

static char *readme;
static void find_line(void *context, const char *line)
{
    uint32_t *missing = context;
    if (strstr(readme, line) != NULL) return;
    print_message("README.md lacks: %s\n", line);
    ++*missing;
}

/* Run from build/<preset>; elsewhere there is nothing to compare with. */
static void every_option_stands_in_the_readme(void **state)
{
    (void)state;
    FILE *stream = fopen("../../README.md", "r");
    if (stream == NULL) skip();
    readme = mem_alloc(1 << 20);
    readme[fread(readme, 1, (1 << 20) - 1, stream)] = 0;
    fclose(stream);
    uint32_t missing = 0;
    config_describe(find_line, &missing);
    mem_free(readme);
    assert_int_equal(missing, 0);
}

int main(void)
{
    doc_setup();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_name_stands_twice_in_the_tables),
        cmocka_unit_test(an_empty_file_gives_the_documented_defaults),
        cmocka_unit_test(yaml_and_json_say_the_same),
        cmocka_unit_test(a_known_option_warns_once_and_never_stops),
        cmocka_unit_test(every_known_row_is_reached),
        cmocka_unit_test(a_name_that_stands_twice_is_refused),
        cmocka_unit_test(namespaces_need_good_names),
        cmocka_unit_test(channels_find_their_namespace),
        cmocka_unit_test(history_of_a_size_alone_is_kept_for_a_week),
        cmocka_unit_test(rules_between_options_are_told),
        cmocka_unit_test(keys_of_the_store_are_looked_at),
        cmocka_unit_test(what_yaml_hides_is_refused_by_name),
        cmocka_unit_test(depth_and_size_have_limits),
        cmocka_unit_test(overrides_win_over_the_file),
        cmocka_unit_test(cpu_lists_are_numbers_and_ranges),
        cmocka_unit_test(load_reads_a_file_or_says_why_not),
        cmocka_unit_test(memory_comes_home),
        cmocka_unit_test(damage_is_taken_or_told),
        cmocka_unit_test(describe_has_a_line_for_each_option),
        cmocka_unit_test(every_option_stands_in_the_readme),
    };
    return cmocka_run_group_tests_name("config", tests, NULL, NULL);
}
