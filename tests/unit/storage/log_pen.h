/*
 * log_pen: log files made byte by byte, as a crash, a bad disk or a hand may leave them,
 * and given to a start.
 */
#pragma once

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "death.h"

#include <cmocka.h>

#include "core/disk.h"
#include "core/mem.h"
#include "storage/embed/entry.h"
#include "storage/embed/index.h"
#include "storage/embed/segment.h"
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

static inline enum err start(void)
{
    struct store_node *node;
    struct workers *workers = workers_create();
    enum err err = store_node_open(&config, workers, 1, &node);
    if (err == ERR_OK) store_node_close(node);
    workers_destroy(workers);
    return err;
}

/* An empty store that has been open once, and an empty first file. */
static inline int setup(void **state)
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

static inline int teardown(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", directory);
    return system(command);
}

/* A batch with one publication: batch n is offset n. */
static inline void pen_batch(uint32_t file, uint64_t number, uint64_t durable)
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

static inline void pen_batches(uint32_t file, uint64_t first, uint64_t last)
{
    for (uint64_t i = first; i <= last; i++) pen_batch(file, i, i - 1);
}

/* Makes the file with a right head and what was penned, `size` bytes of it. */
static inline void pen_file(uint32_t file, size_t size)
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

static inline void pen_write(uint32_t file)
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
static inline void assert_held(uint64_t head)
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

static inline void assert_no_logs(void)
{
    char command[128];
    snprintf(command, sizeof command, "test -z \"$(ls %s)\"", log_directory);
    assert_int_equal(system(command), 0);
}
