/*
 * The crash report and the counts of sometimes.
 */
#include "death.h"

#include <cmocka.h>

#include "core/check.h"
#include "core/log.h"

static void fail_alone(void)
{
    check(1 + 1 == 3);
}
static void fail_on_a_shard(void)
{
    check_context(5, 77);
    check(false);
}
static void fail_impossibly(void)
{
    impossible("pigs do not fly");
}
static void fail_behind_a_log(void)
{
    log_start(STDERR_FILENO);
    log_line(LOG_ERROR, "the last words");
    check(false);
}

static void true_fact_does_nothing(void **state)
{
    (void)state;
    check(1 + 1 == 2);
    verify(1 + 1 == 2);
}

static void failure_tells_the_place_the_fact_and_the_shard(void **state)
{
    (void)state;
    assert_true(dies(fail_alone));
    assert_non_null(strstr(death_story, "test_check.c:"));
    assert_non_null(strstr(death_story, "fail_alone"));
    assert_non_null(strstr(death_story, "1 + 1 == 3"));
    assert_non_null(strstr(death_story, "no shard"));
    assert_true(dies(fail_on_a_shard));
    assert_non_null(strstr(death_story, "shard 5, turn 77"));
    assert_true(dies(fail_impossibly));
    assert_non_null(strstr(death_story, "impossible: pigs do not fly"));
}

static void failure_writes_out_the_log_first(void **state)
{
    (void)state;
    assert_true(dies(fail_behind_a_log));
    const char *words = strstr(death_story, "the last words");
    assert_non_null(words);
    assert_non_null(strstr(words, "check failed"));
}

static void context_is_of_the_thread(void **state)
{
    (void)state;
    assert_int_equal(check_context_shard(), UINT32_MAX);
    check_context(3, 1);
    assert_int_equal(check_context_shard(), 3);
    check_context(UINT32_MAX, 0);
}

static void sometimes_counts_both_ways_by_place(void **state)
{
    (void)state;
    static const char file[] = "a.c";
    for (int i = 0; i < 10; i++) check_sometimes(file, 1, "it rains", i < 3);
    check_sometimes(file, 2, "it snows", true);
    struct check_sometimes_row row;
    bool is_found = false;
    for (uint32_t i = 0; check_sometimes_row(i, &row); i++) {
        if (strcmp(row.fact, "it rains") != 0) continue;
        is_found = true;
        assert_int_equal(row.true_count, 3);
        assert_int_equal(row.false_count, 7);
        assert_int_equal(row.line, 1);
    }
    assert_true(is_found);
    assert_false(check_sometimes_row(1024, &row));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(true_fact_does_nothing),
        cmocka_unit_test(failure_tells_the_place_the_fact_and_the_shard),
        cmocka_unit_test(failure_writes_out_the_log_first),
        cmocka_unit_test(context_is_of_the_thread),
        cmocka_unit_test(sometimes_counts_both_ways_by_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
