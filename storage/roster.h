/*
 * roster: names of one channel's members ↔ dense slots.
 *
 * A member gets the next slot; one who leaves makes a hole, and a compaction,
 * which keeps the order, closes all holes at once.  Names stand one after the
 * other in one block, each behind its slot, so a member costs its name, 9 bytes,
 * and a cell of 8 in a hash table that is at most three quarters full; up to
 * ROSTER_FEW slots there is no table, and finding looks at each name.
 *
 *   cells    hash · where its name stands
 *   names    u32 slot · u8 size · name  |  u32 slot · u8 size · name  | …
 *
 * The slot stands with the name, so that finding somebody in a channel that was
 * not touched for a while waits twice for memory and not three times.
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
    uint32_t hash;
    uint32_t at_plus_one; /* into `names`; 0: free */
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
