/*
 * rig: a shard without connections, for benchmarks of a store: loop, clock, wheel,
 * workers, and the store.
 *
 * Memory:  the caller's, zeroed, with `config` filled in; alive until rig_end.
 * Thread:  one.
 */
#pragma once

#include "core/loop.h"
#include "storage/store.h"

struct rig {
    struct config config;
    struct loop *loop;
    struct inbox inbox;
    struct wheel wheel;
    struct clock clock;
    struct rng rng;
    struct metrics metrics;
    struct workers *workers;
    struct store_node *node;
    struct store *store;
};

/* Durable, embedded, in `path`, which stays the caller's; keys and metas are kept for
 * longer than anything is measured. */
void rig_config_embedded(struct rig *rig, const char *path);
/* Opens the store; what `sink` has no function for is heard by nobody. */
void rig_begin(struct rig *rig, const struct store_sink *sink);
/* The first half of a turn, in the order of shards/shard.c: waits until `wake_ms`, 0: not at
 * all, and takes what came. */
void rig_hear(struct rig *rig, uint64_t wake_ms);
/* The second: timers, and what is to be durable. */
void rig_submit(struct rig *rig);
/* Both; waits for a millisecond at most. */
void rig_turn(struct rig *rig);
/* Turns until nothing is under way and the index has all. */
void rig_settle(struct rig *rig);
/* Nothing is under way, and every channel is closed. */
void rig_end(struct rig *rig);
/* Empties what is below `path`. */
void rig_empty(const char *path);
