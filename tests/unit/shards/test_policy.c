/*
 * A channel's policy as a number: what it says, what it leaves to the namespace, and that
 * numbers which are stored keep their meaning.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "shards/policy.h"

static const struct policy space = {CONFIG_RECEIPTS_SENDER, true};

static void nothing_said_is_as_the_namespace(void **state)
{
    (void)state;
    struct policy now = policy_of(0, space);
    assert_int_equal(now.receipts, CONFIG_RECEIPTS_SENDER);
    assert_true(now.opt_out);
    assert_false(policy_has_receipts(0) || policy_has_opt_out(0));
}

static void each_piece_stands_for_itself(void **state)
{
    (void)state;
    for (int i = CONFIG_RECEIPTS_OFF; i <= CONFIG_RECEIPTS_ALL; i++) {
        uint32_t own = policy_with_receipts(0, (enum config_receipts)i);
        assert_int_equal(policy_of(own, space).receipts, i);
        assert_true(policy_of(own, space).opt_out);
        own = policy_with_opt_out(own, false);
        assert_int_equal(policy_of(own, space).receipts, i);
        assert_false(policy_of(own, space).opt_out);
        assert_int_equal(policy_whole(policy_of(own, space)), own);
        own = policy_with_receipts(policy_with_opt_out(own, true), CONFIG_RECEIPTS_OFF);
        assert_int_equal(policy_of(own, (struct policy){CONFIG_RECEIPTS_ALL, false}).receipts,
                         CONFIG_RECEIPTS_OFF);
        assert_true(policy_of(own, (struct policy){CONFIG_RECEIPTS_ALL, false}).opt_out);
    }
}

static void what_is_stored_means_the_same_for_ever(void **state)
{
    (void)state;
    assert_int_equal(policy_with_receipts(0, CONFIG_RECEIPTS_OFF), 1);
    assert_int_equal(policy_with_receipts(0, CONFIG_RECEIPTS_ALL), 4);
    assert_int_equal(policy_with_opt_out(0, false), 0x10);
    assert_int_equal(policy_with_opt_out(0, true), 0x20);
    /* Of a later release. */
    struct policy now = policy_of(0xffffff3f, space);
    assert_int_equal(now.receipts, CONFIG_RECEIPTS_SENDER);
    assert_true(now.opt_out);
    assert_int_equal(policy_of(0xffffff02, space).receipts, CONFIG_RECEIPTS_COUNT);
}

static void names_are_those_of_the_option(void **state)
{
    (void)state;
    assert_true(bytes_equal_text(policy_name(CONFIG_RECEIPTS_OFF), "off"));
    assert_true(bytes_equal_text(policy_name(CONFIG_RECEIPTS_ALL), "all"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_said_is_as_the_namespace),
        cmocka_unit_test(each_piece_stands_for_itself),
        cmocka_unit_test(what_is_stored_means_the_same_for_ever),
        cmocka_unit_test(names_are_those_of_the_option),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
