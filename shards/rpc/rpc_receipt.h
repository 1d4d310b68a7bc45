/*
 * rpc_receipt: what the methods about receipts of one channel share.
 *
 * They have one vocabulary: of its members each method wants its own, and what it does not
 * want may be there all the same, if it is of its type.
 *
 * Thread:  owner shard of the connection.
 */
#pragma once

#include "shards/letter_receipt.h"
#include "shards/rpc/rpc_parts.h"

struct rpc_receipt {
    struct letter_receipt question; /* without verb, user, call and offsets */
    bool has_offset, has_hidden;
    const uint64_t *offsets; /* the first RECEIPT_OFFSETS_MAX */
    uint32_t offsets_count;  /* of all that were named */
};

/* {"channel", "offset", "hidden", "offsets", "limit", "after"}, each if it is there. */
must_use enum err rpc_receipt_parse(struct bytes text, struct arena *arena,
                                    struct rpc_receipt *out);
/* Asks the channel's home as the connection's user; the call's kind is the verb.
 * ERR_UNKNOWN_CHANNEL, ERR_BAD_CHANNEL, ERR_NOT_AVAILABLE without history, ERR_NOT_MEMBER for
 * clients without a user, because the empty one would speak for the server, and those of
 * rpc_call.  The rest is known at its home. */
must_use enum err rpc_receipt_ask(const struct rpc *rpc, struct letter_receipt *question,
                                  call_fn on_answer);
