/*
 * rpc_receipt_move: a member says how far it is.
 *
 * receipt.read         {"channel","offset"}   → {"offset"}   it has read up to there
 * receipt.delivered    {"channel","offset"}   → {"offset"}   a device of it has up to there
 * receipt.view         {"channel"}            → {"offset"}   it has read everything
 * receipt.mark_unread  {"channel","offset"}   → {"offset"}   unread again from there on, for
 *                                                           itself; 0: no mark any more
 * receipt.hide         {"channel","hidden"}   → {}           it stands in no count or list
 *
 * `offset` is where the cursor stands now: cut to the head, and never lower than before; a
 * mark above what is read is none.  Membership is the permission.
 */
#include "shards/rpc/rpc_receipt.h"
#include "shards/shard.h"

static void on_moved(struct shard *shard, struct call *call, struct conn *conn,
                     const struct answer *answer)
{
    if (!rpc_is_answered(shard, call, conn, answer)) return;
    struct json_out out = {0};
    json_out_object(&out);
    if (call->kind != RECEIPT_HIDE) {
        json_out_key(&out, "offset");
        json_out_u64(&out, answer->offset);
    }
    json_out_object_end(&out);
    rpc_reply(shard, call, conn, &out);
}

static enum err move(const struct rpc *rpc, enum receipt_verb verb)
{
    struct rpc_receipt asked;
    TRY(rpc_receipt_parse(rpc->data, &rpc->shard->arena, &asked));
    bool is_whole =
        verb == RECEIPT_VIEW || (verb == RECEIPT_HIDE ? asked.has_hidden : asked.has_offset);
    if (!is_whole) return ERR_BAD_REQUEST;
    asked.question.verb = (uint8_t)verb;
    return rpc_receipt_ask(rpc, &asked.question, on_moved);
}

enum err rpc_receipt_read(const struct rpc *rpc)
{
    return move(rpc, RECEIPT_READ);
}

enum err rpc_receipt_view(const struct rpc *rpc)
{
    return move(rpc, RECEIPT_VIEW);
}

enum err rpc_receipt_delivered(const struct rpc *rpc)
{
    return move(rpc, RECEIPT_DELIVERED);
}

enum err rpc_receipt_mark_unread(const struct rpc *rpc)
{
    return move(rpc, RECEIPT_MARK_UNREAD);
}

enum err rpc_receipt_hide(const struct rpc *rpc)
{
    return move(rpc, RECEIPT_HIDE);
}
