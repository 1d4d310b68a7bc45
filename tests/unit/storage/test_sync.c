/*
 * Positions of clients over a real redis-server: saved, asked for, missed, forgotten.
 */
#include "storage/sync.h"
#include "unit/storage/redis_ask.h"
#include "unit/storage/redis_nodes.h"

static struct redis_asked asked;

static struct {
    bool is_ended;
    enum err err;
    uint32_t count;
    struct store_position positions[SYNC_KEPT_MAX + 1];
    char texts[SYNC_KEPT_MAX + 1][2][64]; /* copies of channel and epoch */
} end;

static void on_end(struct store_sync *op, enum err err, const struct store_position *positions,
                   uint32_t count)
{
    (void)op;
    end.is_ended = true;
    end.err = err;
    end.count = count;
    assert_true(count < array_count(end.positions));
    for (uint32_t i = 0; i < count; i++) {
        struct store_position *position = &end.positions[i];
        *position = positions[i];
        char(*texts)[64] = end.texts[i];
        memcpy(texts[0], position->channel.at, position->channel.size);
        memcpy(texts[1], position->epoch.at, position->epoch.size);
        position->channel.at = (const uint8_t *)texts[0];
        position->epoch.at = (const uint8_t *)texts[1];
    }
}

static enum err sync_as(struct world *world, uint32_t node, const char *user, const char *client,
                        const struct store_position *positions, uint32_t count)
{
    struct store_sync op = {.user = bytes_of_text(user),
                            .client = bytes_of_text(client),
                            .positions = positions,
                            .positions_count = count,
                            .on_end = on_end};
    end.is_ended = false;
    store_sync(world->nodes[node].store, &op);
    turn_until(world, end.is_ended);
    return end.err;
}

static const struct store_position *found(const char *channel)
{
    for (uint32_t i = 0; i < end.count; i++)
        if (bytes_equal_text(end.positions[i].channel, channel)) return &end.positions[i];
    return NULL;
}

static void positions_are_of_one_client_and_one_conversation_each(void **state)
{
    (void)state;
    struct world *world = world_begin();
    load(world, 60, NULL);
    uint64_t heads[2] = {head_of(world, 0), head_of(world, 1)};
    struct bytes epoch[2];
    for (uint32_t i = 0; i < 2; i++) epoch[i] = bytes_of_text(world->rooms[0][i].channel.epoch);
    struct store_position both[] = {
        {.channel = BYTES_LITERAL("room:0"), .epoch = epoch[0], .offset = 4},
        {.channel = BYTES_LITERAL("room:1"), .epoch = epoch[1], .offset = heads[1]}};
    assert_int_equal(sync_as(world, 0, "ann", "phone", both, 2), ERR_OK);
    assert_int_equal(end.count, 0);
    /* The other node knows it; a second save leaves the other conversation alone. */
    assert_int_equal(sync_as(world, 1, "ann", "phone", NULL, 0), ERR_OK);
    assert_int_equal(end.count, 2);
    assert_int_equal(found("room:0")->offset, 4);
    assert_true(found("room:0")->is_current);
    assert_int_equal(found("room:0")->missed, heads[0] - 4);
    assert_int_equal(found("room:1")->missed, 0);
    uint64_t at_ms = found("room:0")->at_ms;
    assert_true(at_ms <= clock_wall_ms() && clock_wall_ms() - at_ms < 600000);
    both[0].offset = heads[0];
    assert_int_equal(sync_as(world, 1, "ann", "phone", both, 1), ERR_OK);
    assert_int_equal(sync_as(world, 0, "ann", "phone", NULL, 0), ERR_OK);
    assert_int_equal(end.count, 2);
    assert_int_equal(found("room:0")->missed, 0);
    /* Nobody else's. */
    assert_int_equal(sync_as(world, 0, "ann", "laptop", NULL, 0), ERR_OK);
    assert_int_equal(end.count, 0);
    assert_int_equal(sync_as(world, 0, "ann:p", "hone", NULL, 0), ERR_OK);
    assert_int_equal(end.count, 0);
    world_end(world);
}

static void a_position_of_another_epoch_is_not_current(void **state)
{
    (void)state;
    struct world *world = world_begin();
    load(world, 30, NULL);
    struct store_position positions[] = {
        {.channel = BYTES_LITERAL("room:0"), .epoch = BYTES_LITERAL("gone.1"), .offset = 1},
        {.channel = BYTES_LITERAL("room:1"),
         .epoch = bytes_of_text(world->rooms[0][1].channel.epoch),
         .offset = 1000000},
        {.channel = BYTES_LITERAL("never"), .epoch = BYTES_LITERAL("gone.1"), .offset = 0}};
    assert_int_equal(sync_as(world, 0, "ann", "phone", positions, 3), ERR_OK);
    assert_int_equal(sync_as(world, 0, "ann", "phone", NULL, 0), ERR_OK);
    assert_int_equal(end.count, 3);
    for (uint32_t i = 0; i < 3; i++) {
        assert_false(end.positions[i].is_current);
        assert_int_equal(end.positions[i].missed, 0);
    }
    assert_int_equal(found("room:1")->offset, 1000000);
    world_end(world);
}

static void it_is_kept_for_thirty_days_after_the_last_word(void **state)
{
    (void)state;
    struct world *world = world_begin();
    struct store_position position = {
        .channel = BYTES_LITERAL("room:0"), .epoch = BYTES_LITERAL("e.1"), .offset = 1};
    assert_int_equal(sync_as(world, 0, "ann", "phone", &position, 1), ERR_OK);
    const struct reply *keys = redis_ask(&world->redis, &asked, "KEYS *:sync:*");
    assert_int_equal(keys->count, 1);
    char key[128];
    struct bytes name = reply_text(keys->items[0]);
    snprintf(key, sizeof key, "%.*s", (int)name.size, (const char *)name.at);
    assert_non_null(strstr(key, "}:sync:3:ann:phone"));
    assert_int_equal(redis_ask(&world->redis, &asked, "PEXPIRE %s 100000", key)->integer, 1);
    assert_int_equal(sync_as(world, 0, "ann", "phone", NULL, 0), ERR_OK);
    int64_t left_ms = redis_ask(&world->redis, &asked, "PTTL %s", key)->integer;
    assert_true(left_ms > (int64_t)SYNC_KEPT_MS - 600000 && left_ms <= (int64_t)SYNC_KEPT_MS);
    redis_ask_end(&asked);
    world_end(world);
}

static void the_oldest_goes_beyond_the_limit(void **state)
{
    (void)state;
    struct world *world = world_begin();
    static char names[SYNC_KEPT_MAX + 1][16];
    static struct store_position positions[SYNC_KEPT_MAX + 1];
    for (uint32_t i = 0; i <= SYNC_KEPT_MAX; i++) {
        snprintf(names[i], sizeof names[i], "c:%u", i);
        positions[i] = (struct store_position){
            .channel = bytes_of_text(names[i]), .epoch = BYTES_LITERAL("e.1"), .offset = i};
    }
    assert_int_equal(sync_as(world, 0, "ann", "phone", positions, 1), ERR_OK);
    turn_for(world, 5); /* older by Redis' clock of milliseconds */
    for (uint32_t at = 1; at < SYNC_KEPT_MAX; at += SYNC_SAVED_MAX) {
        uint32_t count = min_u32(SYNC_SAVED_MAX, SYNC_KEPT_MAX - at);
        assert_int_equal(sync_as(world, 0, "ann", "phone", positions + at, count), ERR_OK);
    }
    assert_int_equal(sync_as(world, 0, "ann", "phone", NULL, 0), ERR_OK);
    assert_int_equal(end.count, SYNC_KEPT_MAX);
    assert_non_null(found("c:0"));
    assert_int_equal(sync_as(world, 0, "ann", "phone", positions + SYNC_KEPT_MAX, 1), ERR_OK);
    assert_int_equal(sync_as(world, 0, "ann", "phone", NULL, 0), ERR_OK);
    assert_int_equal(end.count, SYNC_KEPT_MAX);
    assert_null(found("c:0"));
    assert_int_equal(found("c:1000")->offset, 1000);
    world_end(world);
}

static void without_redis_it_is_refused(void **state)
{
    (void)state;
    struct world *world = world_begin();
    struct store_position position = {
        .channel = BYTES_LITERAL("room:0"), .epoch = BYTES_LITERAL("e.1"), .offset = 1};
    redis_kill(&world->redis);
    assert_int_not_equal(sync_as(world, 0, "ann", "phone", &position, 1), ERR_OK);
    assert_int_equal(sync_as(world, 0, "ann", "phone", NULL, 0), ERR_STORE_DOWN);
    redis_start(&world->redis);
    uint64_t until_ns = clock_mono_ns() + 60000000000u;
    while (sync_as(world, 0, "ann", "phone", &position, 1) != ERR_OK)
        assert_true(clock_mono_ns() < until_ns);
    world_end(world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(positions_are_of_one_client_and_one_conversation_each),
        cmocka_unit_test(a_position_of_another_epoch_is_not_current),
        cmocka_unit_test(it_is_kept_for_thirty_days_after_the_last_word),
        cmocka_unit_test(the_oldest_goes_beyond_the_limit),
        cmocka_unit_test(without_redis_it_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
