/*
 * The start after a crash: how fast the logs go into the index.
 *
 *   bench_start [records [channels [history_size [directory]]]]
 *
 * Log files of four shards are made with `records` publications of 200 bytes, a
 * quarter of them with a key, in batches of 32; the index has nothing of them,
 * as after a power cut before its first checkpoint.  Then a start is timed, an
 * end, and a start with everything in the index.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/disk.h"
#include "core/log.h"
#include "core/mem.h"
#include "core/rng.h"
#include "storage/embed/entry.h"
#include "storage/embed/index.h"
#include "storage/embed/segment.h"
#include "storage/store.h"

#define SHARDS     4
#define BATCH_ROWS 32

static struct config config;
static char directory[128], log_directory[160], index_path[160];
static uint64_t records, channels, history_size;
static uint8_t incarnation[16];

static double start(struct store_node **node, struct workers *workers)
{
    uint64_t from_ns = clock_mono_ns();
    if (store_node_open(&config, workers, SHARDS, node) != ERR_OK) exit(1);
    return (double)(clock_mono_ns() - from_ns) / 1e9;
}

/* Of this process, the kernel's part included: what a busy machine does not change. */
static double cpu_s(void)
{
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    return (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
           (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
}

struct pen {
    struct segment segment;
    uint8_t *bytes; /* of the whole file */
    uint64_t batch;
    uint64_t *heads; /* of this shard's channels */
};

static void pen_next(struct pen *pen, uint32_t shard)
{
    if (pen->segment.number > 0) {
        if (disk_write(pen->segment.file, pen->bytes, pen->segment.used, SEGMENT_HEAD) < 0) exit(1);
        disk_close(pen->segment.file);
    }
    pen->segment = (struct segment){.file = -1,
                                    .generation = 1,
                                    .shard = shard,
                                    .number = pen->segment.number + 1,
                                    .size = SEGMENT_SIZE_MAX};
    if (segment_prepare(&pen->segment, log_directory, incarnation, NULL) != ERR_OK) exit(1);
    pen->segment.used = 0; /* behind the head */
}

static void pen_entry(struct writer *writer, struct pen *pen, uint32_t shard, struct rng *rng)
{
    static char data[201];
    char name[32], key[32];
    uint64_t channel = rng_below(rng, channels / SHARDS), offset = ++pen->heads[channel];
    snprintf(name, sizeof name, "room:%u.%llu", shard, (unsigned long long)channel);
    snprintf(key, sizeof key, "key-%llu-of-20-bytes", (unsigned long long)offset);
    memset(data, 'a' + (int)(offset % 26), sizeof data - 1);
    uint64_t time_ms = clock_wall_ms();
    struct publication publication = {
        .offset = offset, .time_ms = time_ms, .data = bytes_of_text(data)};
    struct entry entry = {.type = RECORD_PUBLICATION,
                          .name = bytes_of_text(name),
                          .epoch = BYTES_LITERAL("abcdefgh"),
                          .time_ms = time_ms,
                          .history_size = (uint32_t)history_size,
                          .history_ttl_ms = 7ull * 86400000,
                          .meta_ttl_ms = 30ull * 86400000,
                          .offset = offset};
    if (offset % 4 == 0) entry.key = bytes_of_text(key);
    entry_write(writer, &entry, publication_size(&publication));
    publication_write(writer, &publication);
}

static void pen_shard(uint32_t shard)
{
    struct pen pen = {.bytes = mem_alloc(SEGMENT_SIZE_MAX),
                      .heads = mem_alloc(channels / SHARDS * sizeof(uint64_t))};
    struct rng rng;
    rng_seed(&rng, shard + 1);
    pen_next(&pen, shard);
    for (uint64_t left = records / SHARDS; left > 0;) {
        if (SEGMENT_SIZE_MAX - SEGMENT_HEAD - pen.segment.used < 64 * 1024) pen_next(&pen, shard);
        uint8_t *at = pen.bytes + pen.segment.used;
        struct writer writer = writer_of(at + BATCH_HEAD, 60 * 1024);
        for (uint32_t i = 0; i < BATCH_ROWS && left > 0; i++, left--)
            pen_entry(&writer, &pen, shard, &rng);
        check(!writer.failed);
        struct batch_head head = {.payload_size = (uint32_t)writer.used,
                                  .log = log_id(1, shard),
                                  .number = pen.batch + 1,
                                  .durable = pen.batch};
        uint32_t size = batch_size(head.payload_size);
        memset(at + BATCH_HEAD + writer.used, 0, size - BATCH_HEAD - writer.used);
        batch_seal(at, &head);
        pen.batch++;
        pen.segment.used += size;
    }
    pen_next(&pen, shard);
    disk_close(pen.segment.file);
    mem_free(pen.bytes);
    mem_free(pen.heads);
}

static uint64_t argument(int argc, char **argv, int at, uint64_t otherwise)
{
    return argc > at ? strtoull(argv[at], NULL, 10) : otherwise;
}

int main(int argc, char **argv)
{
    struct store_node *node;
    struct index *index;
    char command[300];
    records = argument(argc, argv, 1, 10000000);
    channels = argument(argc, argv, 2, 1000);
    history_size = argument(argc, argv, 3, 1000);
    snprintf(directory, sizeof directory, "%s", argc > 4 ? argv[4] : "/tmp/bench_start.data");
    snprintf(log_directory, sizeof log_directory, "%s/log", directory);
    snprintf(index_path, sizeof index_path, "%s/index.db", directory);
    snprintf(command, sizeof command, "rm -rf %s", directory);
    if (system(command) != 0 || channels < SHARDS) return 1;
    config = (struct config){.storage_engine = CONFIG_ENGINE_EMBEDDED,
                             .storage_path = directory,
                             .storage_dedup_horizon_ms = 7ull * 86400000,
                             .storage_dedup_keys_max = 1000000};
    struct workers *workers = workers_create();
    printf("empty start %.3f s\n", start(&node, workers));
    store_node_close(node);
    if (index_open(index_path, &index) != ERR_OK) return 1;
    if (index_meta_get(index, "incarnation", incarnation, 16) != ERR_OK) return 1;
    index_close(index);
    for (uint32_t i = 0; i < SHARDS; i++) pen_shard(i);
    double cpu_before = cpu_s(), taken = start(&node, workers);
    printf("start with %llu records in %llu channels to apply, history_size %llu: %.2f s, "
           "%.0f records/s, CPU %.2f s\n",
           (unsigned long long)records, (unsigned long long)channels,
           (unsigned long long)history_size, taken, (double)records / taken, cpu_s() - cpu_before);
    uint64_t from_ns = clock_mono_ns();
    store_node_close(node);
    printf("end %.3f s\n", (double)(clock_mono_ns() - from_ns) / 1e9);
    printf("start with everything applied %.3f s, index.db %lld MiB\n", start(&node, workers),
           (long long)disk_size_at(index_path) >> 20);
    store_node_close(node);
    workers_destroy(workers);
    return system(command) == 0 ? 0 : 1;
}
