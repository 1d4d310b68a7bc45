/*
 * cursor: who of one channel has read up to where.
 *
 * One index per channel with members, which answers from memory how many and who
 * have read a message, and what is new for a member.  A member is a dense slot with a
 * 16-bit cursor relative to the index's origin (storage/lane.h).  Up to 256 slots a
 * count is one pass over them, with AVX2 where the machine has it; above, a ring of
 * counts over the newest RECEIPT_WINDOW offsets answers in constant time
 * (storage/tally.h).  A list is a pass that stops when it is full.
 *
 *   readers(offset)  = members with cursor >= offset and join <= offset, but
 *                      not the sender and not who is hidden
 *   eligible(offset) = members with join <= offset, but not these either
 *   unread(member)   = offsets above the cursor that count: no system message, and
 *                      nothing deleted
 *
 * A member who leaves is out of all of them at once; coming back is a new join.
 *
 * Memory:  10,000 members: 22.3 KB; 2 to 10: under 400 bytes, one block; the directory
 *          of names apart: about 13 bytes a member and the names, which are copied.
 * Thread:  owner shard only.
 * Bound:   move, post and join O(1) amortised; a count is at most 256 slots or
 *          186 numbers; a list of n stops after n matches, a pass over 100,000 slots
 *          without any is 5 µs.
 * Source:  Roaring bitmaps for who joined late (storage/late.h), for who is hidden
 *          (storage/hidden.h), and as the form in which sets of readers travel.
 * Tests:   tests/unit/storage/test_cursor.c, test_cursor_list.c,
 *          tests/prop/prop_cursor.c (model: a plain array of members),
 *          perf/micro/bench_cursor.c
 */
#pragma once

#include "core/bytes.h"
#include "core/err.h"
#include "core/limits.h"

struct bitmap;
struct cursor_index;

/* What a channel's policy says; see cursor_configure for the numbers at the start. */
struct cursor_rules {
    uint32_t window;        /* offsets that can be asked about: 1 .. RECEIPT_WINDOW */
    uint32_t lists_max;     /* no lists of readers with more members than that */
    uint32_t delivered_max; /* no delivered cursor moves with more members than that */
    bool deleted_is_unread; /* deleted messages stay in unread counts */
    /* Room for 2 * MEMBERS_MAX: a list that comes in pieces stands beside the one that it
     * takes the place of until its last piece. */
    bool holds_two_lists;
};

/* A member as the log knows it.
 *
 *   joined - 1 <= read <= delivered <= head, unread_from <= read */
struct cursor_member {
    struct bytes user;
    uint64_t joined;      /* the first offset that is for this member */
    uint64_t read;        /* everything up to here is read */
    uint64_t delivered;   /* everything up to here is on a device */
    uint64_t unread_from; /* marked as unread from here on; 0: not */
    bool is_hidden;       /* has cursors, and is in no count and no list of readers */
};

/* ── life ── */

/* An index without members of a channel whose newest offset is `head` (0: none). */
must_use struct cursor_index *cursor_create(uint64_t head);
/* Accepts NULL. */
void cursor_destroy(struct cursor_index *index);
/* To begin with: RECEIPT_WINDOW, 2,000, 256, false, false.  Delivered cursors that a lower
 * delivered_max, or a join, makes too many stand still, and go on from there when there are few
 * enough again. */
void cursor_configure(struct cursor_index *index, const struct cursor_rules *rules);
const struct cursor_rules *cursor_rules(const struct cursor_index *index);
/* Makes room for exactly that many members: before many joins, so that no room is
 * left over. */
void cursor_reserve(struct cursor_index *index, uint32_t members);

/* ── members ── */

/* Adds a member: user of 1 .. USER_ID_MAX bytes.
 *
 *   joined       head + 1 for a late joiner, 1 where joiners read the history; 0 is
 *                taken for 1, more than head + 1 for head + 1
 *   read, delivered   cut to what the struct promises
 *   unread_from  as cursor_mark_unread
 *
 * ERR_CONFLICT when already a member, ERR_LIMIT_MEMBERS at MEMBERS_MAX (with
 * holds_two_lists at twice that), ERR_BAD_REQUEST for an empty or overlong name. */
must_use enum err cursor_add(struct cursor_index *index, const struct cursor_member *member);
/* The same with nothing special. */
must_use enum err cursor_join(struct cursor_index *index, struct bytes user, uint64_t joined_offset,
                              uint64_t read);
/* ERR_NOT_MEMBER. */
must_use enum err cursor_leave(struct cursor_index *index, struct bytes user);
bool cursor_is_member(const struct cursor_index *index, struct bytes user);
/* Hidden ones included. */
uint32_t cursor_members(const struct cursor_index *index);
/* Opts a member out of counts and lists, or in again.  ERR_NOT_MEMBER. */
must_use enum err cursor_hide(struct cursor_index *index, struct bytes user, bool is_hidden);
/* All that is known of `user`; its name is a view of the index's, valid until the next
 * change.  joined: exact for who joined within the window, else 1.  ERR_NOT_MEMBER. */
must_use enum err cursor_find(const struct cursor_index *index, struct bytes user,
                              struct cursor_member *member);
/* The same by slot, as lists name members. */
void cursor_at(const struct cursor_index *index, uint32_t slot, struct cursor_member *member);

/* ── posts and moves ── */

/* The channel's newest offset is now `head`; a lower value changes nothing. */
void cursor_post(struct cursor_index *index, uint64_t head);
/* A publication of `sender` (may be BYTES_NONE or no member), who has read it and
 * everything before it: posts, and moves that cursor. */
void cursor_send(struct cursor_index *index, uint64_t offset, struct bytes sender);
uint64_t cursor_head(const struct cursor_index *index);

/* Moves the cursor of `user` to `offset`, cut to the head; a lower offset
 * changes nothing (*before == *after).  Ends a mark of unread messages at or below
 * `offset`, as it was asked, in any case.  Reading delivers.  ERR_NOT_MEMBER. */
must_use enum err cursor_move(struct cursor_index *index, struct bytes user, uint64_t offset,
                              uint64_t *before, uint64_t *after);
/* The same for what is on a device.  ERR_CHANNEL_TOO_BIG above delivered_max. */
must_use enum err cursor_deliver(struct cursor_index *index, struct bytes user, uint64_t offset,
                                 uint64_t *before, uint64_t *after);
/* `user` wants everything from `offset` on to count as unread again; readers see no
 * difference.  Reaches back to the join, if that is within the window: of who may have
 * joined before it, who calls has asked the store.  0, or above what is read: no mark.
 * ERR_NOT_MEMBER. */
must_use enum err cursor_mark_unread(struct cursor_index *index, struct bytes user,
                                     uint64_t offset);
/* The highest offset that `user` has read; a late joiner has read what was
 * posted before.  ERR_NOT_MEMBER. */
must_use enum err cursor_read(const struct cursor_index *index, struct bytes user,
                              uint64_t *offset);

/* ── messages that are none ── */

/* The message at `offset` was deleted: counts and lists say so, and it is unread for
 * nobody (unless the rules say otherwise).  Known while it is within the window. */
void cursor_delete(struct cursor_index *index, uint64_t offset);
/* What is below `offset` is kept nowhere any more; a lower value changes nothing. */
void cursor_keep_from(struct cursor_index *index, uint64_t offset);
/* Everything up to `offset` was deleted; known for ever. */
void cursor_delete_to(struct cursor_index *index, uint64_t offset);
/* The message at `offset` is the system's (somebody joined, a name changed): unread for
 * nobody.  Known while it is within the window. */
void cursor_uncount(struct cursor_index *index, uint64_t offset);

/* ── questions about a message ──
 *
 * `sender`: who sent it; BYTES_NONE, or no member, and nobody is left out.
 * Each answers ERR_BAD_REQUEST for 0 and above the head, ERR_RECEIPT_TOO_OLD below the
 * window, ERR_RECEIPT_DELETED for a deleted one. */

must_use enum err cursor_counts(const struct cursor_index *index, uint64_t offset,
                                struct bytes sender, uint32_t *readers, uint32_t *eligible);

enum cursor_side {
    CURSOR_READERS,
    CURSOR_NONREADERS, /* eligible, but no readers */
    CURSOR_EVERYBODY,  /* all members, hidden ones too; asks about no message */
};

struct cursor_list {
    enum cursor_side side;
    uint64_t offset;
    struct bytes sender;
    uint64_t after;  /* 0: from the first; else `next` of the page before */
    uint32_t limit;  /* room in `slots`, at least 1 */
    uint32_t *slots; /* filled with `count` slots for cursor_at, in the order of the joins */
    uint32_t count;
    uint64_t next; /* 0: there are no more.  Below 2^53. */
};

/* One page.  Members who join meanwhile come last, who left is not there, and nobody
 * comes twice, until the slots are numbered anew (every so many leaves, or with another
 * life of the index): then the pages of before end with ERR_RECEIPT_PAGE.
 * ERR_CHANNEL_TOO_BIG above lists_max, but for CURSOR_EVERYBODY. */
must_use enum err cursor_list(const struct cursor_index *index, struct cursor_list *list);

/* The whole side as a set of slots; the caller frees it with bitmap_destroy.  What the
 * numbers mean is what CURSOR_EVERYBODY lists, in the same version. */
must_use enum err cursor_set(const struct cursor_index *index, enum cursor_side side,
                             uint64_t offset, struct bytes sender, struct bitmap **set);
/* Changes when slots are numbered anew. */
uint32_t cursor_version(const struct cursor_index *index);

/* ── what is new for a member ── */

struct cursor_unread {
    uint64_t head, read, delivered;
    uint64_t unread; /* offsets above the cursor, or from the mark on, that count */
    uint64_t first;  /* the first of them; 0: none */
};

/* Computed from head and cursor.  What was deleted, or the system's, counts for nobody while it
 * is kept (cursor_keep_from) and among the newest `window` of the rules, and like any other
 * message from then on: that is what an index made anew can find out, so all say the same.
 * ERR_NOT_MEMBER. */
must_use enum err cursor_unread(const struct cursor_index *index, struct bytes user,
                                struct cursor_unread *unread);

/* ── the whole ── */

/* Calls `each` for every member, in the order of the joins, as cursor_at.  The index must
 * not change meanwhile. */
typedef void (*cursor_each_fn)(void *context, const struct cursor_member *member);
void cursor_each(const struct cursor_index *index, cursor_each_fn each, void *context);

/* Heap bytes held by this index, but for the directory of names; and by that. */
size_t cursor_bytes(const struct cursor_index *index);
size_t cursor_directory_bytes(const struct cursor_index *index);
/* Recounts everything and compares.  For tests and VERIFY builds: O(members). */
void cursor_verify(const struct cursor_index *index);
