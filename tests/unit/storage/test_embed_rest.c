/*
 * What a burst leaves on the disk, and what of it is left when nobody publishes any more:
 * log files and SQLite's WAL as long as they had to be.
 */
#include "core/disk.h"
#include "storage/embed/embed.h"
#include "unit/storage/store_world.h"

#define TEXT    (VERIFY ? 3000u : 100000u)
#define AT_ONCE 32
#define BURST   (SEGMENT_SIZE_MAX * 3 / 2 / TEXT)
#define STEPS   40

static char directory[64], log_directory[80], wal_path[80];
static char text[TEXT];

static int setup(void **state)
{
    (void)state;
    char command[128];
    snprintf(directory, sizeof directory, "/tmp/test_embed_rest.%d", (int)getpid());
    snprintf(log_directory, sizeof log_directory, "%s/log", directory);
    snprintf(wal_path, sizeof wal_path, "%s/index.db-wal", directory);
    snprintf(command, sizeof command, "rm -rf %s", directory);
    memset(text, 'x', sizeof text - 1);
    return system(command);
}

static void on_name(void *context, const char *name)
{
    char path[160];
    uint64_t *bytes = context;
    snprintf(path, sizeof path, "%s/%s", log_directory, name);
    int64_t size = disk_size_at(path);
    if (size > 0) *bytes += (uint64_t)size;
}

static uint64_t log_bytes(void)
{
    uint64_t bytes = 0;
    assert_int_equal(disk_list(log_directory, on_name, &bytes), 0);
    return bytes;
}

static void burst(struct thing *thing, uint32_t count)
{
    static struct append appends[AT_ONCE];
    for (uint32_t done = 0; done < count; done += AT_ONCE) {
        for (uint32_t i = 0; i < AT_ONCE; i++) thing_ask(thing, &appends[i], NULL, text);
        for (uint32_t i = 0; i < AT_ONCE; i++) {
            assert_true(world_wait(appends[i].world, &appends[i].is_done));
            assert_int_equal(appends[i].err, ERR_OK);
        }
    }
}

/* A node of one shard and an open channel; its store. */
static struct embed_store *begin(struct world *world, struct thing *thing)
{
    world_config(world, CONFIG_ENGINE_EMBEDDED, directory);
    assert_int_equal(world_start(world, 1), ERR_OK);
    thing_init(thing, "room:1", 10, 86400000);
    thing_open(world, thing, 10);
    return embed_of(world->shards[0].store);
}

/* The index has everything, no file waits, and nothing is under way. */
static void settle(struct world *world, struct embed_store *store)
{
    uint64_t end_ns = clock_mono_ns() + WORLD_WAIT_MS * 1000000ull;
    world_settle(world);
    while ((!list_is_empty(&store->log.kept) || shardlog_has_full(&store->log)) &&
           clock_mono_ns() < end_ns) {
        embed_apply_sweep(store); /* not after a while, at once */
        world_settle(world);
    }
    assert_true(list_is_empty(&store->log.kept) && !shardlog_has_full(&store->log));
}

/* What the store does each ten seconds, at once. */
static void rest(struct world *world, struct embed_store *store)
{
    settle(world, store);
    store->node->sweep_ns = 0; /* nothing is under way */
    wheel_disarm(&world->shards[0].wheel, &store->sweep);
    wheel_arm(&world->shards[0].wheel, &store->sweep, 0, store->sweep.on_due);
    world_turn(world);
    settle(world, store);
}

static void a_burst_gives_its_room_back(void **state)
{
    (void)state;
    struct world world;
    struct thing thing;
    struct embed_store *store = begin(&world, &thing);
    /* Twice: the second time it grows from the least size again. */
    for (int round = 0; round < (VERIFY ? 2 : 1); round++) {
        burst(&thing, BURST);
        settle(&world, store);
        assert_true(log_bytes() > SEGMENT_SIZE_MAX);
        uint32_t steps = 0;
        do {
            rest(&world, store);
        } while (log_bytes() > SEGMENT_SIZE_MIN && ++steps < STEPS);
        assert_int_equal(log_bytes(), SEGMENT_SIZE_MIN);
        assert_in_range(disk_size_at(wal_path), 0, EMBED_WAL_REST);
    }
    uint64_t head = thing_publish(&thing, NULL, "after");
    assert_int_equal(head, thing.channel.head);
    thing_close(&thing);
    world_stop(&world);
    assert_int_equal(world_start(&world, 2), ERR_OK);
    thing_open(&world, &thing, 10);
    assert_int_equal(thing.channel.head, head);
    assert_int_equal(thing.answer.count, 10);
    assert_string_equal(thing.answer.items[9].data, "after");
    thing_close(&thing);
    thing_fini(&thing);
    world_stop(&world);
}

/* Who publishes on keeps the files that it needs. */
static void load_keeps_its_files(void **state)
{
    (void)state;
    struct world world;
    struct thing thing;
    struct embed_store *store = begin(&world, &thing);
    burst(&thing, SEGMENT_SIZE_MIN * 2 / TEXT);
    for (int i = 0; i < 3 * LOG_REST_CALLS; i++) {
        burst(&thing, SEGMENT_SIZE_MIN / 4 / TEXT + AT_ONCE);
        uint64_t size = store->log.current->size;
        rest(&world, store);
        assert_true(store->log.current->size >= size);
    }
    assert_true(log_bytes() > SEGMENT_SIZE_MIN);
    thing_close(&thing);
    thing_fini(&thing);
    world_stop(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_burst_gives_its_room_back, setup),
        cmocka_unit_test_setup(load_keeps_its_files, setup),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    void *none = NULL;
    setup(&none);
    return failed;
}
