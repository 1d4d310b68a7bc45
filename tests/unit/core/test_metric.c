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
        assert_true(strcmp(row->kind, "counter") == 0 || strcmp(row->kind, "gauge") == 0);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_row_can_be_exposed),
        cmocka_unit_test(values_add_up_over_shards),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
