/*
 * cursor: who of one channel has read up to where.
 *
 * One index per channel with members.  A member is a dense slot with a 16-bit
 * cursor relative to the index's origin, so in a small channel counting the
 * readers of a message is one pass over a short array (AVX2 where the machine
 * has it); above 256 slots a ring of counts over the newest RECEIPT_WINDOW
 * offsets answers in constant time.  A second ring counts joins, because who
 * joined later is not eligible for what was posted before.
 *
 *   readers(offset)  = members with cursor >= offset and join <= offset, but
 *                      not the sender
 *   eligible(offset) = members with join <= offset, but not the sender
 *
 * A member who leaves is out of both at once; coming back is a new join.
 *
 * Memory:  names are copied.  10 bytes a member for cursor and join, 8 KiB for
 *          the rings, and the names: 0.48 MB for 10,000 members with names of
 *          13 bytes, 654 bytes for ten.
 * Thread:  owner shard only.
 * Bound:   move, post and join O(1) amortised; a count is at most 256 slots or
 *          93 numbers, 13 to 70 ns in cache.
 * Tests:   tests/unit/storage/test_cursor.c, tests/prop/prop_cursor.c (model:
 *          a plain array of members), perf/micro/bench_cursor.c
 */
#pragma once

#include "core/bytes.h"
#include "core/err.h"
#include "core/limits.h"

struct cursor_index;

/* An index without members of a channel whose newest offset is `head` (0: none). */
must_use struct cursor_index *cursor_create(uint64_t head);
/* Accepts NULL. */
void cursor_destroy(struct cursor_index *index);

/* Adds `user`, 1 .. USER_ID_MAX bytes.
 *
 *   joined_offset  the first offset that this member is meant to see: head + 1
 *                  for a late joiner, 1 where joiners read the history; at most
 *                  head + 1 counts, larger values are cut
 *   read           the cursor to begin with; cut to the head
 *
 * ERR_CONFLICT when already a member, ERR_LIMIT_MEMBERS at MEMBERS_MAX,
 * ERR_BAD_REQUEST for an empty or overlong name. */
must_use enum err cursor_join(struct cursor_index *index, struct bytes user, uint64_t joined_offset,
                              uint64_t read);
/* ERR_NOT_MEMBER. */
must_use enum err cursor_leave(struct cursor_index *index, struct bytes user);
bool cursor_is_member(const struct cursor_index *index, struct bytes user);
uint32_t cursor_members(const struct cursor_index *index);

/* The channel's newest offset is now `head`; a lower value changes nothing. */
void cursor_post(struct cursor_index *index, uint64_t head);
uint64_t cursor_head(const struct cursor_index *index);

/* Moves the cursor of `user` to `offset`, cut to the head; a lower offset
 * changes nothing (*before == *after).  ERR_NOT_MEMBER. */
must_use enum err cursor_move(struct cursor_index *index, struct bytes user, uint64_t offset,
                              uint64_t *before, uint64_t *after);
/* The highest offset that `user` has read; a late joiner has read what was
 * posted before.  ERR_NOT_MEMBER. */
must_use enum err cursor_read(const struct cursor_index *index, struct bytes user,
                              uint64_t *offset);

/* Counts for the message at `offset`, sent by `sender` (may be BYTES_NONE).
 * ERR_BAD_REQUEST for 0 and above the head, ERR_RECEIPT_TOO_OLD below the
 * newest RECEIPT_WINDOW offsets. */
must_use enum err cursor_counts(const struct cursor_index *index, uint64_t offset,
                                struct bytes sender, uint32_t *readers, uint32_t *eligible);

/* Calls `each` for every member, oldest slot first, for snapshots.  `user` is
 * borrowed for the call; the index must not change meanwhile. */
typedef void (*cursor_each_fn)(void *context, struct bytes user, uint64_t joined_offset,
                               uint64_t read);
void cursor_each(const struct cursor_index *index, cursor_each_fn each, void *context);

/* Heap bytes held by this index. */
size_t cursor_bytes(const struct cursor_index *index);
/* Recounts everything and compares.  For tests and VERIFY builds: O(members). */
void cursor_verify(const struct cursor_index *index);
