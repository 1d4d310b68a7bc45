/*
 * The Redis engine under load while a real redis-server is killed, stopped,
 * emptied and lied to; and what it says when it cannot start.
 */
#include "unit/storage/redis_nodes.h"

/* --- cases ---------------------------------------------------------------------------------- */

static void two_nodes_hear_each_other_in_order_exactly_once(void **state)
{
    (void)state;
    struct world *world = world_begin();
    load(world, 2000, NULL);
    check_exactly_once(world);
    assert_int_equal(world->unknown + world->down + world->repeats, 0);
    assert_string_equal(world->rooms[0][0].channel.epoch, world->rooms[1][0].channel.epoch);
    world_end(world);
}

static void kill_feeds(struct world *world)
{
    redis_say(&world->redis, "CLIENT KILL TYPE pubsub");
}

static void a_killed_feed_link_loses_and_doubles_nothing(void **state)
{
    (void)state;
    struct world *world = world_begin();
    for (uint32_t i = 0; i < 3; i++) load(world, 500, kill_feeds);
    check_exactly_once(world);
    assert_int_equal(world->unknown + world->down, 0);
    world_end(world);
}

static void kill_commands(struct world *world)
{
    redis_say(&world->redis, "CLIENT KILL TYPE normal SKIPME yes");
}

static void a_killed_command_link_loses_and_doubles_nothing(void **state)
{
    (void)state;
    struct world *world = world_begin();
    for (uint32_t i = 0; i < 3; i++) load(world, 500, kill_commands);
    check_exactly_once(world);
    assert_int_equal(world->down, 0); /* what was not written waited */
    world_end(world);
}

static void restart(struct world *world)
{
    redis_kill(&world->redis);
    for (uint32_t i = 0; i < 20; i++) load_turn(world, ASKS_MAX);
    redis_start(&world->redis);
}

static void a_killed_server_loses_and_doubles_nothing(void **state)
{
    (void)state;
    struct world *world = world_begin();
    for (uint32_t i = 0; i < 3; i++) load(world, 400, restart);
    check_exactly_once(world);
    world_end(world);
}

static void flush_scripts(struct world *world)
{
    redis_say(&world->redis, "SCRIPT FLUSH");
}

static void flushed_scripts_are_loaded_again_in_order(void **state)
{
    (void)state;
    struct world *world = world_begin();
    for (uint32_t i = 0; i < 3; i++) load(world, 500, flush_scripts);
    check_exactly_once(world);
    assert_int_equal(world->unknown + world->down + world->repeats, 0);
    world_end(world);
}

static void stop(struct world *world)
{
    kill(world->redis.pid, SIGSTOP);
    uint64_t until_ns = clock_mono_ns() + 2000000000u;
    while (clock_mono_ns() < until_ns) load_turn(world, ASKS_MAX);
    kill(world->redis.pid, SIGCONT);
}

static void a_stopped_server_loses_and_doubles_nothing(void **state)
{
    (void)state;
    struct world *world = world_begin();
    load(world, 400, stop);
    check_exactly_once(world);
    assert_true(world->unknown > 0);
    world_end(world);
}

/* The replication id changes under one node's feet: the other one notices that
 * the lineage is not what it thinks, reads it again and goes on. */
static void change_lineage(struct world *world)
{
    redis_say(&world->redis, "DEBUG CHANGE-REPL-ID");
    redis_say(&world->redis, "CLIENT KILL TYPE normal SKIPME yes");
    turn_for(world, 300);
    redis_say(&world->redis, "DEBUG CHANGE-REPL-ID");
}

static void a_changed_lineage_without_loss_is_adopted(void **state)
{
    (void)state;
    struct world *world = world_begin();
    load(world, 600, change_lineage);
    check_exactly_once(world);
    world_end(world);
}

/* Publishes once in each room by that node, which alone turns. */
static void publish_alone(struct world *world, uint32_t node)
{
    struct node *turned = &world->nodes[node];
    uint64_t until_ns = clock_mono_ns() + 30000000000u;
    uint32_t wanted = world->answered + ROOMS;
    for (uint32_t i = 0; i < ROOMS; i++) ask_number(world, &world->asks[i], &world->rooms[node][i]);
    while (world->answered < wanted) {
        assert_true(clock_mono_ns() < until_ns);
        for (uint32_t i = 0; i < ROOMS; i++) {
            struct ask *ask = &world->asks[i];
            if (!ask->is_busy && ask->number != 0) ask_send(ask);
        }
        node_turn(turned, 1);
    }
}

/* After a restart one node is linked before the first replica comes back and the other one
 * after that: they read two replication ids, of one data set. */
static void a_replica_that_comes_late_is_no_loss(void **state)
{
    (void)state;
    struct world *world = world_begin();
    load(world, 300, NULL);
    redis_kill(&world->redis);
    redis_start(&world->redis);
    publish_alone(world, 0);
    redis_say(&world->redis, "DEBUG CHANGE-REPL-ID"); /* what a replica's coming does */
    publish_alone(world, 1);
    load(world, 300, NULL);
    check_exactly_once(world);
    world_end(world);
}

static void an_emptied_server_is_told(void **state)
{
    (void)state;
    struct world *world = world_begin();
    char epoch[EPOCH_MAX + 1];
    load(world, 300, NULL);
    check_exactly_once(world);
    memcpy(epoch, world->rooms[0][0].channel.epoch, sizeof epoch);
    assert_string_equal(redis_say(&world->redis, "FLUSHALL"), "+OK");
    for (uint32_t n = 0; n < NODES; n++) {
        for (uint32_t r = 0; r < ROOMS; r++) turn_until(world, world->rooms[n][r].lost == 1);
    }
    assert_string_not_equal(epoch, world->rooms[0][0].channel.epoch);
    assert_string_equal(world->rooms[0][0].channel.epoch, world->rooms[1][0].channel.epoch);
    assert_int_equal(world->rooms[1][0].channel.head, 0);
    turn_for(world, 100);
    assert_string_equal(redis_say(&world->redis, "EXISTS test:partitions"), ":1");
    load(world, 300, NULL);
    turn_until(world, world->rooms[0][0].channel.head == world->rooms[1][0].channel.head &&
                          world->rooms[0][0].channel.head > 10);
    assert_int_equal(world->rooms[0][0].lost, 1);
    world_end(world);
}

/* A server that answers before its log is on disk may have lost its last second:
 * after its death nobody can know, so it is told. */
static void an_undurable_server_that_died_is_told(void **state)
{
    (void)state;
    struct world *world = world_begin();
    struct store_health health;
    redis_say(&world->redis, "CONFIG SET appendfsync everysec");
    redis_say(&world->redis, "CLIENT KILL TYPE normal SKIPME yes");
    turn_for(world, 300);
    store_health(world->nodes[0].store, &health);
    assert_string_equal(health.durability, "written");
    load(world, 100, NULL);
    uint64_t head = head_of(world, 0);
    /* So that nothing is lost in fact, and offsets go on: this answer means that all
     * before it is on the disk. */
    redis_say(&world->redis, "CONFIG SET appendfsync always");
    redis_say(&world->redis, "SET on-disk 1");
    redis_say(&world->redis, "CONFIG SET appendfsync everysec");
    redis_kill(&world->redis);
    world->redis.is_everysec = true;
    redis_start(&world->redis);
    for (uint32_t n = 0; n < NODES; n++) {
        for (uint32_t r = 0; r < ROOMS; r++) turn_until(world, world->rooms[n][r].lost == 1);
    }
    assert_int_equal(world->rooms[1][0].channel.head, head);
    assert_non_null(strstr(world->rooms[1][0].channel.epoch, ".2"));
    world_end(world);
}

/* --- down ----------------------------------------------------------------------------------- */

static enum err down_err;
static bool is_down_done;
static void on_down_appended(struct store_append *op, enum err err, uint64_t offset, bool is_repeat)
{
    (void)op, (void)offset, (void)is_repeat;
    down_err = err;
    is_down_done = true;
}
static void on_down_read(struct store_read *op, enum err err,
                         const struct publication *publications, uint32_t count)
{
    (void)op, (void)publications;
    assert_int_equal(count, 0);
    down_err = err;
    is_down_done = true;
}

static void without_redis_everything_answers_down_and_comes_back(void **state)
{
    (void)state;
    struct world *world = world_begin();
    struct store_health health;
    struct room late = {0};
    load(world, 60, NULL);
    store_health(world->nodes[0].store, &health);
    assert_true(health.is_ok);
    assert_string_equal(health.durability, "durable");
    redis_kill(&world->redis);
    turn_for(world, 100);
    store_health(world->nodes[0].store, &health);
    assert_false(health.is_ok);
    assert_non_null(strstr(health.detail, "Redis"));
    struct store_append op = {.channel = &world->rooms[0][0].channel,
                              .type = RECORD_PUBLICATION,
                              .publication = {.data = BYTES_LITERAL("1")},
                              .on_appended = on_down_appended};
    is_down_done = false;
    store_append(world->nodes[0].store, &op);
    turn_until(world, is_down_done);
    assert_int_equal(down_err, ERR_STORE_DOWN);
    struct store_read read = {
        .channel = &world->rooms[0][0].channel, .limit = 10, .on_read = on_down_read};
    is_down_done = false;
    store_read(world->nodes[0].store, &read);
    turn_until(world, is_down_done);
    assert_int_equal(down_err, ERR_STORE_DOWN);
    assert_int_equal(room_open(world, &world->nodes[0], &late, "late", 5), ERR_STORE_DOWN);
    /* It has been gone for longer than anybody should wait. */
    uint64_t started_ns = clock_mono_ns();
    is_down_done = false;
    store_append(world->nodes[0].store, &op);
    turn_until(world, is_down_done);
    assert_int_equal(down_err, ERR_STORE_DOWN);
    assert_true(clock_mono_ns() - started_ns < 500000000u);
    redis_start(&world->redis);
    turn_until(world, (store_health(world->nodes[0].store, &health), health.is_ok));
    assert_int_equal(room_open(world, &world->nodes[0], &late, "late", 5), ERR_OK);
    load(world, 60, NULL);
    check_exactly_once(world);
    store_close(world->nodes[0].store, &late.channel);
    world_end(world);
}

/* --- starting --------------------------------------------------------------------------------- */

static void a_start_without_redis_is_refused_in_time(void **state)
{
    (void)state;
    struct redis_world redis = {0};
    struct node node = {0};
    snprintf(redis.address, sizeof redis.address, "127.0.0.1:1");
    uint64_t started_ns = clock_mono_ns();
    assert_int_equal(node_open(&node, &redis), ERR_STORE_DOWN);
    assert_true(clock_mono_ns() - started_ns >= 900000000u);
    assert_true(clock_mono_ns() - started_ns < 5000000000u);
    snprintf(redis.address, sizeof redis.address, "redis://");
    assert_int_equal(node_open(&node, &redis), ERR_BAD_REQUEST);
    snprintf(redis.address, sizeof redis.address, "127.0.0.1:99999");
    assert_int_equal(node_open(&node, &redis), ERR_BAD_REQUEST);
}

static void a_wrong_password_is_refused(void **state)
{
    (void)state;
    struct redis_world redis;
    struct node node = {0};
    redis_begin(&redis, "secret");
    assert_int_equal(node_open(&node, &redis), ERR_OK);
    store_node_close(node.node);
    workers_destroy(node.workers);
    struct redis_world liar = redis;
    liar.password = "wrong";
    assert_int_equal(node_open(&node, &liar), ERR_UNAUTHORIZED);
    liar.password = NULL;
    assert_int_equal(node_open(&node, &liar), ERR_UNAUTHORIZED);
    redis_end(&redis);
}

static void another_number_of_partitions_is_refused(void **state)
{
    (void)state;
    struct redis_world redis;
    struct node node = {0};
    redis_begin(&redis, NULL);
    assert_string_equal(redis_say(&redis, "SET test:partitions 65"), "+OK");
    assert_int_equal(node_open(&node, &redis), ERR_CONFLICT);
    assert_string_equal(redis_say(&redis, "SET test:partitions 64"), "+OK");
    assert_int_equal(node_open(&node, &redis), ERR_OK);
    store_node_close(node.node);
    workers_destroy(node.workers);
    redis_end(&redis);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_nodes_hear_each_other_in_order_exactly_once),
        cmocka_unit_test(a_killed_feed_link_loses_and_doubles_nothing),
        cmocka_unit_test(a_killed_command_link_loses_and_doubles_nothing),
        cmocka_unit_test(a_killed_server_loses_and_doubles_nothing),
        cmocka_unit_test(flushed_scripts_are_loaded_again_in_order),
        cmocka_unit_test(a_stopped_server_loses_and_doubles_nothing),
        cmocka_unit_test(a_changed_lineage_without_loss_is_adopted),
        cmocka_unit_test(a_replica_that_comes_late_is_no_loss),
        cmocka_unit_test(an_emptied_server_is_told),
        cmocka_unit_test(an_undurable_server_that_died_is_told),
        cmocka_unit_test(without_redis_everything_answers_down_and_comes_back),
        cmocka_unit_test(a_start_without_redis_is_refused_in_time),
        cmocka_unit_test(a_wrong_password_is_refused),
        cmocka_unit_test(another_number_of_partitions_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
