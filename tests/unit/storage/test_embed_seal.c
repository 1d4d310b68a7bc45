/*
 * test_embed_seal: a data directory with a key: nothing readable in any file, answers
 * as without one; copies of it; keys that come, change and are missing.
 */
#include "store_world.h"
#include "unit/storage/shell.h"

#include "core/disk.h"
#include "storage/embed/seals.h"
#include "storage/embed/segment.h"
#include "storage/embed/sql.h"

#define KEY_A  "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define KEY_B  "0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f0"
#define DAY_MS 86400000ull

static char directory[64], copy[80];

static int setup(void **state)
{
    (void)state;
    snprintf(directory, sizeof directory, "/tmp/test_embed_seal.%d", (int)getpid());
    snprintf(copy, sizeof copy, "%s.copy", directory);
    shell("rm -rf %s %s", directory, copy);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    shell("rm -rf %s %s", directory, copy);
    return 0;
}

static enum err start(struct world *world, const char *path, const char *key, const char *previous)
{
    world_config(world, CONFIG_ENGINE_EMBEDDED, path);
    world->config.storage_key = key;
    world->config.storage_previous_keys = previous;
    return world_start(world, 1);
}

/* A publication with a secret in every part that carries content. */
static void publish_secret(struct thing *thing)
{
    struct append append = {0};
    append.op.type = RECORD_PUBLICATION;
    append.op.publication = (struct publication){.data = BYTES_LITERAL("{\"a\":\"WHISPER data\"}"),
                                                 .tags = BYTES_LITERAL("{\"b\":\"WHISPER tag\"}"),
                                                 .has_info = true,
                                                 .user = BYTES_LITERAL("ann"),
                                                 .conn_info = BYTES_LITERAL("\"WHISPER conn\""),
                                                 .chan_info = BYTES_LITERAL("\"WHISPER chan\"")};
    append.op.scope = BYTES_LITERAL("u:ann");
    append.op.key = BYTES_LITERAL("key-of-a-client");
    thing_append(thing, &append);
    assert_true(world_wait(append.world, &append.is_done));
    assert_int_equal(append.err, ERR_OK);
}

/* Files below `path` that hold the text. */
static int files_with(const char *path, const char *text)
{
    char command[256];
    int count = -1;
    snprintf(command, sizeof command, "grep -r -l -a -- '%s' %s | wc -l", text, path);
    FILE *pipe = popen(command, "r");
    assert_non_null(pipe);
    assert_int_equal(fscanf(pipe, "%d", &count), 1);
    pclose(pipe);
    return count;
}

/* Turns until the index has everything. */
static void apply_all(struct world *world)
{
    struct store_health health;
    uint64_t end_ns = clock_mono_ns() + WORLD_WAIT_MS * 1000000ull;
    do {
        world_turn(world);
        store_health(world->shards[0].store, &health);
    } while (health.lag_bytes > 0 && clock_mono_ns() < end_ns);
    assert_int_equal(health.lag_bytes, 0);
}

static void assert_secret(const struct thing *thing)
{
    assert_string_equal(thing->answer.items[thing->answer.count - 1].data,
                        "{\"a\":\"WHISPER data\"}");
}

static void no_file_shows_what_was_published(void **state)
{
    (void)state;
    struct world world;
    struct thing thing;
    assert_int_equal(start(&world, directory, KEY_A, NULL), ERR_OK);
    thing_init(&thing, "room:1", 100, DAY_MS);
    thing_open(&world, &thing, 100);
    publish_secret(&thing);
    thing_hear(&thing, 1);
    assert_string_equal(thing.feed.items[0].data, "{\"a\":\"WHISPER data\"}");
    thing_read(&thing, 0, 10, false); /* from memory */
    assert_secret(&thing);
    assert_int_equal(files_with(directory, "WHISPER"), 0);
    assert_true(files_with(directory, "key-of-a-client") > 0); /* we do look at the right files */
    apply_all(&world);
    publish_many(&thing, 2, 40);
    thing_read(&thing, 0, 1, false); /* from SQLite */
    assert_secret(&thing);
    assert_int_equal(files_with(directory, "WHISPER"), 0);
    thing_close(&thing);
    world_stop(&world);
    assert_int_equal(files_with(directory, "WHISPER"), 0);

    assert_int_equal(start(&world, directory, KEY_A, NULL), ERR_OK);
    thing_open(&world, &thing, 100);
    assert_int_equal(thing.answer.count, 40);
    thing_read(&thing, 2, 1, true);
    assert_secret(&thing);
    publish_many(&thing, 41, 45); /* of another boot, in one answer with the first */
    thing_read(&thing, 0, UINT32_MAX, false);
    assert_int_equal(thing.answer.count, 45);
    thing_close(&thing);
    thing_fini(&thing);
    world_stop(&world);
}

/* The salt in the head of the only log file. */
static void salt_of(const char *path, uint64_t generation, uint8_t salt[SEAL_SALT])
{
    char name[SEGMENT_PATH_SIZE], logs[128];
    snprintf(logs, sizeof logs, "%s/log", path);
    segment_path(name, logs, generation, 0, 1);
    int file = disk_open(name, DISK_READ);
    assert_true(file >= 0);
    uint8_t head[SEGMENT_HEAD_MAX];
    assert_int_equal(disk_read(file, head, sizeof head, 0), sizeof head);
    disk_close(file);
    memcpy(salt, head + 56, SEAL_SALT);
}

/* What a crash leaves, twice: the logs are read with the key, and each goes on under a
 * salt of its own, so that equal counts are no equal nonces. */
static void copies_of_a_directory_share_no_nonce(void **state)
{
    (void)state;
    struct world world;
    struct thing thing;
    uint8_t salts[3][SEAL_SALT];
    assert_int_equal(start(&world, directory, KEY_A, NULL), ERR_OK);
    thing_init(&thing, "room:1", 100, DAY_MS);
    thing_open(&world, &thing, 100);
    publish_many(&thing, 1, 20);
    salt_of(directory, 1, salts[0]);
    shell("cp -r %s %s", directory, copy); /* as kill -9 would leave it */
    thing_close(&thing);
    world_stop(&world);
    shell("rm -rf %s", directory);
    shell("cp -r %s %s", copy, directory);
    const char *paths[] = {directory, copy};
    for (int i = 0; i < 2; i++) {
        assert_int_equal(start(&world, paths[i], KEY_A, NULL), ERR_OK);
        thing_open(&world, &thing, 100);
        assert_answer(&thing, 1, 20);
        publish_many(&thing, 21, 25);
        salt_of(paths[i], 2, salts[1 + i]);
        thing_close(&thing);
        world_stop(&world);
    }
    for (int i = 0; i < 3; i++) {
        uint8_t none[SEAL_SALT] = {0};
        assert_memory_not_equal(salts[i], none, SEAL_SALT);
        assert_memory_not_equal(salts[i], salts[(i + 1) % 3], SEAL_SALT);
    }
    thing_fini(&thing);
}

static void a_wrong_or_missing_key_refuses_the_start(void **state)
{
    (void)state;
    struct world world;
    struct thing thing;
    assert_int_equal(start(&world, directory, KEY_A, NULL), ERR_OK);
    thing_init(&thing, "room:1", 100, DAY_MS);
    thing_open(&world, &thing, 100);
    publish_many(&thing, 1, 3);
    thing_close(&thing);
    world_stop(&world);
    assert_int_equal(start(&world, directory, NULL, NULL), ERR_DENIED);
    assert_int_equal(start(&world, directory, KEY_B, NULL), ERR_DENIED);
    assert_int_equal(start(&world, directory, "abc", NULL), ERR_BAD_REQUEST);
    /* Sealing turned off: what is sealed stays readable, what comes is not sealed. */
    assert_int_equal(start(&world, directory, NULL, KEY_A), ERR_OK);
    thing_open(&world, &thing, 100);
    assert_answer(&thing, 1, 3);
    publish_many(&thing, 4, 4);
    thing_close(&thing);
    world_stop(&world);
    assert_true(files_with(directory, "m4") > 0);
    assert_int_equal(start(&world, directory, KEY_B, KEY_A), ERR_OK);
    thing_open(&world, &thing, 100);
    assert_answer(&thing, 1, 4);
    thing_close(&thing);
    world_stop(&world);
    assert_int_equal(start(&world, directory, KEY_B, NULL), ERR_DENIED); /* not sealed anew yet */
    thing_fini(&thing);
}

/* Seals everything anew, as the index writer does bit by bit. */
static void reseal_all(const char *key, const char *previous)
{
    char path[128];
    struct index *index;
    struct seals seals;
    struct reseal reseal;
    uint64_t generation = 0;
    struct config config = {.storage_key = key, .storage_previous_keys = previous};
    snprintf(path, sizeof path, "%s/index.db", directory);
    assert_int_equal(index_open(path, &index), ERR_OK);
    assert_int_equal(index_meta_get(index, "generation", &generation, sizeof generation), ERR_OK);
    generation++;
    assert_int_equal(index_meta_put(index, "generation", &generation, sizeof generation), ERR_OK);
    assert_int_equal(seals_open(&seals, &config, index), ERR_OK);
    assert_int_equal(seals_begin(&seals, index, generation), ERR_OK);
    assert_int_equal(reseal_init(&reseal, &seals, index), ERR_OK);
    assert_true(reseal.is_needed);
    uint32_t slices = 0;
    for (; reseal.is_needed; slices++) {
        assert_int_equal(index_reseal(index, &reseal, 7), ERR_OK);
    }
    assert_true(slices > 2);
    reseal_fini(&reseal);
    assert_int_equal(reseal_init(&reseal, &seals, index), ERR_OK);
    assert_false(reseal.is_needed);
    reseal_fini(&reseal);
    seals_fini(&seals);
    bool is_whole;
    assert_int_equal(index_checkpoint(index, true, &is_whole), ERR_OK);
    assert_true(is_whole);
    index_close(index);
}

static void older_records_are_sealed_anew(void **state)
{
    (void)state;
    struct world world;
    struct thing thing;
    const char *keys[] = {NULL, KEY_A, KEY_B};
    thing_init(&thing, "room:1", 1000, DAY_MS);
    assert_int_equal(start(&world, directory, NULL, NULL), ERR_OK);
    thing_open(&world, &thing, 100);
    publish_many(&thing, 1, 100);
    publish_secret(&thing);
    thing_close(&thing);
    world_stop(&world);
    assert_true(files_with(directory, "WHISPER") > 0);
    for (int i = 1; i < 3; i++) {
        reseal_all(keys[i], keys[i - 1]);
        assert_int_equal(files_with(directory, "WHISPER"), 0); /* overwritten, too */
        /* The key before is not needed any more. */
        assert_int_equal(start(&world, directory, keys[i], NULL), ERR_OK);
        thing_open(&world, &thing, 1000);
        assert_int_equal(thing.answer.count, 101);
        assert_secret(&thing);
        assert_string_equal(thing.answer.items[16].data, "m17");
        assert_string_equal(thing.answer.items[80].data, "m81");
        thing_close(&thing);
        world_stop(&world);
    }
    assert_int_equal(start(&world, directory, KEY_A, NULL), ERR_DENIED);
    thing_fini(&thing);
}

/* Changes the index as `change` says, and reads one publication before offset 2, and 2. */
static void assert_told(const char *change)
{
    struct world world;
    struct thing thing;
    char path[128];
    sqlite3 *db;
    snprintf(path, sizeof path, "%s/index.db", directory);
    assert_int_equal(sql_start(), ERR_OK);
    assert_int_equal(sql_open(path, true, &db), ERR_OK);
    assert_int_equal(sql_run(db, change), ERR_OK);
    sql_close(db);
    sql_stop();
    assert_int_equal(start(&world, directory, KEY_A, NULL), ERR_OK);
    thing_init(&thing, "room:1", 100, DAY_MS);
    thing_open(&world, &thing, 0);
    thing_read(&thing, 0, 1, false);
    assert_answer(&thing, 1, 1);
    struct store_read read = {
        .channel = &thing.channel, .since = 1, .limit = 1, .on_read = thing.read.on_read};
    thing.read = read;
    thing.is_done = false;
    store_read(thing.shard->store, &thing.read);
    assert_true(world_wait(&world, &thing.is_done));
    assert_int_equal(thing.err, ERR_STORE_CORRUPT);
    thing_close(&thing);
    thing_fini(&thing);
    world_stop(&world);
}

/* Each life's in a row of its own. */
static void publish_in_lives(uint64_t first, uint64_t last, uint64_t each)
{
    struct world world;
    struct thing thing;
    for (; first <= last; first += each) {
        assert_int_equal(start(&world, directory, KEY_A, NULL), ERR_OK);
        thing_init(&thing, "room:1", 100, DAY_MS);
        thing_open(&world, &thing, 100);
        publish_many(&thing, first, first + each - 1);
        thing_close(&thing);
        thing_fini(&thing);
        world_stop(&world);
    }
}

static void a_changed_row_is_told(void **state)
{
    (void)state;
    publish_in_lives(1, 3, 1);
    /* A record takes another's place: it opens, and is not what belongs there. */
    assert_told("UPDATE publications SET body=(SELECT body FROM publications WHERE offset=1)"
                " WHERE offset=2");
}

static void a_row_of_several_in_another_place_is_told(void **state)
{
    (void)state;
    publish_in_lives(1, 1, 1);
    publish_in_lives(2, 4, 3);
    assert_told("UPDATE publications SET offset=5 WHERE offset=4");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(no_file_shows_what_was_published, setup, teardown),
        cmocka_unit_test_setup_teardown(copies_of_a_directory_share_no_nonce, setup, teardown),
        cmocka_unit_test_setup_teardown(a_wrong_or_missing_key_refuses_the_start, setup, teardown),
        cmocka_unit_test_setup_teardown(older_records_are_sealed_anew, setup, teardown),
        cmocka_unit_test_setup_teardown(a_changed_row_is_told, setup, teardown),
        cmocka_unit_test_setup_teardown(a_row_of_several_in_another_place_is_told, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
