/*
 * sealed: which keys publications in Redis are sealed with, for those who start.
 *
 *   <prefix>:{p0}:sealed    sorted set: key id ▶ until when something may be sealed with it
 *
 * A shard says so with the first publication that it seals, and goes on while it seals;
 * a node that lacks one of these keys does not start, as it would not with an embedded
 * store: it would pass over what others read.  One that runs already turns its health red
 * when it meets such a publication (seals.h).
 *
 * Thread:  owner shard; sealed_check before the shards start.
 * Tests:   tests/unit/storage/test_redis_seal.c
 */
#pragma once

#include "storage/redis/redis.h"

/* Blocking.  ERR_DENIED, with `problem`: a key is missing. */
must_use enum err sealed_check(struct redis_node *node, char problem[HELLO_PROBLEM_MAX]);
/* Once a turn: says that something was sealed, if that is news. */
void sealed_submit(struct redis_store *redis);
