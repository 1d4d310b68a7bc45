/*
 * find: whom a node talks to first.
 *
 * Asks the configured addresses, before the shards start: Redis itself, the
 * Sentinels which server is the primary, or servers of a Cluster who holds what.
 *
 * Thread:  any; blocks for about redis.connect_timeout, longer only while a
 *          server says that it is loading its data.
 * Tests:   tests/unit/storage/test_redis.c, test_redis_sentinel.c, test_redis_cluster.c
 */
#pragma once

#include "storage/redis/redis.h"

/* Fills seeds, place, epoch, view and server of the node.  Errors as ask_hello, with the
 * sentence; ERR_BAD_REQUEST: an address that is none. */
must_use enum err find_servers(struct redis_node *node, char problem[HELLO_PROBLEM_MAX]);
