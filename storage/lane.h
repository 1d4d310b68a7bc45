/*
 * lane: one cursor per slot, in two bytes.
 *
 * A cursor stands as its distance from the index's origin.  0 is the origin or
 * something lower, which `behind` then keeps exactly, so that nobody's unread
 * count is ever wrong; LANE_HOLE is a slot that counts in nothing: its member left
 * or is hidden.
 *
 *          origin                head - 1023            head
 *   offsets ──┼─────────────────────┼──────────────────────┤
 *   value     0 (or below)          │◀── window: counts ──▶│     0xffff: hole
 *
 * Entries of `behind` are ordered by slot and stay when their cursor has come back
 * above the origin: they are looked at only where the value is 0, and go with the
 * next rebase.  So no move shifts them: of 100,000 members who all come back after a
 * year, each would have moved up to a megabyte.
 *
 * Memory:  2 bytes a slot, the first LANE_FEW in place; 12 more behind the origin.
 * Bound:   get and put O(1), behind the origin O(log behind); rebase O(slots).
 * Thread:  its owner.
 * Tests:   tests/prop/prop_cursor.c
 */
#pragma once

#include "core/limits.h"

#define LANE_FEW  10
#define LANE_HOLE UINT16_MAX
#define LANE_MAX  (LANE_HOLE - 1)

/* Fields are private to lane.c, except `values`. */
struct lane {
    uint16_t *values; /* per slot; `few`, or a block of its own */
    uint16_t few[LANE_FEW];
    uint32_t behind_count, behind_max;
    uint32_t *behind; /* slots, ascending */
    uint64_t *behind_values;
};

void lane_init(struct lane *lane);
/* Accepts a zeroed lane. */
void lane_fini(struct lane *lane);
/* Room for `slots_max` >= LANE_FEW slots, of which `slots_before` had room. */
void lane_grow(struct lane *lane, uint32_t slots_before, uint32_t slots_max);
/* The cursor of a slot that is no hole. */
uint64_t lane_get(const struct lane *lane, uint64_t origin, uint32_t slot);
/* `value` is at most origin + LANE_MAX. */
void lane_put(struct lane *lane, uint64_t origin, uint32_t slot, uint64_t value);
void lane_put_hole(struct lane *lane, uint32_t slot);
/* The origin moves up from `before` to `origin`. */
void lane_rebase(struct lane *lane, uint32_t slots, uint64_t before, uint64_t origin);
/* Slot i of `slots` becomes renumbered[i] <= i, or goes where that is UINT32_MAX. */
void lane_renumber(struct lane *lane, uint32_t slots, const uint32_t *renumbered);
/* Heap bytes, for slots_max of them. */
size_t lane_bytes(const struct lane *lane, uint32_t slots_max);
void lane_verify(const struct lane *lane, uint32_t slots);
