/*
 * rpc_receipt_move: a member says how far it is.
 *
 * receipt.read         {"channel","offset"}   → {"offset"}   it has read up to there
 * receipt.delivered    {"channel","offset"}   → {"offset"}   a device of it has up to there
 * receipt.view         {"channel"}            → {"offset"}   it has read everything
 *
 * `offset` is where the cursor stands now: cut to the head, and never lower than before.
 * Membership is the permission.
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
    bool has_offset;
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
    json_out_key(&out, "offset");
    json_out_u64(&out, answer->offset);
    json_out_object_end(&out);
    rpc_reply(shard, call, conn, &out);
}

static enum err move(const struct rpc *rpc, enum receipt_verb verb)
{
    struct shard *shard = rpc->shard;
    struct mark mark;
    TRY(mark_parse(rpc->data, &shard->arena, &mark));
    if (!mark.has_offset && verb != RECEIPT_VIEW) return ERR_BAD_REQUEST;
    TRY(rpc_receipt_check(rpc, mark.channel));

    struct letter_receipt question = {
        .verb = (uint8_t)verb,
        .channel = mark.channel,
        .user = conn_user(rpc->conn),
        .offset = mark.offset,
    };
    memcpy(question.client, rpc->conn->client, sizeof question.client);
    struct call *call;
    TRY(rpc_call(rpc, mark.channel, on_moved, &call, &question.call));
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
