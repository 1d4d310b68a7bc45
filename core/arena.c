/*
 * arena: a chain of chunks and a pointer that moves.
 *
 *   chunk: [header][cell][cell] ...            cell: [size][bytes][red zone]
 *                                                     VERIFY   VERIFY, ASan
 *
 * In plain builds a cell is its bytes alone.  A request larger than a chunk
 * gets a chunk of its own behind the current one, so that the rest of the
 * current chunk stays in use.
 */
#include "core/arena.h"

#include "core/check.h"
#include "core/mem.h"

#if defined(__SANITIZE_ADDRESS__)
#define POISONS 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define POISONS 1
#endif
#endif
#ifndef POISONS
#define POISONS 0
#endif
#if POISONS
#include <sanitizer/asan_interface.h>
#define hide(at, size) __asan_poison_memory_region(at, size)
#define show(at, size) __asan_unpoison_memory_region(at, size)
#else
#define hide(at, size) ((void)(at), (void)(size))
#define show(at, size) ((void)(at), (void)(size))
#endif

#define ALIGN      16
#define CHUNK_SIZE (32u << 10)
#define CELL_HEAD  (VERIFY ? ALIGN : 0)
#define RED_ZONE   (VERIFY || POISONS ? ALIGN : 0)
#define RED_BYTE   0xfb

struct arena_chunk {
    struct arena_chunk *next;
    size_t size; /* of data */
    size_t used;
    _Alignas(ALIGN) uint8_t data[];
};

void arena_init(struct arena *arena, size_t keep_bytes)
{
    *arena = (struct arena){.keep_bytes = keep_bytes};
}

/* Walks the cells of a chunk and checks that nobody wrote behind one. */
static void chunk_verify(const struct arena_chunk *chunk)
{
    if (!VERIFY) return;
    for (size_t at = 0; at < chunk->used;) {
        const uint8_t *cell = chunk->data + at;
        uint64_t size;
        show(cell, CELL_HEAD);
        memcpy(&size, cell, sizeof size);
        check(size <= chunk->used - at);
        const uint8_t *zone = cell + CELL_HEAD + size;
        size_t whole = round_up((size_t)size, ALIGN);
        show(zone, whole - size + RED_ZONE);
        for (size_t i = 0; i < whole - size + RED_ZONE; i++) check(zone[i] == RED_BYTE);
        at += CELL_HEAD + whole + RED_ZONE;
    }
}

static void chunks_free(struct arena_chunk *chunk)
{
    while (chunk != NULL) {
        struct arena_chunk *next = chunk->next;
        show(chunk->data, chunk->size);
        mem_free(chunk);
        chunk = next;
    }
}

void arena_fini(struct arena *arena)
{
    for (struct arena_chunk *chunk = arena->first; chunk != NULL; chunk = chunk->next)
        chunk_verify(chunk);
    chunks_free(arena->first);
    *arena = (struct arena){.keep_bytes = arena->keep_bytes};
}

/* Makes a chunk with room for `size` follow the current one. */
static struct arena_chunk *chunk_add(struct arena *arena, size_t size)
{
    size_t data = size > CHUNK_SIZE ? size : CHUNK_SIZE;
    struct arena_chunk *chunk = mem_resize(NULL, sizeof *chunk + data); /* not zeroed */
    *chunk = (struct arena_chunk){.size = data};
    hide(chunk->data, data);
    if (arena->current == NULL) {
        arena->first = chunk;
    } else {
        chunk->next = arena->current->next;
        arena->current->next = chunk;
    }
    return chunk;
}

/* A chunk with room for a cell of `size`. */
static struct arena_chunk *chunk_for(struct arena *arena, size_t size)
{
    struct arena_chunk *chunk = arena->current;
    if (chunk != NULL && chunk->size - chunk->used >= size) return chunk;
    /* The next chunk is one kept over a reset, or a large one, which is full. */
    struct arena_chunk *next = chunk == NULL ? NULL : chunk->next;
    if (next == NULL || next->size - next->used < size) next = chunk_add(arena, size);
    if (size <= CHUNK_SIZE / 2 || chunk == NULL) arena->current = next;
    return next;
}

void *arena_get(struct arena *arena, size_t size)
{
    check(size <= SIZE_MAX / 2);
    size_t whole = round_up(size, ALIGN);
    size_t cell_size = CELL_HEAD + whole + RED_ZONE;
    struct arena_chunk *chunk = chunk_for(arena, cell_size);
    uint8_t *cell = chunk->data + chunk->used;
    chunk->used += cell_size;
    arena->used += size;
    check(chunk->used <= chunk->size);

    if (VERIFY) {
        uint64_t stored = size;
        show(cell, cell_size);
        memcpy(cell, &stored, sizeof stored);
        memset(cell + CELL_HEAD + size, RED_BYTE, whole - size + RED_ZONE);
        hide(cell, cell_size);
    }
    show(cell + CELL_HEAD, size);
    return cell + CELL_HEAD;
}

struct bytes arena_copy(struct arena *arena, struct bytes bytes)
{
    uint8_t *at = arena_get(arena, bytes.size);
    if (bytes.size > 0) memcpy(at, bytes.at, bytes.size);
    return bytes_of(at, bytes.size);
}

void arena_reset(struct arena *arena)
{
    size_t kept = 0;
    struct arena_chunk **link = &arena->first;
    while (*link != NULL) {
        struct arena_chunk *chunk = *link;
        chunk_verify(chunk);
        if (kept + chunk->size > arena->keep_bytes) {
            *link = chunk->next;
            chunk->next = NULL;
            chunks_free(chunk);
            continue;
        }
        kept += chunk->size;
        hide(chunk->data, chunk->size);
        chunk->used = 0;
        link = &chunk->next;
    }
    arena->current = arena->first;
    arena->used = 0;
}
