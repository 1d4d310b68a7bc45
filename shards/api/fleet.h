/*
 * fleet: what the shards of other nodes answer to info and channels.
 *
 *   API's shard ── PEERS, to itself ─▶ fleet_on_ask ── store_survey ─▶ every shard of every
 *               ◀─ ANSWER: all parts ──             ◀── answers ─────  other node:
 *                                                                      fleet_on_question
 *
 * A question is a letter, and for c a glob; its answers are
 *   i   16 node id · sized name · sized version · u64 uptime_s · u32 shard · u32 shards
 *       · u64 clients, users, channels, subscriptions
 *   c   u32 error · u32 n, n × (sized channel · u32 clients)
 *
 * Thread:  owner shard.
 * Tests:   tests/conformance/nodes_peers.test.mjs
 */
#pragma once

#include "core/bytes.h"
#include "core/err.h"

struct shard;
struct letter;
struct answer;
struct store_asker;

enum fleet_question { FLEET_INFO = 'i', FLEET_CHANNELS = 'c' };

struct fleet_info {
    struct bytes id, name, version;
    uint64_t uptime_s;
    uint32_t shard, shards_count;
    uint64_t clients, users, channels, subscriptions;
};

/* The next answer of `parts`; false at the end, or when it is none. */
must_use bool fleet_info_next(struct reader *parts, struct fleet_info *info);

/* Letters, and the store's (struct store_peer_sink). */
void fleet_on_ask(void *shard, struct letter *letter);
void fleet_on_question(void *shard, const struct store_asker *asker, struct bytes question);
