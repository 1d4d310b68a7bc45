/*
 * State tables: allowed moves, refused moves, the invariant after each.
 */
#include "death.h"

#include <cmocka.h>

#include "core/sm.h"

enum { RED, GREEN, YELLOW, COUNT };

struct lamp {
    uint8_t state;
    int lit;
};

static uint32_t looks;
static void lamp_invariant(const void *object)
{
    const struct lamp *lamp = object;
    looks++;
    if (lamp->lit != 1) abort();
}

static const struct sm_state states[COUNT] = {
    [RED] = {"RED", SM_TO(GREEN)},
    [GREEN] = {"GREEN", SM_TO(YELLOW)},
    [YELLOW] = {"YELLOW", SM_TO(RED) | SM_TO(YELLOW)},
};
static const struct sm machine = {"lamp", states, COUNT, lamp_invariant};

static void machine_moves_along_its_table(void **state)
{
    (void)state;
    struct lamp lamp = {RED, 1};
    static const uint8_t path[] = {GREEN, YELLOW, YELLOW, RED, GREEN};
    for (size_t i = 0; i < array_count(path); i++) {
        sm_move(&machine, &lamp.state, path[i], &lamp);
        assert_int_equal(lamp.state, path[i]);
    }
    assert_int_equal(looks, array_count(path));
}

static void move_off_the_table(void)
{
    struct lamp lamp = {RED, 1};
    sm_move(&machine, &lamp.state, YELLOW, &lamp);
}
static void move_out_of_range(void)
{
    struct lamp lamp = {RED, 1};
    sm_move(&machine, &lamp.state, COUNT, &lamp);
}
static void move_into_a_broken_object(void)
{
    struct lamp lamp = {RED, 2};
    sm_move(&machine, &lamp.state, GREEN, &lamp);
}

static void wrong_move_stops_the_process(void **state)
{
    (void)state;
    assert_true(dies(move_off_the_table));
    assert_non_null(strstr(death_story, "lamp"));
    assert_non_null(strstr(death_story, "RED"));
    assert_non_null(strstr(death_story, "YELLOW"));
    assert_true(dies(move_out_of_range));
    assert_true(dies(move_into_a_broken_object));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(machine_moves_along_its_table),
        cmocka_unit_test(wrong_move_stops_the_process),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
