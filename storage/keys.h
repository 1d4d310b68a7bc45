/*
 * keys: the idempotency keys that one shard remembers.
 *
 * (owner, scope, key) → an offset, or "under way" with the appends that wait
 * for the same answer, or "refused": its fate on the disk is unknown and stays
 * so until a restart reads the log.  An owner is a channel.
 *
 *   keys_begin ─▶ PENDING ─ keys_end ─▶ KNOWN ─ horizon or capacity ─▶ gone
 *                    ├───── keys_refuse ─▶ REFUSED (until the store is closed)
 *                    └───── keys_cancel ─▶ gone
 *
 * At the capacity the oldest KNOWN entries go, counted by METRIC_KEYS_EARLY
 * when their horizon had not ended.
 *
 * A million keys leave every cache, so what counts is how many lines of memory a
 * key touches.  Entries stand behind one another in chunks, in the order of their
 * age; a table of 8 bytes a slot finds them:
 *
 *   chunk  [ gone | KNOWN | gone | KNOWN | … ]  chunk [ KNOWN | PENDING | free   ]
 *                   ▲ first                                              ▲ used
 *
 * So a new key touches one line of the table and the end of a chunk, and the oldest
 * ones go several at a time, their lines fetched together.
 *
 * What is gone from the middle of a chunk leaves a hole in it, as when an owner takes its
 * keys along; so with each new chunk some neighbours are looked at, and joined where they
 * fill no more than half of one.
 *
 * Memory:  chunks, in the long run a quarter full or more; one whose entries are all gone
 *          is freed.
 * Thread:  owner shard only.
 * Bound:   O(1); eviction passes over what is pending.
 * Tests:   tests/unit/storage/test_keys.c, tests/prop/prop_keys.c, perf/micro/bench_keys.c
 */
#pragma once

#include "core/bytes.h"
#include "core/list.h"
#include "core/metric.h"

#define KEY_PART_MAX 511 /* bytes of a scope, and of a key */

enum key_state { KEY_PENDING, KEY_KNOWN, KEY_REFUSED };

/* What is not `state`, `offset`, `time_ms` and `waiters` is private.  Only PENDING ones stay
 * where they are when another key is begun or loaded. */
struct key_entry {
    struct list by_owner;
    uint32_t hash, at; /* at: its place, see keys.c */
    uint16_t scope_size;
    uint16_t key_size;
    uint8_t state; /* enum key_state */
    bool is_gone;
    uint64_t offset;     /* KNOWN */
    uint64_t time_ms;    /* store time of the first append */
    struct list waiters; /* appends that joined; empty unless PENDING */
    uint8_t text[];      /* u64 owner · u16 scope size · scope · key */
};

struct key_owner {
    uint64_t id;
    struct list entries;
};

struct key_chunk;
struct key_slot {
    uint32_t hash;
    uint32_t at; /* of the entry; 0: free */
};

struct keys {
    struct key_slot *slots;
    uint32_t slots_count; /* power of two, or 0 before the first key */
    uint32_t count;
    uint32_t count_max;
    uint32_t step;             /* so many go at a time; up to step - 1 more than count_max stay */
    struct list by_age;        /* chunks, oldest first */
    struct list *look;         /* one of them: the next to be joined, maybe; NULL: the oldest */
    struct key_chunk **chunks; /* by number; NULL: free */
    uint32_t chunks_room, chunks_at;
    uint64_t seed;
    uint64_t horizon_ms;
    uint64_t owner_last;
    struct metrics *metrics;
};

void keys_init(struct keys *keys, uint64_t seed, uint32_t count_max, uint64_t horizon_ms,
               struct metrics *metrics);
/* Nothing may be pending. */
void keys_fini(struct keys *keys);

void keys_own(struct keys *keys, struct key_owner *owner);
/* Forgets the owner's entries; none may be pending. */
void keys_disown(struct keys *keys, struct key_owner *owner);

/* NULL when unknown or past its horizon. */
struct key_entry *keys_find(struct keys *keys, const struct key_owner *owner, struct bytes scope,
                            struct bytes key, uint64_t now_ms);
/* A PENDING entry for a key that keys_find did not know. */
must_use struct key_entry *keys_begin(struct keys *keys, struct key_owner *owner,
                                      struct bytes scope, struct bytes key, uint64_t now_ms);
/* The caller has taken the waiters before each of these. */
void keys_end(struct key_entry *entry, uint64_t offset);
void keys_refuse(struct key_entry *entry);
void keys_cancel(struct keys *keys, struct key_entry *entry);
/* A KNOWN entry from the disk; a no-op when the key is present with a later offset,
 * or not KNOWN. */
void keys_load(struct keys *keys, struct key_owner *owner, struct bytes scope, struct bytes key,
               uint64_t offset, uint64_t time_ms);
/* Forgets up to `count_max` entries at the old end whose horizon has ended. */
void keys_expire(struct keys *keys, uint64_t now_ms, uint32_t count_max);
/* Walks everything and checks that table, chunks and counts agree; for tests. */
void keys_verify(const struct keys *keys);
