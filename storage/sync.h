/*
 * sync: where the clients of a user stand in their conversations.
 *
 * A client that keeps nothing itself - a new process on the same device - asks
 * where it was, and how much it has missed.  One hash a client, a field a
 * conversation, so one position never overwrites another's; kept for 30 days after
 * the last save or question.  What was missed is computed, head minus position, and
 * so is exact and needs no counter that somebody would have to clear.
 *
 * Engines without it (store_engine.sync NULL) have nobody else to tell.
 *
 * Thread:  any shard; `on_end` on the same.
 * Bound:   SYNC_SAVED_MAX positions a save, SYNC_KEPT_MAX kept for a client: beyond, the one
 *          saved longest ago goes.
 * Source:  storage/redis/sync.c, storage/redis/lua/sync.lua
 * Tests:   tests/unit/storage/test_sync.c, tests/conformance/sync.test.mjs
 */
#pragma once

#include "storage/store.h"

#define SYNC_SAVED_MAX  128
#define SYNC_KEPT_MAX   1000
#define SYNC_CLIENT_MAX 64
#define SYNC_KEPT_MS    (30ull * 86400000)

struct store_position {
    struct bytes channel, epoch;
    uint64_t offset;
    /* Of a question. */
    uint64_t at_ms;  /* when it was saved, by the store's clock */
    bool is_current; /* the epoch is the channel's, and so */
    uint64_t missed; /* so many offsets came after it */
};

/* Op: saves positions, or, without any, asks for those that are kept. */
struct store_sync {
    struct bytes user, client;              /* copied, as all that is saved */
    const struct store_position *positions; /* each channel once */
    uint32_t positions_count;
    /* `positions`: of a question, in no order, borrowed. */
    void (*on_end)(struct store_sync *op, enum err err, const struct store_position *positions,
                   uint32_t positions_count);
};

/* 1 to SYNC_CLIENT_MAX printable ASCII characters without spaces. */
bool sync_client_is_fine(struct bytes client);

static inline bool store_has_sync(const struct store *store)
{
    return store->engine->sync != NULL;
}
static inline void store_sync(struct store *store, struct store_sync *op)
{
    store->engine->sync(store, op);
}
