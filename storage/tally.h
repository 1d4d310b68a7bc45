/*
 * tally: how many numbers have each value of a sliding window, and sums of them.
 *
 * A ring of RECEIPT_WINDOW counts over the values up to `top`, with a sum for each
 * block of 32, so that "how many have this value or more" adds at most 31 + 31 +
 * 31 counts, from the nearer end.  Values that slid out are forgotten: who changes
 * such a number says so all the same, and it changes nothing.
 *
 * Counts have 16 bits for up to 65,535 numbers and 32 bits beyond.
 *
 * Memory:  2,128 bytes, or 4,240.
 * Bound:   change O(1), sums 93 additions, advance O(steps), at most the window.
 * Thread:  its owner.
 * Tests:   tests/unit/storage/test_tally.c, tests/prop/prop_cursor.c
 */
#pragma once

#include "core/limits.h"

struct tally;

/* For at most `numbers_max` numbers, none above `top`. */
must_use struct tally *tally_create(uint64_t top, uint32_t numbers_max);
/* Accepts NULL. */
void tally_destroy(struct tally *tally);
/* May it count that many? */
bool tally_holds(const struct tally *tally, uint32_t numbers);
/* One number more (1) or fewer (-1) has `value` <= top. */
void tally_change(struct tally *tally, uint64_t value, int32_t by);
/* Asks memory for the counts of `value` ahead of a change. */
void tally_expect(const struct tally *tally, uint64_t value);
/* The window ends at `top`, which is not below the one before. */
void tally_advance(struct tally *tally, uint64_t top);
/* How many have `value` or more; `value` lies in the window or one above. */
uint32_t tally_from(const struct tally *tally, uint64_t value);
size_t tally_bytes(const struct tally *tally);
/* Do both say the same of every value? */
bool tally_equal(const struct tally *a, const struct tally *b);
