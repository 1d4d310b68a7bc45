/*
 * inbox: notes to a shard from threads that are no shard.
 *
 * A worker's answer, a reload, a drain.  A list under a mutex and one wake of
 * the shard's loop; for rates of thousands a second, not millions (shards talk
 * to each other by core/mesh.h).
 *
 * Memory:  a note is a field of the object it serves, so posting cannot fail.
 * Thread:  post from any; read on the owner shard.
 * Tests:   tests/unit/core/test_inbox.c
 */
#pragma once

#include <pthread.h>

#include "core/base.h"

struct loop;
struct note;

/* Runs on the owner shard, in the letters step of a turn. */
typedef void (*note_fn)(struct note *note, void *shard);

struct note {
    struct note *next; /* private */
    note_fn on_note;
};

struct inbox {
    pthread_mutex_t mutex;
    struct note *first, **last;
    struct loop *loop; /* woken when the list was empty; NULL: nobody to wake */
};

void inbox_init(struct inbox *inbox, struct loop *loop);
void inbox_fini(struct inbox *inbox);
/* Any thread. */
void inbox_post(struct inbox *inbox, struct note *note);
/* Runs every note posted before this call; returns the count. */
uint32_t inbox_read(struct inbox *inbox, void *shard);
bool inbox_is_empty(struct inbox *inbox);
