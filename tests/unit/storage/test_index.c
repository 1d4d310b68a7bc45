/*
 * The index alone: batches in, rows out, what is over goes; and the VFS under
 * it: readers beside a writer, a checkpoint past a reader, a life forgotten.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/disk.h"
#include "core/mem.h"
#include "storage/embed/entry.h"
#include "storage/embed/index.h"
#include "storage/embed/sql.h"

#define LOG 256u

static char directory[64], path[80];
static struct index *index_;
static struct index_reader *reader;
static uint64_t number;

static int setup(void **state)
{
    (void)state;
    char command[128];
    snprintf(directory, sizeof directory, "/tmp/test_index.%d", (int)getpid());
    snprintf(path, sizeof path, "%s/index.db", directory);
    snprintf(command, sizeof command, "rm -rf %s", directory);
    assert_int_equal(system(command), 0);
    assert_int_equal(disk_mkdir(directory), 0);
    assert_int_equal(index_open(path, &index_), ERR_OK);
    assert_int_equal(index_reader_open(path, &reader), ERR_OK);
    number = 0;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    char command[128];
    index_reader_close(reader);
    index_close(index_);
    snprintf(command, sizeof command, "rm -rf %s", directory);
    return system(command);
}

/* Applies one publication as a batch of its own. */
static enum err put(const char *name, uint64_t offset, uint64_t time_ms, uint32_t size,
                    uint64_t ttl_ms)
{
    uint8_t buffer[512];
    struct publication publication = {
        .offset = offset, .time_ms = time_ms, .data = BYTES_LITERAL("text")};
    struct entry entry = {.type = RECORD_PUBLICATION,
                          .name = bytes_of_text(name),
                          .epoch = BYTES_LITERAL("abcdefgh"),
                          .scope = BYTES_LITERAL("api"),
                          .key = bytes_of(&offset, sizeof offset),
                          .time_ms = time_ms,
                          .history_size = size,
                          .history_ttl_ms = ttl_ms,
                          .meta_ttl_ms = 1000,
                          .offset = offset};
    struct writer writer = writer_of(buffer, sizeof buffer);
    entry_write(&writer, &entry, publication_size(&publication));
    publication_write(&writer, &publication);
    check(!writer.failed);
    struct index_batch batch = {++number, writer_bytes(&writer)};
    return index_apply(index_, LOG, &batch, 1);
}

static struct query ask(const char *name)
{
    struct query query = {.name = bytes_of_text(name),
                          .log = LOG,
                          .is_open = true,
                          .limit = 1000,
                          .bytes_max = 1 << 20,
                          .keys_max = 1000};
    assert_int_equal(index_query(reader, &query), ERR_OK);
    return query;
}

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
    assert_int_equal(index_sweep(index_, 1250, 5000, 100), ERR_OK);
    query = ask("old");
    assert_int_equal(query.publications_count, 3); /* 800, 900, 1000 */
    assert_int_equal(query.head, 10);
    query_clear(&query);
    /* Both are past their last use by more than meta_ttl. */
    assert_int_equal(index_sweep(index_, 2500, 5000, 1), ERR_OK);
    assert_int_equal(index_sweep(index_, 2500, 5000, 1), ERR_OK);
    assert_int_equal(index_sweep(index_, 2500, 5000, 1), ERR_OK);
    query = ask("old");
    assert_false(query.is_known);
    assert_int_equal(query.forgets, forgets + 1);
    query_clear(&query);
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
        CASE(a_checkpoint_waits_for_nobody_and_is_whole_alone),
        cmocka_unit_test(the_derived_epoch_depends_on_all_it_should),
        CASE(meta_rows_come_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
