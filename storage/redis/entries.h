/*
 * entries: what a read answered, taken apart; what is damaged is noted (damage.h) and
 * passed over.
 *
 * Thread:  owner shard.
 * Tests:   tests/unit/storage/test_redis_damage.c
 */
#pragma once

#include "storage/redis/redis.h"

/* False: it cannot be read.  Its offset is known all the same, unless it is 0. */
must_use bool entries_read(struct redis_store *redis, struct bytes channel,
                           const struct reply *reply, struct stream_entry *entry);
/* The entry's publication, from `body`; its views are there or in `arena`.  False: it cannot
 * be read. */
must_use bool entries_open(struct redis_store *redis, struct bytes channel,
                           const struct stream_entry *entry, struct bytes body, struct arena *arena,
                           struct publication *publication);
/* The newest publications, into redis->publications: gapless up to the head, or none.  What
 * is behind a gap is read from the store by whoever asks for it, and is told that there is
 * one. */
uint32_t entries_window(struct redis_store *redis, struct bytes channel,
                        const struct read_answer *answer);
/* Whose entry is damaged counts as none: nobody gets in by that.  Room for one more than
 * half of answer->members. */
uint32_t entries_members(struct redis_store *redis, struct bytes channel,
                         const struct read_answer *answer, struct store_member *members);
