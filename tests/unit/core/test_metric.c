/*
 * The table of metrics is fit to be exposed; sums are sums.
 */
#include "death.h"

#include <cmocka.h>

#include "core/metric.h"

static void each_row_can_be_exposed(void **state)
{
    (void)state;
    for (enum metric_id id = 0; id < METRIC_COUNT; id++) {
        const struct metric_row *row = metric_row(id);
        assert_true(strcmp(row->kind, "counter") == 0 || strcmp(row->kind, "gauge") == 0 ||
                    strcmp(row->kind, "histogram") == 0);
        const char *label = row->name + strspn(row->name, "abcdefghijklmnopqrstuvwxyz0123456789_");
        assert_true(label > row->name && (*label == 0 || *label == '{'));
        if (*label == '{') assert_string_equal(strrchr(label, '"'), "\"}");
        assert_int_equal(row->text[strlen(row->text) - 1], '.');
        assert_null(strpbrk(row->text, "\\\n"));
        for (enum metric_id other = 0; other < id; other++)
            assert_string_not_equal(metric_row(other)->name, row->name);
    }
}

static void values_add_up_over_shards(void **state)
{
    (void)state;
    struct metrics shards[2] = {{{0}}}, total = {{0}};
    metric_add(&shards[0], METRIC_PUBLISHED, 5);
    metric_add(&shards[1], METRIC_PUBLISHED, 6);
    metric_set(&shards[0], METRIC_CLIENTS, 10);
    metric_sub(&shards[0], METRIC_CLIENTS, 3);
    metrics_sum(&total, &shards[0]);
    metrics_sum(&total, &shards[1]);
    assert_int_equal(total.values[METRIC_PUBLISHED], 11);
    assert_int_equal(total.values[METRIC_CLIENTS], 7);
    assert_int_equal(total.values[METRIC_TURNS], 0);
}

static void what_took_long_is_in_a_late_bucket(void **state)
{
    (void)state;
    struct metrics metrics = {{0}};
    const uint64_t *values = metrics.values + METRIC_API_SECONDS;
    static const uint64_t ns[] = {0, 1000000, 1000001, 5000000000, 5000000001, 70000000000};
    for (size_t i = 0; i < array_count(ns); i++)
        metric_observe(&metrics, METRIC_API_SECONDS, ns[i]);
    static const uint64_t expected[METRIC_BUCKETS] = {2, 1, 0, 0, 0, 0, 0, 1, 2};
    for (uint32_t i = 0; i < METRIC_BUCKETS; i++) assert_int_equal(values[i], expected[i]);
    assert_int_equal(values[METRIC_BUCKETS], 80002000002);
    assert_int_equal(metrics.values[METRIC_API_SECONDS_COUNT], 6);
    assert_non_null(strstr(metric_row(METRIC_API_SECONDS + METRIC_BUCKETS - 1)->name, "+Inf"));
    assert_int_equal(METRIC_API_SECONDS_SUM, METRIC_API_SECONDS + METRIC_BUCKETS);
    assert_int_equal(METRIC_COMMAND_SECONDS_COUNT, METRIC_COMMAND_SECONDS + METRIC_BUCKETS + 1);
}

static void a_code_has_its_row(void **state)
{
    (void)state;
    struct metrics metrics = {{0}};
    for (uint32_t code = 2999; code < 5000; code++)
        metric_add_code(&metrics, METRIC_DISCONNECTS, METRIC_DISCONNECTS_OTHER, code);
    uint64_t sum = 0;
    for (enum metric_id id = METRIC_DISCONNECTS; id <= METRIC_DISCONNECTS_OTHER; id++) {
        sum += metrics.values[id];
        if (id < METRIC_DISCONNECTS_OTHER) assert_int_equal(metrics.values[id], 1);
    }
    assert_int_equal(sum, 5000 - 2999);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_row_can_be_exposed),
        cmocka_unit_test(values_add_up_over_shards),
        cmocka_unit_test(a_code_has_its_row),
        cmocka_unit_test(what_took_long_is_in_a_late_bucket),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
