/*
 * Several records in one call of the append script, and which records share a call.
 */
#include "unit/storage/redis_nodes.h"

#define CROWD 600

struct one {
    struct store_append op; /* first */
    bool is_done, is_repeat;
    enum err err;
    uint64_t offset;
    char number[16];
};

static uint32_t done;

static void on_appended(struct store_append *op, enum err err, uint64_t offset, bool is_repeat)
{
    struct one *one = (struct one *)op;
    one->err = err;
    one->offset = offset;
    one->is_repeat = is_repeat;
    done++;
}

static void ask_for(struct room *room, struct one *one, uint32_t number)
{
    snprintf(one->number, sizeof one->number, "%u", number);
    one->op = (struct store_append){.channel = &room->channel,
                                    .type = RECORD_PUBLICATION,
                                    .publication = {.data = bytes_of_text(one->number)},
                                    .scope = BYTES_LITERAL("api"),
                                    .key = bytes_of_text(one->number),
                                    .on_appended = on_appended};
    store_append(room->node->store, &one->op);
}

static uint32_t partition_of(const char *name)
{
    return (uint32_t)(hash_bytes(bytes_of_text(name), 0) % 64);
}

/* A channel that shares the partition of room:0. */
static void open_mate(struct world *world, struct room *mate)
{
    char name[32];
    uint32_t number = 0;
    do snprintf(name, sizeof name, "mate:%u", number++);
    while (partition_of(name) != partition_of("room:0"));
    assert_int_equal(room_open(world, &world->nodes[0], mate, name, NUMBERS_MAX), ERR_OK);
}

/* The first and the third are for one channel, the second is a list of another one. */
static void ask_three(struct world *world, struct one ones[3], struct room *room, struct room *mate)
{
    struct bytes users[] = {BYTES_LITERAL("ann")};
    done = 0;
    ask_for(room, &ones[0], 1);
    ones[1].op = (struct store_append){.channel = &mate->channel,
                                       .type = RECORD_MEMBERS,
                                       .members = {.users = users, .count = 1},
                                       .scope = BYTES_LITERAL("api"),
                                       .key = BYTES_LITERAL("2"),
                                       .on_appended = on_appended};
    store_append(mate->node->store, &ones[1].op);
    ask_for(room, &ones[2], 3);
    turn_until(world, done == 3);
}

static void a_record_that_fails_undoes_none_before_it(void **state)
{
    (void)state;
    struct world *world = world_begin();
    struct room *room = &world->rooms[0][0], *there = &world->rooms[1][0], mate = {0};
    struct one ones[3];
    char key[96], command[128];
    open_mate(world, &mate);
    /* Where it is noted who joined: met when the list has been taken. */
    snprintf(key, sizeof key, "test:{p%u}:o", partition_of("room:0"));
    snprintf(command, sizeof command, "SET %s x", key);
    assert_string_equal(redis_say(&world->redis, command), "+OK");
    ask_three(world, ones, room, &mate);
    for (uint32_t i = 0; i < 3; i++) assert_int_equal(ones[i].err, ERR_STORE_UNKNOWN);
    snprintf(command, sizeof command, "DEL %s", key);
    assert_string_equal(redis_say(&world->redis, command), ":1");
    ask_three(world, ones, room, &mate);
    for (uint32_t i = 0; i < 3; i++) assert_int_equal(ones[i].err, ERR_OK);
    assert_true(ones[0].is_repeat && ones[0].offset == 1);
    assert_true(!ones[1].is_repeat && ones[1].offset == 0); /* its key was not taken */
    assert_true(!ones[2].is_repeat && ones[2].offset == 2);
    turn_until(world, room->channel.head == 2 && there->channel.head == 2);
    assert_int_equal(there->numbers[1], 1);
    assert_int_equal(there->numbers[2], 3);
    assert_int_equal(room->lost + there->lost, 0);
    snprintf(command, sizeof command, "XLEN test:{p%u}:s:room:0", partition_of("room:0"));
    assert_string_equal(redis_say(&world->redis, command), ":2");
    turn_until(world, world_is_idle(world));
    store_close(world->nodes[0].store, &mate.channel);
    world_end(world);
}

/* While the server does not answer, what comes waits in few and full calls, in order. */
static void a_busy_server_gets_full_calls(void **state)
{
    (void)state;
    static struct one ones[CROWD];
    struct world *world = world_begin();
    struct room *room = &world->rooms[0][0], *there = &world->rooms[1][0];
    const uint64_t *commits = &world->nodes[0].metrics.values[METRIC_STORE_COMMITS];
    uint64_t before = *commits;
    done = 0;
    kill(world->redis.pid, SIGSTOP);
    for (uint32_t i = 0; i < CROWD; i++) {
        ask_for(room, &ones[i], i + 1);
        if (i % 2 == 1) node_turn(&world->nodes[0], 0);
    }
    kill(world->redis.pid, SIGCONT);
    turn_until(world, done == CROWD);
    /* 64 records a call but for the first ones, each of which left at once. */
    assert_in_range(*commits - before, CROWD / 64, 16 + CROWD / 64 + 1);
    for (uint32_t i = 0; i < CROWD; i++) {
        assert_int_equal(ones[i].err, ERR_OK);
        assert_int_equal(ones[i].offset, i + 1);
    }
    turn_until(world, there->channel.head == CROWD);
    assert_int_equal(there->numbers[CROWD], CROWD);
    world_end(world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_record_that_fails_undoes_none_before_it),
        cmocka_unit_test(a_busy_server_gets_full_calls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
