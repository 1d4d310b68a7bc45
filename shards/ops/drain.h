/*
 * drain: how the shards of a node end together.
 *
 * A draining shard closes its clients with 3001 at an even, jittered pace, so that a
 * fleet does not come back in one second.  It goes on accepting, and answers requests
 * with 503: a socket that listens and is not accepted from would let who comes hang.
 * HTTP connections hold nothing up but for a short grace.  Then all leave together, in
 * three rounds led by shard 0:
 *
 *   round 0  QUIET: I have no WebSocket
 *            STOP:  nobody has, and no new one can begin; listening ends
 *   round 1  QUIET: I have no connection, no call, nothing at the store
 *            STOP:  nobody has; no new question can begin
 *   round 2  QUIET: all letters that I ever sent are home
 *            STOP:  everybody's are; leave when this one's answer is home
 *
 * Round 0 is the node's, because shards share the port: one that stopped earlier would
 * refuse in the name of those that still answer.  Rounds 1 and 2 are not one: a shard
 * that is quiet may still be asked by one that is not, and a letter of its own may then
 * be under way to a third.
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
