/*
 * Removal, as storage/store.h promises it, on every engine: what was published is
 * gone, offsets, epoch, members and keys stay, and a restart brings nothing back.
 */
#include "unit/storage/store_engines.h"

/* A whole removal, and what must be true behind it, also after close and open. */
static void a_removal_takes_all_and_offsets_go_on(void **state)
{
    struct world world;
    struct thing thing;
    char epoch[EPOCH_MAX + 1];
    begin_room(&world, state, &thing);
    assert_int_equal(thing_remove(&thing), 0); /* nothing there yet */
    memcpy(epoch, thing.channel.epoch, sizeof epoch);
    thing_members(&thing, (const char *[]){"ann"}, 1);
    publish_many(&thing, 1, 20);
    assert_int_equal(thing_publish(&thing, "key", "m21"), 21);
    thing_cursor(&thing, "ann", 12);
    assert_int_equal(thing_remove(&thing), 21);
    for (int round = 0; round < 2; round++) {
        thing_read(&thing, 0, UINT32_MAX, false);
        assert_int_equal(thing.answer.count, 0);
        thing_read(&thing, 0, 5, true);
        assert_int_equal(thing.answer.count, 0);
        assert_int_equal(thing.channel.head, 21);
        assert_string_equal(thing.channel.epoch, epoch);
        thing_close(&thing);
        thing_open(&world, &thing, 10);
        assert_int_equal(thing.answer.count, 0);
        assert_int_equal(thing_cursor_of(&thing, "ann", NULL), 12);
    }
    assert_int_equal(thing_publish(&thing, "key", "again"), 21); /* keys are remembered */
    publish_many(&thing, 22, 25);
    thing_read(&thing, 0, UINT32_MAX, false);
    assert_answer(&thing, 22, 25);
    assert_int_equal(thing_remove(&thing), 25);
    publish_many(&thing, 26, 27);
    thing_read(&thing, 3, 5, false);
    assert_answer(&thing, 26, 27);
    thing_read(&thing, 27, UINT32_MAX, true);
    assert_answer(&thing, 26, 26);
    thing_close(&thing);
    thing_open(&world, &thing, 10);
    assert_answer(&thing, 26, 27);
    end_room(&world, &thing);
}

/* Appends around a removal, all asked in one turn: order decides. */
static void a_removal_stands_in_the_order_of_the_appends(void **state)
{
    struct world world;
    struct thing thing;
    struct append before[3], after[3], remove = {.op.type = RECORD_REMOVE};
    begin_room(&world, state, &thing);
    for (int i = 0; i < 3; i++) thing_ask(&thing, &before[i], NULL, "before");
    thing_append(&thing, &remove);
    for (int i = 0; i < 3; i++) thing_ask(&thing, &after[i], NULL, "after");
    world_settle(&world);
    thing_hear(&thing, 6);
    assert_int_equal(remove.offset, 3);
    assert_int_equal(thing.removed, 3);
    assert_int_equal(after[2].offset, 6);
    thing_read(&thing, 0, UINT32_MAX, false);
    assert_int_equal(thing.answer.count, 3);
    for (int i = 0; i < 3; i++) assert_string_equal(thing.answer.items[i].data, "after");
    end_room(&world, &thing);
}

static void the_removed_stays_removed_after_a_restart(void **state)
{
    struct world world;
    struct thing thing;
    char epoch[EPOCH_MAX + 1];
    begin_room(&world, state, &thing);
    memcpy(epoch, thing.channel.epoch, sizeof epoch);
    for (uint64_t round = 0; round < 3; round++) {
        publish_many(&thing, round * 5 + 1, round * 5 + 3);
        assert_int_equal(thing_remove(&thing), round * 5 + 3);
        publish_many(&thing, round * 5 + 4, round * 5 + 5);
        thing_close(&thing);
        world_stop(&world);
        assert_int_equal(world_start(&world, (uint32_t)round % 2 + 1), ERR_OK);
        thing_open(&world, &thing, 10);
        assert_int_equal(thing.removed, round * 5 + 3);
        assert_answer(&thing, round * 5 + 4, round * 5 + 5);
        assert_string_equal(thing.channel.epoch, epoch);
        thing_read(&thing, 0, UINT32_MAX, false);
        assert_answer(&thing, round * 5 + 4, round * 5 + 5);
    }
    thing_close(&thing);
    world_stop(&world);
    thing_fini(&thing);
}

#define CASES(engine)                                                                              \
    CASE(a_removal_takes_all_and_offsets_go_on, engine),                                           \
        CASE(a_removal_stands_in_the_order_of_the_appends, engine)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASES(MEMORY),
        CASES(REDIS),
        CASE(the_removed_stays_removed_after_a_restart, REDIS),
        CASES(EMBEDDED),
        CASE(the_removed_stays_removed_after_a_restart, EMBEDDED),
    };
    const struct CMUnitTest others[] = {
        CASES(REDIS),
        CASE(the_removed_stays_removed_after_a_restart, REDIS),
    };
    return engines_run(ENGINE_CASES(tests), ENGINE_CASES(others), false);
}
