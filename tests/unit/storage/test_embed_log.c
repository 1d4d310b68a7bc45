/*
 * Logs as a crash, a bad disk or a hand may leave them: log files are made here
 * byte by byte, damaged, and given to a start.
 */
#include "unit/storage/log_pen.h"

#include "storage/embed/chunk.h"
#include "storage/embed/sql.h"

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
