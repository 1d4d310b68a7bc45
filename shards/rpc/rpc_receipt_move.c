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
#include <string.h>

#include "core/check.h"
#include "proto/json.h"
#include "shards/cmd/rules.h"
#include "shards/letter_receipt.h"
#include "shards/rpc/rpc_parts.h"
#include "shards/shard.h"

struct mark {
    struct bytes channel;
    uint64_t offset;
    bool has_offset, has_hidden, is_hidden;
};

static enum err mark_parse(struct bytes text, struct arena *arena, struct mark *out)
{
    *out = (struct mark){0};
    struct bytes name;
    struct json json;
    json_open(&json, text);
    if (json_enter_object(&json))
        while (json_key(&json, &name)) {
            if (bytes_equal_text(name, "channel")) {
                json_text(&json, arena, &out->channel);
            } else if (bytes_equal_text(name, "offset")) {
                out->has_offset = true;
                json_u64(&json, &out->offset);
            } else if (bytes_equal_text(name, "hidden")) {
                out->has_hidden = true;
                json_bool(&json, &out->is_hidden);
            } else {
                json_skip(&json);
            }
        }
    return json_close(&json);
}

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
    struct shard *shard = rpc->shard;
    struct mark mark;
    TRY(mark_parse(rpc->data, &shard->arena, &mark));
    bool is_whole =
        verb == RECEIPT_VIEW || (verb == RECEIPT_HIDE ? mark.has_hidden : mark.has_offset);
    if (!is_whole) return ERR_BAD_REQUEST;
    TRY(rpc_receipt_check(rpc, mark.channel));

    struct letter_receipt question = {
        .verb = (uint8_t)verb,
        .channel = mark.channel,
        .user = conn_user(rpc->conn),
        .offset = mark.offset,
        .is_hidden = mark.is_hidden,
    };
    memcpy(question.client, rpc->conn->client, sizeof question.client);
    struct call *call;
    TRY(rpc_call(rpc, mark.channel, on_moved, &call, &question.call));
    call->kind = (uint8_t)verb;
    call_post(shard, letter_pack_receipt(shard->post, call->to, &question));
    return ERR_OK;
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
