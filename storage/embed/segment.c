/* Files and frames of the log; the layout stands in segment.h. */
#include "storage/embed/segment.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "core/disk.h"
#include "core/hash.h"
#include "core/log.h"

#define SEGMENT_MAGIC "SLUICELG"
/* Sealed: one more; stepped: two more. */
#define VERSION_PLAIN 1
#define VERSION_LAST  4
#define BATCH_MAGIC   0x31424c53u /* "SLB1" */

void segment_path(char path[SEGMENT_PATH_SIZE], const char *directory, uint64_t generation,
                  uint32_t shard, uint64_t number)
{
    int size = snprintf(path, SEGMENT_PATH_SIZE, "%s/%08" PRIx64 "-%02" PRIx32 "-%08" PRIx64 ".log",
                        directory, generation, shard, number);
    check(size > 0 && size < SEGMENT_PATH_SIZE); /* node_open bounds the directory */
}

bool segment_parse(const char *name, uint64_t *generation, uint32_t *shard, uint64_t *number)
{
    char again[SEGMENT_PATH_SIZE];
    if (sscanf(name, "%" SCNx64 "-%" SCNx32 "-%" SCNx64 ".log", generation, shard, number) != 3) {
        return false;
    }
    if (*shard >= 256) return false;
    /* Only what segment_path would have written: no other spelling, no rest. */
    segment_path(again, ".", *generation, *shard, *number);
    return strcmp(again + 2, name) == 0;
}

/* The head's size. */
static size_t segment_head(uint8_t head[SEGMENT_HEAD_MAX], const struct segment *segment,
                           const uint8_t incarnation[16])
{
    static const uint8_t zeroes[SEGMENT_HEAD_MAX - SEGMENT_HEAD - SEGMENT_SALT];
    struct writer writer = writer_of(head, segment_head_size(segment));
    write_text(&writer, SEGMENT_MAGIC);
    write_u32(&writer, VERSION_PLAIN + (segment->salt != NULL) + 2u * segment->is_stepped);
    write_u32(&writer, segment->shard);
    write_u64(&writer, segment->generation);
    write_u64(&writer, segment->number);
    write_u64(&writer, segment->size);
    write_bytes(&writer, bytes_of(incarnation, 16));
    if (segment->salt != NULL) {
        write_bytes(&writer, bytes_of(segment->salt, SEGMENT_SALT));
        write_bytes(&writer, bytes_of(zeroes, sizeof zeroes));
    }
    write_u32(&writer, 0);
    write_u32(&writer, hash_crc32c(0, head, writer.used));
    check(!writer.failed && writer.used == writer.size);
    return writer.used;
}

void segment_read_version(struct segment *segment, struct bytes bytes)
{
    struct reader reader = reader_of(bytes);
    (void)read_bytes(&reader, strlen(SEGMENT_MAGIC));
    uint32_t version = read_u32(&reader);
    segment->is_stepped = !reader.failed && version > 2 && version <= VERSION_LAST;
}

bool segment_check(struct bytes bytes, const struct segment *segment, const uint8_t incarnation[16])
{
    uint8_t wanted[SEGMENT_HEAD_MAX];
    size_t size = segment_head(wanted, segment, incarnation);
    return bytes.size >= size && bytes_equal(bytes_of(bytes.at, size), bytes_of(wanted, size));
}

static enum err segment_fail(struct segment *segment, const char *what, int64_t result)
{
    log_error("log file cannot be prepared file=%s step=\"%s\" error=\"%s\"", segment->path, what,
              strerrordesc_np((int)-result));
    if (segment->file >= 0) disk_close(segment->file);
    segment->file = -1;
    if (!segment->is_told) (void)!disk_unlink(segment->path);
    return ERR_IO;
}

enum err segment_prepare(struct segment *segment, const char *directory,
                         const uint8_t incarnation[16], struct segment *recycled)
{
    /* A recycled file takes whole sectors only. */
    _Alignas(SEGMENT_STEP) uint8_t head[SEGMENT_STEP] = {0};
    int64_t result = 0;
    segment_path(segment->path, directory, segment->generation, segment->shard, segment->number);
    if (recycled != NULL) {
        check(recycled->size == segment->size);
        segment->file = recycled->file;
        recycled->file = -1;
        result = disk_rename(recycled->path, segment->path);
        if (result < 0) {
            (void)!disk_unlink(recycled->path);
            return segment_fail(segment, "rename", result);
        }
    } else {
        segment->file = disk_open(segment->path, DISK_READ | DISK_WRITE | DISK_CREATE);
        if (segment->file < 0) return segment_fail(segment, "open", segment->file);
        result = disk_allocate(segment->file, segment->size);
        if (result < 0) return segment_fail(segment, "allocate", result);
    }
    (void)segment_head(head, segment, incarnation);
    result = disk_write(segment->file, head, segment_first(segment), 0);
    if (result < 0) return segment_fail(segment, "write", result);
    result = disk_sync(segment->file);
    if (result < 0) return segment_fail(segment, "sync", result);
    result = disk_sync_dir(directory);
    if (result < 0) return segment_fail(segment, "sync of the directory", result);
    segment->used = segment_first(segment);
    segment->last = 0;
    if (segment->is_direct) (void)disk_direct(segment->file);
    return ERR_OK;
}

void segment_discard(struct segment *segment)
{
    if (segment->file >= 0) disk_close(segment->file);
    segment->file = -1;
    int result = disk_unlink(segment->path);
    if (result < 0 && result != -ENOENT) {
        log_warn("log file cannot be removed file=%s errno=%d", segment->path, -result);
    }
}

static void batch_write_head(uint8_t *bytes, const struct batch_head *head, uint32_t crc)
{
    struct writer writer = writer_of(bytes, BATCH_HEAD);
    write_u32(&writer, BATCH_MAGIC);
    write_u32(&writer, head->payload_size);
    write_u64(&writer, head->log);
    write_u64(&writer, head->number);
    write_u64(&writer, head->durable);
    write_u32(&writer, 0);
    write_u32(&writer, crc);
    check(!writer.failed && writer.used == BATCH_HEAD);
}

void batch_seal(uint8_t *bytes, const struct batch_head *head)
{
    check(head->number > head->durable && head->payload_size > 0);
    batch_write_head(bytes, head, 0);
    uint32_t crc = hash_crc32c(0, bytes, batch_size(head->payload_size));
    batch_write_head(bytes, head, crc);
}

bool batch_open(struct bytes bytes, uint64_t log, struct batch_head *head)
{
    static const uint8_t zeroes[4];
    struct reader reader = reader_of(bytes);
    uint32_t magic = read_u32(&reader);
    head->payload_size = read_u32(&reader);
    head->log = read_u64(&reader);
    head->number = read_u64(&reader);
    head->durable = read_u64(&reader);
    uint32_t zero = read_u32(&reader);
    uint32_t crc = read_u32(&reader);
    if (reader.failed || magic != BATCH_MAGIC || head->log != log || zero != 0) return false;
    if (head->payload_size == 0 || head->payload_size > bytes.size) return false;
    size_t size = batch_size(head->payload_size);
    if (size > bytes.size) return false;
    uint32_t sum = hash_crc32c(0, bytes.at, BATCH_HEAD - 4);
    sum = hash_crc32c(sum, zeroes, sizeof zeroes);
    return hash_crc32c(sum, bytes.at + BATCH_HEAD, size - BATCH_HEAD) == crc;
}

size_t batch_search(struct bytes bytes, size_t from, uint64_t log, uint64_t number_min,
                    struct batch_head *head)
{
    for (size_t at = round_up(from, 8); at + BATCH_HEAD <= bytes.size; at += 8) {
        /* The magic first: a search passes over megabytes. */
        if (bytes.at[at] != (BATCH_MAGIC & 0xff)) continue;
        if (!batch_open(bytes_of(bytes.at + at, bytes.size - at), log, head)) continue;
        if (head->number >= number_min) return at;
    }
    return SIZE_MAX;
}
