/*
 * hidden: members of one channel who opted out of receipts.
 *
 * They keep cursors, for their own unread counts, and stand in no count and no list.
 * In the arrays that counts and lists scan their slots are holes, so nobody pays for
 * them; who is hidden is a Roaring bitmap, and what their arrays would say stands here,
 * by rank.  Masking them out of each answer instead was left: a count would take a
 * look at each of them, 100 µs when half of 100,000 opt out.
 *
 * Bound:   O(log hidden) to find; add and remove shift what lies behind.
 * Thread:  its owner.
 * Tests:   tests/unit/storage/test_cursor.c, tests/prop/prop_cursor.c
 */
#pragma once

#include "storage/bitmap.h"

struct hidden_member {
    uint64_t read;
    uint64_t joined; /* as late_joined says */
};

struct hidden;

must_use struct hidden *hidden_create(void);
/* Accepts NULL. */
void hidden_destroy(struct hidden *hidden);
void hidden_add(struct hidden *hidden, uint32_t slot, struct hidden_member member);
/* The member in `slot`, which is hidden; borrowed until the next change. */
struct hidden_member *hidden_at(const struct hidden *hidden, uint32_t slot);
/* False when nobody is left. */
must_use bool hidden_remove(struct hidden *hidden, uint32_t slot);
/* Accepts NULL. */
bool hidden_has(const struct hidden *hidden, uint32_t slot);
/* Accepts NULL: 0. */
uint32_t hidden_count(const struct hidden *hidden);
/* As lane_renumber; every hidden slot stays. */
void hidden_renumber(struct hidden *hidden, const uint32_t *renumbered);
size_t hidden_bytes(const struct hidden *hidden);
