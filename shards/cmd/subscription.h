/*
 * subscription: a client's subscriptions on its own shard.
 *
 *   WAITS    ─ credit ────▶ ASKED           (server-side only)
 *            ─ leave ─────▶ gone
 *   ASKED    ─ answer ok ─▶ LIVE ─ leave ─▶ gone (LEAVE to the home)
 *            ─ answer no ─▶ gone
 *            ─ leave ─────▶ LEAVING ─ answer ok ─▶ gone (LEAVE to the home)
 *                                   ─ answer no ─▶ gone
 *
 * While the home has not answered, the subscription stays, so the undo is
 * always posted after the answer and nothing remote is left behind.  Who is
 * unsubscribed by the server before the answer gets the answer first, so that
 * both sides agree on what ended.  A new one in a channel whose last one is LEAVING waits
 * for that, so joins and leaves of a client alternate at the home.
 *
 * A client-side one is asked for by a command and answered by a reply.  A
 * server-side one is the wish of a token, of the connect command's list or of the
 * server API; what begins it says who hears of the answer.
 *
 * Positions need no periodic check: frames of one channel reach a shard in one
 * FIFO without a gap, and what cannot be delivered is told at once (LOST), so
 * Centrifugo's client.channel_position_check_delay has nothing to find and stays
 * a known option.  A loss ends a client-side subscription with 2500 and, because a
 * server-side one cannot be asked for again, the connection of that with 3010.
 *
 * Thread:  the connection's shard.
 * Tests:   tests/unit/shards/test_subscription.c, the simulator, tests/conformance
 */
#pragma once

#include "core/bytes.h"
#include "core/err.h"
#include "proto/cmd.h"
#include "shards/cmd/options.h"

struct shard;
struct conn;

/* Codes of Unsubscribe pushes; below 2500 an SDK does not come back. */
enum unsubscribe_code {
    UNSUBSCRIBE_SERVER = 2000,
    UNSUBSCRIBE_INSUFFICIENT = 2500,
    UNSUBSCRIBE_EXPIRED = 2501,
    UNSUBSCRIBE_INVALIDATED = 2502,
};

/* The index of a subscription that is there or under way; UINT32_MAX when there is
 * none: then the client is not subscribed. */
uint32_t subscription_find(const struct shard *shard, const struct conn *conn,
                           struct bytes channel);
/* Its chan_info: raw JSON (Protobuf: any bytes), may be empty; borrowed while it lasts. */
struct bytes subscription_info(const struct shard *shard, uint32_t sub);
/* The same by channel; empty too when the client is not subscribed.  It costs nothing
 * where no subscription has one. */
struct bytes subscription_info_of(const struct shard *shard, const struct conn *conn,
                                  struct bytes channel);
/* Replaces it; `info` is copied. */
void subscription_set_info(struct shard *shard, uint32_t sub, struct bytes info);

/* What came of a server-side subscription.  With ERR_OK it is LIVE and `reply`, whose
 * views last for the turn, says what a client must know; with an error it is gone
 * and `reply` is NULL.  `conn` may be closing or DYING by then. */
typedef void (*served_fn)(struct shard *shard, struct conn *conn, uint32_t sub, enum err err,
                          const struct reply_subscribe *reply, void *context);

struct subscription_ask {
    struct bytes channel;
    struct sub_options options;
    bool recover; /* what came after `offset` of `epoch` (empty: any) is asked for */
    bool reject_unrecovered;
    struct bytes epoch;
    uint64_t offset;
    uint32_t id; /* of the command; server-side: unused */
    /* Server-side: hears what came of it, exactly once; NULL: the client, by a
     * Subscribe push. */
    served_fn on_served;
    void *context;
    bool is_from_token; /* server-side: by the connection token */
};
/* Whether the client may have one more: ERR_LIMIT_CHANNELS; ERR_CREDIT_SPENT while one that
 * it has given up waits for its home's answer, and with that for its place. */
must_use enum err subscription_room(const struct shard *shard, const struct conn *conn);
/* Asks the home; the reply follows its answer.  ERR_ALREADY_SUBSCRIBED,
 * ERR_LIMIT_CHANNELS, ERR_LIMIT_MEMORY, ERR_UNRECOVERABLE, ERR_CREDIT_SPENT. */
must_use enum err subscription_begin(struct shard *shard, struct conn *conn,
                                     const struct subscription_ask *ask);
/* Begins a server-side one; texts are copied.  The connection may be connecting:
 * what is pushed meanwhile follows the connect reply.  It waits for credit by
 * itself.  ERR_ALREADY_SUBSCRIBED; ERR_LIMIT_CHANNELS, when the connection ends
 * with 3505; ERR_LIMIT_MEMORY. */
must_use enum err subscription_serve(struct shard *shard, struct conn *conn,
                                     const struct subscription_ask *ask);
/* Credit came back: those that waited for it are asked. */
void subscription_retry(struct shard *shard);

/* The client's wish: a no-op for a channel that it is not subscribed to. */
void subscription_leave(struct shard *shard, struct conn *conn, struct bytes channel);
void subscription_leave_all(struct shard *shard, struct conn *conn);
/* The server's wish: ends the subscription to `channel`, or with an empty name all of
 * them, whoever began them; each is told by an Unsubscribe push.  Returns how many. */
uint32_t subscription_unsubscribe(struct shard *shard, struct conn *conn, struct bytes channel,
                                  enum unsubscribe_code code);
/* Positions are void (UNSUBSCRIBE_INSUFFICIENT) or the token has ended
 * (UNSUBSCRIBE_EXPIRED): a LIVE client-side one ends with `code`, the connection
 * of a server-side one with 3010 or 3006. */
void subscription_end(struct shard *shard, uint32_t sub, enum unsubscribe_code code);
/* LIVE: its token ends at the Unix second `expires_s`; 0: never.  The connection is looked
 * at when the grace after that is over. */
void subscription_set_end(struct shard *shard, struct conn *conn, uint32_t sub, uint32_t expires_s);
/* Unix second at which the first of the LIVE ones is to be ended; UINT64_MAX: none. */
uint64_t subscription_first_end(const struct shard *shard, const struct conn *conn);
/* Subscriptions whose token ended client.expired_sub_close_delay ago are ended. */
void subscription_tick(struct shard *shard, struct conn *conn);
