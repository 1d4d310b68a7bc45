/*
 * Tallies against a plain array of counts: sums from every value of the window, after
 * steps of one and of more than the window, in narrow cells and in wide ones.
 */
#include "death.h"

#include <cmocka.h>

#include "core/rng.h"
#include "storage/tally.h"

#define VALUES 20000

static uint32_t model[VALUES];

static void expect_sums(const struct tally *tally, uint64_t top)
{
    uint64_t low = top < RECEIPT_WINDOW ? 0 : top - RECEIPT_WINDOW + 1;
    uint32_t sum = 0;
    assert_int_equal(tally_from(tally, top + 1), 0);
    for (uint64_t value = top + 1; value-- > low;) {
        sum += model[value];
        assert_int_equal(tally_from(tally, value), sum);
    }
}

static void play(uint32_t numbers, uint32_t each)
{
    struct rng rng;
    rng_seed(&rng, numbers);
    memset(model, 0, sizeof model);
    uint64_t top = rng_below(&rng, 2000);
    struct tally *tally = tally_create(top, numbers);
    for (uint32_t round = 0; round < 300 && top < VALUES - 3000; round++) {
        for (uint32_t i = 0; i < 50; i++) {
            uint64_t value = rng_below(&rng, top + 1);
            if (rng_chance(&rng, 70)) value = top - rng_below(&rng, min_u64(top + 1, 64));
            bool is_less = model[value] > 0 && rng_chance(&rng, 40);
            uint32_t by = is_less ? 1 : 1 + (uint32_t)rng_below(&rng, each);
            model[value] = is_less ? model[value] - 1 : model[value] + by;
            for (; by > 0; by--) tally_change(tally, value, is_less ? -1 : 1);
        }
        expect_sums(tally, top);
        top += rng_chance(&rng, 10) ? rng_below(&rng, 2500) : rng_below(&rng, 40);
        tally_advance(tally, top);
        expect_sums(tally, top);
    }
    tally_destroy(tally);
}

static void tally_is_what_an_array_says(void **state)
{
    (void)state;
    play(30, 1);
    play(UINT16_MAX, 1);
    play(UINT16_MAX + 1, 1);
}

static void cells_are_as_wide_as_they_must_be(void **state)
{
    (void)state;
    struct tally *narrow = tally_create(7, VERIFY ? 40 : UINT16_MAX);
    struct tally *wide = tally_create(7, UINT16_MAX + 1);
    assert_true(tally_holds(narrow, VERIFY ? 40 : UINT16_MAX));
    assert_false(tally_holds(narrow, UINT16_MAX + 1));
    assert_true(tally_holds(wide, UINT32_MAX));
    assert_true(tally_bytes(narrow) < tally_bytes(wide));
    for (uint32_t i = 0; i < UINT16_MAX; i++) {
        tally_change(narrow, 7, 1);
        tally_change(wide, 7, 1);
    }
    assert_int_equal(tally_from(narrow, 7), UINT16_MAX);
    assert_true(tally_equal(narrow, wide));
    tally_change(wide, 7, 1);
    assert_int_equal(tally_from(wide, 7), UINT16_MAX + 1);
    assert_false(tally_equal(narrow, wide));
    tally_change(wide, 7, -1);
    tally_change(wide, 6, 1);
    tally_change(narrow, 5, 1);
    assert_false(tally_equal(narrow, wide));
    tally_destroy(narrow);
    tally_destroy(wide);
    tally_destroy(NULL);
}

static void change_above_the_top(void)
{
    tally_change(tally_create(7, 10), 8, 1);
}

static void top_moves_down(void)
{
    tally_advance(tally_create(7, 10), 6);
}

static void nothing_is_above_the_top(void **state)
{
    (void)state;
    assert_true(dies(change_above_the_top));
    assert_true(dies(top_moves_down));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tally_is_what_an_array_says),
        cmocka_unit_test(cells_are_as_wide_as_they_must_be),
        cmocka_unit_test(nothing_is_above_the_top),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
