/*
 * kept: what the memory engine keeps of a channel: its newest publications, in a ring.
 *
 * Memory:  a heap block per publication.
 * Thread:  owner shard.
 * Tests:   tests/unit/storage/test_store.c
 */
#pragma once

#include "storage/keys.h"
#include "storage/members.h"
#include "storage/memory/moves.h"

/* What was asked and waits for the submit. */
enum memory_op { MEMORY_OPEN, MEMORY_APPEND, MEMORY_READ, MEMORY_MOVES };

struct memory_entry {
    struct list link;
    enum memory_op kind;
    void *op;
    struct memory_channel *channel;
    struct publication publication; /* its views point into `bytes` */
    struct key_entry *key;
    struct bytes body;         /* of a member list; the user of a cursor */
    enum members_kind members; /* of a member list */
    enum cursor_mark mark;     /* of a cursor */
    uint64_t time_ms;          /* store time of a cursor */
    bool is_repeat;            /* only the answer is due: publication.offset */
    _Alignas(16) uint8_t bytes[];
};

struct memory_channel {
    struct bytes name;
    struct store_channel *open; /* NULL while nobody has it open */
    char epoch[EPOCH_MAX + 1];
    uint64_t head;
    uint64_t removed; /* the head at the last removal */
    uint64_t time_ms; /* of the newest publication, or of the last close */
    struct history_rule history;
    struct memory_entry **ring; /* the newest publications, by offset modulo ring_size */
    uint32_t ring_size, count;
    struct members members;
    struct moves moves;
    struct lister *lister;
    struct key_owner keys;
    uint8_t text[];
};

/* Of the publication at `offset`, if it is kept, only its place stays. */
void kept_bury(struct memory_channel *channel, uint64_t offset);
/* The oldest publication goes. */
void kept_shift(struct memory_channel *channel);
struct memory_entry *kept_at(const struct memory_channel *channel, uint64_t offset);
/* Drops what the history rule does not keep. */
void kept_trim(struct memory_channel *channel, uint64_t now_ms);
/* The channel owns the entry, whose offset is the head. */
void kept_push(struct memory_channel *channel, struct memory_entry *entry);
