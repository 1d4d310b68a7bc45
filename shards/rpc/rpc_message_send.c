/*
 * rpc_message_send: publish, and learn the offset.
 *
 * {"channel", "data", "key"?} → {"offset", "epoch", "id", "time"?}.  The protocol's own
 * publish answers {}; a chat wants to know where its message stands, and to send it
 * again after a lost answer without doubling it.  `key` is the sender's own: the
 * same key from the same user in the same channel gets the first answer.
 *
 * `id` names the message for ever, "<epoch>-<offset>"; `time` is when it was accepted, in
 * Unix milliseconds, and left out when a repeat comes after the message left the home's
 * window.  The sender has read what it answers to: its read cursor goes to the message.
 */
#include <stdio.h>

#include "core/check.h"
#include "core/limits.h"
#include "proto/json.h"
#include "shards/cmd/rules.h"
#include "shards/cmd/subscription.h"
#include "shards/rpc/rpc_parts.h"
#include "shards/shard.h"

/* Keeps users' keys apart from the server API's. */
#define SCOPE_PREFIX "user:"

struct message {
    struct bytes channel, data, key;
};

static enum err message_parse(struct bytes text, struct arena *arena, struct message *out)
{
    *out = (struct message){0};
    struct bytes name;
    struct json json;
    json_open(&json, text);
    if (json_enter_object(&json))
        while (json_key(&json, &name)) {
            if (bytes_equal_text(name, "channel"))
                json_text(&json, arena, &out->channel);
            else if (bytes_equal_text(name, "data"))
                json_raw(&json, &out->data);
            else if (bytes_equal_text(name, "key"))
                json_text(&json, arena, &out->key);
            else
                json_skip(&json);
        }
    TRY(json_close(&json));
    return out->data.size == 0 || out->key.size > IDEMPOTENCY_KEY_MAX ? ERR_BAD_REQUEST : ERR_OK;
}

static void on_sent(struct shard *shard, struct call *call, struct conn *conn,
                    const struct answer *answer)
{
    if (!rpc_is_answered(shard, call, conn, answer)) return;
    struct json_out out = {0};
    json_out_object(&out);
    json_out_key(&out, "offset");
    json_out_u64(&out, answer->offset);
    json_out_member_text(&out, "epoch", answer->epoch);
    char id[EPOCH_MAX + 22];
    int size = snprintf(id, sizeof id, "%.*s-%llu", (int)answer->epoch.size,
                        (const char *)answer->epoch.at, (unsigned long long)answer->offset);
    check(size > 0 && (size_t)size < sizeof id);
    if (answer->offset > 0) json_out_member_text(&out, "id", bytes_of(id, (size_t)size));
    json_out_member_u64(&out, "time", answer->time_ms);
    json_out_object_end(&out);
    rpc_reply(shard, call, conn, &out);
}

enum err rpc_message_send(const struct rpc *rpc)
{
    struct shard *shard = rpc->shard;
    const struct conn *conn = rpc->conn;
    struct message message;
    const struct config_namespace *options;
    TRY(message_parse(rpc->data, &shard->arena, &message));
    TRY(rules_channel(shard, message.channel, &options));
    bool is_opaque;
    TRY(rules_data(message.data, true, options, &is_opaque));
    TRY(rules_may_publish(shard, conn, message.channel, options));

    uint8_t scope[sizeof SCOPE_PREFIX - 1 + USER_ID_MAX];
    struct writer writer = writer_of(scope, sizeof scope);
    write_text(&writer, SCOPE_PREFIX);
    write_bytes(&writer, conn_user(conn));
    check(!writer.failed);
    struct letter_publish question = {
        .channel = message.channel,
        .scope = message.key.size > 0 ? writer_bytes(&writer) : BYTES_NONE,
        .key = message.key,
        .publication = {.data = message.data,
                        .has_info = true,
                        .user = conn_user(conn),
                        .conn_info = conn_info(shard, conn),
                        .chan_info = subscription_info_of(shard, conn, message.channel)},
    };
    memcpy(question.publication.client, conn->client, sizeof conn->client);
    struct call *call;
    TRY(rpc_call(rpc, message.channel, on_sent, &call, &question.call));
    channel_publish(shard, call->to, &question);
    return ERR_OK;
}
