/*
 * cells: chunks and a free list through the free.
 */
#include "core/cells.h"

#include <string.h>

#include "core/check.h"
#include "core/mem.h"

#define NONE    UINT32_MAX
#define LINK_AT 4

void cells_init(struct cells *cells, uint32_t cell_size)
{
    check(cell_size >= LINK_AT + sizeof(uint32_t) && cell_size % sizeof(uint32_t) == 0);
    *cells = (struct cells){.cell_size = cell_size, .free_first = NONE};
}

void cells_fini(struct cells *cells)
{
    check(cells->count == 0);
    for (uint32_t i = 0; i < cells->chunks_count; i++) mem_free(cells->chunks[i]);
    mem_free(cells->chunks);
    *cells = (struct cells){.cell_size = cells->cell_size, .free_first = NONE};
}

static void cells_grow(struct cells *cells)
{
    if (cells->chunks_count == cells->chunks_room) {
        cells->chunks_room = max_u32(8, 2 * cells->chunks_room);
        cells->chunks = mem_resize(cells->chunks, cells->chunks_room * sizeof cells->chunks[0]);
    }
    cells->chunks[cells->chunks_count++] = mem_alloc((size_t)CELLS_PER_CHUNK * cells->cell_size);
}

uint32_t cells_take(struct cells *cells)
{
    check(cells->count < CELLS_MAX);
    cells->count++;
    uint32_t index = cells->free_first;
    if (index == NONE) {
        if (cells->touched == cells->chunks_count * CELLS_PER_CHUNK) cells_grow(cells);
        return cells->touched++;
    }
    uint8_t *cell = cells_at(cells, index);
    memcpy(&cells->free_first, cell + LINK_AT, sizeof cells->free_first);
    memset(cell, 0, cells->cell_size);
    return index;
}

void cells_give(struct cells *cells, uint32_t index)
{
    check(index < cells->touched);
    check(cells->count > 0);
    uint8_t *cell = cells_at(cells, index);
    memset(cell, 0, cells->cell_size);
    memcpy(cell + LINK_AT, &cells->free_first, sizeof cells->free_first);
    cells->free_first = index;
    cells->count--;
}
