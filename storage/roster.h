/*
 * roster: names of one channel's members ↔ dense slots.
 *
 * A member gets the next slot; one who leaves makes a hole, and a compaction,
 * which keeps the order, closes all holes at once.  Names stand one after the
 * other in one block, so a member costs its name, 5 bytes, and a cell of 8 in a
 * hash table that is at most three quarters full.
 *
 * Thread:  owner shard only.
 * Bound:   all O(1), amortised; compaction O(slots).
 * Tests:   tests/unit/storage/test_cursor.c, tests/prop/prop_cursor.c
 */
#pragma once

#include "core/bytes.h"

#define ROSTER_NONE UINT32_MAX

struct roster_cell {
    uint32_t hash;
    uint32_t slot_plus_one; /* 0: free */
};

/* Fields are private to roster.c, except `slots` and `holes`. */
struct roster {
    uint32_t slots; /* in use, holes included */
    uint32_t holes;
    uint32_t slots_max;
    uint32_t cells_count; /* power of two, or 0 */
    uint32_t *name_at;    /* per slot: where its name begins; ROSTER_NONE for a hole */
    uint8_t *names;       /* per name: its size, its bytes */
    uint32_t names_used, names_size;
    struct roster_cell *cells;
    uint64_t seed;
};

void roster_init(struct roster *roster, uint64_t seed);
void roster_fini(struct roster *roster);
/* The slot of `name`, or ROSTER_NONE. */
uint32_t roster_find(const struct roster *roster, struct bytes name);
/* The slot of a new name of 1 .. 255 bytes, which is not there yet. */
uint32_t roster_add(struct roster *roster, struct bytes name);
/* Makes `slot` a hole. */
void roster_remove(struct roster *roster, uint32_t slot);
/* BYTES_NONE for a hole; borrowed until the next change. */
struct bytes roster_name(const struct roster *roster, uint32_t slot);
/* Closes the holes: the n-th name that is there gets slot n. */
void roster_compact(struct roster *roster);
/* Heap bytes held. */
size_t roster_bytes(const struct roster *roster);
void roster_verify(const struct roster *roster);
