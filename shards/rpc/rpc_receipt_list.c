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
#include "core/check.h"
#include "core/limits.h"
#include "proto/json.h"
#include "shards/letter_receipt.h"
#include "shards/rpc/rpc_parts.h"
#include "shards/shard.h"

static enum err list_parse(struct bytes text, struct arena *arena, struct letter_receipt *out)
{
    *out = (struct letter_receipt){.verb = RECEIPT_READERS};
    struct bytes name;
    bool has_offset = false;
    struct json json;
    json_open(&json, text);
    if (json_enter_object(&json))
        while (json_key(&json, &name)) {
            if (bytes_equal_text(name, "channel")) {
                json_text(&json, arena, &out->channel);
            } else if (bytes_equal_text(name, "offset")) {
                has_offset = true;
                json_u64(&json, &out->offset);
            } else if (bytes_equal_text(name, "limit")) {
                json_u32(&json, &out->limit);
            } else if (bytes_equal_text(name, "after")) {
                json_u64(&json, &out->after);
            } else {
                json_skip(&json);
            }
        }
    TRY(json_close(&json));
    return has_offset ? ERR_OK : ERR_BAD_REQUEST;
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
    struct shard *shard = rpc->shard;
    struct letter_receipt question;
    TRY(list_parse(rpc->data, &shard->arena, &question));
    TRY(rpc_receipt_check(rpc, question.channel));
    question.verb = (uint8_t)verb;
    question.user = conn_user(rpc->conn);
    struct call *call;
    TRY(rpc_call(rpc, question.channel, on_listed, &call, &question.call));
    call_post(shard, letter_pack_receipt(shard->post, call->to, &question));
    return ERR_OK;
}

enum err rpc_receipt_readers(const struct rpc *rpc)
{
    return list(rpc, RECEIPT_READERS);
}

enum err rpc_receipt_nonreaders(const struct rpc *rpc)
{
    return list(rpc, RECEIPT_NONREADERS);
}
