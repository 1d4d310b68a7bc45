/*
 * cursor_parts: what the files of a read index share.
 *
 *   cursor.c            life, members, moves
 *   cursor_delivered.c  what is on a device
 *   cursor_count.c      counts, lists, sets
 *   cursor_unread.c     what is new for a member; messages that are none
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

/* An offset for some of the slots; few, ordered by slot. */
struct cursor_marks {
    struct cursor_mark_entry {
        uint64_t offset;
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
    uint64_t kept_from;  /* nothing below is kept anywhere */
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
    /* Then they stand still here, those that were above what was read; else empty. */
    struct cursor_marks delivered_still;
    struct late *late;         /* or NULL: nobody, and nobody hidden */
    struct cursor_marks marks; /* who wants what unread that is read, and from where on */
    uint32_t slots_max;        /* of the lanes */
    uint32_t version;          /* of the numbers of the slots */
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
/* For a slot that counts already. */
void cursor_delivered_put(struct cursor_index *index, uint32_t slot, uint64_t offset);
/* Delivered cursors move, or not, as the number of members asks. */
void cursor_delivered_fit(struct cursor_index *index);
void cursor_delivered_free(struct cursor_index *index);

/* The mark of `slot`, 0: none. */
uint64_t cursor_mark_of(const struct cursor_marks *marks, uint32_t slot);
/* 0 takes it away. */
void cursor_mark_put(struct cursor_marks *marks, uint32_t slot, uint64_t offset);
/* Slot i becomes renumbered[i], or goes where that is UINT32_MAX. */
void cursor_marks_renumber(struct cursor_marks *marks, const uint32_t *renumbered);
void cursor_marks_clear(struct cursor_marks *marks);

bool cursor_is_deleted(const struct cursor_index *index, uint64_t offset);
/* Forgets what the ring holds where the offsets before .. head will stand. */
void cursor_voids_advance(struct cursor_index *index, uint64_t before);
