/*
 * test_redis_damage: what stands in Redis and cannot be read is passed over, told as a
 * loss, and said to people; and the channel goes on.
 */
#include "unit/storage/redis_ask.h"
#include "unit/storage/redis_nodes.h"

#include "storage/redis/redis.h"

/* --- one operation at a time ----------------------------------------------------------------- */

static bool is_ended;
static enum err ended;
static void on_appended(struct store_append *op, enum err err, uint64_t offset, bool is_repeat)
{
    (void)op, (void)offset, (void)is_repeat;
    ended = err;
    is_ended = true;
}

static enum err publish(struct world *world, struct room *room, const char *data)
{
    struct store_append op = {.channel = &room->channel,
                              .type = RECORD_PUBLICATION,
                              .publication = {.data = bytes_of_text(data)},
                              .on_appended = on_appended};
    is_ended = false;
    store_append(room->node->store, &op);
    turn_until(world, is_ended);
    return ended;
}

static char offsets[256];
static void on_read(struct store_read *op, enum err err, const struct publication *publications,
                    uint32_t count)
{
    (void)op;
    offsets[0] = 0;
    for (uint32_t i = 0; i < count; i++) {
        size_t used = strlen(offsets);
        snprintf(offsets + used, sizeof offsets - used, "%s%llu", i == 0 ? "" : " ",
                 (unsigned long long)publications[i].offset);
    }
    ended = err;
    is_ended = true;
}

/* "1 2 4", and "…!" behind it when there are holes; "" and an error in `ended`. */
static const char *history(struct world *world, struct room *room, uint64_t since, uint32_t limit,
                           bool is_reverse)
{
    struct store_read op = {.channel = &room->channel,
                            .since = since,
                            .limit = limit,
                            .is_reverse = is_reverse,
                            .on_read = on_read};
    is_ended = false;
    store_read(room->node->store, &op);
    turn_until(world, is_ended);
    if (op.has_holes) strcat(offsets, "!");
    return offsets;
}

static bool is_healthy(const struct node *node)
{
    struct store_health health;
    store_health(node->store, &health);
    return health.is_ok;
}

/* The key of a kind of the first room: "test:{p<k>}:<kind>room:0". */
static const char *key_of(const struct world *world, const char *kind)
{
    static char key[REDIS_KEY_MAX];
    const struct redis_store *redis = (const struct redis_store *)world->nodes[0].store;
    struct bytes name = kind[1] == ':' ? BYTES_LITERAL("room:0") : BYTES_NONE;
    struct bytes text =
        redis_key(redis, key, redis_partition_of(redis, BYTES_LITERAL("room:0")), kind, name);
    key[text.size] = 0;
    return key;
}

static void say(const struct world *world, const char *verb, const char *key, const char *rest)
{
    char words[512];
    snprintf(words, sizeof words, "%s %s%s", verb, key, rest);
    assert_int_not_equal(redis_say(&world->redis, words)[0], '-');
}

/* A world whose first room has a publication at each offset up to `head`. */
static struct world *damage_begin(uint32_t head)
{
    struct world *world = world_begin();
    for (uint32_t i = 1; i <= head; i++) {
        char data[16];
        snprintf(data, sizeof data, "%u", i);
        assert_int_equal(publish(world, &world->rooms[0][0], data), ERR_OK);
    }
    turn_until(world, world->rooms[1][0].channel.head == head);
    assert_true(is_healthy(&world->nodes[0]));
    return world;
}

static void reopen(struct world *world, struct room *room)
{
    turn_until(world, world_is_idle(world));
    store_close(room->node->store, &room->channel);
    memset(room->numbers, 0, sizeof room->numbers);
    assert_int_equal(room_open(world, room->node, room, "room:0", NUMBERS_MAX), ERR_OK);
}

/* Puts the stream together again, from the entries of another, with one exchanged: "<id>" its
 * place, the third word the data.  Redis gives no id twice.  redis_say parts words at
 * spaces; Lua takes a tab for one. */
#define EXCHANGE                                                                                   \
    "EVAL local\tall=redis.call('XRANGE',KEYS[1],'-','+');redis.call('DEL',KEYS[1]);"              \
    "for\t_,e\tin\tipairs(all)\tdo\tlocal\td=e[2][2];"                                             \
    "if\te[1]=='%s'\tthen\td=string.sub(d,1,%u)\tend;"                                             \
    "redis.call('XADD',KEYS[1],e[1],'d',d)\tend;return\t#all 1 %s"

static void cut_off(const struct world *world, const char *id, uint32_t size)
{
    char script[768];
    snprintf(script, sizeof script, EXCHANGE, id, size, key_of(world, "s:"));
    assert_int_equal(redis_say(&world->redis, script)[0], ':');
}

/* --- met by who listens ---------------------------------------------------------------------- */

/* What an announcement does not bring is read from the stream, and that is damaged. */
static void junk_met_by_a_fill_is_told_once(void **state)
{
    (void)state;
    struct world *world = damage_begin(1);
    struct room *here = &world->rooms[0][0], *there = &world->rooms[1][0];
    turn_until(world, world_is_idle(world));
    /* The other node hears nothing of its own second publication. */
    redis_say(&world->redis, "CLIENT KILL TYPE pubsub");
    for (is_ended = false; !is_ended;) {
        static struct store_append op;
        if (op.on_appended == NULL) {
            op = (struct store_append){.channel = &here->channel,
                                       .type = RECORD_PUBLICATION,
                                       .publication = {.data = BYTES_LITERAL("2")},
                                       .on_appended = on_appended};
            store_append(here->node->store, &op);
        }
        node_turn(&world->nodes[0], 1);
    }
    say(world, "XDEL", key_of(world, "s:"), " 2-0");
    say(world, "XSETID", key_of(world, "s:"), " 1-0");
    say(world, "XADD", key_of(world, "s:"), " 2-0 d junk");
    turn_until(world, there->channel.head == 2);
    assert_int_equal(there->lost, 1);
    assert_false(is_healthy(&world->nodes[1]));
    assert_int_equal(publish(world, here, "3"), ERR_OK);
    assert_int_equal(publish(world, there, "4"), ERR_OK);
    turn_until(world, there->channel.head == 4 && here->channel.head == 4);
    assert_int_equal(there->numbers[2], 0);
    assert_int_equal(there->numbers[3], 3);
    assert_int_equal(there->numbers[4], 4);
    turn_for(world, 1500); /* a sweep of each node */
    assert_int_equal(there->lost, 1);
    assert_string_equal(history(world, there, 0, UINT32_MAX, false), "1 3 4!");
    world_end(world);
}

/* The stream counts: what was announced and is nonsense says nothing. */
static void a_damaged_announcement_is_no_loss(void **state)
{
    (void)state;
    struct world *world = damage_begin(1);
    struct room *here = &world->rooms[0][0], *there = &world->rooms[1][0];
    static const char *const kinds[][2] = {{"p 2", "\njunk"},
                                           {"l 0", "\njunk"},
                                           {"m 1", " 1\nju"},
                                           {"c 99", " 1\nann"},
                                           {"j 0", "\nj"}};
    for (uint32_t i = 0; i < array_count(kinds); i++) {
        char message[128], count[16], key[REDIS_KEY_MAX];
        snprintf(message, sizeof message, "%s %s x:1%s", kinds[i][0], here->channel.epoch,
                 kinds[i][1]);
        snprintf(key, sizeof key, "%s", key_of(world, "c:"));
        /* Words of their own, for the message has spaces. */
        struct resp_out out = {0};
        resp_begin(&out, 3);
        resp_text(&out, "SPUBLISH");
        resp_text(&out, key);
        resp_text(&out, message);
        int fd = redis_connect(&world->redis);
        assert_int_equal(send(fd, out.at, out.used, 0), (ssize_t)out.used);
        assert_true(recv(fd, count, sizeof count, 0) > 0);
        close(fd);
        resp_fini(&out);
        turn_for(world, 30);
    }
    assert_int_equal(publish(world, here, "2"), ERR_OK);
    turn_until(world, there->channel.head == 2 && here->channel.head == 2);
    assert_int_equal(there->numbers[2], 2);
    assert_int_equal(there->lost + here->lost, 0);
    world_end(world);
}

/* --- met by who opens or reads --------------------------------------------------------------- */

static void an_entry_cut_off_leaves_the_rest(void **state)
{
    (void)state;
    struct world *world = damage_begin(8);
    struct room *here = &world->rooms[0][0];
    cut_off(world, "5-0", 12);
    assert_true(is_healthy(&world->nodes[0]));
    reopen(world, here);
    assert_false(is_healthy(&world->nodes[0]));
    assert_int_equal(here->channel.head, 8);
    assert_int_equal(here->numbers[4], 0); /* behind the gap: read when somebody asks */
    assert_int_equal(here->numbers[6], 6);
    assert_string_equal(history(world, here, 0, UINT32_MAX, false), "1 2 3 4 6 7 8!");
    assert_string_equal(history(world, here, 2, 3, false), "3 4 6!");
    assert_string_equal(history(world, here, 5, 3, false), "6 7 8");
    assert_string_equal(history(world, here, 2, 2, false), "3 4");
    assert_string_equal(history(world, here, 0, 4, true), "8 7 6 4!");
    assert_string_equal(history(world, here, 0, 3, true), "8 7 6");
    assert_int_equal(publish(world, here, "9"), ERR_OK);
    turn_until(world, here->channel.head == 9);
    assert_int_equal(here->numbers[9], 9);
    /* The oldest and the newest of all. */
    cut_off(world, "1-0", 3);
    cut_off(world, "9-0", 1);
    reopen(world, here);
    assert_int_equal(here->channel.head, 9);
    assert_string_equal(history(world, here, 0, UINT32_MAX, false), "2 3 4 6 7 8!");
    assert_string_equal(history(world, here, 8, 5, false), "!");
    assert_int_equal(publish(world, here, "10"), ERR_OK);
    turn_until(world, here->channel.head == 10 && world->rooms[1][0].channel.head == 10);
    assert_int_equal(here->lost, 0);
    world_end(world);
}

static void holes_are_no_end(void **state)
{
    (void)state;
    struct world *world = damage_begin(6);
    struct room *here = &world->rooms[0][0];
    say(world, "XDEL", key_of(world, "s:"), " 4-0");
    assert_string_equal(history(world, here, 2, 3, false), "3 5 6!");
    assert_string_equal(history(world, here, 3, 3, false), "5 6!");
    assert_string_equal(history(world, here, 4, 3, false), "5 6");
    assert_string_equal(history(world, here, 5, 3, true), "3 2 1!");
    say(world, "XDEL", key_of(world, "s:"), " 6-0");
    assert_string_equal(history(world, here, 4, 3, false), "5!");
    reopen(world, here);
    assert_int_equal(here->channel.head, 6);
    assert_int_equal(here->numbers[5], 0);
    assert_false(is_healthy(&world->nodes[0]));
    world_end(world);
}

/* --- keys that are none of ours -------------------------------------------------------------- */

static void another_type_is_an_error_with_a_name(void **state)
{
    (void)state;
    struct world *world = damage_begin(2);
    struct room *here = &world->rooms[0][0], *other = &world->rooms[0][1];
    say(world, "SET", key_of(world, "s:"), " x");
    assert_int_equal(publish(world, here, "3"), ERR_STORE_CORRUPT);
    history(world, here, 0, 9, false);
    assert_int_equal(ended, ERR_STORE_CORRUPT);
    assert_false(is_healthy(&world->nodes[0]));
    assert_int_equal(publish(world, other, "1"), ERR_OK);
    say(world, "DEL", key_of(world, "s:"), "");
    assert_int_equal(publish(world, here, "3"), ERR_OK);
    turn_until(world, world->rooms[1][0].channel.head == 3);
    world_end(world);
}

static enum err set_members(struct world *world, struct room *room)
{
    struct bytes users[] = {BYTES_LITERAL("ann"), BYTES_LITERAL("bob")};
    struct store_append op = {.channel = &room->channel,
                              .type = RECORD_MEMBERS,
                              .members = {.users = users, .count = 2},
                              .on_appended = on_appended};
    is_ended = false;
    store_append(room->node->store, &op);
    turn_until(world, is_ended);
    return ended;
}

/* A list that cannot be taken is not in the stream either, where the next one would be held
 * for what another life left behind. */
static void members_of_another_type_cost_no_history(void **state)
{
    (void)state;
    struct world *world = damage_begin(3);
    struct room *here = &world->rooms[0][0];
    say(world, "SET", key_of(world, "m:"), " x");
    for (uint32_t i = 0; i < 3; i++) assert_int_equal(set_members(world, here), ERR_STORE_CORRUPT);
    assert_string_equal(history(world, here, 0, UINT32_MAX, false), "1 2 3");
    assert_int_equal(publish(world, here, "4"), ERR_OK);
    say(world, "DEL", key_of(world, "m:"), "");
    assert_int_equal(set_members(world, here), ERR_OK);
    turn_until(world, world->rooms[1][0].members_count == 2);
    assert_string_equal(history(world, here, 0, UINT32_MAX, false), "1 2 3 4");
    world_end(world);
}

static enum err ends[3];
static void on_end(struct store_append *op, enum err err, uint64_t offset, bool is_repeat)
{
    (void)offset, (void)is_repeat;
    ends[op->publication.data.at[0] - '1'] = err;
}

/* Opens channels of one partition. */
static void open_neighbours(struct world *world, struct room *rooms, uint32_t count)
{
    char name[32];
    for (uint32_t i = 0, r = 0; r < count; i++) {
        snprintf(name, sizeof name, "near:%u", i);
        if (hash_bytes(bytes_of_text(name), 0) % 64 != 7) continue;
        assert_int_equal(room_open(world, &world->nodes[0], &rooms[r++], name, NUMBERS_MAX),
                         ERR_OK);
    }
}

/* Records of several channels leave in one call. */
static void stop_no_other(struct world *world)
{
    static const char *const data[] = {"1", "2", "3"};
    static struct room rooms[3];
    char key[64];
    memset(rooms, 0, sizeof rooms);
    open_neighbours(world, rooms, 3);
    snprintf(key, sizeof key, "test:{p7}:s:%s", rooms[1].name);
    say(world, "SET", key, " x");
    for (uint32_t round = 0; round < 2; round++) {
        struct store_append ops[3];
        for (uint32_t r = 0; r < 3; r++) {
            ends[r] = ERR_BACKLOG;
            ops[r] = (struct store_append){.channel = &rooms[r].channel,
                                           .type = RECORD_PUBLICATION,
                                           .publication = {.data = bytes_of_text(data[r])},
                                           .scope = BYTES_LITERAL("api"),
                                           .key = BYTES_LITERAL("key"),
                                           .on_appended = on_end};
            store_append(rooms[r].node->store, &ops[r]);
        }
        turn_until(world, world_is_idle(world));
        assert_int_equal(ends[0], ERR_OK);
        assert_int_equal(ends[1], ERR_STORE_CORRUPT);
        assert_int_equal(ends[2], ERR_OK);
    }
    say(world, "DEL", key, "");
    assert_int_equal(publish(world, &rooms[1], "2"), ERR_OK);
    for (uint32_t r = 0; r < 3; r++) {
        turn_until(world, rooms[r].channel.head == 1);
        assert_int_equal(rooms[r].numbers[1], r + 1);
        assert_int_equal(rooms[r].lost, 0);
        store_close(rooms[r].node->store, &rooms[r].channel);
    }
    world_end(world);
}

static void a_damaged_channel_stops_no_other(void **state)
{
    (void)state;
    stop_no_other(world_begin());
}
static void a_damaged_channel_stops_no_other_that_waits(void **state)
{
    (void)state;
    stop_no_other(world_begin_waiting(1, 1000));
}

static void a_damaged_meta_is_an_error_with_a_name(void **state)
{
    (void)state;
    struct world *world = damage_begin(2);
    struct room *here = &world->rooms[0][0];
    say(world, "HSET", key_of(world, "meta"), " room:0 nonsense");
    assert_int_equal(publish(world, here, "3"), ERR_STORE_CORRUPT);
    history(world, here, 0, 9, false);
    assert_int_equal(ended, ERR_STORE_CORRUPT);
    turn_until(world, !is_healthy(&world->nodes[1])); /* its sweep finds it */
    say(world, "HDEL", key_of(world, "meta"), " room:0");
    assert_int_equal(publish(world, here, "3"), ERR_OK);
    turn_until(world, here->lost == 1);
    world_end(world);
}

static void a_damaged_member_is_none(void **state)
{
    (void)state;
    struct world *world = damage_begin(2);
    struct room *here = &world->rooms[0][0];
    assert_int_equal(set_members(world, here), ERR_OK);
    turn_until(world, here->members_count == 2);
    say(world, "HSET", key_of(world, "m:"), " bob nonsense");
    reopen(world, here);
    assert_int_equal(here->members_count, 1);
    assert_false(is_healthy(&world->nodes[0]));
    world_end(world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(junk_met_by_a_fill_is_told_once),
        cmocka_unit_test(a_damaged_announcement_is_no_loss),
        cmocka_unit_test(an_entry_cut_off_leaves_the_rest),
        cmocka_unit_test(holes_are_no_end),
        cmocka_unit_test(another_type_is_an_error_with_a_name),
        cmocka_unit_test(members_of_another_type_cost_no_history),
        cmocka_unit_test(a_damaged_channel_stops_no_other),
        cmocka_unit_test(a_damaged_channel_stops_no_other_that_waits),
        cmocka_unit_test(a_damaged_meta_is_an_error_with_a_name),
        cmocka_unit_test(a_damaged_member_is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
