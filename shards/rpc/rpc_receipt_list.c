/*
 * rpc_receipt_list: who has read a message, and who has not.
 *
 * receipt.readers, receipt.nonreaders
 *   {"channel", "offset", "limit"?, "after"?}
 *     → {"users": [{"user", "read_at"?, "delivered_at"?}], "times", "next"?}
 *
 * By pages, in the order in which they joined; `next` is the `after` of the next page, and
 * absent with the last.  The sender stands in neither list.  `times` says whether this
 * channel keeps the times of moves at all; a time that is not known is absent.
 */
#include "shards/rpc/rpc_receipt.h"
#include "shards/shard.h"

static enum err list_parse(struct bytes text, struct arena *arena, struct letter_receipt *out)
{
    struct rpc_receipt asked;
    enum err err = rpc_receipt_parse(text, arena, &asked);
    *out = asked.question;
    TRY(err);
    return asked.has_offset ? ERR_OK : ERR_BAD_REQUEST;
}

static void on_listed(struct shard *shard, struct call *call, struct conn *conn,
                      const struct answer *answer)
{
    if (!rpc_is_answered(shard, call, conn, answer)) return;
    struct json_out out = {0};
    receipt_users_write(&out, answer);
    rpc_reply(shard, call, conn, &out);
}

static enum err list(const struct rpc *rpc, enum receipt_verb verb)
{
    struct letter_receipt question;
    TRY(list_parse(rpc->data, &rpc->shard->arena, &question));
    question.verb = (uint8_t)verb;
    return rpc_receipt_ask(rpc, &question, on_listed);
}

enum err rpc_receipt_readers(const struct rpc *rpc)
{
    return list(rpc, RECEIPT_READERS);
}

enum err rpc_receipt_nonreaders(const struct rpc *rpc)
{
    return list(rpc, RECEIPT_NONREADERS);
}
