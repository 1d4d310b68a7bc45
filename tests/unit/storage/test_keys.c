/* Keys: one answer per (owner, scope, key), its horizon, its capacity. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>

#include "storage/keys.h"

#define SCOPE     BYTES_LITERAL("api")
#define KEY(text) bytes_of_text(text)

static struct keys keys;
static struct key_owner owner, other;
static struct metrics metrics;

static int setup(void **state)
{
    (void)state;
    metrics = (struct metrics){0};
    owner = other = (struct key_owner){0};
    keys_init(&keys, 7, 4, 1000, &metrics);
    keys_own(&keys, &owner);
    keys_own(&keys, &other);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    keys_fini(&keys);
    return 0;
}

static void a_key_is_pending_then_known(void **state)
{
    (void)state;
    assert_null(keys_find(&keys, &owner, SCOPE, KEY("a"), 100));
    struct key_entry *entry = keys_begin(&keys, &owner, SCOPE, KEY("a"), 100);
    assert_ptr_equal(keys_find(&keys, &owner, SCOPE, KEY("a"), 100), entry);
    assert_int_equal(entry->state, KEY_PENDING);
    keys_end(entry, 42);
    entry = keys_find(&keys, &owner, SCOPE, KEY("a"), 100);
    assert_int_equal(entry->state, KEY_KNOWN);
    assert_int_equal(entry->offset, 42);
    assert_null(keys_find(&keys, &other, SCOPE, KEY("a"), 100));
    assert_null(keys_find(&keys, &owner, BYTES_NONE, KEY("apia"), 100));
    assert_null(keys_find(&keys, &owner, BYTES_LITERAL("ap"), KEY("ia"), 100));
}

static void a_key_is_over_at_its_horizon(void **state)
{
    (void)state;
    keys_end(keys_begin(&keys, &owner, SCOPE, KEY("a"), 100), 1);
    assert_non_null(keys_find(&keys, &owner, SCOPE, KEY("a"), 1099));
    assert_null(keys_find(&keys, &owner, SCOPE, KEY("a"), 1100));
    assert_int_equal(keys.count, 0);
    keys_load(&keys, &owner, SCOPE, KEY("b"), 1, 100);
    keys_load(&keys, &owner, SCOPE, KEY("c"), 1, 200);
    keys_expire(&keys, 1100, 10);
    assert_int_equal(keys.count, 1);
    assert_int_equal(metrics.values[METRIC_KEYS_EARLY], 0);
}

static void the_oldest_known_key_goes_at_the_capacity(void **state)
{
    (void)state;
    struct key_entry *pending = keys_begin(&keys, &owner, SCOPE, KEY("pending"), 1);
    keys_load(&keys, &owner, SCOPE, KEY("b"), 2, 2);
    keys_load(&keys, &owner, SCOPE, KEY("c"), 3, 3);
    keys_load(&keys, &owner, SCOPE, KEY("d"), 4, 4);
    keys_load(&keys, &owner, SCOPE, KEY("e"), 5, 5);
    assert_null(keys_find(&keys, &owner, SCOPE, KEY("b"), 5));
    assert_non_null(keys_find(&keys, &owner, SCOPE, KEY("c"), 5));
    assert_ptr_equal(keys_find(&keys, &owner, SCOPE, KEY("pending"), 5), pending);
    assert_int_equal(metrics.values[METRIC_KEYS_EARLY], 1);
    keys_end(pending, 1);
}

static void of_a_key_used_twice_the_later_is_loaded(void **state)
{
    (void)state;
    keys_load(&keys, &owner, SCOPE, KEY("a"), 5, 10);
    keys_load(&keys, &owner, SCOPE, KEY("a"), 9, 20);
    keys_load(&keys, &owner, SCOPE, KEY("a"), 7, 15);
    assert_int_equal(keys_find(&keys, &owner, SCOPE, KEY("a"), 20)->offset, 9);
    assert_int_equal(keys.count, 1);
    struct key_entry *pending = keys_begin(&keys, &owner, SCOPE, KEY("b"), 20);
    keys_load(&keys, &owner, SCOPE, KEY("b"), 3, 10);
    assert_ptr_equal(keys_find(&keys, &owner, SCOPE, KEY("b"), 20), pending);
    keys_end(pending, 10);
}

static void a_refused_key_stays_and_a_cancelled_one_goes(void **state)
{
    (void)state;
    keys_refuse(keys_begin(&keys, &owner, SCOPE, KEY("a"), 1));
    assert_int_equal(keys_find(&keys, &owner, SCOPE, KEY("a"), 1u << 30)->state, KEY_REFUSED);
    keys_cancel(&keys, keys_begin(&keys, &owner, SCOPE, KEY("b"), 1));
    assert_null(keys_find(&keys, &owner, SCOPE, KEY("b"), 1));
}

static void an_owner_takes_its_keys_along(void **state)
{
    (void)state;
    keys_load(&keys, &owner, SCOPE, KEY("a"), 1, 1);
    keys_load(&keys, &other, SCOPE, KEY("a"), 2, 1);
    keys_disown(&keys, &owner);
    assert_int_equal(keys.count, 1);
    keys_own(&keys, &owner); /* a new one: the old keys do not come back */
    assert_null(keys_find(&keys, &owner, SCOPE, KEY("a"), 1));
    assert_int_equal(keys_find(&keys, &other, SCOPE, KEY("a"), 1)->offset, 2);
}

static uint32_t chunks_count(void)
{
    uint32_t count = 0;
    list_each (node, &keys.by_age) count += node != NULL;
    return count;
}

static void load_many(struct key_owner *of, uint32_t count)
{
    static uint32_t made;
    char text[40];
    for (uint32_t i = 0; i < count; i++) {
        snprintf(text, sizeof text, "%038u", made++);
        keys_load(&keys, of, SCOPE, KEY(text), made, made);
    }
}

/* A channel that stays, and others that come and go: few of their keys are neighbours. */
static void a_key_does_not_hold_the_room_of_many(void **state)
{
    (void)state;
    enum { ROUNDS = 200, MANY = 700 };
    keys.count_max = 100000;
    keys.horizon_ms = 1u << 30;
    for (uint32_t i = 0; i < ROUNDS; i++) {
        struct key_owner passing = {0};
        keys_own(&keys, &passing);
        load_many(&passing, MANY / 2);
        load_many(&owner, 1);
        load_many(&passing, MANY / 2);
        if (i % 2 == 0) keys_verify(&keys);
        keys_disown(&keys, &passing);
    }
    keys_verify(&keys);
    assert_int_equal(keys.count, ROUNDS);
    assert_in_range(chunks_count(), 1, VERIFY ? 100 : 20);
    uint32_t count = 0;
    list_each (node, &owner.entries) {
        const struct key_entry *entry = container_of(node, struct key_entry, by_owner);
        assert_int_equal(entry->offset, count * (MANY + 1) + MANY / 2 + 1);
        count++;
    }
    assert_int_equal(count, ROUNDS);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_key_is_pending_then_known),
        CASE(a_key_is_over_at_its_horizon),
        CASE(the_oldest_known_key_goes_at_the_capacity),
        CASE(of_a_key_used_twice_the_later_is_loaded),
        CASE(a_refused_key_stays_and_a_cancelled_one_goes),
        CASE(an_owner_takes_its_keys_along),
        CASE(a_key_does_not_hold_the_room_of_many),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
