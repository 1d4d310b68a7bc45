/*
 * compact: a set of 32-bit numbers found by what they stand for.
 *
 * Open addressing with linear probing over bare numbers: no hash, no key and no
 * pointer is kept beside them, the owner says what a number's hash is and
 * whether it is the one looked for.  The table grows by a quarter at 7/8, so it
 * holds 5.1 bytes a number on average and 5.8 at most (beyond a few), where a
 * table that doubles would hold 6 to 12.  Numbers move back on removal: no
 * tombstones.
 *
 * Thread:  owner.
 * Bound:   find, add and remove amortised O(1).
 * Tests:   tests/unit/core/test_intern.c, tests/prop/prop_intern.c
 */
#pragma once

#include "core/base.h"

struct compact {
    uint32_t *slots; /* 0: free */
    uint32_t slots_count;
    uint32_t count;
};

/* What a number stands for, said by the owner of the set. */
struct compact_owner {
    const void *context;
    uint32_t (*hash)(const void *context, uint32_t number);
    bool (*is)(const void *context, uint32_t number, const void *key);
};

/* Zeroed memory is an empty set.  Frees the table only. */
void compact_fini(struct compact *set);
/* The slot's number for `key` with that hash, or NULL.  The owner may put another
 * number with the same key there.  Valid until the next change. */
uint32_t *compact_find(const struct compact *set, const struct compact_owner *owner, uint32_t hash,
                       const void *key);
/* `number` is not 0, and its key is not in the set. */
void compact_add(struct compact *set, const struct compact_owner *owner, uint32_t hash,
                 uint32_t number);
/* Takes out what compact_find found. */
void compact_remove(struct compact *set, const struct compact_owner *owner, uint32_t *slot);
/* Begin with `*at` = 0; returns numbers until 0.  No change meanwhile. */
uint32_t compact_next(const struct compact *set, uint32_t *at);
