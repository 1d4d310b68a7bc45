/*
 * rpc_receipt: what the methods about receipts of one channel share: their members, and the
 * question to the channel's home.
 */
#include "shards/rpc/rpc_receipt.h"

#include <string.h>

#include "core/limits.h"
#include "proto/json.h"
#include "shards/cmd/rules.h"
#include "shards/shard.h"

enum err rpc_receipt_parse(struct bytes text, struct arena *arena, struct rpc_receipt *out)
{
    *out = (struct rpc_receipt){0};
    struct letter_receipt *question = &out->question;
    uint64_t *offsets = NULL;
    struct bytes name;
    struct json json;
    json_open(&json, text);
    if (json_enter_object(&json))
        while (json_key(&json, &name)) {
            if (bytes_equal_text(name, "channel")) {
                json_text(&json, arena, &question->channel);
            } else if (bytes_equal_text(name, "offset")) {
                out->has_offset = true;
                json_u64(&json, &question->offset);
            } else if (bytes_equal_text(name, "hidden")) {
                out->has_hidden = true;
                json_bool(&json, &question->is_hidden);
            } else if (bytes_equal_text(name, "offsets")) {
                if (offsets == NULL)
                    offsets = arena_get(arena, RECEIPT_OFFSETS_MAX * sizeof *offsets);
                json_u64s(&json, offsets, RECEIPT_OFFSETS_MAX, &out->offsets_count);
            } else if (bytes_equal_text(name, "limit")) {
                json_u32(&json, &question->limit);
            } else if (bytes_equal_text(name, "after")) {
                json_u64(&json, &question->after);
            } else {
                json_skip(&json);
            }
        }
    out->offsets = offsets;
    return json_close(&json);
}

static enum err channel_check(const struct rpc *rpc, struct bytes channel)
{
    const struct config_namespace *options;
    TRY(rules_channel(rpc->shard, channel, &options));
    if (!config_has_history(options)) return ERR_NOT_AVAILABLE;
    return rpc->conn->user_size > 0 ? ERR_OK : ERR_NOT_MEMBER;
}

enum err rpc_receipt_ask(const struct rpc *rpc, struct letter_receipt *question, call_fn on_answer)
{
    struct shard *shard = rpc->shard;
    TRY(channel_check(rpc, question->channel));
    question->user = conn_user(rpc->conn);
    memcpy(question->client, rpc->conn->client, sizeof question->client);
    struct call *call;
    TRY(rpc_call(rpc, question->channel, on_answer, &call, &question->call));
    call->kind = question->verb;
    call_post(shard, letter_pack_receipt(shard->post, call->to, question));
    return ERR_OK;
}
