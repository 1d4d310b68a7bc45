/*
 * The streams for programs that are no gateway: what is in them is what was
 * appended, once, in order, field by field, and not for longer than it should.
 */
#include "core/crypt.h"
#include "unit/storage/redis_ask.h"
#include "unit/storage/redis_nodes.h"

#define PARTITIONS 64 /* redis_configure */

static struct redis_asked asked;

static void configure(struct config *config)
{
    config->redis_streams_enabled = true;
    config->redis_streams_group_msg_ms = 3600000;
    config->redis_streams_offline_msg_ms = 7 * DAY_MS;
    config->redis_streams_membership_change_ms = 7 * DAY_MS;
    config->redis_streams_read_receipt_ms = 7 * DAY_MS;
    config->redis_streams_conversations = true;
    config->redis_streams_conversation_size = 1000;
    config->redis_streams_fanout_ms = 3600000;
}

static uint32_t partition_of(const char *name)
{
    return (uint32_t)(hash_bytes(bytes_of_text(name), 0) % PARTITIONS);
}

static uint64_t number_of(struct bytes text)
{
    uint64_t number = 0;
    assert_true(bytes_to_u64(text, &number));
    return number;
}

static bool is_appended;
static enum err append_err;
static uint64_t append_offset;
static void on_appended(struct store_append *op, enum err err, uint64_t offset, bool is_repeat)
{
    (void)op, (void)is_repeat;
    is_appended = true;
    append_err = err;
    append_offset = offset;
}

static void append(struct world *world, struct store_append op)
{
    op.on_appended = on_appended;
    is_appended = false;
    store_append(world->nodes[0].store, &op);
    turn_until(world, is_appended);
    assert_int_equal(append_err, ERR_OK);
}

/* The entries of the stream "<before>{p<k>}<behind>" of the partition of `channel`. */
static const struct reply *entries(struct world *world, const char *before, const char *behind,
                                   const char *channel)
{
    const struct reply *all = redis_ask(&world->redis, &asked, "XRANGE %s{p%u}%s - +", before,
                                        partition_of(channel), behind);
    assert_int_equal(all->type, REPLY_ARRAY);
    return all;
}

#define assert_field(entry, name, value)                                                           \
    do {                                                                                           \
        struct bytes found_ = redis_field(entry, name);                                            \
        if (!bytes_equal_text(found_, value))                                                      \
            fail_msg("%s is '%.*s', not '%s'", name, (int)found_.size, (const char *)found_.at,    \
                     value);                                                                       \
    } while (0)

static void an_entry_says_who_what_where_and_when(void **state)
{
    (void)state;
    struct world *world = world_begin_with(configure);
    struct store_append op = {.channel = &world->rooms[0][0].channel,
                              .type = RECORD_PUBLICATION,
                              .publication = {.data = BYTES_LITERAL("17"),
                                              .tags = BYTES_LITERAL("{\"k\":\"v\"}"),
                                              .has_info = true,
                                              .user = BYTES_LITERAL("ann"),
                                              .conn_info = BYTES_LITERAL("{}"),
                                              .chan_info = BYTES_LITERAL("1")}};
    append(world, op);
    op.publication = (struct publication){.data = BYTES_LITERAL("18")};
    append(world, op);

    static const char *const names[][2] = {{"test:", ":group_msg"},
                                           {"stream:conversation:", ":room:0"}};
    for (uint32_t i = 0; i < array_count(names); i++) {
        const struct reply *all = entries(world, names[i][0], names[i][1], "room:0");
        assert_int_equal(all->count, 2);
        const struct reply *first = all->items[0], *second = all->items[1];
        assert_field(first, "conversation_id", "room:0");
        assert_field(first, "payload", "17");
        assert_field(first, "sender_id", "ann");
        assert_field(first, "sequence_number", "1");
        assert_field(first, "epoch", world->rooms[0][0].channel.epoch);
        assert_field(first, "tags", "{\"k\":\"v\"}");
        assert_field(second, "payload", "18");
        assert_field(second, "sender_id", "");
        assert_field(second, "tags", "");
        assert_field(second, "sequence_number", "2");
        /* Both times are of this machine's clock; the entry's id is the later one. */
        uint64_t time_ms = number_of(redis_field(first, "timestamp"));
        struct bytes id = reply_text(reply_item(first, 0));
        const uint8_t *dash = memchr(id.at, '-', id.size);
        assert_non_null(dash);
        uint64_t id_ms = number_of(bytes_of(id.at, (size_t)(dash - id.at)));
        assert_true(time_ms <= id_ms && id_ms <= clock_wall_ms() && id_ms - time_ms < 60000);
    }
    redis_ask_end(&asked);
    world_end(world);
}

static void a_pointer_leads_to_the_entry(void **state)
{
    (void)state;
    struct world *world = world_begin_with(configure);
    append(world, (struct store_append){.channel = &world->rooms[0][1].channel,
                                        .type = RECORD_PUBLICATION,
                                        .publication = {.data = BYTES_LITERAL("5")}});
    const struct reply *all = entries(world, "stream:fanout:", ":all-conversations", "room:1");
    assert_int_equal(all->count, 1);
    assert_field(all->items[0], "conversation_id", "room:1");
    char key[100], id[40];
    struct bytes text = redis_field(all->items[0], "stream_key");
    snprintf(key, sizeof key, "%.*s", (int)text.size, (const char *)text.at);
    text = redis_field(all->items[0], "entry_id");
    snprintf(id, sizeof id, "%.*s", (int)text.size, (const char *)text.at);
    all = redis_ask(&world->redis, &asked, "XRANGE %s %s %s", key, id, id);
    assert_int_equal(all->count, 1);
    assert_field(all->items[0], "payload", "5");
    redis_ask_end(&asked);
    world_end(world);
}

static void members_and_cursors_tell_what_changed(void **state)
{
    (void)state;
    struct world *world = world_begin_with(configure);
    struct store_channel *channel = &world->rooms[0][2].channel;
    struct store_append publish = {.channel = channel,
                                   .type = RECORD_PUBLICATION,
                                   .publication = {.data = BYTES_LITERAL("1")}};
    append(world, publish); /* nobody belongs to it yet */
    struct bytes users[] = {BYTES_LITERAL("ann"), BYTES_LITERAL("b\"n")};
    struct store_append members = {
        .channel = channel, .type = RECORD_MEMBERS, .members = {.users = users, .count = 2}};
    append(world, members);
    append(world, members); /* the same list: no change */
    append(world, publish);
    struct store_append cursor = {
        .channel = channel, .type = RECORD_CURSOR, .user = users[0], .offset = 2};
    append(world, cursor);
    append(world, cursor); /* no move */
    cursor.user = BYTES_LITERAL("nobody");
    append(world, cursor);
    members.members.count = 1;
    append(world, members);
    members.members.count = 0;
    append(world, members);
    append(world, publish); /* nobody belongs to it any more */

    const struct reply *all = entries(world, "test:", ":membership_change", "room:2");
    assert_int_equal(all->count, 3);
    assert_field(all->items[0], "conversation_id", "room:2");
    assert_field(all->items[0], "joined", "[\"ann\",\"b\\\"n\"]");
    assert_field(all->items[0], "left", "[]");
    assert_field(all->items[1], "left", "[\"b\\\"n\"]");
    assert_field(all->items[2], "joined", "[]");
    assert_field(all->items[2], "left", "[\"ann\"]");
    all = entries(world, "test:", ":read_receipt", "room:2");
    assert_int_equal(all->count, 1);
    assert_field(all->items[0], "user_id", "ann");
    assert_field(all->items[0], "sequence_number", "2");
    all = entries(world, "test:", ":offline_msg", "room:2");
    assert_int_equal(all->count, 1);
    assert_field(all->items[0], "sequence_number", "2");
    redis_ask_end(&asked);
    world_end(world);
}

static void what_is_removed_or_deleted_goes_from_the_conversation(void **state)
{
    (void)state;
    struct world *world = world_begin_with(configure);
    struct store_append op = {.channel = &world->rooms[0][3].channel,
                              .type = RECORD_PUBLICATION,
                              .publication = {.data = BYTES_LITERAL("1")}};
    for (int i = 0; i < 250; i++) append(world, op);
    op.publication.deletes = 3; /* that one, and its copy is behind two pages of others */
    append(world, op);
    const struct reply *all = entries(world, "stream:conversation:", ":room:3", "room:3");
    assert_int_equal(all->count, 250);
    assert_field(all->items[2], "sequence_number", "4");
    op.type = RECORD_REMOVE;
    append(world, op);
    assert_int_equal(entries(world, "stream:conversation:", ":room:3", "room:3")->count, 0);
    redis_ask_end(&asked);
    world_end(world);
}

/* --- with which rights ------------------------------------------------------------------------ */

static void configure_topics(struct config *config)
{
    configure(config);
    config->redis_streams_conversations = false;
}

static const struct redis_world narrow = {
    .acl = REDIS_RIGHTS_NARROW, .user = "sluice", .user_password = "secret"};

static uint64_t kept_of(struct world *world, const char *channel)
{
    const struct reply *size =
        redis_ask(&world->redis, &asked, "XLEN test:{p%u}:s:%s", partition_of(channel), channel);
    assert_int_equal(size->type, REPLY_INTEGER);
    return (uint64_t)size->integer;
}

/* Makes ann a member of the room; a publication for it, to be appended. */
static struct store_append publication_of_members(struct world *world, uint32_t room)
{
    struct store_append op = {.channel = &world->rooms[0][room].channel,
                              .type = RECORD_PUBLICATION,
                              .publication = {.data = BYTES_LITERAL("1")}};
    struct bytes user = BYTES_LITERAL("ann");
    append(world, (struct store_append){.channel = op.channel,
                                        .type = RECORD_MEMBERS,
                                        .members = {.users = &user, .count = 1}});
    return op;
}

static void topics_need_no_more_than_the_prefix(void **state)
{
    (void)state;
    struct world *world = world_begin_as(&narrow, configure_topics);
    struct store_append op = publication_of_members(world, 3);
    for (uint32_t i = 0; i < 5; i++) append(world, op);
    append(world, (struct store_append){.channel = op.channel, .type = RECORD_REMOVE});
    assert_int_equal(append_offset, 5);
    assert_int_equal(kept_of(world, "room:3"), 0);
    append(world, op);
    assert_int_equal(append_offset, 6);
    assert_int_equal(kept_of(world, "room:3"), 1);
    assert_int_equal(entries(world, "test:", ":group_msg", "room:3")->count, 6);
    turn_until(world, world->rooms[1][3].channel.head == 6);
    redis_ask_end(&asked);
    world_end(world);
}

/* What is not allowed is refused as a whole, and told. */
static void refuse(struct world *world, struct store_append op)
{
    struct store_health health;
    op.on_appended = on_appended;
    is_appended = false;
    store_append(world->nodes[0].store, &op);
    turn_until(world, is_appended);
    assert_int_equal(append_err, ERR_STORE_DOWN);
    store_health(world->nodes[0].store, &health);
    assert_false(health.is_ok);
    assert_non_null(strstr(health.detail, "redis.streams.conversations"));
}

static void without_the_right_to_conversations_nothing_is_touched(void **state)
{
    (void)state;
    struct world *world = world_begin_as(&narrow, configure);
    struct store_health health;
    struct store_append op = {.channel = &world->rooms[0][3].channel,
                              .type = RECORD_PUBLICATION,
                              .publication = {.data = BYTES_LITERAL("1")},
                              .key = BYTES_LITERAL("k")};
    struct store_append removal = {.channel = op.channel, .type = RECORD_REMOVE};
    for (uint32_t i = 0; i < 3; i++) refuse(world, op);
    assert_int_equal(kept_of(world, "room:3"), 0);
    assert_string_equal(redis_say(&world->redis, REDIS_RIGHTS), "+OK");
    append(world, op);
    assert_int_equal(append_offset, 1);
    assert_string_equal(redis_say(&world->redis, REDIS_RIGHTS_NARROW), "+OK");
    refuse(world, removal);
    assert_int_equal(kept_of(world, "room:3"), 1);
    assert_string_equal(redis_say(&world->redis, REDIS_RIGHTS), "+OK");
    append(world, removal);
    assert_int_equal(append_offset, 1);
    assert_int_equal(kept_of(world, "room:3"), 0);
    assert_int_equal(entries(world, "stream:conversation:", ":room:3", "room:3")->count, 0);
    turn_until(world, (store_health(world->nodes[0].store, &health), health.is_ok));
    redis_ask_end(&asked);
    world_end(world);
}

/* --- how long ------------------------------------------------------------------------------- */

static void configure_short(struct config *config)
{
    configure(config);
    config->redis_streams_group_msg_ms = 300;
    config->redis_streams_offline_msg_ms = 0;
    config->redis_streams_conversation_size = 10;
}

static void retention_ends_in_time_and_by_size(void **state)
{
    (void)state;
    struct world *world = world_begin_with(configure_short);
    struct store_append op = publication_of_members(world, 0);
    for (uint32_t i = 0; i < 250; i++) append(world, op);
    assert_int_equal(entries(world, "test:", ":offline_msg", "room:0")->count, 0);
    /* Whole nodes go, of a hundred entries. */
    const struct reply *all = entries(world, "stream:conversation:", ":room:0", "room:0");
    assert_in_range(all->count, 10, 110);
    assert_field(all->items[all->count - 1], "sequence_number", "250");
    turn_for(world, 400);
    assert_int_equal(entries(world, "test:", ":group_msg", "room:0")->count, 0);
    redis_ask_end(&asked);
    world_end(world);
}

static void nothing_is_written_unless_asked_for(void **state)
{
    (void)state;
    struct world *world = world_begin();
    load(world, 60, NULL);
    const struct reply *keys = redis_ask(&world->redis, &asked, "KEYS *_msg");
    assert_int_equal(keys->count, 0);
    keys = redis_ask(&world->redis, &asked, "KEYS stream:*");
    assert_int_equal(keys->count, 0);
    redis_ask_end(&asked);
    world_end(world);
}

/* --- under load ------------------------------------------------------------------------------- */

static void restart(struct world *world)
{
    redis_kill(&world->redis);
    for (uint32_t i = 0; i < 20; i++) load_turn(world, ASKS_MAX);
    redis_start(&world->redis);
}

/* Every acknowledged publication stands once in group_msg, in the order of its offsets. */
static void check_stream(struct world *world)
{
    uint64_t heads[ROOMS] = {0};
    uint32_t count = 0;
    for (uint32_t p = 0; p < PARTITIONS; p++) {
        const struct reply *all =
            redis_ask(&world->redis, &asked, "XRANGE test:{p%u}:group_msg - +", p);
        for (uint32_t i = 0; i < all->count; i++) {
            struct bytes name = redis_field(all->items[i], "conversation_id");
            assert_int_equal(name.size, sizeof "room:0" - 1);
            uint32_t room = name.at[name.size - 1] - (uint32_t)'0';
            uint64_t offset = number_of(redis_field(all->items[i], "sequence_number"));
            uint64_t number = number_of(redis_field(all->items[i], "payload"));
            assert_int_equal(offset, ++heads[room]);
            assert_int_equal(world->offsets[number], offset);
            assert_int_equal(world->room_of[number], room);
            count++;
        }
    }
    assert_int_equal(count, world->answered);
}

static void the_stream_holds_what_was_acknowledged_over_a_kill(void **state)
{
    (void)state;
    struct world *world = world_begin_with(configure);
    load(world, 600, NULL);
    check_stream(world);
    load(world, 600, restart);
    check_exactly_once(world);
    check_stream(world);
    redis_ask_end(&asked);
    world_end(world);
}

/* The copies are made when a record is confirmed, whoever confirms it. */
static void what_a_replica_lacks_is_not_copied_before_it_has_it(void **state)
{
    (void)state;
    struct redis_world redis = {.wait_replicas = 1,
                                .wait_timeout_ms = 200,
                                .acl = REDIS_RIGHTS,
                                .user = "sluice",
                                .user_password = "secret"};
    struct world *world = world_begin_as(&redis, configure);
    struct store_append op = {.channel = &world->rooms[0][0].channel,
                              .type = RECORD_PUBLICATION,
                              .publication = {.data = BYTES_LITERAL("1")},
                              .on_appended = on_appended};
    kill(world->replica.pid, SIGSTOP);
    for (uint32_t i = 0; i < 3; i++) {
        is_appended = false;
        store_append(world->nodes[0].store, &op);
        turn_until(world, is_appended);
        assert_int_equal(append_err, ERR_STORE_UNKNOWN);
    }
    assert_int_equal(entries(world, "test:", ":group_msg", "room:0")->count, 0);
    kill(world->replica.pid, SIGCONT);
    turn_until(world, world->rooms[1][0].channel.head == 3);
    const struct reply *all = entries(world, "test:", ":group_msg", "room:0");
    assert_int_equal(all->count, 3);
    assert_field(all->items[2], "sequence_number", "3");
    for (uint32_t n = 0; n < NODES; n++) turn_until(world, world->rooms[n][0].count == 3);
    redis_ask_end(&asked);
    world_end(world);
}

/* --- who reads them ------------------------------------------------------------------------- */

static const struct store_group *group_of(struct world *world, const char *topic, const char *name)
{
    struct store_health health;
    store_health(world->nodes[0].store, &health);
    for (uint32_t i = 0; i < health.groups_count; i++) {
        const struct store_group *group = &health.groups[i];
        if (strcmp(group->topic, topic) == 0 && strcmp(group->name, name) == 0) return group;
    }
    return NULL;
}

static bool group_is(struct world *world, const char *name, uint64_t lag, uint64_t pending)
{
    const struct store_group *group = group_of(world, "group_msg", name);
    return group != NULL && group->lag == lag && group->pending == pending;
}

static void what_groups_have_not_done_is_counted(void **state)
{
    (void)state;
    struct world *world = world_begin_with(configure);
    struct store_append op = {.channel = &world->rooms[0][0].channel,
                              .type = RECORD_PUBLICATION,
                              .publication = {.data = BYTES_LITERAL("1")}};
    uint32_t k[] = {partition_of("room:0"), partition_of("room:1")};
    assert_int_not_equal(k[0], k[1]);
    for (uint32_t i = 0; i < 7; i++) append(world, op);
    op.channel = &world->rooms[0][1].channel;
    for (uint32_t i = 0; i < 4; i++) append(world, op);
    for (uint32_t i = 0; i < 2; i++) {
        redis_ask(&world->redis, &asked, "XGROUP CREATE test:{p%u}:group_msg push 0", k[i]);
        redis_ask(&world->redis, &asked, "XGROUP CREATE test:{p%u}:group_msg a\"b 0", k[i]);
    }
    turn_until(world, group_is(world, "push", 11, 0) && group_is(world, "a_b", 11, 0));
    redis_ask(&world->redis, &asked,
              "XREADGROUP GROUP push me COUNT 3 STREAMS test:{p%u}:group_msg >", k[0]);
    turn_until(world, group_is(world, "push", 8, 3));
    /* Redis knows no lag of a group between two entries, as all are after its restart. */
    for (uint32_t i = 5; i < 8; i++)
        redis_ask(&world->redis, &asked, "XADD test:{p0}:read_receipt %u-1 a b", i);
    redis_ask(&world->redis, &asked, "XGROUP CREATE test:{p0}:read_receipt half 6-1");
    turn_until(world, group_of(world, "read_receipt", "half") != NULL);
    assert_true(group_of(world, "read_receipt", "half")->is_lag_unknown);
    /* Gone with its streams. */
    for (uint32_t i = 0; i < 2; i++)
        redis_ask(&world->redis, &asked, "DEL test:{p%u}:group_msg", k[i]);
    turn_until(world, group_of(world, "group_msg", "push") == NULL);
    redis_ask_end(&asked);
    world_end(world);
}

static void only_so_many_groups_are_told(void **state)
{
    (void)state;
    struct world *world = world_begin_with(configure);
    struct store_health health;
    for (uint32_t i = 0; i < STORE_GROUPS_MAX + 1; i++)
        redis_ask(&world->redis, &asked, "XGROUP CREATE test:{p0}:read_receipt g%u 0 MKSTREAM", i);
    turn_until(world, (store_health(world->nodes[0].store, &health), health.groups_count > 0));
    assert_int_equal(health.groups_count, STORE_GROUPS_MAX);
    assert_non_null(group_of(world, "read_receipt", "g0"));
    redis_ask_end(&asked);
    world_end(world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_entry_says_who_what_where_and_when),
        cmocka_unit_test(a_pointer_leads_to_the_entry),
        cmocka_unit_test(members_and_cursors_tell_what_changed),
        cmocka_unit_test(what_is_removed_or_deleted_goes_from_the_conversation),
        cmocka_unit_test(topics_need_no_more_than_the_prefix),
        cmocka_unit_test(without_the_right_to_conversations_nothing_is_touched),
        cmocka_unit_test(retention_ends_in_time_and_by_size),
        cmocka_unit_test(nothing_is_written_unless_asked_for),
        cmocka_unit_test(what_groups_have_not_done_is_counted),
        cmocka_unit_test(only_so_many_groups_are_told),
        cmocka_unit_test(the_stream_holds_what_was_acknowledged_over_a_kill),
        cmocka_unit_test(what_a_replica_lacks_is_not_copied_before_it_has_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
