/*
 * The Redis engine behind Sentinels: a primary killed, stopped and come back, and
 * what that means for those who heard what it had said.
 */
#include "unit/storage/redis_many.h"
#include "unit/storage/redis_nodes.h"

static struct redis_many many;

static bool is_healthy(const struct node *node)
{
    struct store_health health;
    store_health(node->store, &health);
    return health.is_ok;
}

/* The address of the primary as /health names it. */
static const char *primary_of(const struct node *node)
{
    struct store_health health;
    store_health(node->store, &health);
    for (uint32_t i = 0; i < health.servers_count; i++) {
        if (strcmp(health.servers[i].role, "primary") == 0) return health.servers[i].address;
    }
    return "";
}

static bool all_follow(const struct world *world, const struct redis_world *primary)
{
    for (uint32_t n = 0; n < NODES; n++) {
        bool is_there = strstr(primary->address, primary_of(&world->nodes[n])) != NULL;
        if (!is_there || !is_healthy(&world->nodes[n])) return false;
    }
    return true;
}

static bool all_are_told(const struct world *world)
{
    for (uint32_t n = 0; n < NODES; n++) {
        for (uint32_t r = 0; r < ROOMS; r++) {
            if (world->rooms[n][r].lost == 0) return false;
        }
    }
    return true;
}

static void kill_primary(struct world *world)
{
    (void)world;
    redis_kill(&many.at[0]);
}

/* The replica had everything; but nobody can know that, so it is told. */
static void a_dead_primary_is_replaced_and_told(void **state)
{
    (void)state;
    char epoch[EPOCH_MAX + 1];
    struct store_health health;
    many_sentinel(&many, false);
    struct world *world = world_begin_on(&many.entry, NULL);
    load(world, 300, NULL);
    check_exactly_once(world);
    turn_until(world, all_follow(world, &many.at[0]));
    store_health(world->nodes[0].store, &health);
    assert_int_equal(health.servers_count, 4);
    for (uint32_t i = 0; i < health.servers_count; i++) assert_null(health.servers[i].problem);
    memcpy(epoch, world->rooms[0][0].channel.epoch, sizeof epoch);
    load(world, 300, kill_primary);
    turn_until(world, all_follow(world, &many.at[1]) && all_are_told(world));
    turn_until(world, everything_is_heard(world));
    assert_string_not_equal(epoch, world->rooms[0][0].channel.epoch);
    assert_string_equal(world->rooms[0][0].channel.epoch, world->rooms[1][0].channel.epoch);
    for (uint32_t n = 0; n < NODES; n++) {
        for (uint32_t r = 0; r < ROOMS; r++) assert_int_equal(world->rooms[n][r].lost, 1);
    }
    world_end_nodes(world);
    many_end(&many);
}

/* One change is what is looked at: where the machine is so slow that Sentinels would take
 * the new primary for dead as well, they are told to bear with it. */
static void bear(const struct redis_many *redises)
{
    for (uint32_t i = 2; i < redises->count; i++)
        redis_cli(&redises->at[i], "SENTINEL SET test down-after-milliseconds 60000");
}

static void kill_primary_for_a_while(struct world *world)
{
    redis_kill(&many.at[0]);
    while (!all_follow(world, &many.at[1])) load_turn(world, ASKS_MAX);
    bear(&many);
    redis_start(&many.at[0]); /* the Sentinels make it the replica that is waited for */
}

/* With as many replicas waited for as there are, everything acknowledged is there, once, in
 * the same epoch: nobody is told of a loss. */
static void what_the_replica_had_outlives_the_primary(void **state)
{
    (void)state;
    char epoch[EPOCH_MAX + 1];
    many_sentinel(&many, false);
    many.entry.wait_replicas = 1;
    many.entry.wait_timeout_ms = 300;
    struct world *world = world_begin_on(&many.entry, NULL);
    memcpy(epoch, world->rooms[0][0].channel.epoch, sizeof epoch);
    load(world, 200, NULL);
    load(world, 300, kill_primary_for_a_while);
    load(world, 100, NULL);
    turn_until(world, all_follow(world, &many.at[1]));
    check_exactly_once(world);
    assert_string_equal(epoch, world->rooms[0][0].channel.epoch);
    many.entry.wait_replicas = 0;
    world_end_nodes(world);
    many_end(&many);
}

/* Stopped long enough to be replaced, it comes back and calls itself a primary: what is
 * under way there ends, and nobody listens to it any more. */
static void stop_primary(struct world *world)
{
    kill(many.at[0].pid, SIGSTOP);
    while (!all_follow(world, &many.at[1])) load_turn(world, ASKS_MAX);
    kill(many.at[0].pid, SIGCONT);
    assert_non_null(strstr(redis_cli(&many.at[0], "ROLE"), "master"));
    for (uint32_t i = 0; i < 200; i++) load_turn(world, ASKS_MAX);
}

static void an_old_primary_that_comes_back_is_not_believed(void **state)
{
    (void)state;
    many_sentinel(&many, false);
    struct world *world = world_begin_on(&many.entry, NULL);
    load(world, 200, NULL);
    load(world, 400, stop_primary);
    turn_until(world, all_follow(world, &many.at[1]) && everything_is_heard(world));
    uint32_t room = world->room_of[world->next_number];
    assert_true(world->rooms[0][room].channel.head >= head_of(world, room));
    assert_true(all_are_told(world));
    world_end_nodes(world);
}

static void mistakes_are_told(void **state)
{
    (void)state;
    struct node node = {0};
    struct redis_world entry;
    entry = many.entry;
    node.config.storage_dedup_horizon_ms = DAY_MS;
    entry.seeds[0] = "127.0.0.1:1"; /* the others are enough */
    assert_int_equal(node_open(&node, &entry), ERR_OK);
    store_node_close(node.node);
    workers_destroy(node.workers);
    entry.seeds_count = 1;
    assert_int_equal(node_open(&node, &entry), ERR_STORE_DOWN);
    redis_cli(&many.at[2], "SENTINEL REMOVE test");
    entry.seeds[0] = many.at[2].address;
    assert_int_equal(node_open(&node, &entry), ERR_NOT_FOUND);
    entry.seeds[0] = "127.0.0.1:99999";
    assert_int_equal(node_open(&node, &entry), ERR_BAD_REQUEST);
    many_end(&many);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_dead_primary_is_replaced_and_told),
        cmocka_unit_test(what_the_replica_had_outlives_the_primary),
        cmocka_unit_test(an_old_primary_that_comes_back_is_not_believed),
        cmocka_unit_test(mistakes_are_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
