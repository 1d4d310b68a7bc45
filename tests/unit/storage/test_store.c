/*
 * The contract of storage/store.h, run on every engine of this machine: the
 * same cases on memory, on the embedded log and on redis-servers of our own: one
 * alone, with a replica to wait for, a Cluster, and behind Sentinels.
 * Each case starts a node on an empty directory; the restart cases are for
 * engines that keep what they have.
 */
#include "unit/storage/store_engines.h"

static void offsets_are_gapless_and_the_feed_follows(void **state)
{
    struct world world;
    struct thing thing;
    struct append appends[100];
    char data[100][16];
    begin(&world, state, 1);
    thing_init(&thing, "room:1", 1000, FOREVER);
    thing_open(&world, &thing, 10);
    assert_int_equal(thing.channel.head, 0);
    assert_int_equal(thing.answer.count, 0);
    for (int i = 0; i < 100; i++) {
        snprintf(data[i], sizeof data[i], "m%d", i);
        thing_ask(&thing, &appends[i], NULL, data[i]);
        if (i % 7 == 0) world_turn(&world);
    }
    world_settle(&world);
    thing_hear(&thing, 100);
    for (int i = 0; i < 100; i++) {
        assert_true(appends[i].is_done);
        assert_int_equal(appends[i].err, ERR_OK);
        assert_int_equal(appends[i].offset, i + 1);
        assert_false(appends[i].is_repeat);
        assert_int_equal(thing.feed.items[i].offset, i + 1);
        assert_string_equal(thing.feed.items[i].data, data[i]);
    }
    assert_int_equal(thing.channel.head, 100);
    end_room(&world, &thing);
}

static void a_key_publishes_once(void **state)
{
    struct world world;
    struct thing thing, other;
    struct append first, second;
    begin(&world, state, 1);
    thing_init(&thing, "room:1", 10, FOREVER);
    thing_init(&other, "room:2", 10, FOREVER);
    thing_open(&world, &thing, 10);
    thing_open(&world, &other, 10);
    thing_ask(&thing, &first, "k1", "one");
    thing_ask(&thing, &second, "k1", "changed"); /* while the first is under way */
    world_settle(&world);
    assert_int_equal(first.offset, 1);
    assert_false(first.is_repeat);
    assert_int_equal(second.err, ERR_OK);
    assert_int_equal(second.offset, 1);
    assert_true(second.is_repeat);
    assert_int_equal(thing_publish(&thing, "k2", "two"), 2);
    assert_int_equal(thing_publish(&thing, "k1", "again"), 1);
    assert_int_equal(thing_publish(&other, "k1", "elsewhere"), 1); /* keys are per channel */
    first = (struct append){0};
    first.op.type = RECORD_PUBLICATION;
    first.op.publication.data = BYTES_LITERAL("scope");
    first.op.scope = BYTES_LITERAL("user:ann");
    first.op.key = BYTES_LITERAL("k1");
    thing_append(&thing, &first);
    world_settle(&world);
    assert_int_equal(first.offset, 3); /* and per scope */
    thing_hear(&thing, 3);
    thing_hear(&other, 1);
    thing_close(&thing);
    thing_close(&other);
    thing_fini(&thing);
    thing_fini(&other);
    world_stop(&world);
}

/* Asks what the key was answered: nothing is appended. */
static void look_up(struct thing *thing, struct append *append, const char *key)
{
    *append = (struct append){0};
    append->op.type = RECORD_PUBLICATION;
    append->op.publication.data = BYTES_LITERAL("never");
    append->op.scope = BYTES_LITERAL("api");
    append->op.key = bytes_of_text(key);
    append->op.is_look_up = true;
    thing_append(thing, append);
}

static void a_key_is_looked_up(void **state)
{
    struct world world;
    struct thing thing;
    struct append first, known, unknown;
    begin(&world, state, 1);
    thing_init(&thing, "room:1", 3, FOREVER);
    thing_open(&world, &thing, 10);
    thing_ask(&thing, &first, "k1", "one");
    look_up(&thing, &known, "k1"); /* while it is under way */
    look_up(&thing, &unknown, "k2");
    world_settle(&world);
    assert_true(known.err == ERR_OK && known.offset == 1 && known.is_repeat);
    assert_true(unknown.err == ERR_NOT_FOUND && !unknown.is_repeat);
    for (int i = 0; i < 9; i++) thing_publish(&thing, NULL, "more"); /* it is kept no longer */
    look_up(&thing, &known, "k1");
    look_up(&thing, &unknown, "k2");
    world_settle(&world);
    assert_true(known.err == ERR_OK && known.offset == 1 && known.is_repeat);
    assert_int_equal(unknown.err, ERR_NOT_FOUND);
    assert_int_equal(thing_publish(&thing, "k2", "two"), 11); /* looking has not taken it */
    thing_hear(&thing, 11);
    thing_close(&thing);
    thing_fini(&thing);
    world_stop(&world);
}

static void without_history_publications_are_live_only(void **state)
{
    struct world world;
    struct thing thing;
    begin(&world, state, 1);
    thing_init(&thing, "live", 0, 0);
    thing_open(&world, &thing, 10);
    assert_int_equal(thing_publish(&thing, NULL, "one"), 0);
    assert_int_equal(thing_publish(&thing, "k", "two"), 0);
    assert_int_equal(thing_publish(&thing, "k", "two"), 0);
    thing_hear(&thing, 2);
    assert_int_equal(thing.channel.head, 0);
    thing_read(&thing, 0, UINT32_MAX, false);
    assert_int_equal(thing.answer.count, 0);
    end_room(&world, &thing);
}

static void read_every_way(struct thing *thing)
{
    thing_read(thing, 0, UINT32_MAX, false);
    assert_answer(thing, 1, 30);
    thing_read(thing, 10, 5, false);
    assert_answer(thing, 11, 15);
    thing_read(thing, 29, 5, false);
    assert_answer(thing, 30, 30);
    thing_read(thing, 30, 5, false);
    assert_int_equal(thing->answer.count, 0);
    thing_read(thing, 99, 5, false);
    assert_int_equal(thing->answer.count, 0);
    thing_read(thing, 0, 3, true);
    assert_answer(thing, 30, 28);
    thing_read(thing, 10, UINT32_MAX, true);
    assert_answer(thing, 9, 1);
    thing_read(thing, 1, 5, true);
    assert_int_equal(thing->answer.count, 0);
    thing_read(thing, 0, 0, false);
    assert_int_equal(thing->answer.count, 0);
}

static void reads_go_forward_and_back(void **state)
{
    struct world world;
    struct thing thing;
    begin_room(&world, state, &thing);
    publish_many(&thing, 1, 30);
    read_every_way(&thing);
    thing_close(&thing);
    thing_open(&world, &thing, 7);
    assert_answer(&thing, 24, 30);
    read_every_way(&thing);
    end_room(&world, &thing);
}

static void history_keeps_its_size(void **state)
{
    struct world world;
    struct thing thing;
    begin(&world, state, 1);
    thing_init(&thing, "room:1", 5, FOREVER);
    thing_open(&world, &thing, 10);
    publish_many(&thing, 1, 30);
    thing_read(&thing, 0, UINT32_MAX, false);
    assert_answer(&thing, 26, 30);
    thing_close(&thing);
    thing_open(&world, &thing, 10);
    assert_answer(&thing, 26, 30);
    thing_read(&thing, 27, UINT32_MAX, true);
    assert_answer(&thing, 26, 26);
    end_room(&world, &thing);
}

static void history_keeps_its_time(void **state)
{
    struct world world;
    struct thing thing;
    begin(&world, state, 1);
    thing_init(&thing, "room:1", 100, 200);
    thing_open(&world, &thing, 10);
    publish_many(&thing, 1, 5);
    uint64_t end_ns = clock_mono_ns() + 300000000ull;
    while (clock_mono_ns() < end_ns) world_turn(&world);
    publish_many(&thing, 6, 6);
    thing_read(&thing, 0, UINT32_MAX, false);
    assert_answer(&thing, 6, 6);
    thing_close(&thing);
    thing_open(&world, &thing, 10);
    assert_int_equal(thing.channel.head, 6);
    assert_answer(&thing, 6, 6);
    end_room(&world, &thing);
}

static void members_join_at_the_head_and_cursors_only_grow(void **state)
{
    struct world world;
    struct thing thing;
    uint64_t joined = 0;
    begin_room(&world, state, &thing);
    publish_many(&thing, 1, 5);
    thing_members(&thing, (const char *[]){"ann", "bob"}, 2);
    assert_int_equal(thing.members_count, 2);
    publish_many(&thing, 6, 10);
    thing_cursor(&thing, "ann", 8);
    thing_cursor(&thing, "ann", 7);
    thing_cursor(&thing, "stranger", 7);
    assert_int_equal(thing.cursors_heard, 3);
    for (int round = 0; round < 2; round++) {
        thing_close(&thing);
        thing_open(&world, &thing, 10);
        assert_int_equal(thing.members_count, 2);
        assert_int_equal(thing_cursor_of(&thing, "ann", &joined), 8);
        assert_int_equal(joined, 6);
        assert_int_equal(thing_cursor_of(&thing, "bob", &joined), 5);
        assert_int_equal(joined, 6);
    }
    thing_members(&thing, (const char *[]){"cid", "ann"}, 2);
    thing_close(&thing);
    thing_open(&world, &thing, 10);
    assert_int_equal(thing.members_count, 2);
    assert_int_equal(thing_cursor_of(&thing, "ann", &joined), 8);
    assert_int_equal(joined, 6);
    assert_int_equal(thing_cursor_of(&thing, "cid", &joined), 10);
    assert_int_equal(joined, 11);
    assert_true(thing_cursor_of(&thing, "bob", NULL) == UINT64_MAX);
    thing_members(&thing, NULL, 0);
    thing_close(&thing);
    thing_open(&world, &thing, 10);
    assert_int_equal(thing.members_count, 0);
    end_room(&world, &thing);
}

static void an_epoch_stays_over_close_and_open(void **state)
{
    struct world world;
    struct thing thing, other;
    char epoch[EPOCH_MAX + 1];
    begin(&world, state, 1);
    thing_init(&thing, "room:1", 100, FOREVER);
    thing_init(&other, "room:2", 100, FOREVER);
    thing_open(&world, &thing, 10);
    thing_open(&world, &other, 10);
    assert_string_not_equal(thing.channel.epoch, other.channel.epoch);
    memcpy(epoch, thing.channel.epoch, sizeof epoch);
    thing_close(&thing);
    thing_open(&world, &thing, 10);
    assert_string_equal(thing.channel.epoch, epoch);
    publish_many(&thing, 1, 3);
    thing_close(&thing);
    thing_open(&world, &thing, 10);
    assert_string_equal(thing.channel.epoch, epoch);
    thing_close(&thing);
    thing_close(&other);
    thing_fini(&thing);
    thing_fini(&other);
    world_stop(&world);
}

static void records_of_any_size_are_kept(void **state)
{
    static const uint32_t sizes[] = {0, 1, 65536, 1u << 20, 5u << 20, 100};
    struct world world;
    struct thing thing;
    begin_room(&world, state, &thing);
    struct append appends[array_count(sizes)] = {0};
    for (uint32_t i = 0; i < array_count(sizes); i++) {
        uint8_t *data = mem_alloc(sizes[i] + 1);
        memset(data, 'a' + (int)i, sizes[i]);
        appends[i].op.type = RECORD_PUBLICATION;
        appends[i].op.publication.data = bytes_of(data, sizes[i]);
        thing_append(&thing, &appends[i]);
        mem_free(data);
    }
    world_settle(&world);
    thing_read(&thing, 0, UINT32_MAX, false);
    assert_int_equal(thing.answer.count, array_count(sizes));
    for (uint32_t i = 0; i < array_count(sizes); i++) {
        assert_int_equal(appends[i].offset, i + 1);
        assert_int_equal(thing.feed.items[i].size, sizes[i]);
        assert_int_equal(thing.answer.items[i].size, sizes[i]);
        if (sizes[i] > 0) assert_int_equal(thing.answer.items[i].data[0], 'a' + i);
    }
    end_room(&world, &thing);
}

static void health_is_good_and_says_what_is_promised(void **state)
{
    struct world world;
    struct store_health health;
    begin(&world, state, 1);
    store_health(world.shards[0].store, &health);
    assert_true(health.is_ok);
    assert_string_equal(health.durability,
                        engine_of(state) == CONFIG_ENGINE_MEMORY ? "memory" : "durable");
    world_stop(&world);
}

static void everything_is_there_after_a_restart(void **state)
{
    struct world world;
    struct thing things[20];
    char epochs[20][EPOCH_MAX + 1], name[32];
    begin(&world, state, 1);
    for (int i = 0; i < 20; i++) {
        snprintf(name, sizeof name, "room:%d", i);
        thing_init(&things[i], name, 100, FOREVER);
        thing_open(&world, &things[i], 10);
        publish_many(&things[i], 1, 10);
        assert_int_equal(thing_publish(&things[i], "key", "m11"), 11);
        thing_members(&things[i], (const char *[]){"ann"}, 1);
        thing_cursor(&things[i], "ann", 11);
        memcpy(epochs[i], things[i].channel.epoch, sizeof epochs[i]);
        thing_close(&things[i]);
    }
    for (uint32_t round = 1; round <= 4; round++) {
        world_stop(&world);
        assert_int_equal(world_start(&world, round % 3 + 1), ERR_OK);
        for (int i = 0; i < 20; i++) {
            thing_open(&world, &things[i], 5);
            assert_int_equal(things[i].channel.head, 10 + round);
            assert_string_equal(things[i].channel.epoch, epochs[i]);
            assert_int_equal(thing_cursor_of(&things[i], "ann", NULL), 11);
            thing_read(&things[i], 0, 10 + round, false);
            assert_answer(&things[i], 1, 10 + round);
            assert_int_equal(thing_publish(&things[i], "key", "again"), 11);
            char data[16];
            snprintf(data, sizeof data, "m%d", (int)(11 + round));
            assert_int_equal(thing_publish(&things[i], NULL, data), 11 + round);
            thing_close(&things[i]);
        }
    }
    world_stop(&world);
    for (int i = 0; i < 20; i++) thing_fini(&things[i]);
}

/* Publishes for those who listen now; the offset. */
static uint64_t ask_live(struct thing *thing, const char *key)
{
    struct append append = {0};
    append.op.type = RECORD_PUBLICATION;
    append.op.publication.data = BYTES_LITERAL("live");
    append.op.scope = BYTES_LITERAL("api");
    append.op.key = bytes_of_text(key);
    append.op.is_live_only = true;
    thing_append(thing, &append);
    assert_true(world_wait(append.world, &append.is_done));
    assert_int_equal(append.err, ERR_OK);
    return append.offset;
}

/* In a channel without history, and skipped over in one that has some. */
static void a_key_outlives_what_nobody_keeps(void **state)
{
    struct world world;
    struct thing live, room;
    struct append first, second;
    begin(&world, state, 1);
    thing_init(&live, "live", 0, 0);
    thing_init(&room, "room", 10, FOREVER);
    thing_open(&world, &live, 10);
    thing_open(&world, &room, 10);
    thing_ask(&live, &first, "k1", "one");
    thing_ask(&live, &second, "k1", "again"); /* while the first is under way */
    world_settle(&world);
    assert_false(first.is_repeat);
    assert_true(second.err == ERR_OK && second.is_repeat && second.offset == 0);
    assert_int_equal(thing_publish(&live, "k2", "two"), 0);
    thing_hear(&live, 2);
    assert_string_equal(live.feed.items[0].data, "one");
    assert_string_equal(live.feed.items[1].data, "two");
    publish_many(&room, 1, 3);
    assert_int_equal(ask_live(&room, "k1"), 0);
    thing_hear(&room, 4);
    thing_close(&live);
    thing_close(&room);
    for (uint32_t round = 1; round <= 3; round++) {
        world_stop(&world);
        assert_int_equal(world_start(&world, round), ERR_OK);
        thing_open(&world, &live, 10);
        thing_open(&world, &room, 10);
        for (int i = 0; i < 2; i++) {
            thing_ask(&live, &first, i == 0 ? "k1" : "k2", "repeated");
            world_settle(&world);
            assert_true(first.err == ERR_OK && first.is_repeat && first.offset == 0);
        }
        assert_int_equal(thing_publish(&room, "k1", "repeated"), 0);
        assert_int_equal(thing_publish(&live, NULL, "end"), 0);
        assert_int_equal(room.feed.count, 0);
        assert_int_equal(room.channel.head, 3);
        thing_hear(&live, 1); /* the repeated ones are not heard */
        assert_int_equal(live.channel.head, 0);
        thing_read(&live, 0, UINT32_MAX, false);
        assert_int_equal(live.answer.count, 0);
        thing_close(&live);
        thing_close(&room);
    }
    world_stop(&world);
    thing_fini(&live);
    thing_fini(&room);
}

#define CASES(engine)                                                                              \
    CASE(offsets_are_gapless_and_the_feed_follows, engine), CASE(a_key_publishes_once, engine),    \
        CASE(a_key_is_looked_up, engine),                                                          \
        CASE(without_history_publications_are_live_only, engine),                                  \
        CASE(reads_go_forward_and_back, engine), CASE(history_keeps_its_size, engine),             \
        CASE(history_keeps_its_time, engine),                                                      \
        CASE(members_join_at_the_head_and_cursors_only_grow, engine),                              \
        CASE(an_epoch_stays_over_close_and_open, engine),                                          \
        CASE(records_of_any_size_are_kept, engine),                                                \
        CASE(health_is_good_and_says_what_is_promised, engine)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASES(MEMORY),
        CASES(REDIS),
        CASE(everything_is_there_after_a_restart, REDIS),
        CASE(a_key_outlives_what_nobody_keeps, REDIS),
        CASES(EMBEDDED),
        CASE(everything_is_there_after_a_restart, EMBEDDED),
        CASE(a_key_outlives_what_nobody_keeps, EMBEDDED),
    };
    const struct CMUnitTest others[] = {
        CASES(REDIS),
        CASE(everything_is_there_after_a_restart, REDIS),
        CASE(a_key_outlives_what_nobody_keeps, REDIS),
    };
    return engines_run(ENGINE_CASES(tests), ENGINE_CASES(others), true);
}
