/*
 * The count that shard 0 keeps of who was let in, against the rule it stands
 * for; and the spread of first pings.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/rng.h"
#include "shards/conn/conn.h"
#include "shards/conn/door.h"

static void the_limit_is_of_all_shards_together(void **state)
{
    (void)state;
    struct door door = {0};
    assert_int_equal(door_grant(&door, 0, 0, 3, 10, 0, 1), 3);
    assert_int_equal(door_grant(&door, 1, 0, 6, 10, 0, 1), 6);
    assert_int_equal(door_grant(&door, 2, 0, 1, 10, 0, 1), 1); /* at it */
    assert_int_equal(door_grant(&door, 3, 0, 5, 10, 0, 1), 0); /* above */
    assert_int_equal(door_grant(&door, 0, 1, 0, 10, 0, 1), 0); /* two left shard 0 */
    assert_int_equal(door_grant(&door, 3, 0, 5, 10, 0, 1), 2);
    assert_int_equal(door_grant(&door, 1, 6, 1, 10, 0, 1), 0);
    /* A higher limit lets more in, none lets all in, a lower one nobody. */
    assert_int_equal(door_grant(&door, 1, 6, 9, 12, 0, 1), 2);
    assert_int_equal(door_grant(&door, 2, 1, 1000, 0, 0, 1), 1000);
    assert_int_equal(door_grant(&door, 3, 2, 1, 5, 0, 1), 0);
}

static void the_rate_is_a_second_of_connections(void **state)
{
    (void)state;
    struct door door = {0};
    assert_int_equal(door_grant(&door, 0, 0, 3, 0, 4, 1000), 3);
    assert_int_equal(door_grant(&door, 1, 0, 3, 0, 4, 1000), 1);
    assert_int_equal(door_grant(&door, 1, 1, 1, 0, 4, 1249), 0);
    assert_int_equal(door_grant(&door, 1, 1, 1, 0, 4, 1250), 1);
    assert_int_equal(door_grant(&door, 2, 0, 9, 0, 4, 5000), 4);
    /* What the limit refuses takes nothing from the rate. */
    assert_int_equal(door_grant(&door, 2, 4, 9, 8, 4, 9000), 0);
    assert_int_equal(door_grant(&door, 2, 4, 9, 15, 4, 9000), 4);
}

/* Anything that shards may do: what was granted and not given back never exceeds
 * the limit, and nobody is refused while there is room. */
static void random_shards_never_exceed_it(void **state)
{
    (void)state;
    struct rng rng;
    rng_seed(&rng, 42);
    struct door door = {0};
    uint32_t held[8] = {0}, limit = 100;
    for (uint32_t step = 0; step < 20000; step++) {
        uint32_t shard = (uint32_t)rng_below(&rng, 8), sum = 0;
        if (rng_below(&rng, 2) == 0) held[shard] -= (uint32_t)rng_below(&rng, held[shard] + 1);
        uint32_t wanted = (uint32_t)rng_below(&rng, 30);
        uint32_t granted = door_grant(&door, shard, held[shard], wanted, limit, 0, step);
        held[shard] += granted;
        for (uint32_t i = 0; i < 8; i++) sum += door.taken[i];
        assert_true(sum <= limit);
        assert_true(granted == wanted || sum == limit);
    }
}

static void first_pings_are_spread(void **state)
{
    (void)state;
    struct rng rng;
    rng_seed(&rng, 7);
    enum { PARTS = 21, DRAWS = 42000 };
    uint32_t seen[PARTS] = {0};
    for (uint32_t i = 0; i < DRAWS; i++) {
        uint64_t wait = conn_first_ping_ms(&rng, 25000);
        assert_true(wait >= 12500 && wait < 23000); /* and the wheel's rounding: below 25 s */
        seen[(wait - 12500) / 500]++;
    }
    for (uint32_t i = 0; i < PARTS; i++) assert_in_range(seen[i], 1700, 2300);
    /* An interval that is as short as the rounding still has a first ping. */
    for (uint32_t i = 0; i < 100; i++) assert_int_equal(conn_first_ping_ms(&rng, 1000), 500);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_limit_is_of_all_shards_together),
        cmocka_unit_test(the_rate_is_a_second_of_connections),
        cmocka_unit_test(random_shards_never_exceed_it),
        cmocka_unit_test(first_pings_are_spread),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
