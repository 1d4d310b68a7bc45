/*
 * subscription: a client's subscriptions on its own shard.
 *
 *   ASKED    ─ answer ok ──▶ LIVE ─ leave ─▶ gone (LEAVE to the home)
 *   ASKED    ─ answer no ──▶ gone
 *   ASKED    ─ leave ──────▶ LEAVING ─ answer ok ─▶ gone (LEAVE to the home)
 *                                    ─ answer no ─▶ gone
 *
 * While the home has not answered, the subscription stays, so the undo is
 * always posted after the answer and nothing remote is left behind.
 *
 * Thread:  the connection's shard.
 * Tests:   the simulator, tests/conformance
 */
#pragma once

#include "core/bytes.h"
#include "core/err.h"
#include "proto/cmd.h"

struct shard;
struct conn;

/* The index of a subscription that is ASKED or LIVE; UINT32_MAX when there is
 * none: then the client is not subscribed. */
uint32_t subscription_find(const struct shard *shard, const struct conn *conn,
                           struct bytes channel);

struct subscription_ask {
    uint32_t id; /* of the command */
    const struct cmd_subscribe *request;
    bool is_recoverable; /* by the namespace's rules and the request */
    uint32_t expires_s;
};
/* Asks the home; the reply follows its answer. */
must_use enum err subscription_begin(struct shard *shard, struct conn *conn,
                                     const struct subscription_ask *ask);
/* Ends one; a no-op for a channel that the client is not subscribed to. */
void subscription_leave(struct shard *shard, struct conn *conn, struct bytes channel);
void subscription_leave_all(struct shard *shard, struct conn *conn);
/* The home says the channel's positions are void: Unsubscribe push `code`. */
void subscription_end(struct shard *shard, uint32_t sub, uint32_t code, const char *reason);
/* With each ping: subscriptions whose token ended long enough ago are ended (2501). */
void subscription_tick(struct shard *shard, struct conn *conn);
