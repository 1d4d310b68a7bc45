/*
 * api_history: history and history_remove.
 *
 * Limit 0 is the position alone, below 0 everything that is kept, in memory or
 * in the store, bounded by HISTORY_BYTES_MAX at the home.
 *
 * Removed is what was published; offsets go on and the epoch stays, so clients that
 * have it all notice nothing.
 */
#include "core/check.h"
#include "core/crypt.h"
#include "proto/codec.h"
#include "shards/api/api_parts.h"
#include "shards/cmd/rules.h"
#include "shards/shard.h"

static void write_info(struct json_out *out, const struct publication *publication)
{
    char client[37];
    codec_uuid(publication->client, client);
    json_out_key(out, "info");
    json_out_object(out);
    json_out_member_text(out, "user", publication->user);
    json_out_member_text(out, "client", bytes_of_text(client));
    if (publication->conn_info.size > 0) {
        json_out_key(out, "conn_info");
        json_out_raw(out, publication->conn_info);
    }
    if (publication->chan_info.size > 0) {
        json_out_key(out, "chan_info");
        json_out_raw(out, publication->chan_info);
    }
    json_out_object_end(out);
}

/* What is not JSON is shown as it would be given to `publish`. */
static void write_data(struct json_out *out, struct arena *arena,
                       const struct publication *publication)
{
    struct bytes data = publication->data;
    if (!publication->is_opaque) {
        if (data.size == 0) return;
        json_out_key(out, "data");
        json_out_raw(out, data);
        return;
    }
    size_t room = (data.size + 2) / 3 * 4;
    char *text = arena_get(arena, room);
    json_out_member_text(out, "b64data", bytes_of(text, crypt_base64(data, text, room)));
}

static void write_publication(struct json_out *out, struct arena *arena,
                              const struct publication *publication)
{
    json_out_object(out);
    write_data(out, arena, publication);
    if (publication->has_info) write_info(out, publication);
    json_out_member_u64(out, "offset", publication->offset);
    if (publication->tags.size > 0) {
        json_out_key(out, "tags");
        json_out_raw(out, publication->tags);
    }
    json_out_object_end(out);
}

static void on_history(struct shard *shard, struct call *call, struct conn *conn,
                       const struct answer *answer)
{
    check(conn != NULL);
    if (answer->err != ERR_OK) {
        api_fail(shard, conn, &call->sink, answer->err);
        return;
    }
    struct json_out out = {0};
    json_out_object(&out);
    json_out_key(&out, "publications");
    json_out_array(&out);
    for (uint32_t i = 0; i < answer->publications_count; i++)
        write_publication(&out, &shard->arena, &answer->publications[i]);
    json_out_array_end(&out);
    json_out_member_text(&out, "epoch", answer->epoch);
    json_out_key(&out, "offset");
    json_out_u64(&out, answer->offset);
    json_out_object_end(&out);
    api_reply(shard, conn, &call->sink, json_out_bytes(&out));
    json_out_fini(&out);
}

enum err api_history(const struct api *api)
{
    struct shard *shard = api->shard;
    struct api_history_ask ask;
    TRY(api_parse_history(api->body, &shard->arena, &ask));
    const struct config_namespace *options;
    TRY(rules_space(shard, ask.channel, &options));
    if (!config_has_history(options)) return ERR_NOT_AVAILABLE;

    struct letter_history question = {
        .channel = ask.channel,
        .since_epoch = ask.since_epoch,
        .since = ask.since,
        .limit = ask.limit,
        .is_reverse = ask.is_reverse,
    };
    struct call *call;
    TRY(api_call(api, ask.channel, on_history, &call, &question.call));
    call_post(shard, letter_pack_history(shard->post, call->to, &question));
    return ERR_OK;
}

static void on_removed(struct shard *shard, struct call *call, struct conn *conn,
                       const struct answer *answer)
{
    if (answer->err != ERR_OK)
        api_fail(shard, conn, &call->sink, answer->err);
    else
        api_reply(shard, conn, &call->sink, BYTES_LITERAL("{}"));
}

enum err api_history_remove(const struct api *api)
{
    struct shard *shard = api->shard;
    struct letter_ask question = {.channel = BYTES_NONE};
    const struct config_namespace *options;
    TRY(api_parse_text(api->body, "channel", &shard->arena, &question.channel));
    TRY(rules_space(shard, question.channel, &options));
    if (!config_has_history(options)) return ERR_NOT_AVAILABLE;
    struct call *call;
    TRY(api_call(api, question.channel, on_removed, &call, &question.call));
    call_post(shard, letter_pack_ask(shard->post, call->to, LETTER_HISTORY_REMOVE, &question));
    return ERR_OK;
}
