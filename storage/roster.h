/*
 * roster: names of one channel's members ↔ dense slots.
 *
 * A member gets the next slot; one who leaves makes a hole, and a compaction,
 * which keeps the order, closes all holes at once.  Names stand one after the
 * other in one block, each behind its size, so a member costs its name, 5 bytes,
 * and a cell of 8 in a hash table that is at most three quarters full; up to
 * ROSTER_FEW slots there is no table, and finding looks at each name.
 *
 *   cells    18 bits of the hash · slot · where its name stands
 *   names    u8 size · name  |  u8 size · name  | …
 *
 * The slot stands in the cell, so that what belongs to it is on its way from memory
 * while the name is still waited for; a name is needed to move its cell, which is rare.
 *
 * Thread:  owner shard only.
 * Bound:   all O(1), amortised; compaction O(slots).
 * Tests:   tests/unit/storage/test_cursor.c, tests/prop/prop_cursor.c
 */
#pragma once

#include "core/bytes.h"

#define ROSTER_NONE UINT32_MAX
#define ROSTER_FEW  8

struct roster_cell {
    uint64_t at_plus_one : 27; /* into `names`; 0: free */
    uint64_t slot : 19;
    uint64_t tag : 18; /* of the hash */
};

/* Fields are private to roster.c, except `slots` and `holes`. */
struct roster {
    uint32_t slots; /* in use, holes included */
    uint32_t holes;
    uint32_t slots_max;
    uint32_t cells_count; /* power of two, or 0 */
    struct roster_cell *cells;
    uint8_t *names;
    uint64_t seed;
    uint32_t *name_at; /* per slot: where its entry begins; ROSTER_NONE for a hole */
    uint32_t names_used, names_size;
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
