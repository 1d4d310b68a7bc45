/*
 * drain: how the shards of a node end together.
 *
 * A draining shard stops accepting and closes its clients with 3001 at an even,
 * jittered pace, so that a fleet does not come back in one second.  Then all
 * leave together, in two rounds led by shard 0:
 *
 *   round 0  QUIET: I have no connection, no call, nothing at the store
 *            STOP:  nobody has; no new question can begin
 *   round 1  QUIET: all letters that I ever sent are home
 *            STOP:  everybody's are; leave when this one's answer is home
 *
 * One round would not do: a shard that is quiet may still be asked by one that
 * is not, and a letter of its own may then be under way to a third.
 *
 * Thread:  owner shard; drain_begin through the shard's inbox.
 * Tests:   tests/conformance, the simulator
 */
#pragma once

struct letter;
struct note;
struct shard;

/* The inbox note of node_drain. */
void drain_begin(struct note *note, void *shard);
/* The account step of each turn of a draining shard. */
void drain_turn(struct shard *shard);
void drain_on_quiet(void *shard, struct letter *letter);
void drain_on_stop(void *shard, struct letter *letter);
