/*
 * sentinel: what a Sentinel says of the primary that it watches.
 *
 * Every shard asks every Sentinel each second, and believes the highest
 * configuration epoch: a primary that was replaced may go on saying that it is
 * one, and a Sentinel that was cut off may go on naming it.
 *
 * Thread:  owner shard; the reading is pure.
 * Source:  Redis Sentinel: "SENTINEL MASTER", configuration epochs
 * Tests:   tests/unit/storage/test_slots.c, tests/unit/storage/test_redis_sentinel.c
 */
#pragma once

#include "storage/redis/link.h"

struct redis_store;

struct sentinel {
    struct redis_store *redis;
    struct link link;
    struct link_call call;
    bool is_calling;
};

/* The question. */
void sentinel_write(const struct redis_options *options, struct resp_out *out);
/* The answer; `asked` is the Sentinel.  ERR_NOT_FOUND: it watches no such primary;
 * ERR_STORE_CORRUPT: malformed, or an address with a name. */
must_use enum err sentinel_read(const struct reply *reply, const struct redis_place *asked,
                                struct redis_place *place, uint64_t *epoch);
