/*
 * Options in the environment, and a whole configuration as Centrifugo has it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/config_parts.h"
#include "core/doc.h"
#include "core/mem.h"
#include "tests/unit/core/config_said.h"

/* Loads no file: `variables`, NULL at the end, then `last` when it is given. */
static struct config *load(const char *const *variables, const struct config_override *last)
{
    struct config_override *environment, all[16];
    uint32_t count = config_environment((char *const *)(uintptr_t)variables, &environment);
    assert_true(count < array_count(all));
    memcpy(all, environment, count * sizeof(all[0]));
    if (last != NULL) all[count++] = *last;
    memset(&said, 0, sizeof(said));
    struct config *config = NULL;
    enum err err = config_load(NULL, all, count, on_say, &said, &config);
    mem_free(environment);
    assert_int_equal(err == ERR_OK, config != NULL);
    return config;
}

static void every_option_has_its_variable(void **state)
{
    (void)state;
    static const char *const variables[] = {
        "PATH=/bin",
        "SLUICE_HTTP_SERVER_PORT=9000",
        "SLUICE_CLIENT_TOKEN_HMAC_SECRET_KEY=a=b=c, and more than sixteen",
        "SLUICE_CLIENT_ALLOWED_ORIGINS=https://a.example,https://b.example",
        "SLUICE_CHANNEL_WITHOUT_NAMESPACE_ALLOW_SUBSCRIBE_FOR_CLIENT=true",
        "SLUICE_CHANNEL_NAMESPACES_CHAT_HISTORY_SIZE=7", /* before the list it belongs to */
        "SLUICE_CHANNEL_NAMESPACES=[{\"name\":\"chat\",\"history_size\":3,\"history_ttl\":\"5m\"},"
        "{\"name\":\"news-wire\"}]",
        "SLUICE_CHANNEL_NAMESPACES_NEWS_WIRE_PRESENCE=true",
        "SLUICES=no",
        NULL,
    };
    struct config *config = load(variables, NULL);
    assert_non_null(config);
    assert_int_equal(said.warnings_count, 0);
    assert_int_equal(config->http_server_port, 9000);
    assert_string_equal(config->client_token_hmac_secret_key, "a=b=c, and more than sixteen");
    assert_int_equal(config->client_allowed_origins.count, 2);
    assert_string_equal(config->client_allowed_origins.items[1], "https://b.example");
    assert_true(config->without_namespace.allow_subscribe_for_client);
    assert_int_equal(config->namespaces_count, 2);
    assert_int_equal(config->namespaces[0].history_ttl_ms, 300000);
    assert_int_equal(config->namespaces[0].history_size, 7);
    assert_true(config->namespaces[1].presence && !config->namespaces[0].presence);

    /* A reload has the same environment. */
    struct config *after = NULL;
    assert_int_equal(config_reload(config, on_say, &said, &after), ERR_OK);
    config_destroy(config);
    assert_int_equal(after->http_server_port, 9000);
    assert_int_equal(after->namespaces_count, 2);
    assert_int_equal(after->namespaces[0].history_size, 7);
    config_destroy(after);
}

static void the_command_line_wins(void **state)
{
    (void)state;
    static const char *const variables[] = {"SLUICE_HTTP_SERVER_PORT=9000",
                                            "SLUICE_CLIENT_INSECURE=true", NULL};
    struct config_override port = {"http_server.port", "9001", "--port"};
    struct config *config = load(variables, &port);
    assert_int_equal(config->http_server_port, 9001);
    assert_true(config->client_insecure);
    config_destroy(config);
}

static void mistakes_name_the_variable(void **state)
{
    (void)state;
    static const struct {
        const char *variable, *error, *warning;
    } rows[] = {
        {"SLUICE_HTTP_SERVER_PORT=x", "SLUICE_HTTP_SERVER_PORT: 'x' is not a whole number", NULL},
        {"SLUICE_HTTP_SERVER_POTR=1", NULL,
         "SLUICE_HTTP_SERVER_POTR: names no option; did you mean SLUICE_HTTP_SERVER_PORT?"},
        {"SLUICE_X=1", NULL, "SLUICE_X: names no option; sluice options lists them all"},
        {"SLUICE_ADMIN_PASSWORD=geheim", NULL,
         "SLUICE_ADMIN_PASSWORD: known option, not served yet"},
        {"SLUICE_CHANNEL_WITHOUT_NAMESPACE_DELTA_PUBLISH=true", NULL,
         "SLUICE_CHANNEL_WITHOUT_NAMESPACE_DELTA_PUBLISH: known option, not served yet"},
        {"SLUICE_CHANNEL_NAMESPACES=[{\"name\":\"chat\",\"hisory_size\":3}]",
         "SLUICE_CHANNEL_NAMESPACES:1: channel.namespaces[chat].hisory_size: unknown option; did "
         "you mean channel.without_namespace.history_size?",
         NULL},
        {"SLUICE_CHANNEL_NAMESPACES=chat", "SLUICE_CHANNEL_NAMESPACES: this is not JSON: ", NULL},
        {"SLUICE_CHANNEL_NAMESPACES_TEAM_PRESENSE=true", NULL,
         "SLUICE_CHANNEL_NAMESPACES_TEAM_PRESENSE: names no option; did you mean "
         "SLUICE_CHANNEL_NAMESPACES_TEAM_PRESENCE?"},
        {"SLUICE_CHANNEL_NAMESPACES_TEAM_HISTORY_TTL=5",
         "SLUICE_CHANNEL_NAMESPACES_TEAM_HISTORY_TTL: '5' has no unit", NULL},
        {"SLUICE_CHANNEL_NAMESPACES={}",
         "SLUICE_CHANNEL_NAMESPACES: channel.namespaces: wants a list", NULL},
    };
    for (size_t i = 0; i < array_count(rows); i++) {
        bool is_of_team = strstr(rows[i].variable, "_TEAM_") != NULL;
        const char *const variables[] = {
            rows[i].variable, "SLUICE_CLIENT_INSECURE=true", "SLUICE_HTTP_SERVER_ADDRESS=127.0.0.1",
            is_of_team ? "SLUICE_CHANNEL_NAMESPACES=[{\"name\":\"team\"}]" : NULL, NULL};
        struct config *config = load(variables, NULL);
        assert_int_equal(config == NULL, rows[i].error != NULL);
        const char *wanted = rows[i].error != NULL ? rows[i].error : rows[i].warning;
        const char *found = rows[i].error != NULL ? said.errors[0] : said.warnings[0];
        if (strncmp(found, wanted, strlen(wanted)) != 0) fail_msg("%s, not %s", found, wanted);
        assert_null(strstr(found, "geheim"));
        config_destroy(config);
    }
}

static void what_kubernetes_says_of_a_service_is_nobodys_mistake(void **state)
{
    (void)state;
    static const char *const variables[] = {
        "SLUICE_SERVICE_HOST=10.96.0.7",
        "SLUICE_SERVICE_PORT=8000",
        "SLUICE_SERVICE_PORT_HTTP=8000",
        "SLUICE_PORT=tcp://10.96.0.7:8000",
        "SLUICE_PORT_8000_TCP=tcp://10.96.0.7:8000",
        "SLUICE_PORT_8000_TCP_PROTO=tcp",
        "SLUICE_PORT_8000_TCP_PORT=8000",
        "SLUICE_PORT_8000_TCP_ADDR=10.96.0.7",
        NULL,
    };
    struct config *config = load(variables, NULL);
    assert_non_null(config);
    for (uint32_t i = 0; i < said.warnings_count; i++)
        assert_null(strstr(said.warnings[i], "names no option"));
    assert_int_equal(config->http_server_port, 8000);
    config_destroy(config);
}

/* Written from the names of Centrifugo's options, as a production file has them. */
static const char centrifugo_json[] =
    "{\n"
    "  \"client\": {\n"
    "    \"token\": {\"hmac_secret_key\": \"a-long-secret-of-32-characters-xx\"},\n"
    "    \"allowed_origins\": [\"https://chat.example\"],\n"
    "    \"ping_interval\": \"25s\", \"pong_timeout\": \"8s\",\n"
    "    \"channel_limit\": 256, \"queue_max_size\": 2097152,\n"
    "    \"user_connection_limit\": 8,\n"
    "    \"history_max_publication_limit\": 300,\n"
    "    \"presence_update_interval\": \"27s\",\n"
    "    \"proxy\": {\"connect\": {\"enabled\": true, \"endpoint\": \"http://backend/connect\"}},\n"
    "    \"subscribe_to_user_personal_channel\": {\"enabled\": true}\n"
    "  },\n"
    "  \"channel\": {\n"
    "    \"without_namespace\": {\"presence\": true, \"delta_publish\": false},\n"
    "    \"namespaces\": [\n"
    "      {\"name\": \"chat\", \"presence\": true, \"join_leave\": true, \"history_size\": 100,\n"
    "       \"history_ttl\": \"10m\", \"force_recovery\": true, \"allowed_delta_types\": "
    "[\"fossil\"],\n"
    "       \"allow_subscribe_for_client\": true},\n"
    "      {\"name\": \"news\", \"history_size\": 1, \"history_ttl\": \"24h\",\n"
    "       \"allow_recovery\": true, \"force_recovery_mode\": \"cache\",\n"
    "       \"allowed_delta_types\": [\"fossil\"]}\n"
    "    ]\n"
    "  },\n"
    "  \"http_server\": {\"port\": 8000, \"internal_port\": 9000},\n"
    "  \"http_api\": {\"key\": \"api-key\", \"error_mode\": \"transport\"},\n"
    "  \"grpc_api\": {\"enabled\": true, \"port\": 10000},\n"
    "  \"admin\": {\"enabled\": true, \"password\": \"p\", \"secret\": \"s\"},\n"
    "  \"engine\": {\"type\": \"redis\", \"redis\": {\"address\": \"redis://redis:6379\"}},\n"
    "  \"websocket\": {\"compression\": true, \"message_size_limit\": 131072},\n"
    "  \"uni_sse\": {\"enabled\": true},\n"
    "  \"prometheus\": {\"enabled\": true}, \"health\": {\"enabled\": true},\n"
    "  \"shutdown\": {\"timeout\": \"20s\"}, \"log\": {\"level\": \"info\"}\n"
    "}\n";

static struct config *parse(const char *name, const char *text)
{
    struct config *config = NULL;
    memset(&said, 0, sizeof(said));
    enum err err = config_parse(bytes_of_text(text), name, NULL, 0, on_say, &said, &config);
    assert_int_equal(err == ERR_OK, config != NULL);
    return config;
}

static uint32_t warnings_with(const char *part)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < said.warnings_count; i++)
        count += strstr(said.warnings[i], part) != NULL;
    return count;
}

static void a_configuration_of_centrifugo_loads(void **state)
{
    (void)state;
    /* JSON is YAML too, so the same text is read both ways. */
    static const char *const names[] = {"config.json", "config.yaml"};
    for (size_t i = 0; i < array_count(names); i++) {
        struct config *config = parse(names[i], centrifugo_json);
        assert_non_null(config);
        assert_int_equal(config->client_channel_limit, 256);
        assert_int_equal(config->client_queue_max_bytes, 2097152);
        assert_int_equal(config->websocket_message_max_bytes, 131072);
        assert_int_equal(config->namespaces_count, 2);
        assert_true(config->namespaces[0].presence && config->namespaces[0].join_leave);
        /* Each known key once, by name. */
        static const char *const known[] = {
            "client.proxy:",  "allowed_delta_types:",
            "delta_publish:", "internal_port:",
            "grpc_api:",      "admin:",
            "engine:",        "uni_sse:",
            "compression:",   "presence_update_interval:",
        };
        for (size_t k = 0; k < array_count(known); k++)
            if (warnings_with(known[k]) != 1) fail_msg("%s %s", names[i], known[k]);
        assert_int_equal(warnings_with("not served yet"), array_count(known));
        config_destroy(config);
    }
}

/* As its complete files have it. */
static void an_empty_choice_is_the_default(void **state)
{
    (void)state;
    struct config *config = parse(
        "c.json", "{\"http_api\": {\"error_mode\": \"\"}, \"channel\": {\"without_namespace\": "
                  "{\"force_recovery_mode\": \"\", \"publication_data_format\": \"\"}}}");
    assert_non_null(config);
    assert_int_equal(config->http_api_error_mode, CONFIG_ERROR_REPLY);
    assert_int_equal(config->without_namespace.force_recovery_mode, 0);
    config_destroy(config);
}

static void toml_is_named(void **state)
{
    (void)state;
    assert_null(parse("config.toml", "[http_server]\nport = 8000\n"));
    assert_int_equal(said.errors_count, 1);
    assert_non_null(strstr(said.errors[0], "config.toml: TOML is not read here"));
}

static void an_unknown_key_has_its_line(void **state)
{
    (void)state;
    static const char *const names[] = {"c.json", "c.yaml"};
    static const char text[] = "{\n"
                               "  \"client\": {\"token\": {\"hmac_secret_key\": \"\\\"x:\\\\\"}},\n"
                               "  \"http_server\": {\"port\": 8000,\n"
                               "    \"prot\": 1},\n"
                               "  \"channel\": {\"namespaces\": [{\"name\": \"chat\"},\n"
                               "    {\"name\": \"news\", \"histroy_size\": 3,\n"
                               "     \"history_ttl\": \"soon\"}]}\n"
                               "}\n";
    for (size_t i = 0; i < array_count(names); i++) {
        assert_null(parse(names[i], text));
        assert_int_equal(said.errors_count, 3);
        char wanted[200];
        snprintf(wanted, sizeof(wanted),
                 "%s:4: http_server.prot: unknown option; did you mean http_server.port", names[i]);
        if (strncmp(said.errors[0], wanted, strlen(wanted)) != 0) fail_msg("%s", said.errors[0]);
        snprintf(wanted, sizeof(wanted), "%s:6: channel.namespaces[news].histroy_size: ", names[i]);
        if (strncmp(said.errors[1], wanted, strlen(wanted)) != 0) fail_msg("%s", said.errors[1]);
        snprintf(wanted, sizeof(wanted), "%s:7: channel.namespaces[news].history_ttl: ", names[i]);
        if (strncmp(said.errors[2], wanted, strlen(wanted)) != 0) fail_msg("%s", said.errors[2]);
    }
}

static void an_empty_value_is_shown_in_a_list(void **state)
{
    (void)state;
    assert_null(parse("c.yaml", "channel: {without_namespace: {publication_data_format: xml}}"));
    assert_non_null(
        strstr(said.errors[0], "'xml' is not one of (empty), json, json_object, binary"));
}

int main(void)
{
    doc_setup();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_option_has_its_variable),
        cmocka_unit_test(the_command_line_wins),
        cmocka_unit_test(mistakes_name_the_variable),
        cmocka_unit_test(what_kubernetes_says_of_a_service_is_nobodys_mistake),
        cmocka_unit_test(a_configuration_of_centrifugo_loads),
        cmocka_unit_test(an_empty_choice_is_the_default),
        cmocka_unit_test(toml_is_named),
        cmocka_unit_test(an_unknown_key_has_its_line),
        cmocka_unit_test(an_empty_value_is_shown_in_a_list),
    };
    return cmocka_run_group_tests_name("config_env", tests, NULL, NULL);
}
