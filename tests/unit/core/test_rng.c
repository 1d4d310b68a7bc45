/*
 * Seeded numbers: repeatable, even, within their bound.
 */
#include "death.h"

#include <cmocka.h>

#include "core/rng.h"

static void same_seed_gives_the_same_numbers(void **state)
{
    (void)state;
    struct rng a, b, c;
    rng_seed(&a, 1);
    rng_seed(&b, 1);
    rng_seed(&c, 2);
    uint32_t same = 0;
    for (uint32_t i = 0; i < 1000; i++) {
        uint64_t number = rng_next(&a);
        assert_int_equal(number, rng_next(&b));
        same += number == rng_next(&c);
    }
    assert_int_equal(same, 0);
}

/* The reference implementation's first outputs for the state 1, 2, 3, 4. */
static void generator_matches_its_paper(void **state)
{
    (void)state;
    struct rng rng = {{1, 2, 3, 4}};
    assert_int_equal(rng_next(&rng), 11520);
    assert_int_equal(rng_next(&rng), 0);
    assert_int_equal(rng_next(&rng), 1509978240);
    assert_int_equal(rng_next(&rng), 1215971899390074240);
}

static void below_is_even_and_bounded(void **state)
{
    (void)state;
    struct rng rng;
    rng_seed(&rng, 3);
    uint32_t counts[10] = {0};
    for (uint32_t i = 0; i < 100000; i++) counts[rng_below(&rng, 10)]++;
    for (uint32_t i = 0; i < 10; i++) assert_in_range(counts[i], 9500, 10500);
    for (uint32_t i = 0; i < 1000; i++) {
        assert_int_equal(rng_below(&rng, 1), 0);
        uint64_t bound = rng_next(&rng) | 1;
        assert_true(rng_below(&rng, bound) < bound);
    }
    /* Three quarters of 2^64: without drawing again the lower half is twice as likely. */
    uint64_t bound = UINT64_C(3) << 62;
    uint32_t low = 0;
    for (uint32_t i = 0; i < 30000; i++) low += rng_below(&rng, bound) < bound / 3;
    assert_in_range(low, 9500, 10500);
}

static void chance_keeps_its_word(void **state)
{
    (void)state;
    struct rng rng;
    rng_seed(&rng, 4);
    uint32_t hits = 0;
    for (uint32_t i = 0; i < 10000; i++) {
        assert_false(rng_chance(&rng, 0));
        assert_true(rng_chance(&rng, 100));
        hits += rng_chance(&rng, 25);
    }
    assert_in_range(hits, 2300, 2700);
}

static void use_unseeded(void)
{
    struct rng rng = {{0}};
    rng_next(&rng);
}
static void ask_below_nothing(void)
{
    struct rng rng;
    rng_seed(&rng, 0);
    rng_below(&rng, 0);
}

static void misuse_stops_the_process(void **state)
{
    (void)state;
    assert_true(dies(use_unseeded));
    assert_true(dies(ask_below_nothing));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_seed_gives_the_same_numbers),
        cmocka_unit_test(generator_matches_its_paper),
        cmocka_unit_test(below_is_even_and_bounded),
        cmocka_unit_test(chance_keeps_its_word),
        cmocka_unit_test(misuse_stops_the_process),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
