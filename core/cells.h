/*
 * cells: objects of one size by 32-bit index, with nothing beside them.
 *
 * For objects that exist by the hundred thousand and are named by exactly one
 * owner, where a slab's generation and link (8 bytes each) would be a third of
 * the object.  Cells lie in chunks that never move; a free cell begins with four
 * zero bytes, by which its former owner can see that it is free, and the index of
 * the next free one.  Chunks stay until the end, for the next crowd.
 *
 * Thread:  owner.
 * Memory:  the heap, CELLS_PER_CHUNK cells at a time.
 * Bound:   all O(1).
 * Tests:   tests/unit/core/test_intern.c, tests/prop/prop_intern.c
 */
#pragma once

#include "core/base.h"

#define CELLS_PER_CHUNK 512
/* An index leaves four bits of a u32 to its owner, and is never all ones. */
#define CELLS_MAX       (1u << 27)

struct cells {
    uint8_t **chunks;
    uint32_t chunks_count, chunks_room;
    uint32_t cell_size;
    uint32_t count;      /* taken now */
    uint32_t touched;    /* ever handed out */
    uint32_t free_first; /* UINT32_MAX: none */
};

/* `cell_size` is at least 8 and a multiple of 4. */
void cells_init(struct cells *cells, uint32_t cell_size);
/* Every cell must be given back. */
void cells_fini(struct cells *cells);
/* A zeroed cell; check fails above CELLS_MAX, which the limits of what is kept in
 * cells exclude. */
must_use uint32_t cells_take(struct cells *cells);
void cells_give(struct cells *cells, uint32_t index);
static inline void *cells_at(const struct cells *cells, uint32_t index)
{
    return cells->chunks[index / CELLS_PER_CHUNK] +
           (size_t)(index % CELLS_PER_CHUNK) * cells->cell_size;
}
