/*
 * subscription_parts: what the files of subscriptions share.
 *
 * Thread:  the connection's shard.
 */
#pragma once

#include "core/check.h"
#include "shards/cmd/subscription.h"
#include "shards/shard.h"

/* What it keeps until the answer, one heap block: what a server-side one still has to
 * ask, and what the reply says beyond the home's answer. */
struct sub_pending {
    struct list link; /* in shard.sub_waiting, while WAITS; in no list while parked */
    uint32_t sub;
    served_fn on_served;
    void *context;
    uint64_t offset;
    bool recover, is_cache;
    struct bytes epoch, data; /* behind this struct */
    uint8_t text[];
};

static inline struct bytes sub_key(const uint32_t *sub)
{
    return bytes_of(sub, sizeof *sub);
}
static inline struct sub *sub_at(const struct shard *shard, uint32_t index)
{
    struct sub *sub = slab_at(&shard->subs, index);
    check(sub != NULL);
    return sub;
}
static inline uint32_t sub_index(const struct shard *shard, const struct sub *sub)
{
    return slab_handle(&shard->subs, sub).index;
}

/* Enters it in its connection's list. */
void sub_link(struct shard *shard, struct conn *conn, struct sub *sub, uint32_t index);
/* Takes it out of that and gives it back. */
void sub_free(struct shard *shard, struct conn *conn, struct sub *sub);
/* The home counted it; it hears that it is gone, and who that was as far as it must. */
void sub_tell_home(struct shard *shard, const struct conn *conn, const struct sub *sub);
/* Ends a LIVE one with an Unsubscribe push. */
void sub_end_live(struct shard *shard, struct conn *conn, struct sub *sub,
                  enum unsubscribe_code code);
