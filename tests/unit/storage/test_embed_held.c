/*
 * The data directory, or a file in it, goes from under a running store: every shard notices
 * and refuses, and what is put back is as it was.
 */
#include "storage/embed/embed.h"
#include "unit/storage/shell.h"
#include "unit/storage/store_world.h"

static char base[64], data[80], epoch[EPOCH_MAX + 1];

static int setup(void **state)
{
    (void)state;
    snprintf(base, sizeof base, "/tmp/test_embed_held.%d", (int)getpid());
    snprintf(data, sizeof data, "%s/data", base);
    shell("rm -rf %s && mkdir %s", base, base);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    shell("rm -rf %s", base);
    return 0;
}

static void start(struct world *world, struct thing *thing)
{
    world_config(world, CONFIG_ENGINE_EMBEDDED, data);
    assert_int_equal(world_start(world, 2), ERR_OK);
    thing_init(thing, "room:1", 1000, 86400000);
    thing_open(world, thing, 10);
}

static void stop(struct world *world, struct thing *thing)
{
    thing_close(thing);
    thing_fini(thing);
    world_stop(world);
}

static bool is_red(struct world *world, const struct thing *thing, const char *missing)
{
    struct store_health health;
    for (uint32_t i = 0; i < world->shards_count; i++) {
        if (thing != NULL && thing->shard != &world->shards[i]) continue;
        store_health(world->shards[i].store, &health);
        if (health.is_ok) return false;
        assert_non_null(strstr(health.detail, "removed, moved or replaced"));
        assert_non_null(strstr(health.detail, missing));
    }
    return true;
}

/* The time for a look passes, and its answer comes. */
static void look(struct world *world)
{
    world->ahead_ms += LOG_LOOK_MS;
    for (int i = 0; i < 3; i++) {
        world_turn(world);
        world_settle(world);
    }
}

/* `command` harms the directory; then `missing` is in the path that is named, by every
 * shard unless it is a file of one log. */
static void assert_noticed(const char *command, const char *missing)
{
    struct world world;
    struct thing thing;
    struct append append;
    const struct thing *own = strstr(missing, "log/") == NULL ? NULL : &thing;
    start(&world, &thing);
    uint64_t head = thing_publish(&thing, NULL, "before");
    look(&world);
    assert_int_equal(thing_publish(&thing, NULL, "fine"), head + 1);
    shell("cd %s && %s", base, command);
    look(&world);
    assert_true(is_red(&world, own, missing));
    thing_ask(&thing, &append, "key", "after");
    assert_true(world_wait(&world, &append.is_done));
    assert_int_equal(append.err, ERR_STORE_READONLY);
    look(&world);
    assert_true(is_red(&world, own, missing));
    memcpy(epoch, thing.channel.epoch, sizeof epoch);
    stop(&world, &thing);
}

static void a_directory_that_is_removed_is_noticed(void **state)
{
    (void)state;
    struct world world;
    struct thing thing;
    assert_noticed("rm -r data", "data/lock");
    start(&world, &thing);
    assert_int_equal(thing.channel.head, 0);
    assert_string_not_equal(thing.channel.epoch, epoch); /* so its loss is told */
    stop(&world, &thing);
}

static void a_directory_that_is_moved_and_put_back_is_whole(void **state)
{
    (void)state;
    struct world world;
    struct thing thing;
    assert_noticed("mv data away", "data/lock");
    shell("cd %s && mv away data", base);
    start(&world, &thing);
    assert_int_equal(thing.channel.head, 2);
    assert_string_equal(thing.channel.epoch, epoch);
    stop(&world, &thing);
}

static void another_directory_in_its_place_is_noticed(void **state)
{
    (void)state;
    assert_noticed("cp -a data copy && mv data away && mv copy data", "data/lock");
    shell("cd %s && rm -r data && mv away data", base);
}

static void each_file_that_a_start_wants_is_missed(void **state)
{
    (void)state;
    static const char *const names[] = {"made", "index.db"};
    char command[128], missing[64];
    for (uint32_t i = 0; i < array_count(names); i++) {
        snprintf(command, sizeof command, "mv data/%s away", names[i]);
        snprintf(missing, sizeof missing, "data/%s", names[i]);
        assert_noticed(command, missing);
        shell("cd %s && mv away data/%s", base, names[i]);
    }
    assert_noticed("mv data/log away && mkdir data/log", "data/log/");
    shell("cd %s && rm -r data/log && mv away data/log", base);
    struct world world;
    struct thing thing;
    start(&world, &thing);
    assert_string_equal(thing.channel.epoch, epoch);
    stop(&world, &thing);
}

/* A log that has made no file counts on the directory. */
static void a_shard_that_wrote_nothing_notices_too(void **state)
{
    (void)state;
    struct world world;
    struct thing thing;
    start(&world, &thing);
    look(&world);
    shell("rm -r %s", data);
    look(&world);
    assert_true(is_red(&world, NULL, "data/lock"));
    stop(&world, &thing);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_directory_that_is_removed_is_noticed, setup, teardown),
        cmocka_unit_test_setup_teardown(a_directory_that_is_moved_and_put_back_is_whole, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(another_directory_in_its_place_is_noticed, setup, teardown),
        cmocka_unit_test_setup_teardown(each_file_that_a_start_wants_is_missed, setup, teardown),
        cmocka_unit_test_setup_teardown(a_shard_that_wrote_nothing_notices_too, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
