/*
 * Two nodes that wait for a replica: what it does not have nobody is told of, and
 * nothing of it is lost or doubled when it comes back, whoever confirms it.
 */
#include "unit/storage/redis_many.h"
#include "unit/storage/redis_nodes.h"

/* What a case waits for that stops the replica; a busy machine may take longer also when
 * the replica runs, so what must succeed is asked until it does. */
#define SHORT_MS 200

/* --- asking ---------------------------------------------------------------------------------- */

static struct answer {
    bool is_done, is_repeat;
    enum err err;
    uint64_t offset;
} answer;

static void on_appended(struct store_append *op, enum err err, uint64_t offset, bool is_repeat)
{
    (void)op;
    answer = (struct answer){true, is_repeat, err, offset};
}

static struct store_append *append_begin(struct room *room, const struct store_append *as)
{
    static struct store_append op;
    op = *as;
    op.channel = &room->channel;
    op.on_appended = on_appended;
    answer = (struct answer){0};
    store_append(room->node->store, &op);
    return &op;
}

static enum err append(struct world *world, struct room *room, const struct store_append *as)
{
    append_begin(room, as);
    turn_until(world, answer.is_done);
    return answer.err;
}

static enum err publish(struct world *world, struct room *room, const char *number)
{
    struct store_append as = {.type = RECORD_PUBLICATION,
                              .publication = {.data = bytes_of_text(number)},
                              .scope = BYTES_LITERAL("api"),
                              .key = bytes_of_text(number)};
    return append(world, room, &as);
}

static void publish_surely(struct world *world, struct room *room, const char *number)
{
    while (publish(world, room, number) != ERR_OK) assert_int_equal(answer.err, ERR_STORE_UNKNOWN);
}

static enum err set_members(struct world *world, struct room *room, uint32_t count)
{
    const struct bytes users[] = {BYTES_LITERAL("ann"), BYTES_LITERAL("bob"), BYTES_LITERAL("cid")};
    struct store_append as = {.type = RECORD_MEMBERS, .members = {.users = users, .count = count}};
    return append(world, room, &as);
}

static enum err move_cursor(struct world *world, struct room *room, uint64_t offset)
{
    struct store_append as = {
        .type = RECORD_CURSOR, .user = BYTES_LITERAL("ann"), .offset = offset};
    return append(world, room, &as);
}

static enum err set_policy(struct world *world, struct room *room, uint64_t policy)
{
    struct store_append as = {.type = RECORD_CURSOR, .mark = CURSOR_POLICY, .offset = policy};
    return append(world, room, &as);
}

static uint64_t read_last;
static bool is_read;
static void on_read(struct store_read *op, enum err err, const struct publication *publications,
                    uint32_t count)
{
    assert_int_equal(err, ERR_OK);
    read_last = 0;
    for (uint32_t i = 0; i < count; i++) read_last = max_u64(read_last, publications[i].offset);
    if (!op->is_reverse && count > 0) assert_int_equal(read_last, publications[count - 1].offset);
    is_read = true;
}

/* The last offset that history shows, forwards and backwards. */
static uint64_t history_last(struct world *world, struct room *room)
{
    uint64_t last[2];
    for (int i = 0; i < 2; i++) {
        struct store_read read = {.channel = &room->channel,
                                  .limit = NUMBERS_MAX,
                                  .is_reverse = i == 1,
                                  .on_read = on_read};
        is_read = false;
        store_read(room->node->store, &read);
        turn_until(world, is_read);
        last[i] = read_last;
    }
    assert_int_equal(last[0], last[1]);
    return last[0];
}

static void stop_replica(struct world *world)
{
    kill(world->replica.pid, SIGSTOP);
}
static void wake_replica(struct world *world)
{
    kill(world->replica.pid, SIGCONT);
}

/* --- cases ----------------------------------------------------------------------------------- */

static void with_a_replica_everything_is_as_without(void **state)
{
    (void)state;
    struct world *world = world_begin_waiting(1, 900);
    struct store_health health;
    struct room *here = &world->rooms[0][0], *there = &world->rooms[1][0];
    assert_int_equal(set_members(world, here, 2), ERR_OK);
    turn_until(world, here->members_count == 2 && there->members_count == 2);
    load(world, 2000, NULL);
    check_exactly_once(world);
    assert_int_equal(world->unknown + world->down + world->repeats, 0);
    store_health(world->nodes[0].store, &health);
    assert_true(health.is_ok);
    uint64_t head = here->channel.head;
    assert_int_equal(history_last(world, there), head);
    assert_int_equal(move_cursor(world, there, 5), ERR_OK);
    turn_until(world, there->cursor == 5);
    turn_until(world, here->cursor == 5);
    assert_int_equal(set_policy(world, there, 9), ERR_OK);
    turn_until(world, there->policy == 9 && here->policy == 9);
    assert_int_equal(append(world, here, &(struct store_append){.type = RECORD_REMOVE}), ERR_OK);
    turn_until(world, here->removed == head && there->removed == head);
    assert_int_equal(history_last(world, there), 0);
    load(world, 60, NULL);
    check_exactly_once(world);
    world_end(world);
}

/* The heart of it: unknown, seen by nobody, and the same key gets the first offset. */
static void what_the_replica_lacks_is_unknown_and_seen_by_nobody(void **state)
{
    (void)state;
    struct world *world = world_begin_waiting(1, SHORT_MS);
    struct room *here = &world->rooms[0][0], *there = &world->rooms[1][0], late = {0};
    publish_surely(world, here, "1");
    turn_until(world, there->channel.head == 1);
    stop_replica(world);
    assert_int_equal(publish(world, here, "2"), ERR_STORE_UNKNOWN);
    assert_int_equal(publish(world, there, "3"), ERR_STORE_UNKNOWN);
    assert_int_equal(publish(world, here, "2"), ERR_STORE_UNKNOWN);
    turn_for(world, 2500); /* sweeps look, and touch */
    for (uint32_t n = 0; n < NODES; n++) {
        assert_int_equal(world->rooms[n][0].channel.head, 1);
        assert_int_equal(world->rooms[n][0].count, 1);
        assert_int_equal(world->rooms[n][0].lost, 0);
        assert_int_equal(history_last(world, &world->rooms[n][0]), 1);
    }
    store_close(world->nodes[1].store, &there->channel);
    assert_int_equal(room_open(world, &world->nodes[1], there, "room:0", NUMBERS_MAX), ERR_OK);
    assert_int_equal(there->channel.head, 1);
    assert_int_equal(room_open(world, &world->nodes[1], &late, "late", 10), ERR_OK);
    wake_replica(world);
    publish_surely(world, here, "2");
    assert_int_equal(answer.offset, 2);
    assert_true(answer.is_repeat);
    publish_surely(world, there, "3");
    assert_int_equal(answer.offset, 3);
    assert_true(answer.is_repeat);
    turn_until(world, here->channel.head == 3 && there->channel.head == 3);
    for (uint32_t n = 0; n < NODES; n++) {
        const struct room *room = &world->rooms[n][0];
        for (uint32_t i = 1; i <= 3; i++) assert_int_equal(room->numbers[i], i);
        assert_int_equal(room->count, 3);
        assert_int_equal(history_last(world, &world->rooms[n][0]), 3);
    }
    store_close(world->nodes[1].store, &late.channel);
    world_end(world);
}

/* Members, cursors and removals are no better than publications. */
static void changes_that_the_replica_lacks_are_seen_by_nobody(void **state)
{
    (void)state;
    struct world *world = world_begin_waiting(1, SHORT_MS);
    struct room *here = &world->rooms[0][0], *there = &world->rooms[1][0];
    while (set_members(world, here, 1) != ERR_OK) continue;
    for (int i = 1; i <= 3; i++) publish_surely(world, here, (char[]){(char)('0' + i), 0});
    turn_until(world, there->members_count == 1 && there->channel.head == 3);
    stop_replica(world);
    assert_int_equal(set_members(world, here, 3), ERR_STORE_UNKNOWN);
    assert_int_equal(move_cursor(world, here, 2), ERR_STORE_UNKNOWN);
    assert_int_equal(set_policy(world, here, 8), ERR_STORE_UNKNOWN);
    assert_int_equal(append(world, there, &(struct store_append){.type = RECORD_REMOVE}),
                     ERR_STORE_UNKNOWN);
    assert_int_equal(publish(world, here, "4"), ERR_STORE_UNKNOWN);
    turn_for(world, 1500);
    for (uint32_t n = 0; n < NODES; n++) {
        const struct room *room = &world->rooms[n][0];
        assert_int_equal(room->members_count, 1);
        assert_int_equal(room->cursors, 0);
        assert_int_equal(room->removed, 0);
        assert_int_equal(room->policy, 0);
        assert_int_equal(history_last(world, &world->rooms[n][0]), 3);
    }
    store_close(world->nodes[1].store, &there->channel);
    there->members_count = 9;
    assert_int_equal(room_open(world, &world->nodes[1], there, "room:0", NUMBERS_MAX), ERR_OK);
    assert_int_equal(there->members_count, 1);
    assert_int_equal(there->policy, 0);
    wake_replica(world);
    for (uint32_t n = 0; n < NODES; n++) {
        const struct room *room = &world->rooms[n][0];
        turn_until(world, room->members_count == 3 && room->cursor == 2);
        turn_until(world, room->removed == 3 && room->channel.head == 4);
        turn_until(world, room->policy == 8);
        assert_int_equal(room->lost, 0);
    }
    assert_int_equal(history_last(world, there), 4);
    publish_surely(world, there, "4");
    assert_int_equal(answer.offset, 4);
    world_end(world);
}

/* The publisher is gone between its script and its confirmation. */
static void another_node_confirms_what_was_left(void **state)
{
    (void)state;
    struct world *world = world_begin_waiting(1, SHORT_MS);
    struct room *here = &world->rooms[0][0], *there = &world->rooms[1][0];
    publish_surely(world, here, "1");
    turn_until(world, there->channel.head == 1);
    stop_replica(world);
    struct store_append as = {.type = RECORD_PUBLICATION,
                              .publication = {.data = BYTES_LITERAL("2")},
                              .key = BYTES_LITERAL("k2")};
    append_begin(here, &as);
    while (!answer.is_done) node_turn(&world->nodes[0], 1);
    assert_int_equal(answer.err, ERR_STORE_UNKNOWN);
    wake_replica(world);
    uint64_t until_ns = clock_mono_ns() + 30000000000u;
    while (there->channel.head < 2 && clock_mono_ns() < until_ns) node_turn(&world->nodes[1], 1);
    assert_int_equal(there->channel.head, 2);
    assert_int_equal(there->numbers[2], 2);
    assert_int_equal(here->channel.head, 1); /* it slept */
    turn_until(world, here->channel.head == 2);
    assert_int_equal(here->count, 2);
    world_end(world);
}

static void without_a_replica_health_says_so(void **state)
{
    (void)state;
    struct world *world = world_begin_waiting(1, SHORT_MS);
    struct store_health health;
    redis_kill(&world->replica);
    turn_until(world, (store_health(world->nodes[0].store, &health), !health.is_ok));
    assert_non_null(strstr(health.detail, "0 of the 1 replicas"));
    assert_int_equal(publish(world, &world->rooms[0][0], "1"), ERR_STORE_UNKNOWN);
    redis_start(&world->replica);
    turn_until(world, (store_health(world->nodes[0].store, &health), health.is_ok));
    publish_surely(world, &world->rooms[0][0], "1");
    assert_int_equal(answer.offset, 1);
    assert_true(answer.is_repeat);
    world_end(world);
}

static void kill_links(struct world *world)
{
    redis_say(&world->redis, "CLIENT KILL TYPE normal SKIPME yes");
}
static void flush_scripts(struct world *world)
{
    redis_say(&world->redis, "SCRIPT FLUSH");
}
static void nap(struct world *world)
{
    stop_replica(world);
    uint64_t until_ns = clock_mono_ns() + 700000000u;
    while (clock_mono_ns() < until_ns) load_turn(world, ASKS_MAX);
    wake_replica(world);
}

static void under_load_nothing_is_lost_or_doubled(void **state)
{
    (void)state;
    struct world *world = world_begin_waiting(1, SHORT_MS);
    load(world, 300, nap);
    assert_true(world->unknown > 0 && world->repeats > 0);
    load(world, 300, kill_links);
    load(world, 300, flush_scripts);
    load(world, 300, nap);
    check_exactly_once(world);
    world_end(world);
}

/* The primary dies and never comes back; its place is taken by what the replica has. */
static void fail_over(struct world *world)
{
    /* What a replica copied as a whole is in its log when that has been written anew. */
    redis_cli_until(&world->replica, "INFO persistence", "aof_rewrite_scheduled:0");
    redis_cli_until(&world->replica, "INFO persistence", "aof_rewrite_in_progress:0");
    redis_kill(&world->redis);
    redis_kill(&world->replica);
    char path[sizeof world->redis.path];
    memcpy(path, world->redis.path, sizeof path);
    memcpy(world->redis.path, world->replica.path, sizeof path);
    memcpy(world->replica.path, path, sizeof path);
    redis_start(&world->redis);
    redis_start(&world->replica);
}

static void what_was_acknowledged_outlives_the_primary(void **state)
{
    (void)state;
    struct world *world = world_begin_waiting(1, SHORT_MS);
    load(world, 400, fail_over);
    load(world, 400, nap);
    load(world, 400, fail_over);
    check_exactly_once(world);
    world_end(world);
}

/* A node that does not wait goes on behind what was held, and tells it. */
static void a_node_that_does_not_wait_settles_what_is_held(void **state)
{
    (void)state;
    struct world *world = world_begin_waiting(1, SHORT_MS);
    struct room *here = &world->rooms[0][0], *there = &world->rooms[1][0];
    for (uint32_t r = 0; r < ROOMS; r++)
        store_close(world->nodes[1].store, &world->rooms[1][r].channel);
    node_stop(&world->nodes[1]);
    world->nodes[1] = (struct node){0};
    world->redis.wait_replicas = 0;
    node_start(&world->nodes[1], &world->redis, 9);
    for (uint32_t r = 0; r < ROOMS; r++) {
        struct room *room = &world->rooms[1][r];
        char name[32];
        memcpy(name, room->name, sizeof name);
        assert_int_equal(room_open(world, &world->nodes[1], room, name, NUMBERS_MAX), ERR_OK);
    }
    stop_replica(world);
    assert_int_equal(set_members(world, here, 2), ERR_STORE_UNKNOWN);
    assert_int_equal(publish(world, here, "1"), ERR_STORE_UNKNOWN);
    publish_surely(world, there, "2");
    assert_int_equal(answer.offset, 2);
    turn_until(world, here->channel.head == 2 && there->channel.head == 2);
    turn_until(world, here->members_count == 2 && there->members_count == 2);
    assert_int_equal(here->numbers[1], 1);
    assert_int_equal(there->numbers[1], 1);
    wake_replica(world);
    world->redis.wait_replicas = 1;
    world_end(world);
}

static void a_wait_longer_than_silence_is_refused(void **state)
{
    (void)state;
    struct redis_world redis;
    struct node node = {0};
    redis_begin(&redis, NULL);
    redis.wait_replicas = 1;
    for (uint64_t wait_ms = 999; wait_ms <= 1000; wait_ms++) {
        redis_configure(&redis, &node.config);
        node.config.redis_io_timeout_ms = 1000;
        node.config.redis_wait_timeout_ms = wait_ms;
        node.workers = workers_create();
        enum err err = store_node_open(&node.config, node.workers, 1, &node.node);
        assert_int_equal(err, wait_ms < 1000 ? ERR_OK : ERR_BAD_REQUEST);
        if (err == ERR_OK) store_node_close(node.node);
        workers_destroy(node.workers);
    }
    redis_end(&redis);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(with_a_replica_everything_is_as_without),
        cmocka_unit_test(what_the_replica_lacks_is_unknown_and_seen_by_nobody),
        cmocka_unit_test(changes_that_the_replica_lacks_are_seen_by_nobody),
        cmocka_unit_test(another_node_confirms_what_was_left),
        cmocka_unit_test(without_a_replica_health_says_so),
        cmocka_unit_test(under_load_nothing_is_lost_or_doubled),
        cmocka_unit_test(what_was_acknowledged_outlives_the_primary),
        cmocka_unit_test(a_node_that_does_not_wait_settles_what_is_held),
        cmocka_unit_test(a_wait_longer_than_silence_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
