/*
 * connect_subs: the server-side subscriptions of a client that connects.
 *
 * Three sources wish for them, each channel once, the later overruling the earlier:
 *
 *    the token           its claim subs, else channels; info, data and override
 *    the configuration   the user's personal channel
 *    the request         names that the client could subscribe to itself without a
 *                        token, when nobody wished for them before; others are
 *                        passed over
 *
 * A position that the request names for any of them is recovered from.  All are asked
 * for at once, and the reply waits for all answers.  A subscription is live from
 * its answer on, so what is delivered before the reply is held and follows it:
 * nothing is missed or doubled, and no push comes before the reply.
 *
 * Thread:  the connection's shard.
 * Bound:   client.channel_limit subscriptions (3505); recovered publications of one
 *          reply up to HISTORY_BYTES_MAX, beyond which a channel is told that it is
 *          not recovered; what is held up to the limit of a slow reader (3008).
 * Source:  Centrifugo: connection tokens, personal channel, ConnectRequest.subs
 * Tests:   tests/unit/shards/test_connect_subs.c, tests/conformance/subs.test.mjs, the simulator
 */
#pragma once

#include "core/base.h"
#include "core/bytes.h"
#include "core/frame.h"

struct shard;
struct conn;
struct connecting;
struct jwt_claims;

/* Frames that wait for the connect reply, in order; zeroed is none. */
struct connect_held {
    struct frame **frames;
    uint32_t count, room;
    uint64_t bytes;
};
/* Keeps `frame` for after the reply, taking a count; false when nothing waits: the
 * connection is not at that stage.  Ends a connection that holds too much. */
bool connect_hold(struct shard *shard, struct conn *conn, struct frame *frame);
/* The reply was pushed: what was held follows. */
void connect_release(struct shard *shard, struct conn *conn);
/* Gives back what is held and will not be sent. */
void connect_drop_held(struct shard *shard, struct connecting *connecting);

/* False when a new token of a connected client wishes for other subscriptions than
 * it has by its token. */
bool connect_subs_match(const struct shard *shard, const struct conn *conn,
                        const struct jwt_claims *claims);
