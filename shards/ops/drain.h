/*
 * drain: how the shards of a node end together.
 *
 * A draining shard that has nothing left tells shard 0 (QUIET); when every
 * shard is quiet, shard 0 tells all (STOP), and each leaves once its last
 * letter is home.
 *
 * Thread:  owner shard.
 * Tests:   tests/conformance, the simulator
 */
#pragma once

struct letter;

void drain_on_quiet(void *shard, struct letter *letter);
void drain_on_stop(void *shard, struct letter *letter);
