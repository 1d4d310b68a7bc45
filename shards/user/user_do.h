/*
 * user_do: what a home asks of the connections of its users, on their shard.
 *
 * A connection that is gone meanwhile is passed over: its leave is on the way.
 *
 * Thread:  the connections' shard.
 * Tests:   tests/unit/shards/test_user_do.c, tests/conformance/users.test.mjs, the simulator
 */
#pragma once

struct letter;

void user_on_do(void *shard, struct letter *letter);
