/*
 * api_delete: message_delete.
 *
 * {"channel","offset","epoch"} → {}: the message at that offset, as it was told when it was
 * published, is nobody's to read any more; with an epoch only if the channel has it still.
 * Asked again the answer is the same.
 */
#include "core/check.h"
#include "proto/json.h"
#include "shards/api/api_parts.h"
#include "shards/cmd/rules.h"
#include "shards/shard.h"

enum err api_parse_message(struct bytes body, struct arena *arena, struct letter_message *out)
{
    *out = (struct letter_message){.offset = 0};
    struct bytes name;
    struct json json;
    json_open(&json, body);
    if (json_enter_object(&json))
        while (json_key(&json, &name)) {
            if (bytes_equal_text(name, "channel"))
                json_text(&json, arena, &out->channel);
            else if (bytes_equal_text(name, "offset"))
                json_u64(&json, &out->offset);
            else if (bytes_equal_text(name, "epoch"))
                json_text(&json, arena, &out->epoch);
            else
                json_skip(&json);
        }
    TRY(json_close(&json));
    return out->offset == 0 || out->epoch.size > EPOCH_MAX ? ERR_BAD_REQUEST : ERR_OK;
}

static void on_deleted(struct shard *shard, struct call *call, struct conn *conn,
                       const struct answer *answer)
{
    if (answer->err != ERR_OK)
        api_fail(shard, conn, &call->sink, answer->err);
    else
        api_reply(shard, conn, &call->sink, BYTES_LITERAL("{}"));
}

enum err api_message_delete(const struct api *api)
{
    struct shard *shard = api->shard;
    struct letter_message question;
    const struct config_namespace *options;
    TRY(api_parse_message(api->body, &shard->arena, &question));
    TRY(rules_space(shard, question.channel, &options));
    if (!config_has_history(options)) return ERR_NOT_AVAILABLE;
    struct call *call;
    TRY(api_call(api, question.channel, on_deleted, &call, &question.call));
    call_post(shard, letter_pack_message_delete(shard->post, call->to, &question));
    return ERR_OK;
}
