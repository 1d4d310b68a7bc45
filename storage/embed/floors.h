/*
 * floors: what the logs at a start will have pushed out once all of them are
 * applied.
 *
 * Ten million publications whose history keeps a thousand each are mostly over
 * before they get into the index.  The start reads the logs once for this map,
 * name → the offset at or below which nothing will be kept, and leaves out what
 * is; 10 million records of 1,000 channels that keep 1,000 then cost a million
 * rows.
 *
 * Memory:  one block a channel that the logs name.
 * Thread:  one.
 * Tests:   tests/unit/storage/test_embed_log.c
 */
#pragma once

#include "core/err.h"
#include "core/map.h"

struct floors {
    struct map map;
};

void floors_init(struct floors *floors);
void floors_fini(struct floors *floors);
/* Notes the entries of one batch.  ERR_STORE_CORRUPT: one makes no sense. */
must_use enum err floors_note(struct floors *floors, struct bytes payload);
/* 0: everything that comes of this channel is kept. */
uint64_t floors_find(const struct floors *floors, struct bytes name);
