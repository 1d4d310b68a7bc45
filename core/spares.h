/*
 * spares: the memory of letters, kept by the shard that makes them.
 *
 * A letter that came home waits in the list of its size class for the next one
 * of that size, so the usual letter costs no call of the heap.  Above the
 * largest class, and where a list is full, it is the heap's.
 *
 * Thread:  owner shard only.
 * Bound:   O(1) each; at most 5 MiB are kept.
 * Source:  part of core/mesh.h; nobody else includes this
 * Tests:   tests/unit/core/test_mesh.c
 */
#pragma once

#include "core/mesh.h"

enum { SPARES_CLASSES = 3 };

/* Zeroed memory is valid and empty. */
struct spares {
    struct letter *first[SPARES_CLASSES];
    uint32_t count[SPARES_CLASSES];
};

void spares_fini(struct spares *spares);
/* A zeroed letter with room for `size` payload bytes; size and size_class are set. */
must_use struct letter *spares_take(struct spares *spares, uint32_t size);
void spares_give(struct spares *spares, struct letter *letter);
