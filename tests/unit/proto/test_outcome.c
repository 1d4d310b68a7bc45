/*
 * The tables of numbers: every error, close reason and command has its row.
 */
#include "unit/proto/wire.h"

#include "core/check.h"
#include "proto/close.h"
#include "proto/cmd.h"
#include "proto/outcome.h"

static void every_error_has_an_outcome(void **state)
{
    (void)state;
    for (enum err err = ERR_OK + 1; err < ERR_COUNT; err++) {
        const struct outcome *outcome = outcome_of(err);
        assert_true(outcome->code >= 100 && outcome->code < 2000);
        assert_true(outcome->http >= 400 && outcome->http < 600);
        assert_non_null(outcome->text);
    }
    assert_int_equal(outcome_of(ERR_DENIED)->code, 103);
    assert_string_equal(outcome_of(ERR_DENIED)->text, "permission denied");
    assert_true(outcome_of(ERR_STORE_UNKNOWN)->temporary);
}

static void every_close_code_says_whether_to_come_back(void **state)
{
    (void)state;
    for (enum close close = CLOSE_NONE + 1; close < CLOSE_COUNT; close++) {
        const struct close_row *row = close_row(close);
        assert_true(row->code >= 1000 && row->code < 5000);
        assert_true(strlen(row->text) <= 123);
        if (row->code >= 3000 && row->code < 3500) assert_true(row->reconnect);
        if (row->code >= 3500 && row->code < 4000) assert_false(row->reconnect);
    }
    assert_int_equal(close_row(CLOSE_SLOW)->code, 3008);
    assert_int_equal(close_row(CLOSE_NONE)->code, 0);
}

static void commands_have_the_names_of_the_wire(void **state)
{
    (void)state;
    assert_string_equal(cmd_name(CMD_PONG), "pong");
    assert_string_equal(cmd_name(CMD_CONNECT), "connect");
    assert_string_equal(cmd_name(CMD_PRESENCE_STATS), "presence_stats");
    assert_string_equal(cmd_name(CMD_SUB_REFRESH), "sub_refresh");
    /* The first of several commands wins in this order. */
    assert_true(CMD_CONNECT < CMD_SUBSCRIBE && CMD_HISTORY < CMD_RPC && CMD_RPC < CMD_SEND);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_error_has_an_outcome),
        cmocka_unit_test(every_close_code_says_whether_to_come_back),
        cmocka_unit_test(commands_have_the_names_of_the_wire),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
