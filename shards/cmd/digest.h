/*
 * digest: what is new for a user, over all channels that it is a member of.
 *
 *   {"version": "3.kd9…", "channels": [{"channel", "epoch", "head", "read", "delivered"?,
 *    "unread", "first_unread"?}, …, {"channel", "unread": 0, "removed": true}, …],
 *    "all"?: true, "more"?: true}
 *
 * A client keeps the version and names it the next time: then only channels are told that
 * are not as they were, those that went to zero among them.  The version is no time and is
 * kept nowhere: it is a sum over where the user stood in each channel, in up to 256 parts,
 * so it stays good over restarts, other nodes and clocks that were set, and loss, which
 * changes an epoch, shows.  Where a part differs, all its channels are told: some of them
 * may be as they were.
 *
 * Of a channel that the user has left nothing is left here to tell it by.  So a version also
 * names the user's channels while that takes at most 2 KiB, and who comes with it is told
 * which of them are gone ("removed").  A longer list is in the version as a sum: where that
 * differs, all channels are told, as they are without a version, and "all" says that
 * others are the user's no longer.  A channel without a namespace is one of them.
 *
 * Before anything is listed each home says that the store lists what it has answered: who
 * was made a member a moment ago finds the channel here, since nothing is told later.
 *
 * The channels come from the store by pages, and where the user stands in each from its
 * home, which opens it.  One page is under way at a time.
 *
 * Thread:  the connection's shard.
 * Bound:   DIGEST_CHANNELS_MAX channels; beyond them "more" is true.
 * Tests:   tests/unit/shards/test_digest.c, tests/conformance/receipts.test.mjs,
 *          tests/conformance/receipts_members.test.mjs
 */
#pragma once

#include "core/bytes.h"
#include "core/err.h"

struct shard;
struct conn;
struct json_out;

#define DIGEST_CHANNELS_MAX 10000

/* Once for each digest that was begun.  `out` is the document, to be freed by the callee;
 * NULL with an error.  `conn` may be closing or DYING by then. */
typedef void (*digest_fn)(struct shard *shard, struct conn *conn, uint32_t id, enum err err,
                          struct json_out *out);

/* Is that a version of ours?  The empty one, for everything, is. */
bool digest_is_version(struct bytes version);
/* Begins one; `id` is the caller's.  The connection, which must have a user, stays until
 * on_done.  ERR_NOT_AVAILABLE when the store cannot say whose member somebody is,
 * ERR_CREDIT_SPENT when the connection has too much under way; else on_done is called, not
 * before this returns. */
must_use enum err digest_begin(struct shard *shard, struct conn *conn, struct bytes version,
                               uint32_t id, digest_fn on_done);
