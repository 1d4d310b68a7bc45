/*
 * Token buckets: the burst, the rate over a long time, waiting.
 */
#include "death.h"

#include <cmocka.h>

#include "core/bucket.h"

static void full_bucket_gives_its_burst_and_no_more(void **state)
{
    (void)state;
    struct bucket_rate rate = {10, 5};
    struct bucket bucket = {0};
    for (int i = 0; i < 5; i++) assert_true(bucket_take(&bucket, &rate, 1000, 1));
    assert_false(bucket_take(&bucket, &rate, 1000, 1));
    assert_int_equal(bucket_wait_ms(&bucket, &rate, 1000, 1), 100);
    assert_int_equal(bucket_wait_ms(&bucket, &rate, 1000, 5), 500);
    assert_int_equal(bucket_wait_ms(&bucket, &rate, 1000, 6), UINT64_MAX);
    assert_false(bucket_take(&bucket, &rate, 1099, 1));
    assert_true(bucket_take(&bucket, &rate, 1100, 1));
    assert_false(bucket_take(&bucket, &rate, 1100, 1));
    assert_true(bucket_take(&bucket, &rate, 1000000, 5)); /* full again, not more */
    assert_false(bucket_take(&bucket, &rate, 1000000, 1));
}

static void refused_take_costs_nothing(void **state)
{
    (void)state;
    struct bucket_rate rate = {1, 3};
    struct bucket bucket = {0};
    assert_true(bucket_take(&bucket, &rate, 5000, 2));
    for (int i = 0; i < 100; i++) assert_false(bucket_take(&bucket, &rate, 5000, 2));
    assert_true(bucket_take(&bucket, &rate, 5000, 1));
    assert_true(bucket_take(&bucket, &rate, 5000, 0));
}

static void rate_holds_over_an_hour(void **state)
{
    (void)state;
    static const uint32_t rates[] = {1, 3, 7, 999, 1000, 1000000};
    for (size_t i = 0; i < array_count(rates); i++) {
        /* Two at least: a bucket of one loses what is left of each millisecond. */
        struct bucket_rate rate = {rates[i], max_u32(rates[i] / 100, 2)};
        struct bucket bucket = {0};
        uint64_t taken = 0, hour_ms = 3600000;
        uint32_t bite = max_u32(rate.burst / 10, 1);
        for (uint64_t now_ms = 1; now_ms <= hour_ms; now_ms++)
            while (bucket_take(&bucket, &rate, now_ms, bite)) taken += bite;
        uint64_t want = 3600u * (uint64_t)rates[i];
        assert_true(taken <= want + want / 1000 + 2 * rate.burst);
        assert_true(taken + want / 100 + 2 * rate.burst >= want); /* ticks are whole ms */
    }
}

static void no_rate_is_no_limit(void **state)
{
    (void)state;
    struct bucket_rate rate = {0, 0};
    struct bucket bucket = {0};
    for (int i = 0; i < 100; i++) assert_true(bucket_take(&bucket, &rate, 1, UINT32_MAX));
    assert_int_equal(bucket_wait_ms(&bucket, &rate, 1, 1), 0);
}

static void largest_numbers_do_not_wrap(void **state)
{
    (void)state;
    struct bucket_rate rate = {1, UINT32_MAX};
    struct bucket bucket = {0};
    uint64_t year_ms = 365ull * 24 * 3600 * 1000;
    assert_true(bucket_take(&bucket, &rate, year_ms, UINT32_MAX));
    assert_false(bucket_take(&bucket, &rate, year_ms, 1));
    assert_int_equal(bucket_wait_ms(&bucket, &rate, year_ms, UINT32_MAX), UINT32_MAX * 1000ull);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(full_bucket_gives_its_burst_and_no_more),
        cmocka_unit_test(refused_take_costs_nothing),
        cmocka_unit_test(rate_holds_over_an_hour),
        cmocka_unit_test(no_rate_is_no_limit),
        cmocka_unit_test(largest_numbers_do_not_wrap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
