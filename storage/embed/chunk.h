/*
 * chunk: publications of one channel that share a row of the index, or keys that do.
 *
 * A row of its own costs SQLite the same walk, the same cell and the same page
 * whether it holds one record or sixty; what one transaction brings for a channel
 * therefore becomes few rows.  The offset and the time of such a row are those of
 * its last item, so whole rows go when their last item is over.
 *
 *   u8 version (3) · u8 count, 2 to CHUNK_ITEMS_MAX · items, ascending:
 *     u32 the row's offset minus its own · u32 the row's time_ms minus its own
 *     · u16 size, scope (of a key) · u32 size, bytes (of a publication, or a key)
 *
 * What stands alone is no chunk but its bare bytes, whose version is 1 or 2
 * (storage/record.h, storage/seal.h).
 *
 * Memory:  items are views: into what was read, or what will be written.
 * Thread:  any; pure.
 * Tests:   tests/unit/storage/test_chunk.c, tests/fuzz/fuzz_chunk.c
 */
#pragma once

#include "core/bytes.h"
#include "core/err.h"

#define CHUNK_ITEMS_MAX 64
#define CHUNK_VERSION   3

struct chunk_item {
    uint64_t offset, time_ms;
    struct bytes scope, bytes;
};

/* Zeroed memory is an empty one. */
struct chunk {
    uint32_t count;
    size_t size; /* bytes that chunk_write writes */
    struct chunk_item items[CHUNK_ITEMS_MAX];
};

static inline bool chunk_is_on(struct bytes body)
{
    return body.size > 0 && body.at[0] == CHUNK_VERSION;
}
static inline const struct chunk_item *chunk_last(const struct chunk *chunk)
{
    return &chunk->items[chunk->count - 1];
}

void chunk_clear(struct chunk *chunk);
/* False: the item belongs into a chunk of its own, because this one is full, would exceed
 * `size_max` bytes, or does not lie before it.  An empty chunk takes anything. */
must_use bool chunk_takes(const struct chunk *chunk, const struct chunk_item *item,
                          size_t size_max);
void chunk_add(struct chunk *chunk, const struct chunk_item *item);
/* Writes exactly chunk->size bytes; at least two items. */
void chunk_write(const struct chunk *chunk, struct writer *writer);
/* Reads what a row holds whose offset and time are these.  ERR_STORE_CORRUPT: it makes no
 * sense. */
must_use enum err chunk_read(struct bytes bytes, uint64_t offset, uint64_t time_ms,
                             struct chunk *chunk);
