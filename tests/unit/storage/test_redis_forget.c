/*
 * Channels that nobody uses, with two nodes over one Redis that share the looking: who
 * keeps one, what goes with one, and who is told.
 */
#include "unit/storage/redis_ask.h"
#include "unit/storage/redis_nodes.h"

#define IDLE_MS 100

static struct redis_asked asked;

static uint32_t partition_of(const char *name)
{
    return (uint32_t)(hash_bytes(bytes_of_text(name), 0) % 64);
}

static struct world *begin_short(uint64_t idle_ms)
{
    struct world *world = world_begin();
    for (uint32_t n = 0; n < NODES; n++) {
        struct config *config = &world->nodes[n].config;
        config->storage_dedup_horizon_ms = config->channel_history_meta_ttl_ms = idle_ms;
        config->without_namespace.history_meta_ttl_ms = idle_ms;
        for (uint32_t r = 0; r < ROOMS; r++)
            world->rooms[n][r].channel.history.ttl_ms = IDLE_MS / 2;
    }
    return world;
}

static void end(struct world *world)
{
    world_end(world);
    redis_ask_end(&asked);
}

static void publish(struct world *world, struct room *room)
{
    struct ask *ask = &world->asks[0];
    ask_number(world, ask, room);
    ask_send(ask);
    turn_until(world, !ask->is_busy);
    assert_int_equal(ask->number, 0); /* answered with OK */
}

/* What stands in the meta hash of the channel's partition; BYTES_NONE: nothing. */
static struct bytes meta_of(const struct world *world, const char *name)
{
    return reply_text(
        redis_ask(&world->redis, &asked, "HGET test:{p%u}:meta %s", partition_of(name), name));
}

/* `text` with points for spaces. */
static void meta_put(const struct world *world, const char *name, const char *text)
{
    char value[64];
    snprintf(value, sizeof value, "%s", text);
    for (char *at = value; *at != 0; at++)
        if (*at == '.') *at = 1;
    redis_ask(&world->redis, &asked,
              "EVAL redis.call('HSET',KEYS[1],ARGV[1],(string.gsub(ARGV[2],'%%c',string.char(32))))"
              " 1 test:{p%u}:meta %s %s",
              partition_of(name), name, value);
}

static void reopen(struct world *world, uint32_t n, uint32_t r)
{
    struct room *room = &world->rooms[n][r];
    char name[32];
    snprintf(name, sizeof name, "room:%u", r);
    assert_int_equal(room_open(world, &world->nodes[n], room, name, NUMBERS_MAX), ERR_OK);
}

static void who_hears_a_channel_keeps_it(void **state)
{
    (void)state;
    struct world *world = begin_short(IDLE_MS);
    struct room *here = &world->rooms[0][0], *there = &world->rooms[1][0];
    char epoch[EPOCH_MAX + 1];
    publish(world, here);
    publish(world, there);
    turn_until(world, here->count == 2 && there->count == 2);
    memcpy(epoch, here->channel.epoch, sizeof epoch);
    store_close(world->nodes[0].store, &here->channel);
    turn_for(world, 1000); /* some rounds */
    assert_int_equal(there->lost, 0);
    publish(world, there);
    turn_until(world, there->count == 3);
    assert_string_equal(there->channel.epoch, epoch);

    store_close(world->nodes[1].store, &there->channel);
    turn_until(world, meta_of(world, "room:0").size == 0);
    for (uint32_t n = 0; n < NODES; n++) reopen(world, n, 0);
    assert_string_not_equal(here->channel.epoch, epoch);
    assert_string_equal(here->channel.epoch, there->channel.epoch);
    assert_int_equal(here->channel.head, 0);
    publish(world, here);
    turn_until(world, there->count == 1);
    publish(world, there);
    turn_until(world, here->count == 2);
    assert_string_equal(here->channel.epoch, there->channel.epoch);
    assert_int_equal(here->lost + there->lost, 0);
    end(world);
}

/* The next birth of their names is another one, since a neighbour went.  They hear of it when it
 * matters, and not before. */
static void who_waits_for_a_first_record_is_told_of_another_birth(void **state)
{
    (void)state;
    struct world *world = begin_short(DAY_MS);
    struct room *here = &world->rooms[0][0], *there = &world->rooms[1][0];
    redis_ask(&world->redis, &asked,
              "EVAL for%cp=0,255%cdo%credis.call('HSET',KEYS[1],string.format('%%02x',p),"
              "'-abcdefg')end 1 test:{p%u}:forgot",
              '\t', '\t', '\t', partition_of("room:0"));
    turn_for(world, 1700); /* every node has looked */
    assert_int_equal(here->lost + there->lost, 0);
    publish(world, here);
    turn_until(world, here->lost == 1 && there->lost == 1);
    publish(world, there);
    turn_until(world, here->channel.head == 2 && there->channel.head == 2);
    assert_non_null(strstr(here->channel.epoch, "-abcdefg"));
    assert_string_equal(here->channel.epoch, there->channel.epoch);
    assert_int_equal(here->lost + there->lost, 2);
    end(world);
}

static void what_is_held_or_lost_stays(void **state)
{
    (void)state;
    struct world *world = begin_short(IDLE_MS);
    meta_put(world, "held", "3.0.0.0.2.0.@1");
    meta_put(world, "lost", "3.1.1.@1");
    meta_put(world, "reborn", "3.0.0.-abcdefg.@1");
    meta_put(world, "marked", "3.0.0.p6.-abcdefg.@1");
    meta_put(world, "gone", "3.1.1.@1");
    redis_ask(&world->redis, &asked,
              "EVAL redis.call('HSET',KEYS[1],'','none') 1 test:{p%u}:m:gone",
              partition_of("gone"));
    turn_until(world, meta_of(world, "gone").size == 0 && meta_of(world, "reborn").size == 0);
    turn_until(world, bytes_equal_text(meta_of(world, "lost"), "3 1 1"));
    turn_until(world, bytes_equal_text(meta_of(world, "held"), "3 0 0 0 2 0"));
    turn_until(world, bytes_equal_text(meta_of(world, "marked"), "3 0 0 p6 -abcdefg"));
    const struct reply *left =
        redis_ask(&world->redis, &asked, "EXISTS test:{p%u}:m:gone", partition_of("gone"));
    assert_int_equal(left->integer, 0);
    end(world);
}

static void whoever_opens_a_channel_uses_it(void **state)
{
    (void)state;
    struct world *world = begin_short(DAY_MS);
    char text[64];
    snprintf(text, sizeof text, "3.0.0.-abcdefg.@%llu", (unsigned long long)clock_wall_ms());
    store_close(world->nodes[0].store, &world->rooms[0][0].channel);
    meta_put(world, "room:0", text);
    reopen(world, 0, 0);
    assert_int_equal(world->rooms[0][0].channel.head, 3);
    assert_non_null(strstr(world->rooms[0][0].channel.epoch, "-abcdefg"));
    assert_true(bytes_equal_text(meta_of(world, "room:0"), "3 0 0 -abcdefg"));
    end(world);
}

/* What stands there was damaged by somebody else, who decides what becomes of it. */
static void damage_holds_nobody_up(void **state)
{
    (void)state;
    struct world *world = begin_short(IDLE_MS);
    redis_ask(&world->redis, &asked, "SET test:{p%u}:m:typed x", partition_of("typed"));
    redis_ask(&world->redis, &asked,
              "EVAL for%ci=1,20%cdo%credis.call('HSET',KEYS[1],'idle:'..i,table.concat({i,0,0},"
              "string.char(32)))end 1 test:{p%u}:meta",
              '\t', '\t', '\t', partition_of("typed"));
    meta_put(world, "typed", "3.1.1");
    redis_ask(&world->redis, &asked,
              "EVAL redis.call('HSET',KEYS[1],'junk','3'..string.char(32)..'0'..string.char(32)"
              "..'0x') 1 test:{p%u}:meta",
              partition_of("typed"));
    turn_until(
        world,
        redis_ask(&world->redis, &asked, "HLEN test:{p%u}:meta", partition_of("typed"))->integer <=
            3);
    assert_true(bytes_equal_text(meta_of(world, "typed"), "3 1 1"));
    end(world);
}

/* A round takes a slice at a time. */
static void many_go_slice_by_slice(void **state)
{
    (void)state;
    struct world *world = begin_short(IDLE_MS);
    bool has_cursor = false;
    uint64_t end_ns = clock_mono_ns() + 60000000000u;
    redis_ask(&world->redis, &asked,
              "EVAL for%ci=1,3000%cdo%credis.call('HSET',KEYS[1],'idle:'..i,table.concat({i,0,0},"
              "string.char(32)))end 1 test:{p7}:meta",
              '\t', '\t', '\t');
    for (int64_t left = 3000; left > 1;) {
        assert_true(clock_mono_ns() < end_ns);
        turn_for(world, 20);
        left = redis_ask(&world->redis, &asked, "HLEN test:{p7}:meta")->integer;
        struct bytes place = reply_text(redis_ask(&world->redis, &asked, "GET test:{p7}:idle"));
        has_cursor = has_cursor || (place.size > 0 && place.at[0] != '0');
    }
    assert_true(has_cursor);
    end(world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_hears_a_channel_keeps_it),
        cmocka_unit_test(who_waits_for_a_first_record_is_told_of_another_birth),
        cmocka_unit_test(what_is_held_or_lost_stays),
        cmocka_unit_test(whoever_opens_a_channel_uses_it),
        cmocka_unit_test(damage_holds_nobody_up),
        cmocka_unit_test(many_go_slice_by_slice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
