/*
 * test_near: known distances, and the rules of a distance on random names.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/near.h"
#include "core/rng.h"

static void near_counts_edits(void **state)
{
    (void)state;
    assert_int_equal(near_distance("", ""), 0);
    assert_int_equal(near_distance("port", "port"), 0);
    assert_int_equal(near_distance("", "port"), 4);
    assert_int_equal(near_distance("prot", "port"), 2);
    assert_int_equal(near_distance("insecur", "insecure"), 1);
    assert_int_equal(near_distance("kitten", "sitting"), 3);
}

static void near_is_far_beyond_its_limit(void **state)
{
    (void)state;
    char name[NEAR_NAME_MAX + 2];
    memset(name, 'a', sizeof(name));
    name[NEAR_NAME_MAX] = 0;
    assert_int_equal(near_distance(name, ""), NEAR_NAME_MAX);
    name[NEAR_NAME_MAX] = 'a';
    name[NEAR_NAME_MAX + 1] = 0;
    assert_int_equal(near_distance(name, ""), NEAR_FAR);
    assert_int_equal(near_distance("", name), NEAR_FAR);
}

static void make(struct rng *rng, char name[8])
{
    size_t size = rng_below(rng, 8);
    for (size_t i = 0; i < size; i++) name[i] = (char)('a' + rng_below(rng, 3));
    name[size] = 0;
}

static void near_is_a_distance(void **state)
{
    (void)state;
    struct rng rng;
    rng_seed(&rng, 1966);
    for (uint32_t round = 0; round < 20000; round++) {
        char a[8], b[8], c[8];
        make(&rng, a);
        make(&rng, b);
        make(&rng, c);
        assert_int_equal(near_distance(a, b), near_distance(b, a));
        assert_int_equal(near_distance(a, b) == 0, strcmp(a, b) == 0);
        assert_true(near_distance(a, c) <= near_distance(a, b) + near_distance(b, c));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(near_counts_edits),
        cmocka_unit_test(near_is_far_beyond_its_limit),
        cmocka_unit_test(near_is_a_distance),
    };
    return cmocka_run_group_tests_name("near", tests, NULL, NULL);
}
