/*
 * test_embed_backup: a backup is asked for by a file, made while publications come, and
 * started on; what was acknowledged before it was asked for is in it.
 */
#include "store_world.h"
#include "unit/storage/shell.h"

#include <inttypes.h>
#include <sys/mount.h>

#include "core/disk.h"
#include "storage/embed/backup.h"

#define KEY    "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define DAY_MS 86400000ull

static char directory[64], target[80];

static int setup(void **state)
{
    (void)state;
    snprintf(directory, sizeof directory, "/tmp/test_embed_backup.%d", (int)getpid());
    snprintf(target, sizeof target, "%s.backup", directory);
    shell("rm -rf %s %s", directory, target);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    shell("rm -rf %s %s", directory, target);
    return 0;
}

static void start(struct world *world, const char *path, uint32_t shards, const char *key)
{
    world_config(world, CONFIG_ENGINE_EMBEDDED, path);
    world->config.storage_key = key;
    assert_int_equal(world_start(world, shards), ERR_OK);
}

static void write_file(const char *name, const char *text)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    int file = disk_open(path, DISK_WRITE | DISK_CREATE);
    assert_true(file >= 0);
    assert_int_equal(disk_write(file, text, strlen(text), 0), strlen(text));
    disk_close(file);
}

static void ask(uint64_t id, const char *path)
{
    char text[256];
    snprintf(text, sizeof text, "%" PRIu64 "\n%s", id, path);
    write_file(BACKUP_REQUEST, text);
}

/* What is said of question `id`: its state, and the rest of the answer. */
static bool answered(uint64_t id, const char *state, char *text, size_t text_size)
{
    char path[128], bytes[BACKUP_TEXT_MAX], wanted[64];
    snprintf(path, sizeof path, "%s/" BACKUP_STATUS, directory);
    snprintf(wanted, sizeof wanted, "%" PRIu64 " %s ", id, state);
    int file = disk_open(path, DISK_READ);
    if (file < 0) return false;
    int64_t got = disk_read(file, bytes, sizeof bytes - 1, 0);
    disk_close(file);
    if (got <= 0) return false;
    bytes[got] = 0;
    if (text != NULL) snprintf(text, text_size, "%s", bytes);
    return strncmp(bytes, wanted, strlen(wanted)) == 0;
}

/* Publishes until the answer is there; the last offset. */
static uint64_t publish_until(struct thing *thing, uint64_t next, uint64_t id, const char *state)
{
    uint64_t end_ns = clock_mono_ns() + WORLD_WAIT_MS * 1000000ull;
    for (; !answered(id, state, NULL, 0) && clock_mono_ns() < end_ns; next++)
        publish_many(thing, next, next);
    assert_true(answered(id, state, NULL, 0));
    return next - 1;
}

static void what_was_acknowledged_is_in_it(const char *key)
{
    struct world world;
    struct thing things[3];
    char epoch[EPOCH_MAX + 1], other[EPOCH_MAX + 1];
    start(&world, directory, 2, key);
    for (int i = 0; i < 3; i++) {
        const char *const names[] = {"room:0", "room:1", "room:2"};
        thing_init(&things[i], names[i], 100000, DAY_MS);
        thing_open(&world, &things[i], 100);
        publish_many(&things[i], 1, 300);
    }
    memcpy(epoch, things[0].channel.epoch, sizeof epoch);
    ask(7, target);
    uint64_t last = publish_until(&things[0], 301, 7, BACKUP_DONE);
    assert_true(last > 301);
    for (int i = 0; i < 3; i++) thing_close(&things[i]);
    world_stop(&world);

    /* It starts, with any number of shards, and has epochs of its own from then on. */
    for (int round = 0; round < 2; round++) {
        start(&world, target, round + 1u, key);
        for (int i = 0; i < 3; i++) {
            thing_open(&world, &things[i], 0);
            assert_in_range(things[i].channel.head, 300, i == 0 ? last + 1 : 301);
            thing_read(&things[i], 0, UINT32_MAX, false);
            assert_answer(&things[i], 1, things[i].channel.head);
            thing_close(&things[i]);
        }
        assert_string_not_equal(things[0].channel.epoch, epoch);
        if (round == 0)
            memcpy(other, things[0].channel.epoch, sizeof other);
        else
            assert_string_equal(things[0].channel.epoch, other);
        thing_open(&world, &things[1], 0);
        if (round == 0) publish_many(&things[1], 301, 301);
        thing_close(&things[1]);
        world_stop(&world);
    }
    start(&world, directory, 1, key); /* the original notices nothing */
    thing_open(&world, &things[0], 0);
    assert_string_equal(things[0].channel.epoch, epoch);
    assert_int_equal(things[0].channel.head, last);
    thing_close(&things[0]);
    world_stop(&world);
    for (int i = 0; i < 3; i++) thing_fini(&things[i]);
}

static void a_backup_is_made_while_publications_come(void **state)
{
    (void)state;
    what_was_acknowledged_is_in_it(NULL);
}

static void a_sealed_backup_wants_the_same_key(void **state)
{
    (void)state;
    struct world world;
    what_was_acknowledged_is_in_it(KEY);
    world_config(&world, CONFIG_ENGINE_EMBEDDED, target);
    assert_int_equal(world_start(&world, 1), ERR_DENIED);
}

/* What a channel says of itself, and which of its messages are gone, applied or not. */
static void a_policy_and_the_deleted_are_in_it(void **state)
{
    (void)state;
    struct world world;
    struct thing thing;
    start(&world, directory, 1, NULL);
    thing_init(&thing, "room:1", 100, DAY_MS);
    thing_open(&world, &thing, 10);
    publish_many(&thing, 1, 4);
    for (uint64_t round = 0; round < 2; round++) {
        struct append policy = {.op = {.type = RECORD_CURSOR, .mark = CURSOR_POLICY}};
        struct append deletes = {.op = {.type = RECORD_PUBLICATION}};
        policy.op.offset = 3 + round;
        deletes.op.publication =
            (struct publication){.data = BYTES_LITERAL("notice"), .deletes = 1 + round * 2};
        thing_append(&thing, &policy);
        thing_append(&thing, &deletes);
        assert_true(world_wait(&world, &deletes.is_done) && deletes.err == ERR_OK);
        if (round > 0) break;
        thing_close(&thing); /* the first ones go to the index */
        world_stop(&world);
        start(&world, directory, 1, NULL);
        thing_open(&world, &thing, 10);
    }
    ask(7, target);
    uint64_t end_ns = clock_mono_ns() + WORLD_WAIT_MS * 1000000ull;
    while (!answered(7, BACKUP_DONE, NULL, 0) && clock_mono_ns() < end_ns) world_turn(&world);
    thing_close(&thing);
    world_stop(&world);
    start(&world, target, 2, NULL);
    thing_open(&world, &thing, 10);
    assert_int_equal(thing.people.policy, 4);
    static const char *const data[] = {DELETED_DATA, "m2", DELETED_DATA, "m4", "notice", "notice"};
    assert_int_equal(thing.answer.count, array_count(data));
    for (uint32_t i = 0; i < array_count(data); i++)
        assert_string_equal(thing.answer.items[i].data, data[i]);
    thing_close(&thing);
    world_stop(&world);
    thing_fini(&thing);
}

static void what_cannot_be_is_told(void **state)
{
    (void)state;
    struct world world;
    struct thing thing;
    char text[BACKUP_TEXT_MAX], in_a_file[96];
    start(&world, directory, 1, NULL);
    thing_init(&thing, "room:1", 1000, DAY_MS);
    thing_open(&world, &thing, 10);
    snprintf(in_a_file, sizeof in_a_file, "%s/lock/x", directory);
    const struct {
        const char *path, *why;
    } wrong[] = {{"relative/path", "absolute"},
                 {"", "empty"},
                 {directory, "is there already"},
                 {in_a_file, "cannot be made"}};
    uint64_t last = 0;
    for (uint32_t i = 0; i < array_count(wrong); i++) {
        ask(100 + i, wrong[i].path);
        last = publish_until(&thing, last + 1, 100 + i, BACKUP_FAILED);
        assert_true(answered(100 + i, BACKUP_FAILED, text, sizeof text));
        assert_non_null(strstr(text, wrong[i].why));
    }
    /* What is no question is dropped, and a later one is heard. */
    write_file(BACKUP_REQUEST, "nonsense");
    char path[128];
    snprintf(path, sizeof path, "%s/" BACKUP_REQUEST, directory);
    while (disk_size_at(path) >= 0) publish_many(&thing, last + 1, last + 1), last++;
    ask(200, target);
    last = publish_until(&thing, last + 1, 200, BACKUP_DONE);
    ask(201, target); /* over the first one */
    last = publish_until(&thing, last + 1, 201, BACKUP_FAILED);
    thing_close(&thing);
    thing_fini(&thing);
    world_stop(&world);
}

static void half_a_backup_does_not_start(void **state)
{
    (void)state;
    struct world world;
    start(&world, directory, 1, NULL);
    world_stop(&world);
    shell("mkdir %s && cp %s/index.db %s/" BACKUP_PART, target, directory, target);
    world_config(&world, CONFIG_ENGINE_EMBEDDED, target);
    assert_int_equal(world_start(&world, 1), ERR_CONFLICT);
}

static void assert_no_start(void)
{
    struct world world;
    world_config(&world, CONFIG_ENGINE_EMBEDDED, target);
    assert_int_equal(world_start(&world, 1), ERR_CONFLICT);
}

/* Where one failed no gateway begins a store with nothing in it; and it may be asked again. */
static void one_that_found_no_room_does_not_start(void **state)
{
    (void)state;
    struct world world;
    struct thing thing;
    char text[BACKUP_TEXT_MAX];
    shell("mkdir %s", target);
    if (mount("none", target, "tmpfs", 0, "size=4m") != 0) skip();
    start(&world, directory, 1, NULL);
    thing_init(&thing, "room:1", 1000, DAY_MS);
    thing_open(&world, &thing, 10);
    ask(1, target);
    uint64_t last = publish_until(&thing, 1, 1, BACKUP_FAILED);
    assert_true(answered(1, BACKUP_FAILED, text, sizeof text));
    assert_non_null(strstr(text, "not enough room"));
    assert_no_start();
    assert_int_equal(umount(target), 0);
    shell("touch %s/" BACKUP_PART, target); /* as it was there */
    assert_no_start();
    ask(2, target);
    last = publish_until(&thing, last + 1, 2, BACKUP_DONE);
    thing_close(&thing);
    world_stop(&world);

    shell("rm -rf %s/*", target);
    assert_int_equal(mount("none", target, "tmpfs", 0, "size=4m"), 0);
    assert_int_equal(embed_backup_still(directory, 3, target), ERR_IO);
    assert_true(answered(3, BACKUP_FAILED, NULL, 0));
    assert_no_start();
    assert_int_equal(umount(target), 0);
    shell("touch %s/" BACKUP_PART, target);
    assert_int_equal(embed_backup_still(directory, 4, target), ERR_OK);
    start(&world, target, 1, NULL);
    thing_open(&world, &thing, 10);
    assert_int_equal(thing.channel.head, last);
    thing_close(&thing);
    thing_fini(&thing);
    world_stop(&world);
}

/* A question that nobody waits for any more is not answered by the next life, and a copy
 * under way when the gateway ends leaves nothing that looks like one. */
static void an_end_ends_it(void **state)
{
    (void)state;
    struct world world;
    char path[128];
    start(&world, directory, 1, NULL);
    world_stop(&world);
    ask(1, target);
    start(&world, directory, 1, NULL);
    snprintf(path, sizeof path, "%s/" BACKUP_REQUEST, directory);
    assert_true(disk_size_at(path) < 0);
    world_stop(&world);
    assert_true(disk_size_at(target) < 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_backup_is_made_while_publications_come, setup, teardown),
        cmocka_unit_test_setup_teardown(a_sealed_backup_wants_the_same_key, setup, teardown),
        cmocka_unit_test_setup_teardown(a_policy_and_the_deleted_are_in_it, setup, teardown),
        cmocka_unit_test_setup_teardown(what_cannot_be_is_told, setup, teardown),
        cmocka_unit_test_setup_teardown(half_a_backup_does_not_start, setup, teardown),
        cmocka_unit_test_setup_teardown(one_that_found_no_room_does_not_start, setup, teardown),
        cmocka_unit_test_setup_teardown(an_end_ends_it, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
