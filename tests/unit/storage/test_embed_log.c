/*
 * Logs as a crash, a bad disk or a hand may leave them: log files are made here
 * byte by byte, damaged, and given to a start.
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "death.h"

#include <cmocka.h>

#include "core/disk.h"
#include "core/mem.h"
#include "storage/embed/chunk.h"
#include "storage/embed/entry.h"
#include "storage/embed/index.h"
#include "storage/embed/segment.h"
#include "storage/embed/sql.h"
#include "storage/store.h"

#define SEGMENT_SIZE 65536u

static char directory[64], log_directory[80], index_path[80];
static struct config config;
static uint8_t incarnation[16];
static uint8_t bytes[3][SEGMENT_SIZE]; /* files under the pen */
static size_t used[3];                 /* of each */
static size_t places[3][64];           /* where each batch begins */
static uint32_t places_count[3];
static uint32_t history_size; /* of what is penned */

static enum err start(void)
{
    struct store_node *node;
    struct workers *workers = workers_create();
    enum err err = store_node_open(&config, workers, 1, &node);
    if (err == ERR_OK) store_node_close(node);
    workers_destroy(workers);
    return err;
}

/* An empty store that has been open once, and an empty first file. */
static int setup(void **state)
{
    (void)state;
    struct index *index;
    char command[128];
    snprintf(directory, sizeof directory, "/tmp/test_embed_log.%d", (int)getpid());
    snprintf(log_directory, sizeof log_directory, "%s/log", directory);
    snprintf(index_path, sizeof index_path, "%s/index.db", directory);
    snprintf(command, sizeof command, "rm -rf %s", directory);
    assert_int_equal(system(command), 0);
    config = (struct config){.storage_engine = CONFIG_ENGINE_EMBEDDED,
                             .storage_path = directory,
                             .storage_dedup_horizon_ms = 86400000,
                             .storage_dedup_keys_max = 1000};
    assert_int_equal(start(), ERR_OK);
    assert_int_equal(index_open(index_path, &index), ERR_OK);
    assert_int_equal(index_meta_get(index, "incarnation", incarnation, 16), ERR_OK);
    index_close(index);
    memset(bytes, 0, sizeof bytes);
    memset(used, 0, sizeof used);
    memset(places_count, 0, sizeof places_count);
    history_size = 1000;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", directory);
    return system(command);
}

/* A batch with one publication: batch n is offset n. */
static void pen_batch(uint32_t file, uint64_t number, uint64_t durable)
{
    char text[64], user[8] = "api";
    snprintf(text, sizeof text, "text %d with some length to it", (int)number);
    struct publication publication = {
        .offset = number, .time_ms = 1000 + number, .data = bytes_of_text(text)};
    struct entry entry = {.type = RECORD_PUBLICATION,
                          .name = BYTES_LITERAL("room:1"),
                          .epoch = BYTES_LITERAL("abcdefgh"),
                          .scope = bytes_of_text(user),
                          .key = bytes_of_text(text),
                          .time_ms = 1000 + number,
                          .history_size = history_size,
                          .history_ttl_ms = 1ull << 60,
                          .offset = number};
    if (used[file] == 0) used[file] = SEGMENT_HEAD;
    uint8_t *at = bytes[file] + used[file];
    struct writer writer = writer_of(at + BATCH_HEAD, 1000);
    entry_write(&writer, &entry, publication_size(&publication));
    publication_write(&writer, &publication);
    assert_false(writer.failed);
    struct batch_head head = {.payload_size = (uint32_t)writer.used,
                              .log = log_id(1, 0),
                              .number = number,
                              .durable = durable};
    batch_seal(at, &head);
    places[file][places_count[file]++] = used[file];
    used[file] += batch_size(head.payload_size);
}

static void pen_batches(uint32_t file, uint64_t first, uint64_t last)
{
    for (uint64_t i = first; i <= last; i++) pen_batch(file, i, i - 1);
}

/* Makes the file with a right head and what was penned, `size` bytes of it. */
static void pen_file(uint32_t file, size_t size)
{
    struct segment segment = {
        .file = -1, .generation = 1, .shard = 0, .number = file + 1, .size = SEGMENT_SIZE};
    assert_int_equal(segment_prepare(&segment, log_directory, incarnation, NULL), ERR_OK);
    if (size > SEGMENT_HEAD) {
        assert_int_equal(
            disk_write(segment.file, bytes[file] + SEGMENT_HEAD, size - SEGMENT_HEAD, SEGMENT_HEAD),
            size - SEGMENT_HEAD);
    }
    disk_close(segment.file);
}

static void pen_write(uint32_t file)
{
    char path[SEGMENT_PATH_SIZE];
    segment_path(path, log_directory, 1, 0, file + 1);
    int handle = disk_open(path, DISK_WRITE);
    assert_true(handle >= 0);
    size_t size = used[file] - SEGMENT_HEAD;
    assert_int_equal(disk_write(handle, bytes[file] + SEGMENT_HEAD, size, SEGMENT_HEAD), size);
    disk_close(handle);
}

/* The store has publications 1 .. head, as penned. */
static void assert_held(uint64_t head)
{
    struct index_reader *reader;
    struct query query = {.name = BYTES_LITERAL("room:1"),
                          .log = 1,
                          .is_open = true,
                          .limit = 1000,
                          .bytes_max = 1 << 20,
                          .keys_max = 1000};
    assert_int_equal(index_reader_open(index_path, &reader), ERR_OK);
    assert_int_equal(index_query(reader, &query), ERR_OK);
    assert_int_equal(query.head, head);
    assert_int_equal(query.publications_count, head);
    assert_int_equal(query.keys_count, head);
    for (uint64_t i = 0; i < head; i++) {
        char text[64];
        snprintf(text, sizeof text, "text %d with some length to it", (int)i + 1);
        assert_int_equal(query.publications[i].offset, i + 1);
        assert_true(bytes_equal_text(query.publications[i].data, text));
    }
    query_clear(&query);
    index_reader_close(reader);
}

static void assert_no_logs(void)
{
    char command[128];
    snprintf(command, sizeof command, "test -z \"$(ls %s)\"", log_directory);
    assert_int_equal(system(command), 0);
}

static void a_whole_log_is_applied_and_removed(void **state)
{
    (void)state;
    pen_batches(0, 1, 10);
    pen_file(0, used[0]);
    assert_int_equal(start(), ERR_OK);
    assert_held(10);
    assert_no_logs();
    assert_int_equal(start(), ERR_OK);
    assert_held(10);
}

/* What the rows hold, one or several each. */
static uint64_t items_count(const char *table, const char *column)
{
    enum err err;
    sqlite3 *db;
    sqlite3_stmt *rows;
    char text[160];
    uint64_t count = 0;
    snprintf(text, sizeof text, "SELECT %s FROM %s", column, table);
    assert_int_equal(sql_start(), ERR_OK);
    assert_int_equal(sql_open(index_path, false, &db), ERR_OK);
    assert_int_equal(sql_prepare(db, text, &rows), ERR_OK);
    while (sql_row(rows, &err)) {
        struct bytes body = sql_bytes(rows, 0);
        count += chunk_is_on(body) ? body.at[1] : 1;
    }
    assert_int_equal(err, ERR_OK);
    sqlite3_finalize(rows);
    sql_close(db);
    sql_stop();
    return count;
}

static void what_later_batches_push_out_is_never_a_row(void **state)
{
    (void)state;
    struct index_reader *reader;
    struct query query = {.name = BYTES_LITERAL("room:1"), .log = 1, .limit = 100};
    query.bytes_max = 1 << 20;
    pen_batches(0, 1, 20);
    history_size = 5; /* the rule of the last entry */
    pen_batches(1, 21, 30);
    for (uint32_t i = 0; i < 2; i++) pen_file(i, used[i]);
    assert_int_equal(start(), ERR_OK);
    assert_int_equal(items_count("publications LEFT JOIN bodies ON bodies.id=publications.body",
                                 "coalesce(bodies.body, publications.body)"),
                     5);
    assert_int_equal(items_count("keys LEFT JOIN key_bodies ON key_bodies.id=key",
                                 "coalesce(key_bodies.body, key)"),
                     30);
    assert_int_equal(index_reader_open(index_path, &reader), ERR_OK);
    assert_int_equal(index_query(reader, &query), ERR_OK);
    assert_int_equal(query.head, 30);
    assert_int_equal(query.publications_count, 5);
    assert_int_equal(query.publications[0].offset, 26);
    query_clear(&query);
    index_reader_close(reader);
}

static void a_log_goes_on_in_the_next_file(void **state)
{
    (void)state;
    pen_batches(0, 1, 5);
    pen_batches(1, 6, 6);
    pen_batches(2, 7, 9);
    for (uint32_t i = 0; i < 3; i++) pen_file(i, used[i]);
    assert_int_equal(start(), ERR_OK);
    assert_held(9);
}

static void empty_files_are_passed_over(void **state)
{
    (void)state;
    pen_batches(0, 1, 5);
    pen_batches(2, 6, 9);
    pen_file(0, used[0]);
    pen_file(1, 0);
    pen_file(2, used[2]);
    assert_int_equal(start(), ERR_OK);
    assert_held(9);
}

static void a_last_batch_cut_anywhere_is_left_out(void **state)
{
    (void)state;
    for (uint32_t step = 0; step < 12; step++) {
        teardown(NULL);
        setup(NULL);
        pen_batches(0, 1, 4);
        size_t last = places[0][3], size = used[0] - last;
        pen_file(0, last + step * (size - 8) / 11);
        assert_int_equal(start(), ERR_OK);
        assert_held(3);
    }
}

static void a_file_cut_short_is_a_torn_end(void **state)
{
    (void)state;
    char path[SEGMENT_PATH_SIZE];
    pen_batches(0, 1, 4);
    pen_file(0, used[0]);
    segment_path(path, log_directory, 1, 0, 1);
    assert_int_equal(truncate(path, (off_t)places[0][3] + 20), 0);
    assert_int_equal(start(), ERR_OK);
    assert_held(3);
}

static void a_flipped_bit_in_the_last_batch_is_a_torn_end(void **state)
{
    (void)state;
    pen_batches(0, 1, 4);
    bytes[0][places[0][3] + 60] ^= 4;
    pen_file(0, used[0]);
    assert_int_equal(start(), ERR_OK);
    assert_held(3);
}

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

static void an_unused_file_without_a_head_is_passed_over(void **state)
{
    (void)state;
    char path[SEGMENT_PATH_SIZE];
    pen_batches(0, 1, 3);
    pen_file(0, used[0]);
    segment_path(path, log_directory, 1, 0, 2);
    int handle = disk_open(path, DISK_WRITE | DISK_CREATE);
    assert_int_equal(disk_write(handle, "half a he", 9, 0), 9);
    disk_close(handle);
    assert_int_equal(start(), ERR_OK);
    assert_held(3);
}

static void old_batches_in_a_recycled_file_are_ignored(void **state)
{
    (void)state;
    pen_batches(0, 1, 8);
    pen_file(0, used[0]);
    /* File 2 was file 0 once: its own batches 9 and 10 end where 3 begins. */
    memcpy(bytes[1], bytes[0], sizeof bytes[1]);
    pen_batches(1, 9, 10);
    pen_file(1, used[0]);
    assert_int_equal(start(), ERR_OK);
    assert_held(10);
}

static void damage_that_was_applied_before_does_no_harm(void **state)
{
    (void)state;
    struct index *index;
    pen_batches(0, 1, 8);
    struct index_batch batches[4];
    for (uint32_t i = 0; i < 4; i++) {
        struct batch_head head;
        struct bytes rest = bytes_of(bytes[0] + places[0][i], used[0] - places[0][i]);
        assert_true(batch_open(rest, log_id(1, 0), &head));
        batches[i] =
            (struct index_batch){head.number, bytes_of(rest.at + BATCH_HEAD, head.payload_size)};
    }
    assert_int_equal(index_open(index_path, &index), ERR_OK);
    assert_int_equal(index_apply(index, log_id(1, 0), batches, 4), ERR_OK);
    index_close(index);
    bytes[0][places[0][1] + 50] ^= 1;
    pen_file(0, used[0]);
    assert_int_equal(start(), ERR_OK);
    assert_held(8);
}

static void what_never_was_durable_may_miss_in_written_durability(void **state)
{
    (void)state;
    for (uint64_t i = 1; i <= 6; i++) pen_batch(0, i, 0);
    memset(bytes[0] + places[0][3], 0, 48);
    pen_file(0, used[0]);
    assert_int_equal(start(), ERR_OK);
    assert_held(3);
}

static void an_entry_that_makes_no_sense_refuses_to_start(void **state)
{
    (void)state;
    pen_batches(0, 1, 1);
    struct batch_head head;
    struct bytes rest = bytes_of(bytes[0] + places[0][0], used[0] - places[0][0]);
    assert_true(batch_open(rest, log_id(1, 0), &head));
    bytes[0][places[0][0] + BATCH_HEAD + 4] = 99; /* a type of the future */
    batch_seal(bytes[0] + places[0][0], &head);
    pen_file(0, used[0]);
    assert_int_equal(start(), ERR_STORE_CORRUPT);
}

static void a_second_process_is_refused(void **state)
{
    (void)state;
    struct store_node *node;
    struct workers *workers = workers_create();
    assert_int_equal(store_node_open(&config, workers, 1, &node), ERR_OK);
    assert_int_equal(start(), ERR_CONFLICT);
    store_node_close(node);
    workers_destroy(workers);
}

static void names_of_files_are_read_only_as_written(void **state)
{
    (void)state;
    uint64_t generation, number;
    uint32_t shard;
    assert_true(segment_parse("0000000a-02-00000003.log", &generation, &shard, &number));
    assert_int_equal(generation, 10);
    assert_int_equal(shard, 2);
    assert_int_equal(number, 3);
    static const char *const wrong[] = {
        "",          "0000000a-02-00000003.log.old", "a-2-3.log", "0000000A-02-00000003.log",
        "index.log", "0000000a-ff-00000003.lo",      ".",         "00000000a-02-00000003.log"};
    for (size_t i = 0; i < array_count(wrong); i++) {
        assert_false(segment_parse(wrong[i], &generation, &shard, &number));
    }
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_whole_log_is_applied_and_removed),
        CASE(what_later_batches_push_out_is_never_a_row),
        CASE(a_log_goes_on_in_the_next_file),
        CASE(empty_files_are_passed_over),
        CASE(a_last_batch_cut_anywhere_is_left_out),
        CASE(a_file_cut_short_is_a_torn_end),
        CASE(a_flipped_bit_in_the_last_batch_is_a_torn_end),
        CASE(a_flipped_bit_before_the_last_batch_refuses_to_start),
        CASE(a_hole_of_zeroes_refuses_to_start),
        CASE(a_missing_file_refuses_to_start),
        CASE(a_damaged_file_head_refuses_to_start),
        CASE(an_unused_file_without_a_head_is_passed_over),
        CASE(old_batches_in_a_recycled_file_are_ignored),
        CASE(damage_that_was_applied_before_does_no_harm),
        CASE(what_never_was_durable_may_miss_in_written_durability),
        CASE(an_entry_that_makes_no_sense_refuses_to_start),
        CASE(a_second_process_is_refused),
        cmocka_unit_test(names_of_files_are_read_only_as_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
