/*
 * store_engines: the same cases on every engine of this machine.
 *
 * A case starts a node on an empty directory and empty servers.  engines_run gives the
 * cases to memory, the embedded log and a redis-server of our own, and those of Redis
 * again to servers in company: with a replica to wait for, a Cluster, behind Sentinels.
 *
 * Thread:  one.
 */
#pragma once

#include "unit/storage/redis_many.h"
#include "unit/storage/store_world.h"

#define FOREVER 86400000u

/* Of the servers as they are now, and the data directory of the program. */
static char path[64];
static struct redis_world redis;
static struct redis_many many;

static inline int setup_path(void **state)
{
    (void)state;
    snprintf(path, sizeof path, "/tmp/test_store.%d", (int)getpid());
    if (redis.pid != 0) redis_say(&redis, "FLUSHALL");
    for (uint32_t i = 0; i < many.count; i++) redis_say(&many.at[i], "FLUSHALL");
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", path);
    return system(command);
}

static inline uint32_t engine_of(void **state)
{
    return (uint32_t)(uintptr_t)*state;
}

static inline void begin(struct world *world, void **state, uint32_t shards_count)
{
    world_config(world, engine_of(state), path);
    if (engine_of(state) == CONFIG_ENGINE_REDIS) redis_configure(&redis, &world->config);
    assert_int_equal(world_start(world, shards_count), ERR_OK);
}

/* A node of one shard and an open channel of it, which keeps the newest 100 for long. */
static inline void begin_room(struct world *world, void **state, struct thing *thing)
{
    begin(world, state, 1);
    thing_init(thing, "room:1", 100, FOREVER);
    thing_open(world, thing, 10);
}

static inline void end_room(struct world *world, struct thing *thing)
{
    thing_close(thing);
    thing_fini(thing);
    world_stop(world);
}

#define CASE(name, engine)                                                                         \
    {                                                                                              \
#name " " #engine, name, setup_path, NULL, (void *)(uintptr_t)CONFIG_ENGINE_##engine       \
    }

struct engine_cases {
    const struct CMUnitTest *tests;
    size_t count;
};
#define ENGINE_CASES(list) ((struct engine_cases){list, sizeof(list) / sizeof *(list)})

static inline int engines_group(const char *name, struct engine_cases cases)
{
    return _cmocka_run_group_tests(name, cases.tests, cases.count, NULL, NULL);
}

/* The servers of `many`, and nothing of them left. */
static inline int engines_many(const char *name, struct engine_cases cases)
{
    redis = many.entry;
    int failed = engines_group(name, cases);
    many_end(&many);
    many.count = 0;
    return failed;
}

/* How many failed.  `tests`: on each engine; `others`: on Redis in company. */
static inline int engines_run(struct engine_cases tests, struct engine_cases others,
                              bool has_sentinels)
{
    struct redis_world replica;
    redis_begin(&redis, NULL);
    int failed = engines_group("tests", tests);
    redis_begin_replica(&replica, &redis);
    redis.wait_replicas = 1;
    redis.wait_timeout_ms = 3000;
    failed += engines_group("with a replica", others);
    redis_end(&replica);
    redis_end(&redis);
    many_cluster(&many, false);
    failed += engines_many("on a Cluster", others);
    if (has_sentinels) {
        many_sentinel(&many, false);
        failed += engines_many("behind Sentinels", others);
    }
    void *none = NULL;
    return failed + setup_path(&none);
}
