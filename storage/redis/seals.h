/*
 * seals: what publications in Redis are sealed with, by this node and by others.
 *
 * A shard draws two salts when it starts.  What is kept is sealed under a name of 16
 * letters, and the script that appends it writes, in the same step,
 *
 *   <prefix>:{p<k>}:seal:<name>     "<key id><salt>", hexadecimal
 *
 * into the partition, kept a day longer than the records.  So wherever a record is, on
 * a replica or after a fail-over, there is what it was sealed with.  lua/read.lua
 * answers the seals of the entries that it answers; an announcement of a seal that was
 * not met yet begins a fill, which brings it.
 *
 * What is live only is written nowhere, and is not found in Redis when it is heard: its
 * name is its salt.
 *
 * Thread:  owner shard.
 * Tests:   tests/unit/storage/test_redis_seal.c
 */
#pragma once

#include "core/arena.h"
#include "core/map.h"
#include "storage/redis/resp.h"
#include "storage/seal.h"
#include "storage/store.h"

struct redis_store;

/* Names that others sealed under; when there are more, those known are forgotten. */
#define SEALS_KNOWN_MAX (VERIFY ? 4 : 4096)
#define SEALS_NAME      16
#define SEALS_VALUE     (SEAL_ID + 2 * SEAL_SALT)

struct redis_seals {
    const struct keyring *keyring;
    struct sealer kept, live;    /* without a key: neither seals */
    char value[SEALS_VALUE + 1]; /* of `kept` */
    uint64_t ttl_ms;             /* longest life of what was sealed */
    bool is_used;                /* something was sealed since sealed.c asked */
    struct opener opener;
    struct map known; /* struct known_seal by name */
    bool is_foreign;  /* something was sealed with a key that is not here */
};

void redis_seals_init(struct redis_seals *seals, const struct keyring *keyring, uint64_t seed);
void redis_seals_fini(struct redis_seals *seals);

/* Bytes of a publication, sealed when there is a key; `now_ms` as its time, and as its offset
 * 0, or that of the one that it deletes. */
size_t redis_seals_size(const struct redis_seals *seals, const struct store_append *op,
                        bool is_kept);
void redis_seals_write(struct redis_seals *seals, struct writer *writer,
                       const struct store_append *op, bool is_kept, uint64_t now_ms);
/* What lua/append.lua is told: the name, its value, and how long they are needed when
 * records of `ttl_ms` come; nothing when none comes (0) or nothing is sealed. */
void redis_seals_tell(struct redis_seals *seals, uint64_t ttl_ms, struct resp_out *out);
/* How long what was sealed now may be needed. */
uint64_t redis_seals_life_ms(const struct redis_seals *seals);
/* Pairs of name and value, as lua/read.lua answers them. */
void redis_seals_learn(struct redis_seals *seals, const struct reply *pairs);
/* True when a fill may bring what opens the publication. */
must_use bool redis_seals_lacks(struct redis_seals *seals, struct bytes body);
/* Reads a stored publication; its views are in `body` or `arena`. */
must_use enum err redis_seals_open(struct redis_seals *seals, struct bytes channel,
                                   struct bytes body, struct arena *arena,
                                   struct publication *publication);
