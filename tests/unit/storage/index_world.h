/*
 * index_world: an index of its own for each test, and batches for it.
 *
 * Thread:  the test's.
 */
#pragma once

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

#define LOG  256u
#define PAGE 8192

static char directory[64], path[80];
static struct index *index_;
static struct index_reader *reader;
static uint64_t number;
static struct bytes data; /* of what put publishes */

static inline int setup(void **state)
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
    data = BYTES_LITERAL("text");
    return 0;
}

static inline int teardown(void **state)
{
    (void)state;
    char command[128];
    index_reader_close(reader);
    index_close(index_);
    snprintf(command, sizeof command, "rm -rf %s", directory);
    return system(command);
}

/* Applies one publication as a batch of its own. */
static inline enum err put(const char *name, uint64_t offset, uint64_t time_ms, uint32_t size,
                           uint64_t ttl_ms)
{
    uint8_t buffer[2048];
    struct publication publication = {.offset = offset, .time_ms = time_ms, .data = data};
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

/* Applies `count` publications, the times their offsets, in one transaction. */
static inline void put_many(const char *name, uint64_t first, uint32_t count, uint32_t size)
{
    static uint8_t buffer[2 << 20];
    struct writer writer = writer_of(buffer, sizeof buffer);
    for (uint64_t offset = first; offset < first + count; offset++) {
        struct publication publication = {.offset = offset, .time_ms = offset, .data = data};
        struct entry entry = {.type = RECORD_PUBLICATION,
                              .name = bytes_of_text(name),
                              .epoch = BYTES_LITERAL("abcdefgh"),
                              .scope = BYTES_LITERAL("api"),
                              .key = bytes_of(&offset, sizeof offset),
                              .time_ms = offset,
                              .history_size = size,
                              .history_ttl_ms = 1000,
                              .meta_ttl_ms = 1000,
                              .offset = offset};
        entry_write(&writer, &entry, publication_size(&publication));
        publication_write(&writer, &publication);
    }
    check(!writer.failed);
    struct index_batch batch = {++number, writer_bytes(&writer)};
    assert_int_equal(index_apply(index_, LOG, &batch, 1), ERR_OK);
}

/* The same with a key, "live<n>", of what is kept nowhere. */
static inline void put_live(const char *name, uint64_t n, uint64_t time_ms)
{
    uint8_t buffer[256];
    char key[32];
    snprintf(key, sizeof key, "live%d", (int)n);
    struct entry entry = {.type = RECORD_KEY,
                          .name = bytes_of_text(name),
                          .epoch = BYTES_LITERAL("abcdefgh"),
                          .scope = BYTES_LITERAL("api"),
                          .key = bytes_of_text(key),
                          .time_ms = time_ms,
                          .meta_ttl_ms = 1000};
    struct writer writer = writer_of(buffer, sizeof buffer);
    entry_write(&writer, &entry, 0);
    check(!writer.failed);
    struct index_batch batch = {++number, writer_bytes(&writer)};
    assert_int_equal(index_apply(index_, LOG, &batch, 1), ERR_OK);
}

static inline struct query ask(const char *name)
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

/* A whole round of the sweep. */
static inline void sweep(uint64_t now_ms, uint64_t horizon_ms, uint32_t channels_max)
{
    struct index_swept swept;
    do {
        assert_int_equal(index_sweep(index_, now_ms, horizon_ms, channels_max, &swept), ERR_OK);
    } while (!swept.is_round);
}

static inline uint64_t rows(const char *table)
{
    enum err err;
    sqlite3 *db;
    sqlite3_stmt *count;
    char text[64];
    snprintf(text, sizeof text, "SELECT count(*) FROM %s", table);
    assert_int_equal(sql_open(path, false, &db), ERR_OK);
    assert_int_equal(sql_prepare(db, text, &count), ERR_OK);
    assert_true(sql_row(count, &err));
    uint64_t found = sql_u64(count, 0);
    sqlite3_finalize(count);
    sql_close(db);
    return found;
}
