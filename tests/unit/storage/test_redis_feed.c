/*
 * What travels between two nodes over Redis, and what is found when nothing
 * announced it.
 */
#include "unit/storage/redis_nodes.h"

/* --- members, cursors, live ------------------------------------------------------------------ */

static bool is_appended;
static void on_appended(struct store_append *op, enum err err, uint64_t offset, bool is_repeat)
{
    (void)op, (void)offset, (void)is_repeat;
    assert_int_equal(err, ERR_OK);
    is_appended = true;
}

static void append(struct world *world, struct room *room, struct store_append *op)
{
    op->channel = &room->channel;
    op->on_appended = on_appended;
    is_appended = false;
    store_append(room->node->store, op);
    turn_until(world, is_appended);
}

static void set_members(struct world *world, struct room *room, uint32_t count)
{
    static const char *const names[] = {"ann", "bob", "cid", "dan"};
    struct bytes users[4];
    for (uint32_t i = 0; i < count; i++) users[i] = bytes_of_text(names[i]);
    struct store_append op = {.type = RECORD_MEMBERS, .members = {.users = users, .count = count}};
    append(world, room, &op);
}

static void move_cursor(struct world *world, struct room *room, uint64_t offset)
{
    struct store_append op = {
        .type = RECORD_CURSOR, .user = BYTES_LITERAL("ann"), .offset = offset};
    append(world, room, &op);
}

static void members_and_cursors_travel(void **state)
{
    (void)state;
    struct world *world = world_begin();
    struct room *here = &world->rooms[0][0], *there = &world->rooms[1][0];
    set_members(world, here, 2);
    turn_until(world, there->members_count == 2);
    load(world, 120, NULL);
    check_exactly_once(world);
    move_cursor(world, there, 5);
    turn_until(world, here->cursor == 5 && there->cursor == 5);
    move_cursor(world, here, 9999); /* clamped to the head */
    turn_until(world, here->cursor == here->channel.head && there->cursor == here->channel.head);
    world_end(world);
}

/* What is announced while the feed link is down is found when it returns. */
static void changes_missed_by_the_feed_are_found(void **state)
{
    (void)state;
    struct world *world = world_begin();
    struct room *here = &world->rooms[0][0], *there = &world->rooms[1][0];
    set_members(world, here, 2);
    turn_until(world, there->members_count == 2);
    load(world, 120, NULL);
    redis_say(&world->redis, "CLIENT KILL TYPE pubsub");
    /* The other node sleeps over all of it. */
    for (uint32_t i = 0; i < 40; i++) node_turn(&world->nodes[0], 1);
    set_members(world, here, 4);
    move_cursor(world, here, 7);
    turn_until(world, there->members_count == 4 && there->cursor == 7);
    check_exactly_once(world);
    world_end(world);
}

/* --- members that vanished ------------------------------------------------------------------- */

static void drop_members(struct world *world)
{
    assert_string_equal(
        redis_say(&world->redis,
                  "EVAL return(redis.call('DEL',unpack(redis.call('KEYS','test:*:m:room:0')))) 0"),
        ":1");
}

static void reopen(struct world *world, struct room *room)
{
    turn_until(world, world_is_idle(world));
    store_close(room->node->store, &room->channel);
    assert_int_equal(room_open(world, room->node, room, "room:0", NUMBERS_MAX), ERR_OK);
}

static void an_empty_member_list_is_no_loss(void **state)
{
    (void)state;
    struct world *world = world_begin();
    struct room *here = &world->rooms[0][0], *there = &world->rooms[1][0];
    for (uint32_t i = 0; i < 2; i++) { /* the first list there is, and one that ends another */
        there->members_count = 9;
        set_members(world, here, 0);
        turn_until(world, there->members_count == 0);
        reopen(world, here);
        assert_int_equal(here->members_count, 0);
        move_cursor(world, here, 0);
        set_members(world, here, 2);
        turn_until(world, there->members_count == 2);
        reopen(world, here);
        assert_int_equal(here->members_count, 2);
    }
    assert_non_null(strstr(here->channel.epoch, ".1"));
    assert_int_equal(here->lost + there->lost, 0);
    world_end(world);
}

static void vanished_members_are_told_to_who_opens(void **state)
{
    (void)state;
    struct world *world = world_begin();
    struct room *here = &world->rooms[0][0], *there = &world->rooms[1][0];
    set_members(world, here, 2);
    turn_until(world, there->members_count == 2);
    drop_members(world);
    for (uint32_t i = 0; i < 2; i++) { /* once, however often one looks */
        reopen(world, here);
        assert_int_equal(here->members_count, 0);
        turn_until(world, there->lost == 1);
        assert_non_null(strstr(here->channel.epoch, ".2"));
        assert_string_equal(here->channel.epoch, there->channel.epoch);
    }
    set_members(world, here, 3);
    turn_until(world, there->members_count == 3);
    reopen(world, here);
    assert_int_equal(here->members_count, 3);
    assert_non_null(strstr(here->channel.epoch, ".2"));
    assert_int_equal(there->lost, 1);
    world_end(world);
}

static void vanished_members_are_told_to_who_writes(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 2; i++) {
        struct world *world = world_begin();
        struct room *here = &world->rooms[0][0], *there = &world->rooms[1][0];
        set_members(world, here, 2);
        turn_until(world, there->members_count == 2);
        drop_members(world);
        if (i == 0) move_cursor(world, here, 0);
        if (i == 1) set_members(world, here, 1);
        turn_until(world, here->lost == 1 && there->lost == 1);
        assert_non_null(strstr(here->channel.epoch, ".2"));
        reopen(world, here);
        assert_int_equal(here->members_count, i);
        turn_for(world, 50);
        assert_non_null(strstr(here->channel.epoch, ".2"));
        world_end(world);
    }
}

static void remove_all(struct world *world, struct room *room)
{
    struct store_append op = {.type = RECORD_REMOVE};
    append(world, room, &op);
}

/* By its announcement, and, when that was missed, by the look at Redis. */
static void a_removal_reaches_the_other_node(void **state)
{
    (void)state;
    struct world *world = world_begin();
    struct room *here = &world->rooms[0][0], *there = &world->rooms[1][0];
    load(world, 120, NULL);
    uint64_t head = here->channel.head;
    remove_all(world, here);
    turn_until(world, here->removed == head && there->removed == head);
    load(world, 40, NULL);
    check_exactly_once(world);
    redis_say(&world->redis, "CLIENT KILL TYPE pubsub");
    for (uint32_t i = 0; i < 40; i++) node_turn(&world->nodes[0], 1);
    remove_all(world, here);
    turn_until(world, there->removed == here->channel.head && there->removed > head);
    load(world, 40, NULL);
    check_exactly_once(world);
    world_end(world);
}

/* By its own node alone: the other one rests. */
static void append_alone(struct room *room, struct store_append *op)
{
    op->channel = &room->channel;
    op->on_appended = on_appended;
    is_appended = false;
    store_append(room->node->store, op);
    while (!is_appended) node_turn(room->node, 1);
}

static void publish(struct room *room, uint64_t deletes)
{
    struct store_append op = {.type = RECORD_PUBLICATION,
                              .publication = {.data = BYTES_LITERAL("7"), .deletes = deletes}};
    append_alone(room, &op);
}

/* Who missed a message, and that it was deleted, finds its place, and no loss. */
static void the_deleted_is_no_gap(void **state)
{
    (void)state;
    struct world *world = world_begin();
    struct room *here = &world->rooms[0][0], *there = &world->rooms[1][0];
    for (int i = 0; i < 5; i++) publish(here, 0);
    turn_until(world, there->channel.head == 5);
    publish(here, 2);
    turn_until(world, there->channel.head == 6);
    assert_int_equal(there->numbers[2], 7); /* it was heard before */
    redis_say(&world->redis, "CLIENT KILL TYPE pubsub");
    for (int i = 0; i < 40; i++) node_turn(&world->nodes[0], 1);
    struct bytes ann = BYTES_LITERAL("ann");
    struct store_append members = {.type = RECORD_MEMBERS, .members = {.users = &ann, .count = 1}};
    publish(here, 0); /* 7 to 10: deleted are the first, the last and one between */
    append_alone(here, &members);
    publish(here, 0);
    publish(here, 7);
    publish(here, 8);
    publish(here, 10);
    turn_until(world, there->channel.head == 11);
    static const uint32_t numbers[] = {0, 0, 7, 0, 7};
    for (uint64_t i = 0; i < 5; i++) assert_int_equal(there->numbers[7 + i], numbers[i]);
    assert_true(there->count == 11 && here->count == 11 && there->lost + here->lost == 0);
    assert_int_equal(there->members_count, 1);
    world_end(world);
}

static void live_publications_reach_both_nodes_once(void **state)
{
    (void)state;
    struct world *world = world_begin();
    struct room rooms[NODES] = {0};
    for (uint32_t n = 0; n < NODES; n++)
        assert_int_equal(room_open(world, &world->nodes[n], &rooms[n], "live", 0), ERR_OK);
    for (uint32_t i = 0; i < 50; i++) {
        char key[16];
        snprintf(key, sizeof key, "%u", i / 2); /* every second is a repeat … */
        struct store_append op = {.type = RECORD_PUBLICATION,
                                  .publication = {.data = BYTES_LITERAL("1")},
                                  .key = i < 20 ? bytes_of_text(key) : BYTES_NONE};
        append(world, &rooms[i % 2], &op);
    }
    turn_for(world, 100);
    assert_int_equal(rooms[0].live, 40); /* … of the first 20 */
    assert_int_equal(rooms[1].live, 40);
    for (uint32_t n = 0; n < NODES; n++) store_close(world->nodes[n].store, &rooms[n].channel);
    world_end(world);
}

/* --- what no announcement told ---------------------------------------------------------------- */

/* An append of somebody whose announcement never arrives. */
static const char *append_in_silence(struct world *world, uint32_t room, uint64_t offset)
{
    char command[512];
    uint32_t partition = (uint32_t)(hash_bytes(world->rooms[0][room].channel.name, 0) % 64);
    snprintf(
        command, sizeof command,
        "EVAL redis.call('XADD','test:{p%u}:s:room:%u','%llu-0','d',struct.pack('<BBI8I8I4c1I4'"
        ",1,0,0,99999999999999,1,'7',0))redis.call('HSET','test:{p%u}:meta','room:%u','%llu'.."
        "string.char(32)..'0'..string.char(32)..'0')return{ok='done'} 0",
        partition, room, (unsigned long long)offset, partition, room, (unsigned long long)offset);
    return redis_say(&world->redis, command);
}

static void the_sweep_finds_what_was_never_announced(void **state)
{
    (void)state;
    struct world *world = world_begin();
    load(world, 60, NULL);
    check_exactly_once(world);
    for (uint32_t n = 0; n < NODES; n++)
        assert_true(world->nodes[n].metrics.values[METRIC_PUB_SUB_LAG_COUNT] > 0);
    uint64_t head = world->rooms[0][0].channel.head;
    assert_string_equal(append_in_silence(world, 0, head + 1), "+done");
    turn_until(world, world->rooms[0][0].channel.head == head + 1);
    turn_until(world, world->rooms[1][0].channel.head == head + 1);
    assert_int_equal(world->rooms[1][0].numbers[head + 1], 7);
    assert_int_equal(world->rooms[1][0].lost, 0);
    assert_true(world->nodes[0].metrics.values[METRIC_STORE_GAPS] > 0);
    /* And a gap that a later append reveals is filled before it. */
    assert_string_equal(append_in_silence(world, 0, head + 2), "+done");
    world->offsets[7] = head + 2;
    struct store_append op = {.type = RECORD_PUBLICATION,
                              .publication = {.data = BYTES_LITERAL("8")}};
    append(world, &world->rooms[0][0], &op);
    turn_until(world, world->rooms[0][0].channel.head == head + 3);
    turn_until(world, world->rooms[1][0].channel.head == head + 3);
    assert_int_equal(world->rooms[1][0].numbers[head + 2], 7);
    assert_int_equal(world->rooms[1][0].numbers[head + 3], 8);
    assert_int_equal(world->rooms[1][0].count, head + 3);
    world_end(world);
}

/* Publishing still works, but nothing that is published comes back: health says
 * so, the link is renewed, and the sweep brings what the feed does not. */
static void a_silent_feed_turns_health_red(void **state)
{
    (void)state;
    struct world *world = world_begin();
    struct store_health health;
    load(world, 60, NULL);
    assert_string_equal(redis_say(&world->redis, "ACL SETUSER default -spublish"), "+OK");
    load(world, 60, NULL);
    assert_int_equal(world->unknown + world->down, 0);
    check_exactly_once(world);
    turn_until(world, (store_health(world->nodes[0].store, &health), !health.is_ok));
    assert_non_null(strstr(health.detail, "NOPERM")); /* of the probe */
    turn_until(world, (store_health(world->nodes[0].store, &health),
                       strstr(health.detail, "does not come back") != NULL));
    assert_false(health.is_ok);
    assert_string_equal(redis_say(&world->redis, "ACL SETUSER default +spublish"), "+OK");
    turn_until(world, (store_health(world->nodes[0].store, &health), health.is_ok));
    load(world, 60, NULL);
    check_exactly_once(world);
    world_end(world);
}

/* A listener that was away for longer than the history is told so. */
static void a_gap_beyond_the_history_is_told(void **state)
{
    (void)state;
    struct world *world = world_begin();
    struct room rooms[NODES] = {0};
    for (uint32_t n = 0; n < NODES; n++)
        assert_int_equal(room_open(world, &world->nodes[n], &rooms[n], "short", 5), ERR_OK);
    struct store_append op = {.type = RECORD_PUBLICATION,
                              .publication = {.data = BYTES_LITERAL("1")}};
    append(world, &rooms[0], &op);
    turn_until(world, rooms[1].channel.head == 1);
    redis_say(&world->redis, "CLIENT KILL TYPE pubsub");
    for (uint32_t i = 0; i < 40; i++) node_turn(&world->nodes[0], 1);
    for (uint32_t i = 0; i < 20; i++) {
        is_appended = false;
        op = (struct store_append){.type = RECORD_PUBLICATION,
                                   .publication = {.data = BYTES_LITERAL("1")},
                                   .channel = &rooms[0].channel,
                                   .on_appended = on_appended};
        store_append(world->nodes[0].store, &op);
        while (!is_appended) node_turn(&world->nodes[0], 1);
    }
    turn_until(world, rooms[1].channel.head == 21);
    assert_int_equal(rooms[1].lost, 1);
    assert_string_equal(rooms[0].channel.epoch, rooms[1].channel.epoch);
    for (uint32_t n = 0; n < NODES; n++) store_close(world->nodes[n].store, &rooms[n].channel);
    world_end(world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(members_and_cursors_travel),
        cmocka_unit_test(an_empty_member_list_is_no_loss),
        cmocka_unit_test(vanished_members_are_told_to_who_opens),
        cmocka_unit_test(vanished_members_are_told_to_who_writes),
        cmocka_unit_test(changes_missed_by_the_feed_are_found),
        cmocka_unit_test(a_removal_reaches_the_other_node),
        cmocka_unit_test(the_deleted_is_no_gap),
        cmocka_unit_test(live_publications_reach_both_nodes_once),
        cmocka_unit_test(the_sweep_finds_what_was_never_announced),
        cmocka_unit_test(a_silent_feed_turns_health_red),
        cmocka_unit_test(a_gap_beyond_the_history_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
