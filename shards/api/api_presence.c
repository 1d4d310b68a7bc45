/*
 * api_presence: presence and presence_stats.
 *
 * {"channel"} → {"presence":{"<client id>":{"user","client","conn_info","chan_info"}}}
 * and {"num_clients","num_users"}: of the clients of all nodes.
 */
#include "core/check.h"
#include "proto/codec.h"
#include "shards/api/api_parts.h"
#include "shards/cmd/rules.h"
#include "shards/shard.h"

static void member_raw(struct json_out *out, const char *name, struct bytes raw)
{
    if (raw.size == 0) return;
    json_out_key(out, name);
    json_out_raw(out, raw);
}

static void write_client(struct json_out *out, const struct wire_info *who)
{
    char client[37];
    codec_uuid(who->client, client);
    json_out_key(out, client);
    json_out_object(out);
    json_out_member_text(out, "user", who->user);
    json_out_member_text(out, "client", bytes_of_text(client));
    member_raw(out, "conn_info", who->conn_info);
    member_raw(out, "chan_info", who->chan_info);
    json_out_object_end(out);
}

static void on_presence(struct shard *shard, struct call *call, struct conn *conn,
                        const struct answer *answer)
{
    if (answer->err != ERR_OK) {
        api_fail(shard, conn, &call->sink, answer->err);
        return;
    }
    struct json_out out = {0};
    json_out_object(&out);
    json_out_key(&out, "presence");
    json_out_object(&out);
    for (uint32_t i = 0; i < answer->infos_count; i++) write_client(&out, &answer->infos[i]);
    json_out_object_end(&out);
    json_out_object_end(&out);
    api_reply(shard, conn, &call->sink, json_out_bytes(&out));
    json_out_fini(&out);
}

static void on_stats(struct shard *shard, struct call *call, struct conn *conn,
                     const struct answer *answer)
{
    if (answer->err != ERR_OK) {
        api_fail(shard, conn, &call->sink, answer->err);
        return;
    }
    struct json_out out = {0};
    json_out_object(&out);
    json_out_key(&out, "num_clients");
    json_out_u64(&out, answer->clients_count);
    json_out_key(&out, "num_users");
    json_out_u64(&out, answer->users_count);
    json_out_object_end(&out);
    api_reply(shard, conn, &call->sink, json_out_bytes(&out));
    json_out_fini(&out);
}

static enum err ask(const struct api *api, enum letter_kind kind, call_fn on_answer)
{
    struct shard *shard = api->shard;
    struct letter_ask question = {.channel = BYTES_NONE};
    const struct config_namespace *options;
    TRY(api_parse_text(api->body, "channel", &shard->arena, &question.channel));
    TRY(rules_space(shard, question.channel, &options));
    if (!options->presence) return ERR_NOT_AVAILABLE;
    struct call *call;
    TRY(api_call(api, question.channel, on_answer, &call, &question.call));
    call_post(shard, letter_pack_ask(shard->post, call->to, kind, &question));
    return ERR_OK;
}

enum err api_presence(const struct api *api)
{
    return ask(api, LETTER_PRESENCE, on_presence);
}

enum err api_presence_stats(const struct api *api)
{
    return ask(api, LETTER_PRESENCE_STATS, on_stats);
}
