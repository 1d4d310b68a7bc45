/*
 * door: how many connections this node lets in, and how fast.
 *
 * client.connection_limit and client.connection_rate_limit are limits of the
 * node, while upgrades happen on every shard.  So shard 0 keeps the count: a
 * shard whose clients want in asks it, one letter a turn for all of them, and
 * upgrades as many as it was granted; the rest is answered 503.  Both limits are
 * exact.  Without them nothing is asked and nobody waits.
 *
 *     shard S                               shard 0
 *     upgrades wait ── ASK held, wanted ──▶ taken[S] = held
 *                                           granted = min(wanted, limit - all taken)
 *     101 or 503   ◀── ANSWER granted ───── taken[S] += granted
 *     some left    ── ASK held, 0 ────────▶ taken[S] = held
 *
 * What travels is how many a shard holds, not a difference, so a limit that a
 * reload brings finds the count right after one letter of each shard.  While an
 * ASK is unanswered a shard sends no other: a grant on its way back is in no
 * `held` that shard 0 could take for all.
 *
 * Thread:  owner shard; taken and rate are used on shard 0 only.
 * Bound:   two letters a turn and shard; 56 bytes per waiting upgrade.
 * Tests:   tests/unit/shards/test_door.c, tests/conformance/door.test.mjs
 */
#pragma once

#include "core/bucket.h"
#include "core/limits.h"
#include "core/slab.h"
#include "proto/handshake.h"

struct shard;
struct conn;
struct letter;

struct door_waiting {
    struct handle conn;
    struct handshake handshake;
    bool is_echo;
};

struct door {
    uint32_t held;  /* connections let in and not yet over */
    uint32_t told;  /* what shard 0 counts for this shard, once no ASK is out */
    uint32_t asked; /* the first so many of the waiting are asked for; 0: no ASK out */
    struct door_waiting *waiting; /* in order of arrival */
    uint32_t waiting_count, waiting_room;
    /* Shard 0. */
    uint32_t taken[SHARDS_MAX];
    struct bucket rate;
};

void door_fini(struct door *door);

/* An upgrade that the handshake allows: it is made now, or waits for its answer. */
void door_enter(struct shard *shard, struct conn *conn, const struct handshake *handshake,
                bool is_echo);
/* A connection that was let in is over; idempotent. */
void door_leave(struct shard *shard, struct conn *conn);
/* End of a turn: asks, or tells who left. */
void door_turn(struct shard *shard);

/* Shard 0: how many of `wanted` may enter, when shard `from` holds `held`. */
uint32_t door_grant(struct door *door, uint32_t from, uint32_t held, uint32_t wanted,
                    uint32_t limit, uint32_t per_second, uint64_t now_ms);

void door_on_ask(void *shard, struct letter *letter);
void door_on_answer(void *shard, struct letter *letter);
