/*
 * known: what a shard knows of each partition's past, and scripts judge by.
 *
 * Every partition counts the calls that wrote to it, and tells the count below which
 * nothing may go missing (lua/partition.lua).  A shard keeps the highest that it was told,
 * with the epoch and the lineage of the server that told it, and gives it with every
 * call: so data that somebody put back, or that a fail-over lost, is told also where no
 * channel is open, by whoever knows more than there is.  Where data of other letters took
 * the place of what it knew, it keeps the epoch that went: when that is there again, what
 * was written in between is gone.
 *
 * A server that took another one's place is vouched for when nothing can be missing: it
 * was started again, and answers after its log is on disk; or, where replicas are
 * waited for, it replicated a primary that had no more replicas than were waited for.
 *
 * Memory:  100 bytes for each partition that something was said of; 260 more for one that
 *          was emptied or replaced.
 * Thread:  owner shard.
 * Tests:   tests/unit/storage/test_redis_loss.c
 */
#pragma once

#include "storage/redis/answer.h"

struct link;
struct redis_server;
struct redis_store;
struct writer;

/* What the script is told: how many partitions, who is vouched for, what is known. */
void known_write(const struct link *link, uint32_t partition, struct writer *writer);
#define KNOWN_REPLACED_MAX 8
#define KNOWN_TEXT_MAX                                                                             \
    (16 + 2 * (LINEAGE_MAX + 2) + EPOCH_MAX + 24 + KNOWN_REPLACED_MAX * (EPOCH_MAX + 1))

/* The epochs that were here, one for each letters, the latest last. */
struct replaced {
    char epochs[KNOWN_REPLACED_MAX][EPOCH_MAX + 1];
    uint32_t count;
};

/* A script said so.  `count`: nothing up to it may be missing from now on. */
void known_learn(struct redis_store *redis, uint32_t partition, const struct position *position,
                 uint64_t count);
/* True exactly when what stands there is not what we know, grown: a script is to judge. */
must_use bool known_doubts(const struct redis_store *redis, uint32_t partition,
                           const struct position *position);
/* Has the scripts judge the partitions that came to this server, or that it came to, moments
 * ago: whoever comes later could not tell a restart from older data put in place. */
void known_vouch(struct redis_server *server);
void known_fini(struct redis_store *redis);
