/*
 * work: a consumer of the worker streams (Redis only).
 *
 * One of a group's consumers: it reads the topic's stream of every partition,
 * gathers batches, acknowledges what was done, takes over what others left
 * behind, and puts aside what nobody could do (dead letters).
 *
 *   work_open ─▶ work_next ─▶ the effect ─▶ work_done ─▶ work_next …
 *                                └ failed ─▶ work_split, then one by one
 *                                └ failed alone ─▶ work_leave: comes again later
 *
 * Promise: every entry is handed over at least once; it is acknowledged only by
 * work_done.  One that came again is handed over alone, so that a bad one does
 * not take its neighbours along.  After `deliveries_max` times it goes to the
 * stream "<topic>:dead".  Entries of one partition come in order unless one
 * comes again; several consumers share a partition without an order between them.
 *
 * It has a loop of its own and reaches Redis as a shard does, so whatever a
 * gateway can live with it can: another primary, moved slots, restarts.
 *
 * Memory:  entries live until work_done or work_leave.
 * Thread:  the one that opened it.
 * Bound:   a few hundred entries in memory beyond a batch.
 * Source:  storage/redis/work.c, storage/redis/lua/work.lua
 * Tests:   tests/unit/storage/test_work.c, tests/conformance/work.test.mjs
 */
#pragma once

#include <signal.h>

#include "core/bytes.h"
#include "core/config.h"
#include "core/err.h"
#include "core/list.h"

#define WORK_BATCH_MAX   10000
#define WORK_PROBLEM_MAX 512
/* Names of groups and consumers. */
#define WORK_NAME_MAX    64

struct work;

struct work_options {
    const char *topic; /* work_topic_is_known */
    const char *group, *consumer;
    uint32_t batch;          /* entries that are handed over at once, at most */
    uint32_t deliveries_max; /* how often one is, at most */
    uint64_t wait_ms;        /* a batch that is not full waits this long */
    uint64_t idle_ms;        /* not acknowledged for so long: somebody else's now */
    bool is_once; /* work_next says at once that nothing is left, and waits for nothing */
    /* work_next and the others give up soon after it is not 0; may be NULL. */
    const volatile sig_atomic_t *stop;
};

struct work_field {
    struct bytes name, value;
};

struct work_entry {
    struct list link; /* private */
    uint32_t partition;
    uint32_t deliveries; /* this one included */
    struct bytes id;     /* "<ms>-<number>", its place in the partition's stream */
    uint32_t fields_count;
    struct work_field fields[];
};

/* group_msg, offline_msg, membership_change, read_receipt. */
bool work_topic_is_known(const char *topic);
/* 1 to WORK_NAME_MAX printable characters without spaces, quotes and backslashes. */
bool work_name_is_fine(const char *name);

/* ERR_OK, or why not, logged.  `config` and what the options point to outlive it. */
must_use enum err work_open(const struct config *config, const struct work_options *options,
                            struct work **work);
/* What is not acknowledged stays for others.  Accepts NULL. */
void work_close(struct work *work);

/* Fills `entries` (batch of them) with what is to be done now.  *count 0: told to
 * stop, or, with `is_empty`, nothing came for a second from any partition.
 * ERR_STORE_DOWN: Redis cannot be asked; work_problem says why, and a later call
 * may succeed. */
must_use enum err work_next(struct work *work, const struct work_entry **entries, uint32_t *count,
                            bool *is_empty);
/* Acknowledges what work_next gave.  ERR_STORE_DOWN: not known to be; ask again, or it is
 * handed over once more, to somebody. */
must_use enum err work_done(struct work *work);
/* What work_next gave is handed over again at once, each entry alone. */
void work_split(struct work *work);
/* What work_next gave stays unacknowledged and comes again after idle_ms. */
void work_leave(struct work *work);
/* Keeps what work_next gave from being taken over, for another idle_ms. */
must_use enum err work_hold(struct work *work);
/* Waits `ms`, or until told to stop, and keeps the links alive meanwhile. */
void work_wait(struct work *work, uint64_t ms);
/* Entries put aside as dead letters so far. */
uint64_t work_dead(const struct work *work);
/* Why Redis cannot be asked, as a sentence for people. */
const char *work_problem(const struct work *work);
