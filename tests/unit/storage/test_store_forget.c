/*
 * What outlives its last use, as storage/store.h promises it, on every engine: a channel
 * that holds nothing is forgotten, and who knew it is told by another epoch; one that has
 * members, publications or somebody who listens goes on where it was.
 */
#include "storage/embed/embed.h"
#include "unit/storage/store_engines.h"

#define LIFE_MS 100
#define DAY_MS  86400000

/* `ttl_ms`: of channels in namespaces that nobody configured; ours are in none. */
static void begin_short(struct world *world, void **state, uint64_t horizon_ms, uint64_t ttl_ms)
{
    world_config(world, engine_of(state), path);
    if (engine_of(state) == CONFIG_ENGINE_REDIS) redis_configure(&redis, &world->config);
    world->config.redis_partitions = 4;
    world->config.storage_dedup_horizon_ms = horizon_ms;
    world->config.channel_history_meta_ttl_ms = ttl_ms;
    world->config.without_namespace.history_meta_ttl_ms = LIFE_MS;
    assert_int_equal(world_start(world, 1), ERR_OK);
}

static void turn_for(struct world *world, uint64_t ms)
{
    uint64_t end_ns = clock_mono_ns() + ms * 1000000u;
    while (clock_mono_ns() < end_ns) world_turn(world);
}

/* Lets `ms` pass, and then comes what an engine does each ten seconds. */
static void time_passes(struct world *world, void **state, uint64_t ms)
{
    turn_for(world, ms);
    if (engine_of(state) == CONFIG_ENGINE_MEMORY) world->ahead_ms += 10500;
    if (engine_of(state) == CONFIG_ENGINE_EMBEDDED) {
        container_of(world->node, struct embed_node, node)->sweep_ns = 0;
        embed_apply_sweep(container_of(world->shards[0].store, struct embed_store, store));
    }
    turn_for(world, 50);
}

/* Closed until it is forgotten.  Opening is a use, so each look is twice as late as the last. */
static void open_forgotten(struct world *world, void **state, struct thing *thing)
{
    char epoch[EPOCH_MAX + 1];
    memcpy(epoch, thing->channel.epoch, sizeof epoch);
    for (uint64_t ms = 4 * LIFE_MS; ms < 64 * LIFE_MS; ms *= 2) {
        thing_close(thing);
        time_passes(world, state, ms);
        thing_open(world, thing, 10);
        if (thing->channel.head == 0) break;
        assert_string_equal(thing->channel.epoch, epoch);
    }
    assert_int_equal(thing->channel.head, 0);
    assert_int_equal(thing->answer.count, 0);
    assert_string_not_equal(thing->channel.epoch, epoch);
}

static void what_nobody_uses_is_forgotten(void **state)
{
    struct world world;
    struct thing gone, people, kept, heard;
    struct thing *things[] = {&gone, &people, &kept, &heard};
    char epochs[4][EPOCH_MAX + 1], first[EPOCH_MAX + 1];
    begin_short(&world, state, LIFE_MS, DAY_MS);
    thing_init(&gone, "gone", 100, LIFE_MS / 2);
    thing_init(&people, "people", 100, LIFE_MS / 2);
    thing_init(&kept, "kept", 100, FOREVER);
    thing_init(&heard, "heard", 100, LIFE_MS / 2);
    for (int i = 0; i < 4; i++) {
        thing_open(&world, things[i], 10);
        publish_many(things[i], 1, 2);
        assert_int_equal(thing_publish(things[i], "key", "m3"), 3);
        memcpy(epochs[i], things[i]->channel.epoch, sizeof epochs[i]);
    }
    thing_members(&people, (const char *[]){"ann"}, 1);
    thing_close(&people);
    thing_close(&kept);

    open_forgotten(&world, state, &gone);
    memcpy(first, gone.channel.epoch, sizeof first);
    assert_int_equal(thing_publish(&gone, "key", "m1"), 1); /* its horizon is over, too */
    assert_int_equal(thing_publish(&gone, NULL, "m2"), 2);
    thing_close(&gone);
    thing_open(&world, &gone, 10);
    assert_string_equal(gone.channel.epoch, first);
    assert_int_equal(gone.channel.head, 2);
    open_forgotten(&world, state, &gone);
    assert_string_not_equal(gone.channel.epoch, epochs[0]);

    thing_open(&world, &people, 10);
    assert_int_equal(people.members_count, 1);
    thing_open(&world, &kept, 10);
    assert_answer(&kept, 1, 3);
    for (int i = 1; i < 4; i++) {
        assert_string_equal(things[i]->channel.epoch, epochs[i]);
        publish_many(things[i], 4, 5);
    }
    for (int i = 0; i < 4; i++) {
        thing_close(things[i]);
        thing_fini(things[i]);
    }
    world_stop(&world);
}

static void a_key_keeps_its_channel(void **state)
{
    struct world world;
    struct thing thing;
    char epoch[EPOCH_MAX + 1];
    begin_short(&world, state, DAY_MS, LIFE_MS);
    thing_init(&thing, "keyed", 100, LIFE_MS / 2);
    thing_open(&world, &thing, 10);
    assert_int_equal(thing_publish(&thing, "key", "m1"), 1);
    memcpy(epoch, thing.channel.epoch, sizeof epoch);
    thing_close(&thing);
    time_passes(&world, state, 3 * LIFE_MS);
    thing_open(&world, &thing, 10);
    assert_string_equal(thing.channel.epoch, epoch);
    assert_int_equal(thing.answer.count, 0);
    assert_int_equal(thing_publish(&thing, "key", "m1"), 1);
    assert_int_equal(thing_publish(&thing, "other", "m2"), 2);
    thing_close(&thing);
    thing_fini(&thing);
    world_stop(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(what_nobody_uses_is_forgotten, MEMORY), CASE(what_nobody_uses_is_forgotten, EMBEDDED),
        CASE(what_nobody_uses_is_forgotten, REDIS),  CASE(a_key_keeps_its_channel, MEMORY),
        CASE(a_key_keeps_its_channel, EMBEDDED),     CASE(a_key_keeps_its_channel, REDIS),
    };
    const struct CMUnitTest others[] = {CASE(what_nobody_uses_is_forgotten, REDIS)};
    return engines_run(ENGINE_CASES(tests), ENGINE_CASES(others), false);
}
