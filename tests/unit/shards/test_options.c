/*
 * options: each row a namespace, what a client asks for and a token overrules, and
 * what the subscription gets.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/config.h"
#include "proto/cmd.h"
#include "shards/cmd/options.h"
#include "shards/shard.h"

enum { POSITIONED = 1, RECOVERABLE = 2, PRESENCE = 4, TELLS = 8, HEARS = 16, CACHE = 32 };

struct row {
    const char *space;                        /* options of channel.without_namespace */
    bool positioned, recoverable, join_leave; /* asked */
    struct jwt_override override;
    int gets, anonymous_gets;
};

#define HISTORY "history_size: 5, history_ttl: 60s"

static const struct row rows[] = {
    {"{}", true, true, true, {0}, 0, 0},
    {"{force_positioning: true, " HISTORY "}", false, false, false, {0}, POSITIONED, POSITIONED},
    {"{force_recovery: true, " HISTORY "}", false, false, false, {0}, RECOVERABLE, RECOVERABLE},
    {"{allow_positioning: true, " HISTORY "}", true, true, false, {0}, POSITIONED, POSITIONED},
    {"{allow_positioning: true, " HISTORY "}", false, false, false, {0}, 0, 0},
    {"{allow_recovery: true, " HISTORY "}", true, true, false, {0}, RECOVERABLE, RECOVERABLE},
    {"{allow_history_for_client: true, " HISTORY "}",
     true,
     true,
     false,
     {0},
     POSITIONED | RECOVERABLE,
     0},
    {"{allow_history_for_subscriber: true, " HISTORY "}",
     true,
     true,
     false,
     {0},
     POSITIONED | RECOVERABLE,
     0},
    {"{allow_history_for_subscriber: true, allow_history_for_anonymous: true, " HISTORY "}",
     true,
     false,
     false,
     {0},
     POSITIONED,
     POSITIONED},
    {"{force_recovery: true, force_recovery_mode: cache, " HISTORY "}",
     false,
     false,
     false,
     {0},
     RECOVERABLE | CACHE,
     RECOVERABLE | CACHE},
    {"{presence: true, join_leave: true}",
     false,
     false,
     false,
     {0},
     PRESENCE | TELLS,
     PRESENCE | TELLS},
    {"{join_leave: true, force_push_join_leave: true}",
     false,
     false,
     false,
     {0},
     TELLS | HEARS,
     TELLS | HEARS},
    {"{join_leave: true}", false, false, true, {0}, TELLS, TELLS},
    {"{join_leave: true, allow_presence_for_client: true}",
     false,
     false,
     true,
     {0},
     TELLS | HEARS,
     TELLS},
    {"{join_leave: true, allow_presence_for_subscriber: true}",
     false,
     false,
     true,
     {0},
     TELLS | HEARS,
     TELLS},
    {"{join_leave: true, allow_presence_for_subscriber: true}",
     false,
     false,
     false,
     {0},
     TELLS,
     TELLS},
    {"{allow_presence_for_client: true}", false, false, true, {0}, 0, 0},
    /* A token's word counts, and the client's wishes come after it. */
    {"{}",
     false,
     false,
     false,
     {JWT_ON, JWT_ON, JWT_ON, JWT_ON, JWT_ON},
     PRESENCE | TELLS | HEARS | POSITIONED | RECOVERABLE,
     PRESENCE | TELLS | HEARS | POSITIONED | RECOVERABLE},
    {"{presence: true, join_leave: true, force_push_join_leave: true, force_positioning: true, "
     "force_recovery: true, " HISTORY "}",
     false,
     false,
     false,
     {JWT_OFF, JWT_OFF, JWT_OFF, JWT_OFF, JWT_OFF},
     0,
     0},
    {"{force_recovery: true, allow_recovery: true, " HISTORY "}",
     false,
     true,
     false,
     {.force_recovery = JWT_OFF},
     RECOVERABLE,
     RECOVERABLE},
};

static void on_say(void *context, enum config_voice voice, const char *sentence)
{
    (void)context;
    if (voice == CONFIG_SAYS_ERROR) fail_msg("%s", sentence);
}

static int got(const struct row *row, const char *user)
{
    char yaml[400];
    int size = snprintf(yaml, sizeof yaml, "channel: {without_namespace: %s}\n", row->space);
    struct config *config;
    assert_int_equal(
        config_parse(bytes_of(yaml, (size_t)size), "t.yaml", NULL, 0, on_say, NULL, &config),
        ERR_OK);
    struct shard *shard = calloc(1, sizeof *shard);
    struct conn conn = {.wire = WIRE_JSON};
    shard->config = config;
    conn_set_user(shard, &conn, bytes_of_text(user), BYTES_NONE);
    struct cmd_subscribe request = {.positioned = row->positioned,
                                    .recoverable = row->recoverable,
                                    .join_leave = row->join_leave};
    struct sub_options options;
    options_of_namespace(&config->without_namespace, &options);
    options_override(&options, &row->override);
    options_add_wishes(shard, &conn, &config->without_namespace, &request, &options);
    free(shard);
    config_destroy(config);
    return (options.is_positioned ? POSITIONED : 0) | (options.is_recoverable ? RECOVERABLE : 0) |
           (options.has_presence ? PRESENCE : 0) | (options.tells_joins ? TELLS : 0) |
           (options.hears_joins ? HEARS : 0) | (options.is_cache ? CACHE : 0);
}

static void a_subscription_gets_what_its_row_says(void **state)
{
    (void)state;
    for (size_t i = 0; i < array_count(rows); i++) {
        int known = got(&rows[i], "u"), anonymous = got(&rows[i], "");
        if (known != rows[i].gets) fail_msg("row %zu, known: %d", i, known);
        if (anonymous != rows[i].anonymous_gets) fail_msg("row %zu, anonymous: %d", i, anonymous);
    }
}

static void bytes_that_are_no_json_are_not_shown_in_json(void **state)
{
    (void)state;
    struct jwt_payload json = {BYTES_LITERAL("{}"), false}, opaque = {BYTES_LITERAL("\1"), true};
    struct conn text = {.wire = WIRE_JSON}, binary = {.wire = WIRE_PROTOBUF};
    struct sub_options options = {0};
    options_say(&options, &text, &json, &json);
    assert_true(options.chan_info.size == 2 && options.data.size == 2);
    options_say(&options, &text, &opaque, &opaque);
    assert_true(options.chan_info.size == 0 && options.data.size == 0);
    /* Its listeners may speak JSON; its data is for itself. */
    options_say(&options, &binary, &opaque, &opaque);
    assert_true(options.chan_info.size == 0 && options.data.size == 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_subscription_gets_what_its_row_says),
        cmocka_unit_test(bytes_that_are_no_json_are_not_shown_in_json),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
