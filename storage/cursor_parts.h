/*
 * cursor_parts: what the files of a read index share.
 *
 *   cursor.c        life, members, moves
 *   cursor_count.c  counts, lists, sets
 *   cursor_unread.c what is new for a member; messages that are none
 *
 * Thread:  owner shard only.
 */
#pragma once

#include "storage/cursor.h"
#include "storage/hidden.h"
#include "storage/lane.h"
#include "storage/late.h"
#include "storage/roster.h"
#include "storage/tally.h"

/* Up to that many slots counts are scans: 14 ns at 256. */
#define CURSOR_SCAN_MAX (VERIFY ? 12u : 256u)

/* Who wants what unread that is read; few, ordered by slot. */
struct cursor_marks {
    struct cursor_unread_mark {
        uint64_t from;
        uint32_t slot;
    } * list;
    uint32_t count, max;
};

/* Offsets of the window that are deleted, and that count for nobody; a bit each. */
struct cursor_voids {
    uint64_t deleted[RECEIPT_WINDOW / 64];
    uint64_t uncounted[RECEIPT_WINDOW / 64];
};

/* invariants
 *   origin <= head - RECEIPT_WINDOW, or origin == 0
 *   cursor >= joined - 1: what was posted before a member joined counts as read, so
 *   readers = (cursors >= offset) - (joins > offset), without a look at each
 *
 * What a count and a move touch comes first: of a small channel that nobody asked about
 * for a while that is two lines of cache, and memory is what its answer waits for. */
struct cursor_index {
    uint64_t head;
    uint64_t origin;
    uint64_t floor;      /* everything up to here was deleted */
    uint64_t joined_max; /* nobody in `late` joined later; 0: nobody is */
    const struct scan *scan;
    struct tally *tally; /* cursors of who is not hidden; NULL exactly when counts are scans */
    struct cursor_voids *voids; /* or NULL: none */
    struct hidden *hidden;      /* or NULL: nobody */
    struct cursor_rules rules;
    struct roster roster;
    /* Holes are slots without member, and hidden members. */
    struct lane reads;
    /* Where it is above what is read; NULL exactly when there are too many members. */
    struct lane *delivered;
    struct late *late; /* or NULL: nobody, and nobody hidden */
    struct cursor_marks marks;
    uint32_t slots_max; /* of the lanes */
    uint32_t version;   /* of the numbers of the slots */
};

/* The lowest offset that the tallies know; at least 1. */
static inline uint64_t cursor_low(const struct cursor_index *index)
{
    return index->head < RECEIPT_WINDOW ? 1 : index->head - RECEIPT_WINDOW + 1;
}
uint64_t cursor_read_of(const struct cursor_index *index, uint32_t slot);
/* As struct cursor_member says; 1 for who joined before the window. */
uint64_t cursor_joined_of(const struct cursor_index *index, uint32_t slot);
uint64_t cursor_delivered_of(const struct cursor_index *index, uint32_t slot);

/* The mark of `slot`, 0: none. */
uint64_t cursor_mark_of(const struct cursor_index *index, uint32_t slot);
/* 0 takes it away. */
void cursor_mark_put(struct cursor_index *index, uint32_t slot, uint64_t from);
/* Slot i becomes renumbered[i], or goes where that is UINT32_MAX. */
void cursor_marks_renumber(struct cursor_index *index, const uint32_t *renumbered);

bool cursor_is_deleted(const struct cursor_index *index, uint64_t offset);
/* Forgets what the ring holds where the offsets before .. head will stand. */
void cursor_voids_advance(struct cursor_index *index, uint64_t before);
