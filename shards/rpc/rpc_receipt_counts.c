/*
 * rpc_receipt_counts: how many members have read what.
 *
 * {"channel", "offsets":[…]} → {"counts":[…], "eligible":[…]}, one of each per
 * offset, in the order asked.  The sender counts in neither.  Only members ask.
 */
#include "core/limits.h"
#include "shards/rpc/rpc_receipt.h"
#include "shards/shard.h"

static enum err counts_parse(struct bytes text, struct arena *arena, struct letter_receipt *out)
{
    struct rpc_receipt asked;
    enum err err = rpc_receipt_parse(text, arena, &asked);
    *out = asked.question;
    TRY(err);
    if (asked.offsets_count > RECEIPT_OFFSETS_MAX) return ERR_LIMIT_SIZE;
    out->verb = RECEIPT_COUNTS;
    out->offsets = asked.offsets;
    out->offsets_count = asked.offsets_count;
    return out->offsets_count == 0 ? ERR_BAD_REQUEST : ERR_OK;
}

static void on_counts(struct shard *shard, struct call *call, struct conn *conn,
                      const struct answer *answer)
{
    if (!rpc_is_answered(shard, call, conn, answer)) return;
    struct json_out out = {0};
    receipt_counts_write(&out, answer);
    rpc_reply(shard, call, conn, &out);
}

enum err rpc_receipt_counts(const struct rpc *rpc)
{
    struct letter_receipt question;
    TRY(counts_parse(rpc->data, &rpc->shard->arena, &question));
    return rpc_receipt_ask(rpc, &question, on_counts);
}
