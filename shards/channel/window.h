/*
 * window: the newest publications of one channel, as bytes in memory.
 *
 * A ring of stored records, ascending and contiguous, ending at the head.  Two
 * things end an item's stay and they are not the same: the history rule (age,
 * count) says that it is no longer kept anywhere, the size of the window only
 * that it is read from the store from now on.  `floor` is what the rule took.
 *
 *        1 ……… floor ………………… first ………………… head
 *        gone       in the store      in the window
 *
 * Invariant: floor <= first <= head + 1; count == head + 1 - first.
 *
 * Memory:  records stand one behind the other in blocks that grow with the window, up
 *          to 32 KiB; a block goes with its last record.
 * Thread:  home shard of the channel.
 * Bound:   push and trim amortised O(1); items_max items, WINDOW_BYTES_MAX bytes.
 * Tests:   tests/unit/shards/test_window.c
 */
#pragma once

#include "storage/record.h"

/* Records of one channel in memory, whatever their count; what is older is read
 * from the store. */
#define WINDOW_BYTES_MAX (16u << 20)

struct window_item {
    uint64_t taken_ms; /* of the publication */
    uint8_t *record;   /* publication_write bytes, in a block */
    uint32_t size;
};

/* Records that came one after the other.  While it is the youngest, what changes with
 * each record stands in the window: a thousand channels' blocks are in no cache. */
struct window_block {
    struct window_block *next; /* younger */
    uint64_t last;             /* offset of its last record, once there is a younger block */
    uint8_t bytes[];
};

struct window {
    struct window_item *items; /* ring of `room`, a power of two */
    uint32_t start, count, room;
    uint64_t head;                        /* newest offset of the channel; 0: none */
    uint64_t floor;                       /* offsets below it are kept nowhere; at least 1 */
    uint64_t bytes;                       /* of the records */
    uint64_t oldest_ms;                   /* taken_ms of the first item */
    struct window_block *oldest, *newest; /* NULL: no block */
    uint64_t oldest_last; /* the oldest block's; UINT64_MAX: it is the newest, too */
    uint8_t *room_at;     /* in the newest block: the next record's place */
    uint32_t room_left;
};

/* What a channel keeps. */
struct window_rule {
    uint32_t items_max;   /* in memory */
    uint32_t history_max; /* anywhere */
    uint64_t ttl_ms;
};

/* An empty window of a channel whose newest offset is `head`; everything may
 * still be kept by the store, so the floor is 1. */
void window_init(struct window *window, uint64_t head);
/* Accepts a zeroed window. */
void window_fini(struct window *window);

/* Offset of the oldest item; head + 1 when there is none. */
static inline uint64_t window_first(const struct window *window)
{
    return window->head + 1 - window->count;
}
/* True exactly when every publication that is still kept is in the window. */
static inline bool window_is_whole(const struct window *window)
{
    return window_first(window) <= window->floor;
}

/* Appends the publication at head + 1. */
void window_push(struct window *window, const struct publication *publication);
/* Drops what the rule no longer keeps at `now_ms` (store_now_ms) and what exceeds
 * the window's own size. */
void window_trim(struct window *window, struct window_rule rule, uint64_t now_ms);

/* Everything up to `offset` is kept nowhere any more; offset <= head. */
void window_remove(struct window *window, uint64_t offset);

/* Of the publication at `offset` only its place stays; nothing when it is not here. */
void window_bury(struct window *window, uint64_t offset);

/* The publication at `offset`, first <= offset <= head.  Views point into the
 * window, valid until the next push or trim. */
void window_get(const struct window *window, uint64_t offset, struct publication *publication);
/* The same as publication_write made it, looked at by nobody. */
struct bytes window_record(const struct window *window, uint64_t offset);

void window_verify(const struct window *window);
