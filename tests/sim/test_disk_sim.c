/*
 * The simulated disk: what programs see, and what each kind of crash leaves.
 * Random writes are compared with a plain array; after a machine crash every
 * sector must be the durable or the newest version.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "disk_sim.h"
#include "disk_state.h"
#include "world.h"

static int setup(void **state)
{
    (void)state;
    world_init(7);
    static const struct disk_sim_options options = {.sync_ns_max = 1};
    disk_sim_init(&options);
    assert_int_equal(disk_mkdir("/data/log"), 0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    disk_sim_fini();
    world_fini();
    return 0;
}

static int create(const char *path)
{
    return disk_open(path, DISK_READ | DISK_WRITE | DISK_CREATE);
}

static void reads_give_what_was_written(void **state)
{
    (void)state;
    enum { SIZE = 20000 };
    static uint8_t model[SIZE], found[SIZE], data[5000];
    int file = create("/data/a");
    uint64_t end = 0;
    for (uint32_t i = 0; i < 500; i++) {
        uint64_t offset = chance_below(SIZE - sizeof(data)), size = chance_below(sizeof(data));
        for (uint32_t k = 0; k < size; k++) data[k] = (uint8_t)chance_below(256);
        assert_int_equal(disk_write(file, data, size, offset), size);
        memcpy(model + offset, data, size);
        if (size > 0) end = max_u64(end, offset + size);
        if (chance(10)) {
            end = chance_below(end + 1);
            assert_int_equal(disk_truncate(file, end), 0);
            memset(model + end, 0, SIZE - end);
        }
        assert_int_equal(disk_size(file), end);
        assert_int_equal(disk_read(file, found, SIZE, 0), end);
        assert_memory_equal(found, model, end);
    }
    assert_int_equal(disk_read(file, found, 10, end), 0);
    disk_close(file);
}

static void a_killed_process_loses_nothing_written(void **state)
{
    (void)state;
    uint8_t found[8];
    int file = create("/data/a");
    assert_int_equal(disk_write(file, "unsynced", 8, 0), 8);
    disk_sim_kill(false);
    file = disk_open("/data/a", DISK_READ);
    assert_true(file >= 0);
    assert_int_equal(disk_read(file, found, 8, 0), 8);
    assert_memory_equal(found, "unsynced", 8);
}

static void a_dead_machine_keeps_what_was_synced(void **state)
{
    (void)state;
    for (uint32_t round = 0; round < 200; round++) {
        uint8_t old[4 * SECTOR], new[4 * SECTOR], found[4 * SECTOR];
        memset(old, 'o', sizeof(old));
        memset(new, 'n', sizeof(new));
        int file = create("/data/a");
        assert_int_equal(disk_write(file, old, sizeof(old), 0), sizeof(old));
        assert_int_equal(disk_sync(file), 0);
        assert_int_equal(disk_sync_dir("/data"), 0);
        assert_int_equal(disk_sim_dirty(), 0);
        assert_int_equal(disk_write(file, new, sizeof(new), 0), sizeof(new));
        disk_sim_kill(true);
        file = disk_open("/data/a", DISK_READ);
        assert_true(file >= 0);
        assert_int_equal(disk_read(file, found, sizeof(found), 0), sizeof(found));
        for (uint32_t i = 0; i < 4; i++) {
            uint8_t first = found[i * SECTOR];
            assert_true(first == 'o' || first == 'n');
            for (uint32_t k = 0; k < SECTOR; k++) assert_int_equal(found[i * SECTOR + k], first);
        }
        disk_close(file);
    }
}

static void a_sync_covers_what_was_written_before_it_began(void **state)
{
    (void)state;
    bool seen_lost = false;
    for (uint32_t round = 0; round < 50; round++) {
        uint8_t found[2 * SECTOR], data[2 * SECTOR];
        memset(data, 'x', sizeof(data));
        int file = disk_open("/data/b", DISK_READ | DISK_WRITE | DISK_CREATE);
        assert_int_equal(disk_sync_dir("/data"), 0);
        assert_int_equal(disk_truncate(file, 0), 0);
        assert_int_equal(disk_sync(file), 0);
        disk_sim_put(file, data, SECTOR, 0);
        uint64_t ticket = disk_sim_sync_begin(file);
        disk_sim_put(file, data, SECTOR, SECTOR);
        disk_sim_sync_end(file, ticket);
        disk_sim_kill(true);
        file = disk_open("/data/b", DISK_READ | DISK_WRITE);
        int64_t size = disk_read(file, found, sizeof(found), 0);
        assert_true(size == SECTOR || size == 2 * SECTOR);
        assert_memory_equal(found, data, SECTOR);
        seen_lost |= size == SECTOR || found[SECTOR] == 0;
        disk_close(file);
    }
    assert_true(seen_lost);
}

static void a_cut_is_undone_whole_or_not_at_all(void **state)
{
    (void)state;
    bool seen_old = false, seen_new = false;
    for (uint32_t round = 0; round < 50; round++) {
        uint8_t old[8 * SECTOR], found[8 * SECTOR];
        memset(old, 'o', sizeof(old));
        int file = create("/data/a");
        assert_int_equal(disk_write(file, old, sizeof(old), 0), sizeof(old));
        assert_int_equal(disk_sync(file), 0);
        assert_int_equal(disk_sync_dir("/data"), 0);
        assert_int_equal(disk_truncate(file, 0), 0);
        assert_int_equal(disk_write(file, "new", 3, 0), 3);
        disk_sim_kill(true);
        file = disk_open("/data/a", DISK_READ);
        int64_t size = disk_read(file, found, sizeof(found), 0);
        if (size == sizeof(old)) {
            assert_memory_equal(found, old, sizeof(old));
            seen_old = true;
        } else {
            assert_true(size == 0 || (size == 3 && (found[0] == 'n' || found[0] == 0)));
            seen_new = true;
        }
        disk_close(file);
    }
    assert_true(seen_old && seen_new);
}

static void a_failed_sync_is_never_made_good(void **state)
{
    (void)state;
    int file = create("/data/a");
    assert_int_equal(disk_sync_dir("/data"), 0);
    assert_int_equal(disk_write(file, "x", 1, 0), 1);
    disk_sim_sync_fail(file);
    assert_int_equal(disk_sync(file), 0);
    disk_sim_kill(true);
    file = disk_open("/data/a", DISK_READ);
    uint8_t found = 1;
    int64_t size = disk_read(file, &found, 1, 0);
    assert_true(size == 0 || found == 0);
}

static void names_are_durable_after_sync_dir(void **state)
{
    (void)state;
    bool seen_lost = false, seen_kept = false;
    for (uint32_t round = 0; round < 40; round++) {
        disk_close(create("/data/log/kept"));
        assert_int_equal(disk_sync_dir("/data/log"), 0);
        disk_close(create("/data/log/new"));
        assert_int_equal(disk_rename("/data/log/new", "/data/log/newer"), 0);
        disk_sim_kill(true);
        assert_int_equal(disk_size_at("/data/log/kept"), 0);
        bool is_new = disk_size_at("/data/log/new") == 0,
             is_newer = disk_size_at("/data/log/newer") == 0;
        assert_false(is_new && is_newer);
        seen_lost |= !is_new && !is_newer;
        seen_kept |= is_newer;
        if (is_new) assert_int_equal(disk_unlink("/data/log/new"), 0);
        if (is_newer) assert_int_equal(disk_unlink("/data/log/newer"), 0);
        assert_int_equal(disk_sync_dir("/data/log"), 0);
    }
    assert_true(seen_lost && seen_kept);
}

static void errors_are_the_kernels(void **state)
{
    (void)state;
    assert_int_equal(disk_open("/data/none", DISK_READ), -ENOENT);
    assert_int_equal(disk_open("/nowhere/a", DISK_WRITE | DISK_CREATE), -ENOENT);
    disk_close(create("/data/a"));
    assert_int_equal(disk_open("/data/a", DISK_WRITE | DISK_CREATE | DISK_EXCLUSIVE), -EEXIST);
    assert_int_equal(disk_unlink("/data/none"), -ENOENT);
    assert_int_equal(disk_size_at("/data/none"), -ENOENT);
    int lock = disk_lock("/data/lock");
    assert_true(lock >= 0);
    assert_int_equal(disk_lock("/data/lock"), -EWOULDBLOCK);
    disk_close(lock);
    lock = disk_lock("/data/lock");
    assert_true(lock >= 0);
    disk_sim_kill(false);
    assert_true(disk_lock("/data/lock") >= 0);
}

static void each_name(void *context, const char *name)
{
    char *all = context;
    strcat(strcat(all, name), " ");
}

static void lists_are_sorted(void **state)
{
    (void)state;
    char all[256] = "";
    disk_close(create("/data/log/b"));
    disk_close(create("/data/log/a"));
    disk_close(create("/data/other"));
    assert_int_equal(disk_list("/data/log", each_name, all), 0);
    assert_string_equal(all, "a b ");
}

static void the_boot_id_changes_with_the_machine_only(void **state)
{
    (void)state;
    uint8_t first[16], second[16];
    assert_int_equal(disk_boot_id(first), 0);
    disk_sim_kill(false);
    assert_int_equal(disk_boot_id(second), 0);
    assert_memory_equal(first, second, 16);
    disk_sim_kill(true);
    assert_int_equal(disk_boot_id(second), 0);
    assert_memory_not_equal(first, second, 16);
}

static void a_full_disk_refuses_new_blocks_only(void **state)
{
    (void)state;
    uint8_t data[2 * SECTOR], found[2 * SECTOR];
    memset(data, 'x', sizeof(data));
    int file = create("/data/a");
    assert_int_equal(disk_allocate(file, sizeof(data)), 0);
    disk_sim_trouble(TROUBLE_FULL, 0);
    assert_int_equal(disk_write(file, data, sizeof(data), 0), sizeof(data));
    assert_int_equal(disk_write(file, data, sizeof(data), SECTOR), -ENOSPC);
    assert_int_equal(disk_size(file), sizeof(data));
    assert_int_equal(disk_allocate(file, sizeof(data) + 1), -ENOSPC);
    assert_int_equal(create("/data/b"), -ENOSPC);
    assert_int_equal(disk_read(file, found, sizeof(found), 0), sizeof(found));
    assert_int_equal(disk_sync(file), 0);
    assert_true(disk_sim_has_struck());
    disk_sim_trouble(TROUBLE_NONE, 0);
    assert_int_equal(disk_write(file, data, sizeof(data), SECTOR), sizeof(data));
    disk_close(file);
    disk_sim_kill(false);
    assert_false(disk_sim_has_struck());
}

static void a_failing_disk_fails_every_call_that_moves_bytes(void **state)
{
    (void)state;
    uint8_t data[SECTOR] = {0};
    int file = create("/data/a");
    disk_sim_trouble(TROUBLE_ERRORS, 1000);
    assert_int_equal(disk_write(file, data, sizeof(data), 0), -EIO);
    assert_int_equal(disk_read(file, data, sizeof(data), 0), -EIO);
    assert_int_equal(disk_sync(file), -EIO);
    assert_int_equal(disk_sync_dir("/data"), -EIO);
    assert_int_equal(disk_truncate(file, 0), -EIO);
    assert_int_equal(disk_unlink("/data/a"), -EIO);
    assert_int_equal(disk_sim_write_error(), EIO);
    disk_sim_trouble(TROUBLE_SYNCS, 1000);
    assert_int_equal(disk_write(file, data, sizeof(data), 0), sizeof(data));
    assert_int_equal(disk_sync(file), -EIO);
    /* The kernel has dropped the pages: the next sync knows of nothing. */
    assert_int_equal(disk_sim_dirty(), 0);
    disk_close(file);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(reads_give_what_was_written),
        CASE(a_killed_process_loses_nothing_written),
        CASE(a_dead_machine_keeps_what_was_synced),
        CASE(a_sync_covers_what_was_written_before_it_began),
        CASE(a_cut_is_undone_whole_or_not_at_all),
        CASE(a_failed_sync_is_never_made_good),
        CASE(names_are_durable_after_sync_dir),
        CASE(errors_are_the_kernels),
        CASE(lists_are_sorted),
        CASE(the_boot_id_changes_with_the_machine_only),
        CASE(a_full_disk_refuses_new_blocks_only),
        CASE(a_failing_disk_fails_every_call_that_moves_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
