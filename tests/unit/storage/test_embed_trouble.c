/*
 * A full disk, a failing write, an index that lags: what is refused, with which
 * word, what goes on, and what a restart finds.
 *
 * A write fails by RLIMIT_FSIZE, which bounds the offset; a disk is full by a
 * small tmpfs, where this process may mount one.
 */
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "unit/storage/store_world.h"

static char path[64];

static int setup(void **state)
{
    (void)state;
    char command[128];
    snprintf(path, sizeof path, "/tmp/test_embed_trouble.%d", (int)getpid());
    snprintf(command, sizeof command, "rm -rf %s", path);
    signal(SIGXFSZ, SIG_IGN);
    return system(command);
}

static void limit_files(rlim_t bytes)
{
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = bytes;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static void settle_append(struct append *append)
{
    assert_true(world_wait(append->world, &append->is_done));
}

static void a_failed_write_ends_the_log_but_not_the_reads(void **state)
{
    (void)state;
    struct world world;
    struct thing thing;
    struct append appends[3];
    struct store_health health;
    world_config(&world, CONFIG_ENGINE_EMBEDDED, path);
    assert_int_equal(world_start(&world, 1), ERR_OK);
    thing_init(&thing, "room:1", 1000, 86400000);
    thing_open(&world, &thing, 10);
    for (uint64_t i = 1; i <= 20; i++) assert_int_equal(thing_publish(&thing, NULL, "before"), i);
    limit_files(600); /* below what the log has reached */
    thing_ask(&thing, &appends[0], "k1", "lost");
    world_turn(&world); /* on its way */
    thing_ask(&thing, &appends[1], "k2", "behind");
    thing_ask(&thing, &appends[2], "k1", "joins");
    for (int i = 0; i < 3; i++) settle_append(&appends[i]);
    limit_files(RLIM_INFINITY);
    assert_int_equal(appends[0].err, ERR_STORE_UNKNOWN);
    assert_int_equal(appends[2].err, ERR_STORE_UNKNOWN);
    assert_int_equal(appends[1].err, ERR_STORE_READONLY);
    /* The key of unknown fate stays refused, others hear that nothing is written. */
    thing_ask(&thing, &appends[0], "k1", "lost");
    thing_ask(&thing, &appends[1], "k2", "behind");
    for (int i = 0; i < 2; i++) settle_append(&appends[i]);
    assert_int_equal(appends[0].err, ERR_STORE_UNKNOWN);
    assert_int_equal(appends[1].err, ERR_STORE_READONLY);
    store_health(world.shards[0].store, &health);
    assert_false(health.is_ok);
    assert_true(strlen(health.detail) > 0);
    thing_read(&thing, 0, UINT32_MAX, false);
    assert_int_equal(thing.answer.count, 20);
    thing_close(&thing);
    thing_open(&world, &thing, 10);
    assert_int_equal(thing.channel.head, 20);
    thing_ask(&thing, &appends[0], "k1", "lost");
    settle_append(&appends[0]);
    assert_int_equal(appends[0].err, ERR_STORE_UNKNOWN); /* also over close and open */
    thing_close(&thing);
    world_stop(&world);
    assert_int_equal(world_start(&world, 2), ERR_OK);
    thing_open(&world, &thing, 10);
    assert_int_equal(thing.channel.head, 20);
    assert_int_equal(thing_publish(&thing, "k1", "lost"), 21);
    thing_close(&thing);
    thing_fini(&thing);
    world_stop(&world);
}

static void a_full_disk_refuses_and_goes_on_when_there_is_room(void **state)
{
    (void)state;
    struct world world;
    struct thing thing;
    struct append append;
    static char data[VERIFY ? 3000 : 200000], filler[128]; /* no more than a batch */
    memset(data, 'x', sizeof data - 1);
    mkdir(path, 0755);
    if (mount("none", path, "tmpfs", 0, "size=8m") != 0) skip();
    world_config(&world, CONFIG_ENGINE_EMBEDDED, path);
    assert_int_equal(world_start(&world, 1), ERR_OK);
    thing_init(&thing, "room:1", 20, 86400000);
    thing_open(&world, &thing, 10);
    assert_int_equal(thing_publish(&thing, NULL, "first"), 1);
    snprintf(filler, sizeof filler, "%s/filler", path);
    FILE *file = fopen(filler, "w");
    while (fwrite(data, 1, sizeof data, file) == sizeof data) continue;
    fclose(file);
    uint64_t head = 1;
    do {
        thing_ask(&thing, &append, NULL, data);
        settle_append(&append);
        if (append.err == ERR_OK) head++;
    } while (append.err == ERR_OK && head < 100);
    assert_true(append.err == ERR_STORE_READONLY || append.err == ERR_STORE_UNKNOWN);
    assert_int_equal(thing.channel.head, head);
    struct append keyed;
    thing_ask(&thing, &keyed, "key", data);
    settle_append(&keyed);
    assert_int_equal(keyed.err, ERR_STORE_READONLY);
    struct store_health health;
    store_health(world.shards[0].store, &health);
    assert_false(health.is_ok);
    thing_read(&thing, 0, 1, true);
    assert_int_equal(thing.answer.count, 1);
    assert_int_equal(unlink(filler), 0);
    bool is_failed = append.err == ERR_STORE_UNKNOWN;
    uint64_t end_ns = clock_mono_ns() + 3000000000ull;
    for (append.err = ERR_IO; !is_failed && append.err != ERR_OK && clock_mono_ns() < end_ns;) {
        thing_ask(&thing, &append, "key", "after"); /* refused is not remembered */
        settle_append(&append);
        assert_false(append.is_repeat);
    }
    if (!is_failed) {
        assert_int_equal(append.err, ERR_OK);
        assert_int_equal(append.offset, head + 1);
    }
    thing_close(&thing);
    world_stop(&world);
    assert_int_equal(world_start(&world, 1), ERR_OK);
    thing_open(&world, &thing, 10);
    assert_int_equal(thing.channel.head, is_failed ? head : head + 1);
    thing_close(&thing);
    thing_fini(&thing);
    world_stop(&world);
    assert_int_equal(umount(path), 0);
}

static void a_lagging_index_delays_then_refuses(void **state)
{
    (void)state;
    struct world world;
    struct thing thing;
    static struct append appends[4000];
    static char data[2000];
    memset(data, 'x', sizeof data - 1);
    world_config(&world, CONFIG_ENGINE_EMBEDDED, path);
    world.config.storage_index_lag_max_bytes = 1 << 20;
    assert_int_equal(world_start(&world, 1), ERR_OK);
    thing_init(&thing, "room:1", 10000, 86400000);
    thing_open(&world, &thing, 10);
    uint32_t refused = 0, done = 0;
    for (uint32_t i = 0; i < array_count(appends); i++) {
        thing_ask(&thing, &appends[i], NULL, data);
    }
    world_settle(&world);
    for (uint32_t i = 0; i < array_count(appends); i++) {
        assert_true(appends[i].is_done);
        if (appends[i].err == ERR_OK)
            assert_int_equal(appends[i].offset, ++done);
        else
            assert_int_equal(appends[i].err, ERR_STORE_LAG);
        refused += appends[i].err != ERR_OK;
    }
    assert_true(refused > 0 && done > 0);
    /* Refused was not remembered: there is no hole, and all is well again. */
    assert_int_equal(thing.channel.head, done);
    assert_int_equal(thing_publish(&thing, NULL, "after"), done + 1);
    thing_close(&thing);
    thing_fini(&thing);
    world_stop(&world);
}

/* The files as a kill leaves them: the key stands in the log alone, its publication
 * nowhere. */
static void a_kill_leaves_the_key_of_what_nobody_keeps(void **state)
{
    (void)state;
    struct world world;
    struct thing thing;
    struct append append;
    char copy[80], command[400];
    snprintf(copy, sizeof copy, "%s.copy", path);
    snprintf(command, sizeof command, "rm -rf %s; cp -r %s %s && ! grep -rq nowhere %s", copy, path,
             copy, copy);
    world_config(&world, CONFIG_ENGINE_EMBEDDED, path);
    assert_int_equal(world_start(&world, 2), ERR_OK);
    thing_init(&thing, "live:1", 0, 0);
    thing_open(&world, &thing, 10);
    assert_int_equal(thing_publish(&thing, "key", "nowhere"), 0);
    thing_hear(&thing, 1);
    assert_string_equal(thing.feed.items[0].data, "nowhere");
    assert_int_equal(system(command), 0);
    thing_close(&thing);
    world_stop(&world);
    world_config(&world, CONFIG_ENGINE_EMBEDDED, copy);
    assert_int_equal(world_start(&world, 1), ERR_OK);
    thing_open(&world, &thing, 10);
    thing_ask(&thing, &append, "key", "again");
    settle_append(&append);
    assert_true(append.err == ERR_OK && append.is_repeat && append.offset == 0);
    assert_int_equal(thing_publish(&thing, NULL, "other"), 0);
    thing_hear(&thing, 1);
    assert_string_equal(thing.feed.items[0].data, "other");
    thing_close(&thing);
    thing_fini(&thing);
    world_stop(&world);
    snprintf(command, sizeof command, "rm -rf %s", copy);
    assert_int_equal(system(command), 0);
}

/* Delivered is what is durable, also when only the key is to be. */
static void a_failed_write_delivers_nothing_of_what_has_a_key(void **state)
{
    (void)state;
    struct world world;
    struct thing thing;
    struct append append;
    world_config(&world, CONFIG_ENGINE_EMBEDDED, path);
    assert_int_equal(world_start(&world, 1), ERR_OK);
    thing_init(&thing, "live:1", 0, 0);
    thing_open(&world, &thing, 10);
    for (int i = 0; i < 20; i++) {
        char key[16];
        snprintf(key, sizeof key, "k%d", i);
        assert_int_equal(thing_publish(&thing, key, "before"), 0);
    }
    thing_hear(&thing, 20);
    limit_files(600);
    thing_ask(&thing, &append, "lost", "lost");
    settle_append(&append);
    limit_files(RLIM_INFINITY);
    assert_int_equal(append.err, ERR_STORE_UNKNOWN);
    thing_ask(&thing, &append, "later", "refused");
    settle_append(&append);
    assert_int_equal(append.err, ERR_STORE_READONLY);
    assert_int_equal(thing_publish(&thing, NULL, "without a key"), 0);
    thing_hear(&thing, 21);
    assert_string_equal(thing.feed.items[20].data, "without a key");
    thing_close(&thing);
    thing_fini(&thing);
    world_stop(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_failed_write_ends_the_log_but_not_the_reads, setup),
        cmocka_unit_test_setup(a_full_disk_refuses_and_goes_on_when_there_is_room, setup),
        cmocka_unit_test_setup(a_lagging_index_delays_then_refuses, setup),
        cmocka_unit_test_setup(a_kill_leaves_the_key_of_what_nobody_keeps, setup),
        cmocka_unit_test_setup(a_failed_write_delivers_nothing_of_what_has_a_key, setup),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    void *none = NULL;
    setup(&none);
    return failed;
}
