/*
 * A survey of two shards: sums, what each says of itself, and a shard that has
 * no credit to be asked.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "shards/ops/survey.h"
#include "tests/unit/shards/small_node.h"

static struct survey seen;
static uint32_t seen_count;

static void on_survey(struct shard *shard, struct conn *conn, const struct api_sink *sink,
                      const struct survey *survey)
{
    assert_null(sink->batch);
    assert_int_equal(shard->index, 0);
    assert_null(conn);
    seen = *survey;
    seen_count++;
}

static void a_survey_sums_every_shard(void **state)
{
    (void)state;
    struct small *small = malloc(sizeof *small);
    small_init(small, "");
    seen_count = 0;
    for (uint32_t i = 0; i < SMALL_SHARDS; i++)
        metric_set(&small->shards[i]->metrics, METRIC_ACCEPTED, 10 + i);
    assert_int_equal(survey_begin(small->shards[0], NULL, SURVEY_WITH_USERS, NULL, on_survey),
                     ERR_OK);
    assert_int_equal(seen_count, 0); /* never inside the asking */
    small_run(small);
    assert_int_equal(seen_count, 1);
    assert_int_equal(seen.shards_count, SMALL_SHARDS);
    assert_int_equal(seen.missing, 0);
    assert_int_equal(seen.users, 0);
    assert_int_equal(seen.metrics.values[METRIC_ACCEPTED], 21);
    for (uint32_t i = 0; i < SMALL_SHARDS; i++) {
        assert_true(seen.shards[i].has_answered && seen.shards[i].store_ok);
        assert_string_equal(seen.shards[i].store_detail, "everything is kept in memory");
    }
    small_fini(small);
    free(small);
}

static void a_shard_without_credit_is_missing(void **state)
{
    (void)state;
    struct small *small = malloc(sizeof *small);
    small_init(small, "");
    seen_count = 0;
    uint32_t taken[SMALL_SHARDS] = {0};
    while (letter_credit(small->shards[0]->post, 1)) taken[1]++;
    assert_int_equal(survey_begin(small->shards[0], NULL, SURVEY_COUNTERS, NULL, on_survey),
                     ERR_OK);
    small_run(small);
    assert_int_equal(seen_count, 1);
    assert_int_equal(seen.missing, 1);
    assert_true(seen.shards[0].has_answered);
    assert_false(seen.shards[1].has_answered);

    while (letter_credit(small->shards[0]->post, 0)) taken[0]++;
    assert_int_equal(survey_begin(small->shards[0], NULL, SURVEY_COUNTERS, NULL, on_survey),
                     ERR_CREDIT_SPENT);
    for (uint32_t to = 0; to < SMALL_SHARDS; to++)
        while (taken[to]-- > 0) letter_credit_return(small->shards[0]->post, to);
    small_fini(small);
    free(small);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_survey_sums_every_shard),
        cmocka_unit_test(a_shard_without_credit_is_missing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
