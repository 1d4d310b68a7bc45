/*
 * One message deleted, as storage/store.h promises it, on every engine: its place stays,
 * what it said is gone from every answer, and a restart brings nothing back.
 */
#include "unit/storage/store_engines.h"

static void ask_delete(struct thing *thing, struct append *append, uint64_t offset)
{
    *append = (struct append){0};
    append->op.type = RECORD_PUBLICATION;
    append->op.publication.data = BYTES_LITERAL("notice");
    append->op.publication.deletes = offset;
    thing_append(thing, append);
}

/* Where the publication stands that says so. */
static uint64_t delete_one(struct thing *thing, uint64_t offset)
{
    struct append append;
    ask_delete(thing, &append, offset);
    assert_true(world_wait(append.world, &append.is_done));
    assert_int_equal(append.err, ERR_OK);
    assert_false(append.is_repeat);
    return append.offset;
}

/* The answer is first .. last, up or down: by offset from 1, 'x' in `kinds` is deleted, 'n' a
 * publication that says so, anything else what publish_many wrote. */
static void assert_kinds(const struct thing *thing, uint64_t first, uint64_t last,
                         const char *kinds)
{
    uint64_t count = first <= last ? last - first + 1 : first - last + 1;
    assert_int_equal(thing->answer.count, count);
    for (uint64_t i = 0; i < count; i++) {
        uint64_t offset = first <= last ? first + i : first - i;
        char data[16];
        snprintf(data, sizeof data, "m%d", (int)offset);
        const char *expected = kinds[offset - 1] == 'x'   ? DELETED_DATA
                               : kinds[offset - 1] == 'n' ? "notice"
                                                          : data;
        assert_int_equal(thing->answer.items[i].offset, offset);
        assert_string_equal(thing->answer.items[i].data, expected);
        assert_true(thing->answer.items[i].time_ms > 0);
    }
}

/* Every way to read, of a channel with offsets from 1 to the length of `kinds`. */
static void assert_everywhere(struct thing *thing, const char *kinds)
{
    uint64_t head = strlen(kinds);
    assert_int_equal(thing->channel.head, head);
    thing_read(thing, 0, UINT32_MAX, false);
    assert_kinds(thing, 1, head, kinds);
    thing_read(thing, 0, UINT32_MAX, true);
    assert_kinds(thing, head, 1, kinds);
    for (uint64_t i = 1; i <= head; i++) {
        thing_read(thing, i - 1, 1, false);
        assert_kinds(thing, i, i, kinds);
        thing_read(thing, i + 1, 1, true);
        assert_kinds(thing, i, i, kinds);
    }
    thing_read(thing, 1, 3, false);
    assert_kinds(thing, 2, 4, kinds);
}

static void what_was_deleted_leaves_its_place(void **state)
{
    struct world world;
    struct thing thing;
    char epoch[EPOCH_MAX + 1];
    begin_room(&world, state, &thing);
    memcpy(epoch, thing.channel.epoch, sizeof epoch);
    publish_many(&thing, 1, 4);
    assert_int_equal(thing_publish(&thing, "key", "m5"), 5);
    assert_int_equal(delete_one(&thing, 2), 6);
    assert_everywhere(&thing, ".x...n");
    assert_int_equal(delete_one(&thing, 5), 7); /* neighbours, the newest, the first, a notice */
    assert_int_equal(delete_one(&thing, 4), 8);
    assert_int_equal(delete_one(&thing, 1), 9);
    assert_int_equal(delete_one(&thing, 9), 10);
    assert_everywhere(&thing, "xx.xxnnnxn");
    assert_int_equal(thing_publish(&thing, "key", "again"), 5); /* keys are remembered */
    assert_int_equal(delete_one(&thing, 2), 11);                /* nothing is there to go */
    assert_everywhere(&thing, "xx.xxnnnxnn");
    assert_string_equal(thing.channel.epoch, epoch);
    thing_hear(&thing, 11);
    assert_string_equal(thing.feed.items[1].data, "m2"); /* it was heard before */
    thing_close(&thing);
    thing_open(&world, &thing, 10);
    assert_kinds(&thing, 2, 11, "xx.xxnnnxnn");
    end_room(&world, &thing);
}

/* Everything asked in one turn: order decides. */
static void a_deletion_stands_in_the_order_of_the_appends(void **state)
{
    struct world world;
    struct thing thing;
    struct append before[3], deletes, after;
    begin_room(&world, state, &thing);
    publish_many(&thing, 1, 1);
    for (int i = 0; i < 3; i++) thing_ask(&thing, &before[i], NULL, i == 0 ? "m2" : "m?");
    ask_delete(&thing, &deletes, 3);
    thing_ask(&thing, &after, "key", "m6");
    world_settle(&world);
    thing_hear(&thing, 6);
    assert_int_equal(deletes.offset, 5);
    assert_int_equal(after.offset, 6);
    thing_read(&thing, 0, UINT32_MAX, false);
    assert_int_equal(thing.answer.count, 6);
    assert_string_equal(thing.answer.items[2].data, DELETED_DATA);
    assert_string_equal(thing.answer.items[3].data, "m?");
    end_room(&world, &thing);
}

/* What retention and a removal take, they take of the deleted too. */
static void the_deleted_goes_with_its_time(void **state)
{
    struct world world;
    struct thing thing;
    begin(&world, state, 1);
    thing_init(&thing, "room:2", 5, FOREVER);
    thing_open(&world, &thing, 10);
    publish_many(&thing, 1, 3);
    assert_int_equal(delete_one(&thing, 1), 4);
    assert_int_equal(delete_one(&thing, 2), 5);
    thing_read(&thing, 0, UINT32_MAX, false);
    assert_kinds(&thing, 1, 5, "xx.nn");
    publish_many(&thing, 6, 6);
    thing_read(&thing, 0, UINT32_MAX, false);
    assert_kinds(&thing, 2, 6, "xx.nn.");
    publish_many(&thing, 7, 10);
    thing_read(&thing, 0, UINT32_MAX, true);
    assert_kinds(&thing, 10, 6, "xx.nn.....");
    assert_int_equal(delete_one(&thing, 3), 11); /* long gone: only its publication comes */
    assert_int_equal(delete_one(&thing, 8), 12);
    assert_int_equal(thing_remove(&thing), 12);
    publish_many(&thing, 13, 14);
    thing_read(&thing, 0, UINT32_MAX, false);
    assert_answer(&thing, 13, 14);
    assert_int_equal(delete_one(&thing, 13), 15);
    thing_close(&thing);
    thing_open(&world, &thing, 10);
    assert_kinds(&thing, 13, 15, "............x.n");
    end_room(&world, &thing);
}

static void the_deleted_stays_deleted_after_a_restart(void **state)
{
    struct world world;
    struct thing thing;
    begin_room(&world, state, &thing);
    publish_many(&thing, 1, 30);
    assert_int_equal(delete_one(&thing, 7), 31);
    const char *kinds = "......x.......................n";
    for (uint32_t round = 0; round < 2; round++) {
        thing_close(&thing);
        world_stop(&world);
        assert_int_equal(world_start(&world, round + 1), ERR_OK);
        thing_open(&world, &thing, 40);
        assert_kinds(&thing, 1, 31 + round, kinds);
        assert_everywhere(&thing, kinds);
        assert_int_equal(delete_one(&thing, 29 + round), 32 + round); /* applied long before */
        kinds =
            round == 0 ? "......x.....................x.nn" : "......x.....................xxnnn";
        assert_everywhere(&thing, kinds);
    }
    thing_close(&thing);
    world_stop(&world);
    thing_fini(&thing);
}

/* Of Redis itself, which keeps the set beside the stream, and the channel's own mark. */
static void the_deleted_outlives_a_restart_of_redis(void **state)
{
    struct world world;
    struct thing thing;
    struct append policy = {.op = {.type = RECORD_CURSOR, .mark = CURSOR_POLICY, .offset = 5}};
    begin_room(&world, state, &thing);
    publish_many(&thing, 1, 3);
    thing_append(&thing, &policy);
    assert_int_equal(delete_one(&thing, 2), 4);
    thing_close(&thing);
    world_stop(&world);
    redis_kill(&redis);
    redis_start(&redis);
    assert_int_equal(world_start(&world, 2), ERR_OK);
    thing_open(&world, &thing, 10);
    assert_kinds(&thing, 1, 4, ".x.n");
    assert_int_equal(thing.people.policy, 5);
    assert_int_equal(delete_one(&thing, 3), 5);
    assert_everywhere(&thing, ".xxnn");
    end_room(&world, &thing);
}

#define CASES(engine)                                                                              \
    CASE(what_was_deleted_leaves_its_place, engine),                                               \
        CASE(a_deletion_stands_in_the_order_of_the_appends, engine),                               \
        CASE(the_deleted_goes_with_its_time, engine)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASES(MEMORY),
        CASES(REDIS),
        CASE(the_deleted_stays_deleted_after_a_restart, REDIS),
        CASE(the_deleted_outlives_a_restart_of_redis, REDIS),
        CASES(EMBEDDED),
        CASE(the_deleted_stays_deleted_after_a_restart, EMBEDDED),
    };
    const struct CMUnitTest others[] = {
        CASES(REDIS),
        CASE(the_deleted_stays_deleted_after_a_restart, REDIS),
    };
    return engines_run(ENGINE_CASES(tests), ENGINE_CASES(others), false);
}
