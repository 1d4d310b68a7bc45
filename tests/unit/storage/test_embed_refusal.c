/*
 * Logs that miss what was acknowledged refuse the start, and are told by file and place.
 */
#include "unit/storage/log_pen.h"

#include <fcntl.h>

static void a_flipped_bit_before_the_last_batch_refuses_to_start(void **state)
{
    (void)state;
    pen_batches(0, 1, 6);
    pen_file(0, used[0]);
    for (uint32_t batch = 0; batch < 5; batch++) {
        /* In the head, in the payload and in the padding. */
        size_t end = places[0][batch + 1];
        const size_t at[] = {places[0][batch] + 1,
                             places[0][batch] + 5,
                             places[0][batch] + 17,
                             places[0][batch] + 26,
                             places[0][batch] + 37,
                             places[0][batch] + BATCH_HEAD + 30,
                             end - 1};
        size_t which = at[batch % array_count(at)];
        bytes[0][which] ^= 16;
        pen_write(0);
        assert_int_equal(start(), ERR_STORE_CORRUPT);
        assert_held(0); /* what is before the damage neither: refused before anything */
        bytes[0][which] ^= 16;
        pen_write(0);
    }
    /* Nothing was touched by the refusals. */
    assert_int_equal(start(), ERR_OK);
    assert_held(6);
}

/* A start that is refused, and names that file and that place in it. */
static void assert_refused_at(const char *file, size_t at)
{
    char path[192], wanted[128], said[4096];
    snprintf(path, sizeof path, "%s.said", directory);
    snprintf(wanted, sizeof wanted, "%s offset=%zu ", file, at);
    int out = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600), kept = dup(STDERR_FILENO);
    assert_true(out >= 0 && kept >= 0);
    dup2(out, STDERR_FILENO);
    enum err err = start();
    dup2(kept, STDERR_FILENO);
    close(kept);
    ssize_t size = pread(out, said, sizeof said - 1, 0);
    close(out);
    unlink(path);
    assert_int_equal(err, ERR_STORE_CORRUPT);
    assert_true(size > 0);
    said[size] = 0;
    assert_non_null(strstr(said, wanted));
}

/* Not the end of the file before, which is not filled either. */
static void the_file_that_is_damaged_is_named(void **state)
{
    (void)state;
    pen_batches(0, 1, 5);
    pen_batches(1, 6, 8);
    bytes[1][places[1][0] + 1] ^= 16;
    pen_file(0, used[0]);
    pen_file(1, used[1]);
    assert_refused_at("-00000002.log", SEGMENT_HEAD);
}

static void the_file_that_lacks_its_last_batch_is_named(void **state)
{
    (void)state;
    pen_batches(0, 1, 5);
    pen_batches(1, 6, 8);
    memset(bytes[0] + places[0][4], 0, used[0] - places[0][4]);
    pen_file(0, used[0]);
    pen_file(1, used[1]);
    assert_refused_at("-00000001.log", places[0][4]);
}

/* DIR/made may name it: without the file a start would be refused. */
static void a_file_that_was_told_of_stays(void **state)
{
    (void)state;
    struct segment segment = {
        .file = -1, .generation = 1, .shard = 0, .number = 2, .size = SEGMENT_SIZE};
    for (uint32_t is_told = 0; is_told < 2; is_told++) {
        pen_file(1, SEGMENT_HEAD);
        segment.size = 1ull << 62; /* more than any disk has */
        segment.is_told = is_told;
        assert_int_equal(segment_prepare(&segment, log_directory, incarnation, NULL), ERR_IO);
        assert_int_equal(disk_size_at(segment.path) >= SEGMENT_HEAD, is_told);
    }
}

static void a_hole_of_zeroes_refuses_to_start(void **state)
{
    (void)state;
    pen_batches(0, 1, 6);
    memset(bytes[0] + places[0][2], 0, places[0][4] - places[0][2]);
    pen_file(0, used[0]);
    assert_int_equal(start(), ERR_STORE_CORRUPT);
}

static void a_missing_file_refuses_to_start(void **state)
{
    (void)state;
    for (uint32_t missing = 0; missing < 2; missing++) {
        teardown(NULL);
        setup(NULL);
        pen_batches(0, 1, 3);
        pen_batches(1, 4, 6);
        pen_batches(2, 7, 9);
        for (uint32_t i = 0; i < 3; i++) {
            if (i != missing) pen_file(i, used[i]);
        }
        assert_int_equal(start(), ERR_STORE_CORRUPT);
    }
}

static void a_damaged_file_head_refuses_to_start(void **state)
{
    (void)state;
    char path[SEGMENT_PATH_SIZE];
    pen_batches(0, 1, 3);
    pen_file(0, used[0]);
    segment_path(path, log_directory, 1, 0, 1);
    int handle = disk_open(path, DISK_WRITE);
    assert_int_equal(disk_write(handle, "x", 1, 20), 1);
    disk_close(handle);
    assert_int_equal(start(), ERR_STORE_CORRUPT);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_flipped_bit_before_the_last_batch_refuses_to_start),
        CASE(the_file_that_is_damaged_is_named),
        CASE(the_file_that_lacks_its_last_batch_is_named),
        CASE(a_file_that_was_told_of_stays),
        CASE(a_hole_of_zeroes_refuses_to_start),
        CASE(a_missing_file_refuses_to_start),
        CASE(a_damaged_file_head_refuses_to_start),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
