/*
 * segment: one file of a shard's log, and the batches in it.
 *
 *   <generation>-<shard>-<number>.log, hexadecimal, of a fixed size:
 *     64 bytes head: "SLUICELG" · u32 version (3) · u32 shard · u64 generation
 *                    · u64 number · u64 size · 16 incarnation · u32 0 · u32 CRC32C
 *       or, sealed:  128 bytes, version 4, and 32 salt · 32 zeroes before the last two
 *     batches, each at a multiple of SEGMENT_STEP, so that a write is whole sectors and
 *     none is written again (versions 1 and 2: behind the head, and at multiples of 8):
 *       u32 magic · u32 payload bytes · u64 log id · u64 number
 *       · u64 last batch known durable · u32 0 · u32 CRC32C of all, itself as 0
 *       payload: entries (storage/embed/entry.h), then zeroes up to a multiple of 8
 *
 * Log id = generation * 256 + shard, so no batch of another life is taken for
 * one of this; a recycled file holds batches of its own log with lower numbers
 * only.  Like SQLite we count on sectors of 512 bytes being written whole.
 *
 * Thread:  any; segment_prepare and segment_discard block.
 * Tests:   tests/unit/storage/test_embed_log.c
 */
#pragma once

#include "core/bytes.h"
#include "core/disk.h"
#include "core/err.h"
#include "core/list.h"

#define SEGMENT_HEAD      64
#define SEGMENT_HEAD_MAX  128 /* of a sealed log */
#define SEGMENT_SALT      32
#define BATCH_HEAD        40
#define SEGMENT_STEP      DISK_SECTOR
#define SEGMENT_NAME_SIZE 48
#define SEGMENT_PATH_SIZE 512
/* The first segment is small, so that a node with little to write stays small;
 * each next one is four times as big up to the largest. */
#define SEGMENT_SIZE_MIN  (VERIFY ? 16u << 10 : 1u << 20)
#define SEGMENT_SIZE_MAX  (VERIFY ? 64u << 10 : 64u << 20)

struct segment {
    struct list link;
    int file; /* disk handle; -1 when closed */
    uint64_t generation;
    uint32_t shard;
    uint64_t number; /* from 1 within its log */
    uint64_t size;
    uint64_t used;       /* where the next batch goes */
    uint64_t last;       /* newest batch in it; 0: none */
    const uint8_t *salt; /* of a sealed log, else NULL */
    bool is_stepped;     /* batches stand at multiples of SEGMENT_STEP */
    bool is_direct;      /* its batches are to go past the page cache, where that is possible */
    /* DIR/made may name it: it stays when it cannot be prepared, and comes from no recycled
     * one, whose head counts only once it is written. */
    bool is_told;
    char path[SEGMENT_PATH_SIZE];
};

static inline uint64_t log_id(uint64_t generation, uint32_t shard)
{
    return generation << 8 | shard;
}

static inline size_t segment_head_size(const struct segment *segment)
{
    return segment->salt == NULL ? SEGMENT_HEAD : SEGMENT_HEAD_MAX;
}
/* Where a batch stands when what is before it ends at `end`. */
static inline uint64_t segment_place(const struct segment *segment, uint64_t end)
{
    return segment->is_stepped ? round_up(end, SEGMENT_STEP) : end;
}
/* Where the first one does. */
static inline uint64_t segment_first(const struct segment *segment)
{
    return segment_place(segment, segment_head_size(segment));
}
/* Takes from the beginning of a file whether it is stepped; segment_check tells whether
 * that is what was written. */
void segment_read_version(struct segment *segment, struct bytes bytes);

/* "…/<name>"; parses and makes the names of segments. */
void segment_path(char path[SEGMENT_PATH_SIZE], const char *directory, uint64_t generation,
                  uint32_t shard, uint64_t number);
bool segment_parse(const char *name, uint64_t *generation, uint32_t *shard, uint64_t *number);

/* Makes the file of `segment` (generation, shard, number and size are set), out
 * of `recycled` when there is one (then its path is void), ready and durable
 * with its directory.  ERR_IO: told in the log, the file is removed. */
must_use enum err segment_prepare(struct segment *segment, const char *directory,
                                  const uint8_t incarnation[16], struct segment *recycled);
/* Closes and removes. */
void segment_discard(struct segment *segment);
/* True when `bytes` are the start of the file that `segment` names, up to its head's end. */
must_use bool segment_check(struct bytes bytes, const struct segment *segment,
                            const uint8_t incarnation[16]);

struct batch_head {
    uint32_t payload_size;
    uint64_t log, number, durable;
};

static inline uint32_t batch_size(uint32_t payload_size)
{
    return (uint32_t)round_up(BATCH_HEAD + payload_size, 8);
}
/* Completes a batch whose payload stands at bytes + BATCH_HEAD, padding included. */
void batch_seal(uint8_t *bytes, const struct batch_head *head);
/* True when a whole, undamaged batch of `log` begins `bytes`. */
must_use bool batch_open(struct bytes bytes, uint64_t log, struct batch_head *head);
/* Offset of the first whole batch of `log` with a number >= `number_min` at or
 * after `from`; SIZE_MAX: none. */
must_use size_t batch_search(struct bytes bytes, size_t from, uint64_t log, uint64_t number_min,
                             struct batch_head *head);
