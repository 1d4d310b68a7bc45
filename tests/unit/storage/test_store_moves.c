/*
 * The contract of storage/store.h about when members moved and whose channels are
 * whose, on every engine; and that a restart keeps all that is known of members.
 */
#include "unit/storage/store_people.h"

static void moves_have_their_times(void **state)
{
    struct world world;
    struct thing thing;
    begin_room(&world, state, &thing);
    change_members(&thing, MEMBERS_SET, "ab", NULL);
    publish_many(&thing, 1, 3);
    thing_hear(&thing, 3);
    uint64_t begin_ms = store_now_ms(thing.shard->store);
    (void)mark(&thing, "a", CURSOR_DELIVERED, 3);
    pass(&world, 20);
    (void)mark(&thing, "a", CURSOR_READ, 1);
    pass(&world, 20);
    (void)mark(&thing, "a", CURSOR_READ, 2);
    pass(&world, 20);
    (void)mark(&thing, "a", CURSOR_READ, 1); /* no move */
    assert_int_equal(publish_as(&thing, "b"), 4);
    for (int round = 0; round < 3; round++) {
        struct moves one = ask_moves(&world, &thing, 1), two = ask_moves(&world, &thing, 2);
        struct moves three = ask_moves(&world, &thing, 3), five = ask_moves(&world, &thing, 5);
        assert_true(one.moved[0].delivered_ms + 1000 >= begin_ms);
        assert_true(one.moved[0].read_ms >= one.moved[0].delivered_ms + 15);
        assert_true(two.moved[0].read_ms >= one.moved[0].read_ms + 15);
        assert_true(three.moved[0].delivered_ms == one.moved[0].delivered_ms);
        assert_int_equal(three.moved[0].read_ms, 0);
        assert_true(one.moved[1].read_ms >= two.moved[0].read_ms + 15);
        assert_true(one.moved[1].delivered_ms == one.moved[1].read_ms);
        assert_true(three.moved[1].read_ms == one.moved[1].read_ms);
        assert_true(five.moved[0].delivered_ms == 0 && five.moved[1].read_ms == 0);
        bool has_index = engine_of(state) == CONFIG_ENGINE_EMBEDDED;
        if (round == 0 && has_index) pass(&world, 700); /* it has everything now */
        if (round > 0) check_reopened(&world, &thing);
    }
    end_room(&world, &thing);
}

/* Redis lists by itself within a moment; where shards settle, nothing is late. */
static void settled_shards_list_what_they_have_answered(void **state)
{
    struct world world;
    struct thing thing;
    if (engine_of(state) == CONFIG_ENGINE_REDIS) return;
    begin(&world, state, 2);
    thing_init(&thing, "room:a", 100, FOREVER);
    thing_open(&world, &thing, 10);
    settle(&world); /* there is nothing */
    for (int round = 0; round < 5; round++) {
        change_members(&thing, MEMBERS_ADD, "u", NULL);
        settle(&world);
        assert_string_equal(ask_listed(&world, 1, "u", "", 10).names, "room:a ");
        change_members(&thing, MEMBERS_REMOVE, "u", NULL);
        settle(&world);
        assert_string_equal(ask_listed(&world, 0, "u", "", 10).names, "");
    }
    thing_close(&thing);
    thing_fini(&thing);
    world_stop(&world);
}

/* By each kind of list; and what was said before is unread again for who is imported so. */
static void who_comes_back_has_no_times_of_before(void **state)
{
    static const char *const lists[] = {"ac", "bc"};
    static const struct member_join early[] = {{.joined = 1}, {.joined = 1}};
    struct world world;
    struct thing thing;
    begin_room(&world, state, &thing);
    change_members(&thing, MEMBERS_SET, "abc", NULL);
    publish_many(&thing, 1, 3);
    thing_hear(&thing, 3);
    for (int round = 0; round < 3; round++) {
        (void)mark(&thing, "a", CURSOR_READ, 2);
        (void)mark(&thing, "b", CURSOR_READ, 3);
        bool has_index = engine_of(state) == CONFIG_ENGINE_EMBEDDED;
        if (round == 1 && has_index) pass(&world, 700); /* it has everything now */
        struct moves moves = ask_moves(&world, &thing, 2);
        assert_true(moves.moved[0].read_ms > 0 && moves.moved[1].read_ms > 0);
        if (round == 2)
            change_members(&thing, MEMBERS_REMOVE, "ab", NULL);
        else
            change_members(&thing, MEMBERS_SET, lists[round], NULL);
        change_members(&thing, MEMBERS_ADD, "ab", early);
        for (int again = 0; again < 2; again++) {
            moves = ask_moves(&world, &thing, 1);
            bool has_a = round == 0, has_b = round == 1;
            assert_int_equal(moves.moved[0].read_ms > 0, has_a);
            assert_int_equal(moves.moved[0].delivered_ms > 0, has_a);
            assert_int_equal(moves.moved[1].read_ms > 0, has_b);
            assert_int_equal(moves.moved[1].delivered_ms > 0, has_b);
            if (again == 0 && round > 0 && has_index) pass(&world, 700);
            if (again == 0 && round > 0) check_reopened(&world, &thing);
        }
    }
    (void)mark(&thing, "a", CURSOR_READ, 1);
    struct moves moves = ask_moves(&world, &thing, 1);
    assert_true(moves.moved[0].read_ms > 0 && moves.moved[1].read_ms == 0);
    end_room(&world, &thing);
}

static void channels_of_a_user_are_listed(void **state)
{
    static const char *const names[] = {"room:b", "room:a", "c", "room:d"};
    struct world world;
    struct thing things[4];
    begin(&world, state, 2);
    for (int i = 0; i < 4; i++) {
        thing_init(&things[i], names[i], 100, FOREVER);
        thing_open(&world, &things[i], 10);
        change_members(&things[i], MEMBERS_SET, i == 3 ? "x" : "au", NULL);
    }
    assert_listed(&world, "u", "c room:a room:b ");
    assert_listed(&world, "x", "room:d ");
    assert_listed(&world, "nobody", "");
    struct listed page = ask_listed(&world, 0, "u", "", 2);
    assert_string_equal(page.names, "c room:a ");
    assert_true(page.has_more);
    page = ask_listed(&world, 0, "u", "room:a", 2);
    assert_string_equal(page.names, "room:b ");
    assert_false(page.has_more);
    change_members(&things[1], MEMBERS_SET, "a", NULL);
    change_members(&things[2], MEMBERS_REMOVE, "u", NULL);
    change_members(&things[3], MEMBERS_ADD, "u", NULL);
    assert_listed(&world, "u", "room:b room:d ");
    change_members(&things[3], MEMBERS_REMOVE, "u", NULL);
    change_members(&things[0], MEMBERS_SET, "", NULL);
    assert_listed(&world, "u", "");
    change_members(&things[2], MEMBERS_ADD, "u", NULL);
    assert_listed(&world, "u", "c ");
    assert_listed(&world, "a", "c room:a ");
    for (int i = 0; i < 4; i++) {
        thing_close(&things[i]);
        thing_fini(&things[i]);
    }
    world_stop(&world);
}

/* A node changed members and died before it told the users' partitions; what it had told
 * of another channel comes again, and late. */
static void what_a_node_left_is_carried(void **state)
{
    static const char *const left[] = {"room:z',struct.pack('<c1I4','+',1)..'z'",
                                       "room:y',struct.pack('<c1I4','+',1)..'z'",
                                       "room:y',struct.pack('<c1I4','-',1)..'z'"};
    struct world world;
    char command[256];
    for (int i = 0; i < 3; i++) {
        snprintf(command, sizeof command,
                 "EVAL return(redis.call('XADD',KEYS[1],'*','%s)) 1 test:{p3}:o", left[i]);
        assert_true(redis_say(&redis, command)[0] == '$');
    }
    begin(&world, state, 1);
    assert_listed(&world, "z", "room:z ");
    uint64_t end_ns = clock_mono_ns() + WORLD_WAIT_MS * 1000000ull;
    while (strcmp(redis_say(&redis, "XLEN test:{p3}:o"), ":0") != 0 && clock_mono_ns() < end_ns)
        pass(&world, 20);
    (void)redis_say(&redis, "EVAL return(redis.call('XADD',KEYS[1],'5-5','room:z',struct.pack("
                            "'<c1I4','-',1)..'z')) 1 test:{p20}:o");
    end_ns = clock_mono_ns() + WORLD_WAIT_MS * 1000000ull;
    while (strcmp(redis_say(&redis, "XLEN test:{p20}:o"), ":0") != 0 && clock_mono_ns() < end_ns)
        pass(&world, 20);
    assert_listed(&world, "z", "room:z "); /* older news */
    world_stop(&world);
}

/* Of a busy channel Redis is asked page by page. */
static void a_move_is_found_behind_many_others(void **state)
{
    struct world world;
    struct thing thing;
    begin_room(&world, state, &thing);
    change_members(&thing, MEMBERS_SET, "abc", NULL);
    publish_many(&thing, 1, 2);
    (void)mark(&thing, "a", CURSOR_READ, 2);
    (void)mark(&thing, "b", CURSOR_DELIVERED, 2);
    assert_string_equal(redis_say(&redis, "EVAL local\tk=redis.call('KEYS','test:*:v:*')\tfor\ti=1,"
                                          "3000\tdo\tredis.call('XADD',k[1],'*','c2','z')\tend\t"
                                          "return\t#k 0"),
                        ":1");
    (void)mark(&thing, "b", CURSOR_READ, 1);
    struct moves one = ask_moves(&world, &thing, 1), two = ask_moves(&world, &thing, 2);
    assert_true(one.moved[0].read_ms > 0 && one.moved[1].read_ms >= one.moved[0].read_ms);
    assert_true(one.moved[1].delivered_ms > 0);
    assert_true(one.moved[1].delivered_ms <= one.moved[1].read_ms);
    assert_int_equal(two.moved[1].read_ms, 0);
    assert_true(two.moved[1].delivered_ms == one.moved[1].delivered_ms);
    end_room(&world, &thing);
}

static void members_outlive_a_restart(void **state)
{
    struct world world;
    struct thing thing;
    char epoch[EPOCH_MAX + 1];
    begin_room(&world, state, &thing);
    change_members(&thing, MEMBERS_SET, "abc", NULL);
    assert_int_equal(publish_as(&thing, "a"), 1);
    assert_int_equal(publish_as(&thing, "b"), 2);
    (void)mark(&thing, "c", CURSOR_DELIVERED, 2);
    (void)mark(&thing, "c", CURSOR_READ, 1);
    (void)mark(&thing, "b", CURSOR_UNREAD, 1);
    (void)mark(&thing, "c", CURSOR_HIDDEN, 1);
    change_members(&thing, MEMBERS_REMOVE, "a", NULL);
    struct moves moves = ask_moves(&world, &thing, 1);
    memcpy(epoch, thing.channel.epoch, sizeof epoch);
    for (uint32_t round = 1; round <= 3; round++) {
        world_settle(&world);
        struct members before = thing.people;
        thing_close(&thing);
        members_init(&thing.people, 1);
        world_stop(&world);
        assert_int_equal(world_start(&world, round), ERR_OK);
        thing_open(&world, &thing, 10);
        assert_string_equal(thing.channel.epoch, epoch);
        assert_true(are_same(&before, &thing.people));
        assert_int_equal(thing.people.map.count, 1 + round);
        members_fini(&before);
        assert_person(&thing, "b", 1, 2, 2, 1, false);
        assert_person(&thing, "c", 1, 1, 2, 0, true);
        struct moves again = ask_moves(&world, &thing, 1);
        moves.moved[2].joined = again.moved[2].joined; /* x comes between */
        assert_memory_equal(again.moved, moves.moved, sizeof moves.moved);
        assert_listed(&world, "b", "room:1 ");
        assert_listed(&world, "a", "");
        change_members(&thing, MEMBERS_ADD, round == 1 ? "x" : "y", NULL);
    }
    end_room(&world, &thing);
}

#define CASES(engine)                                                                              \
    CASE(moves_have_their_times, engine), CASE(who_comes_back_has_no_times_of_before, engine),     \
        CASE(channels_of_a_user_are_listed, engine),                                               \
        CASE(settled_shards_list_what_they_have_answered, engine)

int main(void)
{
    const struct CMUnitTest tests[] = {CASES(MEMORY),
                                       CASES(EMBEDDED),
                                       CASES(REDIS),
                                       CASE(members_outlive_a_restart, EMBEDDED),
                                       CASE(members_outlive_a_restart, REDIS),
                                       CASE(what_a_node_left_is_carried, REDIS),
                                       CASE(a_move_is_found_behind_many_others, REDIS)};
    const struct CMUnitTest others[] = {CASES(REDIS)};
    return engines_run(ENGINE_CASES(tests), ENGINE_CASES(others), false);
}
