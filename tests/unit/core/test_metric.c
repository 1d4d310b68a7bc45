/*
 * The table of metrics is fit to be exposed; sums are sums.
 */
#include "death.h"

#include <cmocka.h>

#include "core/metric.h"

static void each_family_can_be_exposed(void **state)
{
    (void)state;
    enum metric_id next = 0;
    for (enum family_id id = 0; id < FAMILY_COUNT; id++) {
        const struct metric_family *family = metric_family(id);
        bool is_histogram = strcmp(family->kind, "histogram") == 0;
        assert_true(is_histogram || strcmp(family->kind, "counter") == 0 ||
                    strcmp(family->kind, "gauge") == 0);
        const char *letters = "abcdefghijklmnopqrstuvwxyz0123456789_";
        assert_true(family->name[0] != 0 && family->name[strspn(family->name, letters)] == 0);
        assert_int_equal(family->text[strlen(family->text) - 1], '.');
        assert_null(strpbrk(family->text, "\\\n"));
        for (enum family_id other = 0; other < id; other++)
            assert_string_not_equal(metric_family(other)->name, family->name);
        /* The numbers of one family end where those of the next begin. */
        assert_int_equal(family->first, next);
        assert_true((family->label == NULL) == (family->values_count == 0));
        assert_true((family->bounds != NULL) == is_histogram);
        next += family->label == NULL ? 1 : family->values_count + (is_histogram ? 3 : 0);
        for (uint32_t i = 0; i < family->values_count; i++) {
            const char *value = family->values[i];
            assert_true(value[strspn(value, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.")] == 0);
            for (uint32_t j = 0; j < i; j++) assert_string_not_equal(family->values[j], value);
            if (is_histogram && i > 0) assert_true(family->bounds[i] > family->bounds[i - 1]);
        }
    }
    assert_int_equal(next, METRIC_COUNT);
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
        metric_observe(&metrics, FAMILY_API_SECONDS, ns[i]);
    static const uint64_t expected[] = {2, 1, 0, 0, 0, 0, 0, 1, 2};
    for (uint32_t i = 0; i < array_count(expected); i++) assert_int_equal(values[i], expected[i]);
    assert_int_equal(metric_family(FAMILY_API_SECONDS)->values_count, array_count(expected) - 1);
    assert_int_equal(metrics.values[METRIC_API_SECONDS_SUM], 80002000002);
    assert_int_equal(metrics.values[METRIC_API_SECONDS_COUNT], 6);
}

static void a_bound_in_words_is_the_one_in_parts(void **state)
{
    (void)state;
    static const uint64_t ms[] = {1, 5, 10, 50, 100, 500, 1000, 5000};
    const struct metric_family *family = metric_family(FAMILY_COMMAND_SECONDS);
    assert_int_equal(family->values_count, array_count(ms));
    for (uint32_t i = 0; i < array_count(ms); i++) {
        assert_int_equal(family->bounds[i], ms[i] * 1000000);
        assert_true(strtod(family->values[i], NULL) * 1000 == (double)ms[i]);
    }
}

static void a_code_has_its_number(void **state)
{
    (void)state;
    struct metrics metrics = {{0}};
    for (uint32_t code = 2999; code < 5000; code++)
        metric_add_code(&metrics, FAMILY_DISCONNECTS, code);
    uint64_t sum = 0;
    for (enum metric_id id = METRIC_DISCONNECTS; id <= METRIC_DISCONNECTS_OTHER; id++) {
        sum += metrics.values[id];
        if (id < METRIC_DISCONNECTS_OTHER) assert_int_equal(metrics.values[id], 1);
    }
    assert_int_equal(sum, 5000 - 2999);
    metric_add_code(&metrics, FAMILY_DISCONNECTS, 3000);
    metric_add_code(&metrics, FAMILY_DISCONNECTS, 3509);
    assert_int_equal(metrics.values[METRIC_DISCONNECTS_3000], 2);
    assert_int_equal(metrics.values[METRIC_DISCONNECTS_3509], 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_family_can_be_exposed),
        cmocka_unit_test(values_add_up_over_shards),
        cmocka_unit_test(a_code_has_its_number),
        cmocka_unit_test(a_bound_in_words_is_the_one_in_parts),
        cmocka_unit_test(what_took_long_is_in_a_late_bucket),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
