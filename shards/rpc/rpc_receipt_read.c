/*
 * rpc_receipt_read: a member has read up to an offset.
 *
 * {"channel", "offset"} → {"offset"}: where the cursor stands now.  Cut to the
 * head; a lower offset than before changes nothing.  Membership is the permission.
 */
#include "core/check.h"
#include "proto/json.h"
#include "shards/cmd/rules.h"
#include "shards/rpc/rpc_parts.h"
#include "shards/shard.h"

struct mark {
    struct bytes channel;
    uint64_t offset;
};

static enum err mark_parse(struct bytes text, struct arena *arena, struct mark *out)
{
    *out = (struct mark){0};
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
            } else {
                json_skip(&json);
            }
        }
    TRY(json_close(&json));
    return has_offset ? ERR_OK : ERR_BAD_REQUEST;
}

static void on_read(struct shard *shard, struct call *call, struct conn *conn,
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

enum err rpc_receipt_read(const struct rpc *rpc)
{
    struct shard *shard = rpc->shard;
    struct mark mark;
    const struct config_namespace *options;
    TRY(mark_parse(rpc->data, &shard->arena, &mark));
    TRY(rules_channel(shard, mark.channel, &options));
    if (!config_has_history(options)) return ERR_NOT_AVAILABLE;
    if (rpc->conn->user_size == 0) return ERR_NOT_MEMBER;

    struct letter_receipt_read question = {
        .channel = mark.channel,
        .user = conn_user(rpc->conn),
        .offset = mark.offset,
    };
    struct call *call;
    TRY(rpc_call(rpc, mark.channel, on_read, &call, &question.call));
    call_post(shard, letter_pack_receipt_read(shard->post, call->to, &question));
    return ERR_OK;
}
