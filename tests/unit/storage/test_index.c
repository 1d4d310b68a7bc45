/*
 * The index alone: batches in, rows out, what is over goes; and the VFS under
 * it: readers beside a writer, a checkpoint past a reader, a life forgotten.
 */
#include "unit/storage/index_world.h"

static void a_query_has_the_position_of_its_snapshot(void **state)
{
    (void)state;
    struct query query = ask("room:1");
    assert_false(query.is_known);
    assert_int_equal(query.applied, 0);
    query_clear(&query);
    for (uint64_t i = 1; i <= 5; i++) assert_int_equal(put("room:1", i, i, 100, 1000), ERR_OK);
    query = ask("room:1");
    assert_true(query.is_known);
    assert_int_equal(query.applied, 5);
    assert_int_equal(query.head, 5);
    assert_string_equal(query.epoch, "abcdefgh");
    assert_int_equal(query.publications_count, 5);
    assert_int_equal(query.keys_count, 5);
    assert_int_equal(query.keys[0].time_ms, 5); /* newest first */
    query_clear(&query);
}

static void a_gap_is_refused_and_leaves_nothing(void **state)
{
    (void)state;
    assert_int_equal(put("room:1", 1, 1, 100, 1000), ERR_OK);
    assert_int_equal(put("room:1", 3, 1, 100, 1000), ERR_STORE_CORRUPT);
    struct query query = ask("room:1");
    assert_int_equal(query.head, 1);
    assert_int_equal(query.applied, 1);
    query_clear(&query);
}

static void history_keeps_its_size_and_an_answer_its_bytes(void **state)
{
    (void)state;
    for (uint64_t i = 1; i <= 20; i++) assert_int_equal(put("room:1", i, i, 7, 1000), ERR_OK);
    struct query query = ask("room:1");
    assert_int_equal(query.publications_count, 7);
    assert_int_equal(query.publications[0].offset, 14);
    query_clear(&query);
    query.bytes_max = 70;
    assert_int_equal(index_query(reader, &query), ERR_OK);
    assert_true(query.is_cut);
    assert_true(query.publications_count > 0 && query.publications_count < 7);
    query_clear(&query);
}

static void a_sweep_removes_what_is_over(void **state)
{
    (void)state;
    for (uint64_t i = 1; i <= 10; i++) assert_int_equal(put("old", i, i * 100, 100, 500), ERR_OK);
    assert_int_equal(put("young", 1, 1000, 100, 500), ERR_OK);
    struct query query = ask("unheard");
    uint64_t forgets = query.forgets;
    query_clear(&query);
    sweep(1250, 5000, 100);
    query = ask("old");
    assert_int_equal(query.publications_count, 3); /* 800, 900, 1000 */
    assert_int_equal(query.head, 10);
    assert_int_equal(query.keys_count, 10);
    query_clear(&query);
    /* Both are past their last use by more than meta_ttl; while a key is within
     * its horizon, what it answers stays true. */
    sweep(2500, 1501, 1);
    query = ask("old");
    assert_true(query.is_known);
    assert_int_equal(query.publications_count, 0);
    assert_int_equal(query.keys_count, 1);
    query_clear(&query);
    sweep(2500, 1499, 1);
    query = ask("old");
    assert_false(query.is_known);
    assert_int_equal(query.forgets, forgets + 1);
    query_clear(&query);
}

static void keys_of_what_nobody_keeps_live_as_long_as_others(void **state)
{
    (void)state;
    static const uint64_t offsets[] = {0, 2, 0, 1}; /* newest first */
    assert_int_equal(put("room", 1, 100, 100, 5000), ERR_OK);
    put_live("room", 1, 200);
    assert_int_equal(put("room", 2, 300, 100, 5000), ERR_OK);
    put_live("room", 2, 400);
    for (uint64_t i = 1; i <= 5; i++) put_live("live", i, i * 100);
    struct query query = ask("room");
    assert_int_equal(query.head, 2);
    assert_int_equal(query.keys_count, 4);
    for (uint32_t i = 0; i < 4; i++) {
        assert_int_equal(query.keys[i].offset, offsets[i]);
        assert_int_equal(query.keys[i].time_ms, 400 - i * 100);
    }
    query_clear(&query);
    query.keys_max = 3;
    assert_int_equal(index_query(reader, &query), ERR_OK);
    assert_int_equal(query.keys_count, 3);
    query_clear(&query);
    sweep(1300, 900, 100); /* what is older than 400 */
    query = ask("live");
    assert_true(query.is_known && query.head == 0 && query.publications_count == 0);
    assert_int_equal(query.keys_count, 2);
    assert_memory_equal(query.keys[0].key.at, "live5", 5);
    query_clear(&query);
    put_live("live", 6, 1400);
    sweep(2000, 900, 100);
    query = ask("live");
    assert_int_equal(query.keys_count, 1);
    query_clear(&query);
    sweep(2401, 900, 100); /* and then the channel goes */
    query = ask("live");
    assert_false(query.is_known);
    query_clear(&query);
    assert_int_equal(rows("live_keys"), 0);
}

static void what_a_floor_ends_is_gone_at_once_and_its_rows_soon(void **state)
{
    (void)state;
    struct index_swept swept;
    const uint64_t count = 5000;
    for (uint64_t i = 1; i <= count; i++) assert_int_equal(put("a", i, i, 10000, 1000), ERR_OK);
    assert_int_equal(put("b", 1, 1, 10000, 1000), ERR_OK);
    assert_int_equal(rows("publications"), count + 1);
    /* The rule of the next publication keeps two. */
    assert_int_equal(put("a", count + 1, 1, 2, 1000), ERR_OK);
    assert_int_equal(rows("publications"), count + 2); /* too many for this transaction */
    struct query query = ask("a");
    assert_int_equal(query.publications_count, 2);
    assert_int_equal(query.publications[0].offset, count);
    query_clear(&query);
    query.is_reverse = true;
    query.since = count;
    assert_int_equal(index_query(reader, &query), ERR_OK);
    assert_int_equal(query.publications_count, 0);
    query_clear(&query);
    uint64_t before = rows("publications"), slices = 0;
    do {
        assert_int_equal(index_sweep(index_, 1, 1000, 100, &swept), ERR_OK);
        assert_true(!swept.is_short || rows("publications") < before);
        before = rows("publications");
        slices++;
    } while (!swept.is_round);
    assert_true(slices > 1);
    assert_int_equal(before, 3);
    /* Few go with the transaction itself, also when a rule is wider again. */
    assert_int_equal(put("a", count + 2, 1, 3, 1000), ERR_OK);
    assert_int_equal(put("a", count + 3, 1, 3, 1000), ERR_OK);
    assert_int_equal(put("a", count + 4, 1, 3, 1000), ERR_OK);
    assert_int_equal(rows("publications"), 4);
    query = ask("a");
    assert_int_equal(query.publications[0].offset, count + 2);
    query_clear(&query);
}

static void unused_room_goes_back_to_the_disk(void **state)
{
    (void)state;
    bool is_more = true, is_whole;
    static uint8_t filler[1800];
    const uint64_t count = VERIFY ? 200 : 6000;
    data = bytes_of(filler, sizeof filler);
    for (uint64_t i = 1; i <= count; i++) {
        assert_int_equal(put("a", i, i, 100000, 1000), ERR_OK);
        if (i % 1000 == 0) assert_int_equal(index_checkpoint(index_, false, &is_whole), ERR_OK);
    }
    assert_int_equal(index_shrink(index_, VERIFY ? 10 : 100, &is_more), ERR_OK);
    assert_false(is_more); /* nothing is unused */
    sweep(100000, 100, 100);
    assert_int_equal(rows("publications"), 0);
    assert_int_equal(index_checkpoint(index_, false, &is_whole), ERR_OK);
    int64_t before = disk_size_at(path);
    uint32_t slices = 0;
    do {
        assert_int_equal(index_shrink(index_, VERIFY ? 10 : 100, &is_more), ERR_OK);
        slices++;
    } while (is_more);
    assert_true(slices > 2);
    assert_int_equal(index_checkpoint(index_, true, &is_whole), ERR_OK);
    assert_true(is_whole);
    assert_true(disk_size_at(path) < before / 2);
}

/* Every page in turn has one bit changed: what is read is right, or an error. */
static void a_changed_bit_is_an_error_and_never_an_answer(void **state)
{
    (void)state;
    bool is_whole;
    static uint8_t filler[1800];
    memset(filler, 'f', sizeof filler);
    data = bytes_of(filler, sizeof filler);
    for (uint64_t i = 1; i <= 60; i++) assert_int_equal(put("a", i, i, 1000, 1000), ERR_OK);
    index_reader_close(reader);
    assert_int_equal(index_checkpoint(index_, true, &is_whole), ERR_OK);
    index_close(index_);
    int64_t size = disk_size_at(path);
    assert_true(size > 10 * PAGE && size % PAGE == 0);
    int file = disk_open(path, DISK_READ | DISK_WRITE);
    uint32_t errors = 0;
    for (uint64_t page = 1; page < (uint64_t)size / PAGE; page++) {
        uint8_t byte;
        uint64_t at = page * PAGE + page * 37 % PAGE;
        assert_int_equal(disk_read(file, &byte, 1, at), 1);
        byte ^= 16;
        assert_int_equal(disk_write(file, &byte, 1, at), 1);
        struct query query = {.name = BYTES_LITERAL("a"), .log = LOG, .is_open = true};
        query.limit = query.keys_max = 1000;
        query.bytes_max = 1 << 20;
        enum err err = index_reader_open(path, &reader);
        if (err == ERR_OK) err = index_query(reader, &query);
        if (err == ERR_OK) {
            assert_int_equal(query.publications_count, 60);
            assert_int_equal(query.keys_count, 60);
            for (uint32_t i = 0; i < 60; i++)
                assert_true(bytes_equal(query.publications[i].data, data));
        } else {
            assert_int_equal(err, ERR_STORE_CORRUPT);
            errors++;
        }
        query_clear(&query);
        index_reader_close(reader);
        byte ^= 16;
        assert_int_equal(disk_write(file, &byte, 1, at), 1);
    }
    disk_close(file);
    assert_true(errors > 7);
    assert_int_equal(index_open(path, &index_), ERR_OK);
    assert_int_equal(index_reader_open(path, &reader), ERR_OK);
    struct query query = ask("a");
    assert_int_equal(query.publications_count, 60);
    query_clear(&query);
}

/* The tables of the format before: keys by their text, no floor. */
static void format_1_is_brought_forward(void **state)
{
    (void)state;
    sqlite3 *db;
    index_reader_close(reader);
    index_close(index_);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(sql_start(), ERR_OK);
    assert_int_equal(sql_open(path, true, &db), ERR_OK);
    assert_int_equal(
        sql_run(db, "CREATE TABLE meta(name TEXT PRIMARY KEY, value BLOB) WITHOUT ROWID;"
                    "INSERT INTO meta VALUES('format', x'0100000000000000');"
                    "CREATE TABLE applied(log INTEGER PRIMARY KEY, batch INTEGER NOT NULL);"
                    "CREATE TABLE channels(id INTEGER PRIMARY KEY, name BLOB NOT NULL UNIQUE,"
                    " epoch TEXT NOT NULL, head INTEGER NOT NULL, time_ms INTEGER NOT NULL,"
                    " history_size INTEGER NOT NULL, ttl_ms INTEGER NOT NULL,"
                    " meta_ttl_ms INTEGER NOT NULL);"
                    "INSERT INTO channels VALUES(7, x'61', 'epoch', 2, 20, 100, 1000, 1000);"
                    "CREATE TABLE publications(channel INTEGER, offset INTEGER,"
                    " time_ms INTEGER NOT NULL, body BLOB NOT NULL,"
                    " PRIMARY KEY(channel, offset)) WITHOUT ROWID;"
                    "CREATE TABLE members(channel INTEGER, user BLOB, joined INTEGER NOT NULL,"
                    " read INTEGER NOT NULL, round INTEGER NOT NULL,"
                    " PRIMARY KEY(channel, user)) WITHOUT ROWID;"
                    "CREATE TABLE keys(channel INTEGER, scope BLOB, key BLOB,"
                    " offset INTEGER NOT NULL, time_ms INTEGER NOT NULL,"
                    " PRIMARY KEY(channel, scope, key)) WITHOUT ROWID;"
                    "INSERT INTO keys VALUES(7, x'617069', x'6b31', 2, 20);"
                    "INSERT INTO keys VALUES(7, x'617069', x'6b32', 1, 10);"
                    "CREATE TABLE forgets(bucket INTEGER PRIMARY KEY, count INTEGER NOT NULL);"),
        ERR_OK);
    sql_close(db);
    sql_stop();
    for (int life = 0; life < 2; life++) {
        assert_int_equal(index_open(path, &index_), ERR_OK);
        assert_int_equal(index_reader_open(path, &reader), ERR_OK);
        struct query query = ask("a");
        assert_int_equal(query.head, 2);
        assert_int_equal(query.keys_count, 2);
        assert_int_equal(query.keys[0].offset, 2);
        assert_true(bytes_equal_text(query.keys[0].key, "k1"));
        query_clear(&query);
        if (life > 0) break;
        index_reader_close(reader);
        index_close(index_);
    }
    assert_int_equal(put("a", 3, 30, 100, 1000), ERR_OK);
}

static void a_format_of_the_future_is_refused(void **state)
{
    (void)state;
    struct index *other;
    uint64_t format = 1000;
    assert_int_equal(index_meta_put(index_, "format", &format, sizeof format), ERR_OK);
    assert_int_equal(index_open(path, &other), ERR_UNSUPPORTED);
    assert_null(other);
}

static void a_checkpoint_waits_for_nobody_and_is_whole_alone(void **state)
{
    (void)state;
    bool is_whole = false;
    for (uint64_t i = 1; i <= 50; i++) assert_int_equal(put("room:1", i, i, 100, 1000), ERR_OK);
    assert_true(index_wal_bytes(index_) > 0);
    assert_int_equal(index_checkpoint(index_, false, &is_whole), ERR_OK);
    assert_true(is_whole);
    assert_int_equal(index_checkpoint(index_, true, &is_whole), ERR_OK);
    assert_true(is_whole);
    struct query query = ask("room:1");
    assert_int_equal(query.publications_count, 50);
    query_clear(&query);
}

static void the_derived_epoch_depends_on_all_it_should(void **state)
{
    (void)state;
    uint8_t incarnation[2][16] = {{1}, {2}};
    char epochs[4][EPOCH_MAX + 1];
    index_epoch(incarnation[0], 0, BYTES_LITERAL("a"), epochs[0]);
    index_epoch(incarnation[1], 0, BYTES_LITERAL("a"), epochs[1]);
    index_epoch(incarnation[0], 1, BYTES_LITERAL("a"), epochs[2]);
    index_epoch(incarnation[0], 0, BYTES_LITERAL("b"), epochs[3]);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(strlen(epochs[i]), 8);
        for (int j = 0; j < i; j++) assert_string_not_equal(epochs[i], epochs[j]);
    }
}

static void meta_rows_come_back(void **state)
{
    (void)state;
    uint64_t value = 5;
    assert_int_equal(index_meta_get(index_, "none", &value, sizeof value), ERR_OK);
    assert_int_equal(value, 5);
    value = 9;
    assert_int_equal(index_meta_put(index_, "some", &value, sizeof value), ERR_OK);
    value = 0;
    assert_int_equal(index_meta_get(index_, "some", &value, sizeof value), ERR_OK);
    assert_int_equal(value, 9);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_query_has_the_position_of_its_snapshot),
        CASE(a_gap_is_refused_and_leaves_nothing),
        CASE(history_keeps_its_size_and_an_answer_its_bytes),
        CASE(a_sweep_removes_what_is_over),
        CASE(keys_of_what_nobody_keeps_live_as_long_as_others),
        CASE(what_a_floor_ends_is_gone_at_once_and_its_rows_soon),
        CASE(unused_room_goes_back_to_the_disk),
        CASE(a_changed_bit_is_an_error_and_never_an_answer),
        CASE(format_1_is_brought_forward),
        CASE(a_format_of_the_future_is_refused),
        CASE(a_checkpoint_waits_for_nobody_and_is_whole_alone),
        cmocka_unit_test(the_derived_epoch_depends_on_all_it_should),
        CASE(meta_rows_come_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
