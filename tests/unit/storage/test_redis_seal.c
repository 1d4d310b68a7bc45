/*
 * test_redis_seal: two nodes with one key over one Redis: nothing readable in its files,
 * each reads what the other sealed, also after troubles; nodes whose keys differ.
 */
#include "unit/storage/redis_nodes.h"

#include "storage/redis/redis.h"

#define KEY_A "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define KEY_B "0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f0"

static void with_key(struct config *config)
{
    config->storage_key = KEY_A;
}

static void kill_redis(struct world *world)
{
    redis_kill(&world->redis);
    turn_for(world, 300);
    redis_start(&world->redis);
}

static void lose_feeds(struct world *world)
{
    redis_say(&world->redis, "CLIENT KILL TYPE pubsub");
}

/* Files of the server that hold the text. */
static int files_with(const struct world *world, const char *text)
{
    char command[256];
    int count = -1;
    snprintf(command, sizeof command, "grep -r -l -a -- '%s' %s | wc -l", text, world->redis.path);
    FILE *pipe = popen(command, "r");
    assert_non_null(pipe);
    assert_int_equal(fscanf(pipe, "%d", &count), 1);
    pclose(pipe);
    return count;
}

static void each_reads_what_the_other_sealed(void **state)
{
    (void)state;
    struct world *world = world_begin_with(with_key);
    load(world, 300, NULL);
    check_exactly_once(world);
    load(world, 200, lose_feeds);
    check_exactly_once(world);
    load(world, 200, kill_redis);
    check_exactly_once(world);
    assert_true(files_with(world, "key-17") > 0); /* we look at the right files */
    /* Opened by one that was not there, from the stream alone. */
    struct room late = {0};
    struct room *known = &world->rooms[1][2];
    store_close(world->nodes[1].store, &known->channel);
    assert_int_equal(room_open(world, &world->nodes[1], &late, known->name, NUMBERS_MAX), ERR_OK);
    assert_int_equal(late.channel.head, head_of(world, 2));
    for (uint64_t offset = 1; offset <= late.channel.head; offset++)
        assert_int_equal(world->offsets[late.numbers[offset]], offset);
    store_close(world->nodes[1].store, &late.channel);
    assert_int_equal(room_open(world, &world->nodes[1], known, "room:2", NUMBERS_MAX), ERR_OK);
    world_end(world);
}

static bool is_deleted;
static void on_deleted(struct store_append *op, enum err err, uint64_t offset, bool is_repeat)
{
    (void)op, (void)offset;
    is_deleted = err == ERR_OK && !is_repeat;
}

/* The script finds what goes without opening anything. */
static void what_is_sealed_can_be_deleted(void **state)
{
    (void)state;
    struct world *world = world_begin_with(with_key);
    struct room late = {0}, *known = &world->rooms[1][2];
    load(world, 30, NULL);
    check_exactly_once(world);
    uint64_t head = known->channel.head;
    struct store_append op = {.channel = &world->rooms[0][2].channel,
                              .type = RECORD_PUBLICATION,
                              .publication = {.data = BYTES_LITERAL("7"), .deletes = 2},
                              .on_appended = on_deleted};
    store_append(world->nodes[0].store, &op);
    turn_until(world, is_deleted && known->channel.head == head + 1);
    store_close(world->nodes[1].store, &known->channel);
    assert_int_equal(room_open(world, &world->nodes[1], &late, known->name, NUMBERS_MAX), ERR_OK);
    assert_int_equal(late.numbers[1], known->numbers[1]);
    assert_int_equal(late.numbers[2], 0);
    assert_int_equal(late.numbers[3], known->numbers[3]);
    assert_int_equal(late.numbers[head + 1], 7);
    store_close(world->nodes[1].store, &late.channel);
    assert_int_equal(room_open(world, &world->nodes[1], known, "room:2", NUMBERS_MAX), ERR_OK);
    world_end(world);
}

static void waiting_for_replicas_changes_nothing(void **state)
{
    (void)state;
    struct world *world =
        world_begin_as(&(struct redis_world){.wait_replicas = 1, .wait_timeout_ms = 500}, with_key);
    load(world, 200, NULL);
    check_exactly_once(world);
    load(world, 100, lose_feeds);
    check_exactly_once(world);
    world_end(world);
}

/* --- one publication by hand --------------------------------------------------------------- */

static bool is_appended;
static void on_appended(struct store_append *op, enum err err, uint64_t offset, bool is_repeat)
{
    (void)op, (void)offset, (void)is_repeat;
    assert_int_equal(err, ERR_OK);
    is_appended = true;
}

static void publish(struct world *world, struct room *room, const char *data, const char *key,
                    bool is_live)
{
    struct store_append op = {.channel = &room->channel,
                              .type = RECORD_PUBLICATION,
                              .publication = {.data = bytes_of_text(data)},
                              .scope = BYTES_LITERAL("api"),
                              .key = bytes_of_text(key),
                              .is_live_only = is_live,
                              .on_appended = on_appended};
    is_appended = false;
    store_append(room->node->store, &op);
    turn_until(world, is_appended);
}

/* Numbers that a search in files finds only when they are readable. */
static void no_file_shows_what_was_published(void **state)
{
    (void)state;
    struct world *world = world_begin_with(with_key);
    struct room *here = &world->rooms[0][0], *there = &world->rooms[1][0];
    publish(world, here, "0000000000000000000000000000000000001234", "a-key", false);
    publish(world, here, "0000000000000000000000000000000000001235", NULL, true);
    publish(world, here, "0000000000000000000000000000000000001236", "other", true);
    turn_until(world, there->count == 1 && there->live == 2 && here->live == 2);
    assert_int_equal(there->numbers[1], 1234);
    assert_int_equal(files_with(world, "000000000000000123"), 0);
    assert_true(files_with(world, ":seal:") > 0);
    world_end(world);
}

static bool is_healthy(const struct node *node)
{
    struct store_health health;
    store_health(node->store, &health);
    return health.is_ok;
}

static void with_other_keys(struct config *config)
{
    static uint32_t count;
    config->storage_key = count++ == 0 ? KEY_A : KEY_B;
}

static void another_key_is_told(void **state)
{
    (void)state;
    struct world *world = world_begin_with(with_other_keys);
    struct room *here = &world->rooms[0][0], *there = &world->rooms[1][0];
    turn_until(world, is_healthy(&world->nodes[0]) && is_healthy(&world->nodes[1]));
    publish(world, here, "7", NULL, false);
    turn_until(world, !is_healthy(&world->nodes[1]));
    turn_until(world, there->channel.head == 1);
    /* Passed over and told as a loss, and the next one is not held up by it. */
    assert_int_equal(there->lost, 1);
    assert_int_equal(there->numbers[1], 0);
    publish(world, there, "8", NULL, false);
    turn_until(world, there->count == 2);
    assert_int_equal(there->lost, 1);
    assert_int_equal(there->numbers[2], 8);
    assert_true(is_healthy(&world->nodes[0]) || here->count == 1);
    turn_until(world, here->channel.head == 2);
    world_end(world);
}

/* A start, as an embedded store does it. */
static enum err start(const struct world *world, const char *key, const char *previous)
{
    struct node node = {.config = {.storage_key = key, .storage_previous_keys = previous}};
    enum err err = node_open(&node, &world->redis);
    if (err != ERR_OK) return err;
    store_node_close(node.node);
    workers_destroy(node.workers);
    return ERR_OK;
}

static void a_start_without_the_key_is_refused(void **state)
{
    (void)state;
    struct world *world = world_begin_with(with_key);
    struct room *here = &world->rooms[0][0];
    assert_int_equal(start(world, KEY_B, NULL), ERR_OK); /* nothing is sealed yet */
    publish(world, here, "7", NULL, true);
    turn_for(world, 50);
    assert_int_equal(start(world, NULL, NULL), ERR_OK); /* nor is anything kept */
    publish(world, here, "7", NULL, false);
    turn_until(world, strcmp(redis_say(&world->redis, "EXISTS test:{p0}:sealed"), ":1") == 0);
    assert_int_equal(start(world, KEY_B, NULL), ERR_DENIED);
    assert_int_equal(start(world, NULL, NULL), ERR_DENIED);
    assert_int_equal(start(world, KEY_A, NULL), ERR_OK);
    assert_int_equal(start(world, KEY_B, KEY_A), ERR_OK);
    world_end(world);
}

/* --- more seals than are kept in mind -------------------------------------------------------- */

static void seals_are_met_again(void **state)
{
    (void)state;
    struct config config = {.storage_key = KEY_A, .storage_previous_keys = KEY_B};
    struct keyring keyring;
    struct redis_seals own, others[8];
    struct arena arena;
    struct store_channel channel = {.name = BYTES_LITERAL("room:1"), .history = {10, DAY_MS}};
    struct store_append op = {.channel = &channel,
                              .type = RECORD_PUBLICATION,
                              .publication = {.data = BYTES_LITERAL("secret")}};
    assert_int_equal(keyring_load(&config, &keyring), ERR_OK);
    arena_init(&arena, 0);
    redis_seals_init(&own, &keyring, 1);
    for (uint32_t round = 0; round < 3; round++) {
        for (uint32_t i = 0; i < array_count(others); i++) {
            if (round == 0) redis_seals_init(&others[i], &keyring, 2 + i);
            uint8_t bytes[256];
            struct writer writer = writer_of(bytes, sizeof bytes);
            redis_seals_write(&others[i], &writer, &op, true, 1);
            struct publication publication;
            struct reply name = {.type = REPLY_TEXT,
                                 .text = bytes_of(others[i].kept.name, SEALS_NAME)},
                         value = {.type = REPLY_TEXT, .text = bytes_of_text(others[i].value)};
            struct reply *items[] = {&name, &value};
            struct reply pairs = {.type = REPLY_ARRAY, .count = 2, .items = items};
            struct bytes body = writer_bytes(&writer);
            if (round == 0) {
                assert_true(redis_seals_lacks(&own, body));
                assert_int_equal(redis_seals_open(&own, channel.name, body, &arena, &publication),
                                 ERR_STORE_CORRUPT);
            }
            redis_seals_learn(&own, &pairs);
            assert_false(redis_seals_lacks(&own, body));
            assert_int_equal(redis_seals_open(&own, channel.name, body, &arena, &publication),
                             ERR_OK);
            assert_true(bytes_equal_text(publication.data, "secret"));
            /* Live ones need nothing beside them. */
            writer = writer_of(bytes, sizeof bytes);
            redis_seals_write(&others[i], &writer, &op, false, 1);
            body = writer_bytes(&writer);
            assert_false(redis_seals_lacks(&own, body));
            assert_int_equal(redis_seals_open(&own, channel.name, body, &arena, &publication),
                             ERR_OK);
            arena_reset(&arena);
        }
    }
    /* Its own is never forgotten. */
    uint8_t bytes[256];
    struct writer writer = writer_of(bytes, sizeof bytes);
    struct publication publication;
    redis_seals_write(&own, &writer, &op, true, 1);
    assert_false(redis_seals_lacks(&own, writer_bytes(&writer)));
    assert_int_equal(
        redis_seals_open(&own, channel.name, writer_bytes(&writer), &arena, &publication), ERR_OK);
    for (uint32_t i = 0; i < array_count(others); i++) redis_seals_fini(&others[i]);
    redis_seals_fini(&own);
    arena_fini(&arena);
    keyring_fini(&keyring);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_reads_what_the_other_sealed),
        cmocka_unit_test(what_is_sealed_can_be_deleted),
        cmocka_unit_test(waiting_for_replicas_changes_nothing),
        cmocka_unit_test(no_file_shows_what_was_published),
        cmocka_unit_test(another_key_is_told),
        cmocka_unit_test(a_start_without_the_key_is_refused),
        cmocka_unit_test(seals_are_met_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
