/*
 * Whose time decides how old a publication is: Redis', not that of the nodes' machines.
 */
#include "unit/storage/redis_nodes.h"

static uint32_t read_count;
static uint64_t read_times[NUMBERS_MAX];
static bool is_read;
static void on_read(struct store_read *op, enum err err, const struct publication *publications,
                    uint32_t publications_count)
{
    (void)op;
    assert_int_equal(err, ERR_OK);
    assert_true(publications_count <= NUMBERS_MAX);
    for (uint32_t i = 0; i < publications_count; i++) {
        assert_int_equal(publications[i].taken_ms, publications[i].time_ms);
        read_times[i] = publications[i].taken_ms;
    }
    read_count = publications_count;
    is_read = true;
}

static uint32_t history(struct world *world, struct room *room)
{
    struct store_read op = {.channel = &room->channel, .limit = UINT32_MAX, .on_read = on_read};
    is_read = false;
    store_read(room->node->store, &op);
    turn_until(world, is_read);
    return read_count;
}

static uint64_t apart(uint64_t one, uint64_t other)
{
    return one > other ? one - other : other - one;
}

/* Further than anything lives here, forward on one node and back on the other. */
static void clocks_of_nodes_that_jump_change_nothing(void **state)
{
    (void)state;
    struct world *world = world_begin();
    load(world, 200, NULL);
    world->nodes[0].wall_skew_ms = 3 * (int64_t)DAY_MS;
    world->nodes[1].wall_skew_ms = -3 * (int64_t)DAY_MS;
    load(world, 200, NULL);
    check_exactly_once(world);
    uint64_t now_ms = clock_wall_ms();
    for (uint32_t r = 0; r < ROOMS; r++) {
        uint64_t head = world->rooms[0][r].channel.head;
        assert_true(head > 0);
        for (uint32_t n = 0; n < NODES; n++) {
            struct room *room = &world->rooms[n][r];
            assert_int_equal(history(world, room), head);
            for (uint32_t i = 0; i < read_count; i++)
                assert_true(apart(read_times[i], now_ms) < 600000);
        }
    }
    for (uint32_t n = 0; n < NODES; n++)
        assert_true(apart(store_now_ms(world->nodes[n].store), now_ms) < 600000);
    world_end(world);
}

/* A machine that slept has a monotonic clock that did not: the next beat brings the time back. */
static void a_store_that_is_late_catches_up(void **state)
{
    (void)state;
    struct world *world = world_begin();
    uint64_t now_ms = clock_wall_ms();
    world->nodes[0].store->age_base_ms -= DAY_MS;
    world->nodes[1].store->age_base_ms += DAY_MS;
    turn_until(world, apart(store_now_ms(world->nodes[0].store), now_ms) < 600000 &&
                          apart(store_now_ms(world->nodes[1].store), now_ms) < 600000);
    world_end(world);
}

/* What is too old by that time goes; a node that thinks otherwise does not keep it. */
static void what_outlived_its_time_goes_whatever_a_node_thinks(void **state)
{
    (void)state;
    struct world *world = world_begin();
    load(world, 60, NULL);
    world->nodes[0].wall_skew_ms = world->nodes[1].wall_skew_ms = -3 * (int64_t)DAY_MS;
    struct room *room = &world->rooms[1][0];
    assert_true(history(world, room) > 0);
    room->channel.history.ttl_ms = 100;
    turn_for(world, 200);
    assert_int_equal(history(world, room), 0);
    world_end(world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(clocks_of_nodes_that_jump_change_nothing),
        cmocka_unit_test(a_store_that_is_late_catches_up),
        cmocka_unit_test(what_outlived_its_time_goes_whatever_a_node_thinks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
