/*
 * work_parts: what the two files of the consumer share: its state, and what it
 * asks Redis.
 *
 * work.c reads, hands over and waits; work_ask.c writes the commands and takes
 * the answers.
 *
 * Thread:  the one that opened it.
 * Tests:   tests/unit/storage/test_work.c
 */
#pragma once

#include "storage/redis/redis.h"
#include "storage/work.h"

/* Partitions asked in one go. */
#define WORK_STRIDE 64

enum ask_kind {
    ASK_READ,   /* XREADGROUP */
    ASK_CREATE, /* XGROUP CREATE */
    ASK_CLAIM,  /* work.lua: claim */
    ASK_ACK,    /* XACK of a run of what is handed over */
    ASK_HOLD,   /* XCLAIM of the same, to nobody else */
    ASK_LEAVE,  /* work.lua: leave */
};

struct work {
    struct work_options options;
    struct workers *workers;
    struct store_node *node;
    struct loop *loop;
    struct inbox inbox;
    struct wheel wheel;
    struct clock clock;
    struct rng rng;
    struct metrics metrics;
    struct redis_store *redis;
    uint32_t partitions;
    uint32_t asks;      /* under way */
    enum err err;       /* the worst end of an ask since it was cleared */
    struct list fresh;  /* read for the first time */
    struct list again;  /* taken over, or split: to be handed over alone */
    struct list handed; /* with the caller */
    uint32_t fresh_count, again_count, handed_count;
    uint64_t fresh_ms;   /* when the first of `fresh` came, unless it is empty */
    uint32_t read_next;  /* partition */
    bool has_read;       /* since the sweep of partitions began */
    bool is_swept;       /* nothing in any partition, at the last sweep */
    uint32_t claim_next; /* partition; == partitions: until claim_ms */
    uint64_t claim_ms;
    uint64_t pause_ms;
    uint32_t hot[WORK_STRIDE]; /* partitions that had as much as was asked of them */
    uint32_t hot_count;
    uint64_t dead;
    char problem[WORK_PROBLEM_MAX];
};

static inline uint64_t work_now_ms(const struct work *work)
{
    return clock_turn_ms(&work->clock);
}

/* Asks the server of the partition; the end comes in a later turn, and what it brings is
 * in `work` then.  `count` entries at most (READ), or from `first` on (ACK, HOLD). */
void work_ask(struct work *work, enum ask_kind kind, uint32_t partition, uint32_t count,
              struct list *first);
