/*
 * late: members who joined within the window, and when.
 *
 * Who joined after a message was posted is not asked about it.  A late joiner's
 * cursor stands above every earlier message, so counts subtract the late ones, and
 * lists leave them out.  Whoever joined before the window needs no entry.
 *
 * Up to 64 slots are a sorted vector, beyond a Roaring bitmap; when each joined
 * stands in an array by rank, as two bytes relative to a base, which a list compares
 * 64 at a time as it does cursors.  Above 256 a tally counts them.  Ranks instead of an
 * array by slot: 200 late ones of 100,000 cost 0.6 KB and not 200 KB.
 *
 * A new member has the highest slot so far, so adding appends, also when members
 * are restored in an order that is not that of their joins.  Who leaves or is hidden
 * is struck out in place, and swept out later.
 *
 * Bound:   add at the end, strike O(log); count at most 256 values or 93 numbers;
 *          sweeping O(entries), once a window.
 * Thread:  its owner.
 * Tests:   tests/unit/storage/test_cursor.c, tests/prop/prop_cursor.c
 */
#pragma once

#include "storage/bitmap.h"
#include "storage/tally.h"

struct late;

/* None yet; no join will be below `base` or above base + 65,535. */
must_use struct late *late_create(uint64_t base, const struct scan *scan);
/* Accepts NULL. */
void late_destroy(struct late *late);
/* The member in `slot` joined at `joined` <= head + 1, above the lowest offset of the
 * window.  A struck-out slot may be added again. */
void late_add(struct late *late, uint64_t head, uint32_t slot, uint64_t joined);
/* The slot's member left or is hidden.  Changes nothing for a slot without an entry. */
void late_strike(struct late *late, uint32_t slot);
/* When the member in `slot` joined; 0: it has no entry, or is struck out. */
uint64_t late_joined(const struct late *late, uint32_t slot);
/* How many joined after `offset`, which lies in the window. */
uint32_t late_count(const struct late *late, uint64_t offset);
/* The head moves up; forgets now and then who is late for nothing in the window.  False
 * when nobody is left. */
must_use bool late_advance(struct late *late, uint64_t head);
/* The base moves up by `by`, which no join in the window is below. */
void late_rebase(struct late *late, uint64_t base);
/* Slot i becomes renumbered[i] <= i, or goes where that is UINT32_MAX. */
void late_renumber(struct late *late, const uint32_t *renumbered);
size_t late_bytes(const struct late *late);
void late_verify(const struct late *late, uint64_t head, uint32_t slots);

/* A walk upwards in words of 64 slots. */
struct late_reader {
    const struct late *late;
    uint16_t above; /* of the values */
    uint32_t at;    /* into the vector */
    struct bitmap_reader reader;
};

struct late_reader late_reader_of(const struct late *late, uint64_t offset);
/* Which of the slots 64 * word + i joined after the offset; `word` is above the one
 * before. */
uint64_t late_reader_word(struct late_reader *reader, uint32_t word);
