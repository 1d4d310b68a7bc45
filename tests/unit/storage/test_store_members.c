/*
 * The contract of storage/store.h about members, on every engine: lists and their
 * deltas, marks, what a publication moves, and that a snapshot has what the feed
 * brought.
 */
#include "storage/change.h"
#include "unit/storage/store_people.h"

static void lists_change_by_what_they_name(void **state)
{
    struct world world;
    struct thing thing;
    begin_room(&world, state, &thing);
    publish_many(&thing, 1, 5);
    thing_hear(&thing, 5);
    change_members(&thing, MEMBERS_SET, "abc", NULL);
    assert_person(&thing, "a", 6, 5, 5, 0, false);
    publish_many(&thing, 6, 8);
    thing_hear(&thing, 8);
    static const struct member_join joins[] = {{1, 0}, {3, 7}, {2, 99}, {99, 99}};
    change_members(&thing, MEMBERS_ADD, "cdef", joins);
    assert_person(&thing, "c", 6, 5, 5, 0, false); /* stays as he is */
    assert_person(&thing, "d", 3, 7, 7, 0, false);
    assert_person(&thing, "e", 2, 8, 8, 0, false);
    assert_person(&thing, "f", 9, 8, 8, 0, false);
    check_reopened(&world, &thing);
    change_members(&thing, MEMBERS_REMOVE, "adx", NULL);
    assert_int_equal(thing.people.map.count, 4); /* b c e f */
    check_reopened(&world, &thing);
    change_members(&thing, MEMBERS_ADD, "a", NULL); /* a new join */
    assert_person(&thing, "a", 9, 8, 8, 0, false);
    check_reopened(&world, &thing);
    change_members(&thing, MEMBERS_SET, "fg", NULL);
    assert_int_equal(thing.people.map.count, 2);
    assert_person(&thing, "f", 9, 8, 8, 0, false);
    check_reopened(&world, &thing);
    change_members(&thing, MEMBERS_REMOVE, "fg", NULL);
    assert_int_equal(thing.people.map.count, 0);
    check_reopened(&world, &thing);
    change_members(&thing, MEMBERS_REMOVE, "fg", NULL);
    change_members(&thing, MEMBERS_ADD, "h", NULL);
    check_reopened(&world, &thing);
    assert_person(&thing, "h", 9, 8, 8, 0, false);
    end_room(&world, &thing);
}

/* A piece of a list that takes the place of another: those above `after`, up to `upto`. */
static void change_between(struct thing *thing, const char *letters, const char *after,
                           const char *upto)
{
    struct bytes users[8];
    struct append append = {0};
    for (uint32_t i = 0; letters[i] != 0; i++) users[i] = bytes_of(letters + i, 1);
    append.op.type = RECORD_MEMBERS;
    append.op.members = (struct members_ask){.kind = MEMBERS_SET_BETWEEN,
                                             .after = bytes_of_text(after),
                                             .upto = bytes_of_text(upto),
                                             .users = users,
                                             .count = (uint32_t)strlen(letters)};
    thing_append(thing, &append);
    wait_append(&append);
}

/* Between its pieces others change the members, too: each record finds what is so then. */
static void pieces_of_a_list_stand_between_others(void **state)
{
    struct world world;
    struct thing thing;
    begin_room(&world, state, &thing);
    change_members(&thing, MEMBERS_SET, "abcdef", NULL);
    change_between(&thing, "ab", "", "b");
    change_members(&thing, MEMBERS_REMOVE, "cd", NULL);
    change_members(&thing, MEMBERS_ADD, "g", NULL);
    change_between(&thing, "cd", "b", "d"); /* back, though they have just left */
    change_members(&thing, MEMBERS_SET, "e", NULL);
    change_between(&thing, "f", "d", "");
    assert_int_equal(thing.people.map.count, 1);
    assert_person(&thing, "f", 1, 0, 0, 0, false);
    check_reopened(&world, &thing);
    change_between(&thing, "ab", "", "b");
    change_members(&thing, MEMBERS_REMOVE, "f", NULL);
    change_between(&thing, "fz", "b", "");
    assert_int_equal(thing.people.map.count, 4);
    check_reopened(&world, &thing);
    end_room(&world, &thing);
}

static void marks_are_kept(void **state)
{
    struct world world;
    struct thing thing;
    begin_room(&world, state, &thing);
    change_members(&thing, MEMBERS_SET, "ab", NULL);
    publish_many(&thing, 1, 10);
    thing_hear(&thing, 10);
    assert_int_equal(mark(&thing, "a", CURSOR_DELIVERED, 8), 8);
    assert_int_equal(mark(&thing, "a", CURSOR_READ, 6), 6);
    (void)mark(&thing, "a", CURSOR_READ, 5);
    assert_person(&thing, "a", 1, 6, 8, 0, false);
    assert_int_equal(mark(&thing, "a", CURSOR_READ, 99), 10); /* cut to the head */
    (void)mark(&thing, "a", CURSOR_UNREAD, 4);
    assert_person(&thing, "a", 1, 10, 10, 4, false); /* the receipt stays */
    check_reopened(&world, &thing);
    (void)mark(&thing, "a", CURSOR_READ, 3);
    assert_person(&thing, "a", 1, 10, 10, 4, false);
    (void)mark(&thing, "a", CURSOR_READ, 10);
    assert_person(&thing, "a", 1, 10, 10, 0, false);
    (void)mark(&thing, "b", CURSOR_UNREAD, 4); /* nothing is read: no mark */
    (void)mark(&thing, "b", CURSOR_HIDDEN, 1);
    (void)mark(&thing, "stranger", CURSOR_READ, 10);
    (void)mark(&thing, "stranger", CURSOR_HIDDEN, 1);
    assert_person(&thing, "b", 1, 0, 0, 0, true);
    assert_int_equal(thing.people.map.count, 2);
    check_reopened(&world, &thing);
    (void)mark(&thing, "b", CURSOR_HIDDEN, 0);
    (void)mark(&thing, "a", CURSOR_UNREAD, 2);
    (void)mark(&thing, "a", CURSOR_UNREAD, 0);
    check_reopened(&world, &thing);
    assert_person(&thing, "a", 1, 10, 10, 0, false);
    assert_person(&thing, "b", 1, 0, 0, 0, false);
    end_room(&world, &thing);
}

static void who_publishes_has_read(void **state)
{
    struct world world;
    struct thing thing;
    struct append live = {0};
    begin_room(&world, state, &thing);
    change_members(&thing, MEMBERS_SET, "ab", NULL);
    assert_int_equal(publish_as(&thing, "a"), 1);
    assert_int_equal(publish_as(&thing, "stranger"), 2);
    assert_int_equal(publish_as(&thing, "b"), 3);
    assert_int_equal(thing_publish(&thing, NULL, "api"), 4);
    thing_hear(&thing, 4);
    assert_person(&thing, "a", 1, 1, 1, 0, false);
    assert_person(&thing, "b", 1, 3, 3, 0, false);
    check_reopened(&world, &thing);
    (void)mark(&thing, "b", CURSOR_UNREAD, 2);
    live.op.type = RECORD_PUBLICATION;
    live.op.publication.has_info = true;
    live.op.publication.user = BYTES_LITERAL("b");
    live.op.is_live_only = true;
    thing_append(&thing, &live);
    wait_append(&live);
    thing_hear(&thing, 1);
    assert_person(&thing, "b", 1, 3, 3, 2, false); /* what is not kept moves nobody */
    check_reopened(&world, &thing);
    assert_int_equal(publish_as(&thing, "b"), 5);
    thing_hear(&thing, 1);
    assert_person(&thing, "b", 1, 5, 5, 0, false);
    assert_int_equal(thing.people.map.count, 2);
    check_reopened(&world, &thing);
    end_room(&world, &thing);
}

struct whole {
    struct store_change op; /* first */
    bool is_done;
    enum err err;
};

static void on_changed(struct store_change *op, enum err err)
{
    struct whole *whole = (struct whole *)op;
    whole->is_done = true;
    whole->err = err;
}

static void change_whole(struct world *world, struct thing *thing, enum members_kind kind,
                         const struct bytes *users, uint32_t count)
{
    struct whole whole = {.op = {.channel = &thing->channel,
                                 .ask = {.kind = kind, .users = users, .count = count},
                                 .on_changed = on_changed}};
    store_change(thing->shard->store, &whole.op);
    assert_false(whole.is_done);
    assert_true(world_wait(world, &whole.is_done));
    assert_int_equal(whole.err, ERR_OK);
}

/* Lists of several records: as if they were one. */
static void long_lists_are_cut(void **state)
{
    static char names[3 * MEMBERS_RECORD_MAX][12];
    static struct bytes users[3 * MEMBERS_RECORD_MAX];
    const uint32_t count = 2 * MEMBERS_RECORD_MAX + MEMBERS_RECORD_MAX / 2;
    struct world world;
    struct thing thing;
    begin_room(&world, state, &thing);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t at = (uint32_t)((uint64_t)i * 7919 % count); /* in no order */
        snprintf(names[at], sizeof names[at], "u%d", (int)i);
        users[at] = bytes_of_text(names[at]);
    }
    change_whole(&world, &thing, MEMBERS_SET, users, count);
    assert_int_equal(thing.people.map.count, count);
    publish_many(&thing, 1, 1);
    (void)mark(&thing, "u7", CURSOR_READ, 1);
    users[5] = users[6]; /* named twice: once */
    change_whole(&world, &thing, MEMBERS_SET, users + 5, count - 5);
    assert_int_equal(thing.people.map.count, count - 6);
    change_whole(&world, &thing, MEMBERS_ADD, users, 8);
    assert_int_equal(thing.people.map.count, count - 1);
    check_reopened(&world, &thing);
    change_whole(&world, &thing, MEMBERS_REMOVE, users + 1, count - 2);
    assert_int_equal(thing.people.map.count, 2);
    change_whole(&world, &thing, MEMBERS_SET, NULL, 0);
    assert_int_equal(thing.people.map.count, 0);
    check_reopened(&world, &thing);
    end_room(&world, &thing);
}

/* A channel's own mark: the last one counts, whoever its members are, and it goes with 0. */
static void a_policy_is_kept(void **state)
{
    struct world world;
    struct thing thing;
    char epoch[EPOCH_MAX + 1];
    begin(&world, state, 1);
    thing_init(&thing, "room:1", 100, FOREVER);
    thing_open(&world, &thing, 10);
    memcpy(epoch, thing.channel.epoch, sizeof epoch);
    assert_int_equal(thing.people.policy, 0);
    assert_int_equal(mark(&thing, "", CURSOR_POLICY, 0x23), 0x23); /* above the head */
    check_reopened(&world, &thing);
    assert_int_equal(thing.people.policy, 0x23);
    change_members(&thing, MEMBERS_SET, "ab", NULL);
    publish_many(&thing, 1, 3);
    thing_hear(&thing, 3);
    (void)mark(&thing, "a", CURSOR_READ, 2);
    (void)mark(&thing, "", CURSOR_POLICY, 7);
    (void)mark(&thing, "", CURSOR_POLICY, 5);
    (void)mark(&thing, "b", CURSOR_HIDDEN, 1);
    check_reopened(&world, &thing);
    assert_int_equal(thing.people.policy, 5);
    change_members(&thing, MEMBERS_SET, "", NULL);
    assert_int_equal(thing_remove(&thing), 3);
    check_reopened(&world, &thing);
    assert_int_equal(thing.people.policy, 5);
    (void)mark(&thing, "", CURSOR_POLICY, 0);
    check_reopened(&world, &thing);
    assert_int_equal(thing.people.policy, 0);
    assert_string_equal(thing.channel.epoch, epoch);
    thing_close(&thing);
    thing_fini(&thing);
    world_stop(&world);
}

/* Without members and publications it keeps its channel, over a restart. */
static void a_policy_outlives_a_restart(void **state)
{
    struct world world;
    struct thing thing;
    begin(&world, state, 2);
    thing_init(&thing, "room:1", 100, FOREVER);
    thing_open(&world, &thing, 10);
    (void)mark(&thing, "", CURSOR_POLICY, 4);
    for (uint32_t shards = 1; shards < 4; shards++) {
        thing_close(&thing);
        world_stop(&world);
        assert_int_equal(world_start(&world, shards), ERR_OK);
        thing_open(&world, &thing, 10);
        assert_int_equal(thing.people.policy, 4);
        assert_int_equal(thing.people.map.count, 0);
    }
    thing_close(&thing);
    thing_fini(&thing);
    world_stop(&world);
}

#define CASES(engine)                                                                              \
    CASE(lists_change_by_what_they_name, engine),                                                  \
        CASE(pieces_of_a_list_stand_between_others, engine), CASE(marks_are_kept, engine),         \
        CASE(who_publishes_has_read, engine), CASE(long_lists_are_cut, engine),                    \
        CASE(a_policy_is_kept, engine)

int main(void)
{
    const struct CMUnitTest tests[] = {CASES(MEMORY), CASES(EMBEDDED),
                                       CASE(a_policy_outlives_a_restart, EMBEDDED), CASES(REDIS),
                                       CASE(a_policy_outlives_a_restart, REDIS)};
    const struct CMUnitTest others[] = {CASES(REDIS), CASE(a_policy_outlives_a_restart, REDIS)};
    return engines_run(ENGINE_CASES(tests), ENGINE_CASES(others), false);
}
