/*
 * arena: bump memory that lives for a turn.
 *
 * A chain of chunks, kept over resets up to `keep_bytes`; big requests get a
 * chunk of their own.  No free.  A red zone behind each allocation is checked
 * at reset in VERIFY builds; the ASan build poisons what is not handed out.
 *
 * Memory:  valid until arena_reset; in a shard that is after the next enter,
 *          so sends prepared in a turn may point into it.
 * Thread:  owner.
 * Tests:   tests/unit/core/test_arena.c
 */
#pragma once

#include "core/bytes.h"

struct arena_chunk;

struct arena {
    struct arena_chunk *first;
    struct arena_chunk *current;
    size_t keep_bytes;
    size_t used; /* since the last reset */
};

void arena_init(struct arena *arena, size_t keep_bytes);
void arena_fini(struct arena *arena);
/* Not zeroed, aligned to 16. */
must_use void *arena_get(struct arena *arena, size_t size);
must_use struct bytes arena_copy(struct arena *arena, struct bytes bytes);
void arena_reset(struct arena *arena);
