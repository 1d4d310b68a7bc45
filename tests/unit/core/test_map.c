/*
 * The map: presence, growth, removal inside runs, iteration.
 */
#include "death.h"

#include <cmocka.h>

#include "core/map.h"

#define KEYS 1000

static char names[KEYS][8];
static int values[KEYS];

static struct bytes name(int i)
{
    snprintf(names[i], sizeof names[i], "k%d", i);
    return bytes_of_text(names[i]);
}

static void empty_map_finds_and_removes_nothing(void **state)
{
    (void)state;
    struct map map;
    map_init(&map, 1);
    uint32_t at = 0;
    assert_null(map_find(&map, BYTES_LITERAL("x")));
    assert_null(map_remove(&map, BYTES_LITERAL("x")));
    assert_null(map_next(&map, &at));
    map_verify(&map);
    map_fini(&map);
}

static void keys_are_found_through_growth_and_removal(void **state)
{
    (void)state;
    struct map map;
    map_init(&map, 7);
    for (int i = 0; i < KEYS; i++) {
        map_put(&map, name(i), &values[i]);
        if (i % 97 == 0) map_verify(&map);
    }
    assert_int_equal(map.count, KEYS);
    for (int i = 0; i < KEYS; i++) assert_ptr_equal(map_find(&map, name(i)), &values[i]);
    for (int i = 0; i < KEYS; i += 2) assert_ptr_equal(map_remove(&map, name(i)), &values[i]);
    map_verify(&map);
    for (int i = 0; i < KEYS; i++)
        assert_ptr_equal(map_find(&map, name(i)), i % 2 == 0 ? NULL : &values[i]);
    assert_null(map_remove(&map, name(0)));
    map_fini(&map);
    assert_null(map.slots);
}

static void iteration_gives_each_value_once(void **state)
{
    (void)state;
    struct map map;
    map_init(&map, 3);
    for (int i = 0; i < 100; i++) map_put(&map, name(i), &values[i]);
    bool seen[100] = {false};
    uint32_t at = 0, count = 0;
    for (int *value; (value = map_next(&map, &at)) != NULL; count++) {
        assert_false(seen[value - values]);
        seen[value - values] = true;
    }
    assert_int_equal(count, 100);
    map_fini(&map);
}

static void empty_key_is_a_key(void **state)
{
    (void)state;
    struct map map;
    map_init(&map, 3);
    map_put(&map, BYTES_NONE, &values[0]);
    assert_ptr_equal(map_find(&map, bytes_of_text("")), &values[0]);
    assert_ptr_equal(map_remove(&map, BYTES_NONE), &values[0]);
    map_fini(&map);
}

static void put_twice(void)
{
    struct map map;
    map_init(&map, 3);
    map_put(&map, BYTES_LITERAL("a"), &values[0]);
    map_put(&map, BYTES_LITERAL("a"), &values[1]);
}

static void second_put_of_a_key_stops_the_process(void **state)
{
    (void)state;
    assert_true(dies(put_twice));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(empty_map_finds_and_removes_nothing),
        cmocka_unit_test(keys_are_found_through_growth_and_removal),
        cmocka_unit_test(iteration_gives_each_value_once),
        cmocka_unit_test(empty_key_is_a_key),
        cmocka_unit_test(second_put_of_a_key_stops_the_process),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
