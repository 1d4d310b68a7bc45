/*
 * chains: random comings and goings against a plain array of who is there, with good
 * hashes and with hashes that all meet.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/chains.h"
#include "core/hash.h"
#include "core/rng.h"

#define OBJECTS 600

struct thing {
    uint64_t key;
    uint32_t link;
    bool is_there;
};

static struct thing things[OBJECTS];
static uint64_t hash_bits; /* so many of a hash count */

static uint64_t hash_of(uint64_t key)
{
    return hash_u64(key, 7) & hash_bits;
}

static uint64_t owner_hash(const void *context, uint32_t number)
{
    return hash_of(((const struct thing *)context)[number - 1].key);
}

static bool owner_is(const void *context, uint32_t number, const void *key)
{
    return ((const struct thing *)context)[number - 1].key == *(const uint64_t *)key;
}

static uint32_t *owner_link(const void *context, uint32_t number)
{
    (void)context;
    return &things[number - 1].link;
}

static const struct chains_owner owner = {things, owner_hash, owner_is, owner_link};

static void look_for_all(const struct chains *chains)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < OBJECTS; i++) {
        uint32_t found = chains_find(chains, &owner, hash_of(things[i].key), &things[i].key);
        assert_int_equal(found, things[i].is_there ? i + 1 : 0);
        count += things[i].is_there;
    }
    assert_int_equal(chains->count, count);
    chains_verify(chains, &owner);
}

static void walk(uint32_t room, uint64_t bits)
{
    struct chains chains;
    struct rng rng;
    rng_seed(&rng, room);
    hash_bits = bits;
    chains_init(&chains, room);
    for (uint32_t i = 0; i < OBJECTS; i++) things[i] = (struct thing){.key = 1000 + i};
    for (uint32_t round = 0; round < 40; round++) {
        uint32_t likely = round % 10 < 5 ? 80 : 20;
        for (uint32_t i = 0; i < OBJECTS; i++) {
            struct thing *thing = &things[rng_below(&rng, OBJECTS)];
            uint32_t number = (uint32_t)(thing - things) + 1;
            if (thing->is_there == rng_chance(&rng, likely)) continue;
            if (thing->is_there)
                chains_remove(&chains, &owner, number);
            else
                chains_add(&chains, &owner, number);
            thing->is_there = !thing->is_there;
        }
        look_for_all(&chains);
    }
    for (uint32_t i = 0; i < OBJECTS; i++)
        if (things[i].is_there) chains_remove(&chains, &owner, i + 1);
    chains_fini(&chains);
}

static void who_is_there_is_found(void **state)
{
    (void)state;
    walk(OBJECTS, UINT64_MAX);
}

static void hashes_that_meet_cost_time_only(void **state)
{
    (void)state;
    walk(OBJECTS, 3);
    walk(OBJECTS, 0);
}

static void fewer_buckets_than_objects_will_do(void **state)
{
    (void)state;
    walk(1, UINT64_MAX);
    walk(5, UINT64_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_is_there_is_found),
        cmocka_unit_test(hashes_that_meet_cost_time_only),
        cmocka_unit_test(fewer_buckets_than_objects_will_do),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
