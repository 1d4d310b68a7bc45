/*
 * Scans: both twins say the same, over numbers at the edges of sign and range, at every
 * alignment and length, and what they say is what a comparison of each says.
 */
#include "death.h"

#include <cmocka.h>

#include "core/limits.h"
#include "core/rng.h"
#include "storage/scan.h"

static const uint16_t edges[] = {0, 1, 2, 0x7ffe, 0x7fff, 0x8000, 0x8001, 0xfffe, 0xffff};

static uint16_t edge(struct rng *rng)
{
    return edges[rng_below(rng, array_count(edges))];
}

static void twins_count_and_mask_the_same(void **state)
{
    (void)state;
    const struct scan *best = scan_best();
    struct rng rng;
    rng_seed(&rng, 6);
    uint16_t values[600];
    for (uint32_t round = 0; round < 2000; round++) {
        for (uint32_t i = 0; i < array_count(values); i++)
            values[i] = rng_chance(&rng, 50) ? edge(&rng) : (uint16_t)rng_next(&rng);
        uint32_t first = (uint32_t)rng_below(&rng, 20);
        uint32_t count = (uint32_t)rng_below(&rng, array_count(values) - first + 1);
        uint16_t a = rng_chance(&rng, 50) ? edge(&rng) : (uint16_t)rng_next(&rng), b = edge(&rng);
        uint16_t low = a < b ? a : b, high = a < b ? b : a;
        uint32_t want = 0;
        for (uint32_t i = first; i < first + count; i++)
            want += values[i] >= low && values[i] <= high;
        assert_int_equal(best->count(values + first, count, low, high), want);
        assert_int_equal(scan_plain.count(values + first, count, low, high), want);

        uint32_t passed = 0;
        while (passed < count && (values[first + passed] < low || values[first + passed] > high))
            passed++;
        if (passed < count) passed = passed / SCAN_WORD * SCAN_WORD;
        assert_int_equal(best->pass(values + first, count, low, high), passed);
        assert_int_equal(scan_plain.pass(values + first, count, low, high), passed);

        uint32_t word = (uint32_t)min_u64(count, round % (SCAN_WORD + 1));
        uint64_t mask = 0;
        for (uint32_t i = 0; i < word; i++)
            mask |= (uint64_t)(values[first + i] >= low && values[first + i] <= high) << i;
        assert_true(best->mask(values + first, word, low, high) == mask);
        assert_true(scan_plain.mask(values + first, word, low, high) == mask);
    }
}

static void the_most_that_a_lane_can_count(void **state)
{
    (void)state;
    static uint16_t full[2 * MEMBERS_MAX];
    uint32_t count = array_count(full);
    assert_int_equal(scan_best()->count(full, count, 0, 0), count);
    assert_int_equal(scan_best()->count(full, count, 0, UINT16_MAX), count);
    assert_int_equal(scan_best()->count(full, count, 1, UINT16_MAX), 0);
}

static void twins_expand_the_same(void **state)
{
    (void)state;
    const struct scan *best = scan_best();
    struct rng rng;
    rng_seed(&rng, 7);
    for (uint32_t round = 0; round < 2000; round++) {
        uint64_t bits = rng_next(&rng), mask = rng_next(&rng) & rng_next(&rng), want = 0;
        if (round % 5 == 0) mask = ~UINT64_C(0);
        uint32_t n = 0;
        for (uint32_t i = 0; i < 64; i++)
            if (mask >> i & 1) want |= (bits >> n++ & 1) << i;
        assert_true(best->expand(bits, mask) == want);
        assert_true(scan_plain.expand(bits, mask) == want);
        assert_int_equal(best->ones(mask), n);
        assert_int_equal(scan_plain.ones(mask), n);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(twins_count_and_mask_the_same),
        cmocka_unit_test(the_most_that_a_lane_can_count),
        cmocka_unit_test(twins_expand_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
