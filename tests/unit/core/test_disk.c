/*
 * disk: the real file calls, in a directory of their own.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/disk.h"

static char home[64];

static const char *in_home(const char *name)
{
    static char path[4][256];
    static unsigned turn;
    char *at = path[turn++ % 4];
    snprintf(at, sizeof path[0], "%s/%s", home, name);
    return at;
}

static int setup(void **state)
{
    (void)state;
    strcpy(home, "/tmp/test_disk.XXXXXX");
    return mkdtemp(home) == NULL;
}
static int teardown(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", home);
    return system(command);
}

static void file_is_written_read_and_cut(void **state)
{
    (void)state;
    int file = disk_open(in_home("a"), DISK_READ | DISK_WRITE | DISK_CREATE);
    assert_true(file >= 0);
    char got[16];
    assert_int_equal(disk_size(file), 0);
    assert_int_equal(disk_read(file, got, 16, 0), 0);
    assert_int_equal(disk_write(file, "0123456789", 10, 5), 10);
    assert_int_equal(disk_size(file), 15);
    assert_int_equal(disk_read(file, got, 16, 0), 15);
    assert_memory_equal(got,
                        "\0\0\0\0\0"
                        "0123456789",
                        15);
    assert_int_equal(disk_read(file, got, 4, 13), 2);
    assert_int_equal(disk_sync(file), 0);
    assert_int_equal(disk_truncate(file, 7), 0);
    assert_int_equal(disk_size_at(in_home("a")), 7);
    assert_int_equal(disk_close(file), 0);

    assert_int_equal(disk_open(in_home("a"), DISK_WRITE | DISK_CREATE | DISK_EXCLUSIVE), -EEXIST);
    assert_int_equal(disk_open(in_home("b"), DISK_READ), -ENOENT);
    assert_int_equal(disk_size_at(in_home("b")), -ENOENT);
    file = disk_open(in_home("a"), DISK_READ);
    assert_int_equal(disk_write(file, "x", 1, 0), -EBADF);
    assert_int_equal(disk_close(file), 0);
    assert_int_equal(disk_close(file), -EBADF);
}

/* Past the page cache or not, as the file system allows: what was written is there. */
static void whole_sectors_are_written_directly(void **state)
{
    (void)state;
    _Alignas(DISK_SECTOR) static uint8_t sectors[2 * DISK_SECTOR];
    uint8_t got[2 * DISK_SECTOR];
    memset(sectors, 'd', sizeof sectors);
    int file = disk_open(in_home("direct"), DISK_READ | DISK_WRITE | DISK_CREATE);
    assert_true(file >= 0);
    assert_int_equal(disk_allocate(file, 8192), 0);
    assert_int_equal(disk_sync(file), 0);
    int result = disk_direct(file);
    assert_true(result == 0 || result == -EOPNOTSUPP);
    assert_int_equal(disk_write(file, sectors, sizeof sectors, DISK_SECTOR), sizeof sectors);
    assert_int_equal(disk_sync(file), 0);
    int reader = disk_open(in_home("direct"), DISK_READ);
    assert_int_equal(disk_read(reader, got, sizeof got, DISK_SECTOR), sizeof got);
    assert_memory_equal(got, sectors, sizeof got);
    assert_int_equal(disk_size(file), 8192);
    assert_int_equal(disk_close(reader), 0);
    assert_int_equal(disk_close(file), 0);
}

/* Real blocks: what is allocated is zero, stays what was there, and counts. */
static void allocated_blocks_are_real(void **state)
{
    (void)state;
    int file = disk_open(in_home("a"), DISK_READ | DISK_WRITE | DISK_CREATE);
    assert_int_equal(disk_write(file, "keep", 4, 0), 4);
    assert_int_equal(disk_allocate(file, 1000000), 0);
    assert_int_equal(disk_size(file), 1000000);
    struct stat info;
    assert_int_equal(stat(in_home("a"), &info), 0);
    assert_true(info.st_blocks * 512 >= 1000000);
    uint8_t *got = malloc(1000000);
    assert_int_equal(disk_read(file, got, 1000000, 0), 1000000);
    assert_memory_equal(got, "keep", 4);
    for (size_t i = 4; i < 1000000; i++) assert_int_equal(got[i], 0);
    assert_int_equal(disk_allocate(file, 10), 0); /* never shrinks */
    assert_int_equal(disk_size(file), 1000000);
    free(got);
    disk_close(file);
    file = disk_open(in_home("a"), DISK_READ);
    assert_true(disk_allocate(file, 2000000) < 0);
    disk_close(file);
}

static void note_name(void *context, const char *name)
{
    strcat(context, name);
    strcat(context, " ");
    int result = disk_unlink(in_home(name)); /* may change the directory */
    assert_true(result == 0 || result == -EISDIR);
}

static void directories_are_made_listed_and_synced(void **state)
{
    (void)state;
    assert_int_equal(disk_mkdir(in_home("x//y/z")), 0);
    assert_int_equal(disk_mkdir(in_home("x/y/z")), 0);
    assert_int_equal(disk_mkdir(in_home("x/")), 0);
    assert_int_equal(disk_mkdir(""), -ENOENT);
    disk_close(disk_open(in_home("file"), DISK_WRITE | DISK_CREATE));
    assert_int_equal(disk_mkdir(in_home("file")), -ENOTDIR);
    assert_int_equal(disk_mkdir(in_home("file/below")), -ENOTDIR);
    disk_close(disk_open(in_home("c"), DISK_WRITE | DISK_CREATE));
    assert_int_equal(disk_rename(in_home("c"), in_home("b")), 0);
    assert_int_equal(disk_rename(in_home("c"), in_home("d")), -ENOENT);
    assert_int_equal(disk_sync_dir(home), 0);
    assert_int_equal(disk_sync_dir(in_home("none")), -ENOENT);

    char names[64] = "";
    assert_int_equal(disk_list(home, note_name, names), 0);
    assert_string_equal(names, "b file x ");
    names[0] = '\0';
    assert_int_equal(disk_list(home, note_name, names), 0);
    assert_string_equal(names, "x ");
    assert_int_equal(disk_list(in_home("none"), note_name, names), -ENOENT);
    assert_int_equal(disk_unlink(in_home("none")), -ENOENT);
}

static void lock_is_of_one_process(void **state)
{
    (void)state;
    int lock = disk_lock(in_home("lock"));
    assert_true(lock >= 0);
    assert_int_equal(disk_lock(in_home("lock")), -EWOULDBLOCK);
    pid_t child = fork();
    if (child == 0) _exit(disk_lock(in_home("lock")) == -EWOULDBLOCK ? 0 : 1);
    int status;
    waitpid(child, &status, 0);
    assert_int_equal(status, 0);
    disk_close(lock);
    lock = disk_lock(in_home("lock"));
    assert_true(lock >= 0);
    disk_close(lock);
}

static void machine_has_room_and_a_boot(void **state)
{
    (void)state;
    assert_true(disk_free(home) > 0);
    assert_int_equal(disk_free(in_home("none")), -ENOENT);
    uint8_t a[16], b[16], zero[16] = {0};
    assert_int_equal(disk_boot_id(a), 0);
    assert_int_equal(disk_boot_id(b), 0);
    assert_memory_equal(a, b, 16);
    assert_memory_not_equal(a, zero, 16);
}

#define in_directory(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        in_directory(file_is_written_read_and_cut),
        in_directory(whole_sectors_are_written_directly),
        in_directory(allocated_blocks_are_real),
        in_directory(directories_are_made_listed_and_synced),
        in_directory(lock_is_of_one_process),
        in_directory(machine_has_room_and_a_boot),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
