/*
 * api_publish: publish and broadcast.
 *
 * A broadcast is one publish per channel; each has its own answer in the order
 * of the request, and one that fails fails alone.
 */
#include "core/check.h"
#include "core/mem.h"
#include "shards/api/api_parts.h"
#include "shards/cmd/rules.h"
#include "shards/shard.h"

/* Keys of all backends are one scope: they speak for one application. */
#define API_SCOPE "api"

static void on_published(struct shard *shard, struct call *call, struct conn *conn,
                         const struct answer *answer)
{
    check(conn != NULL);
    if (answer->err != ERR_OK) {
        api_fail(shard, conn, &call->sink, answer->err);
        return;
    }
    struct json_out out = {0};
    json_out_object(&out);
    json_out_member_u64(&out, "offset", answer->offset);
    if (answer->offset > 0) json_out_member_text(&out, "epoch", answer->epoch);
    json_out_object_end(&out);
    api_reply(shard, conn, &call->sink, json_out_bytes(&out));
    json_out_fini(&out);
}

static enum err publish_to(const struct api *api, const struct api_publication *publication,
                           struct bytes channel, call_fn on_answer, struct call **call)
{
    struct shard *shard = api->shard;
    const struct config_namespace *options;
    TRY(rules_channel(shard, channel, &options));
    bool is_opaque;
    TRY(rules_data(publication->data, publication->is_json, options, &is_opaque));
    struct letter_publish question = {
        .channel = channel,
        .scope = publication->key.size > 0 ? BYTES_LITERAL(API_SCOPE) : BYTES_NONE,
        .key = publication->key,
        .publication = {.data = publication->data,
                        .is_opaque = is_opaque,
                        .tags = publication->tags,
                        .version = publication->version,
                        .version_epoch = publication->version_epoch},
        .is_live_only = publication->skip_history,
    };
    TRY(api_call(api, channel, on_answer, call, &question.call));
    call_post(shard, letter_pack_publish(shard->post, (*call)->to, &question));
    return ERR_OK;
}

enum err api_publish(const struct api *api)
{
    struct api_publication publication;
    TRY(api_parse_publication(api->body, false, &api->shard->arena, &publication));
    struct call *call;
    return publish_to(api, &publication, publication.channels[0], on_published, &call);
}

/* The answers so far; a call's `id` is its place. */
struct broadcast {
    struct api_sink sink;
    uint32_t count, left;
    struct broadcast_answer {
        enum err err;
        uint64_t offset;
        char epoch[EPOCH_MAX + 1];
    } answers[];
};

static void broadcast_reply(struct shard *shard, struct conn *conn,
                            const struct broadcast *broadcast)
{
    struct json_out out = {0};
    json_out_object(&out);
    json_out_key(&out, "responses");
    json_out_array(&out);
    for (uint32_t i = 0; i < broadcast->count; i++) {
        const struct broadcast_answer *answer = &broadcast->answers[i];
        struct answer shown = {
            .err = answer->err,
            .offset = answer->offset,
            .epoch = bytes_of_text(answer->epoch),
        };
        json_out_object(&out);
        api_write_published(&out, &shown);
        json_out_object_end(&out);
    }
    json_out_array_end(&out);
    json_out_object_end(&out);
    api_reply(shard, conn, &broadcast->sink, json_out_bytes(&out));
    json_out_fini(&out);
}

static void on_broadcast(struct shard *shard, struct call *call, struct conn *conn,
                         const struct answer *answer)
{
    struct broadcast *broadcast = call->context;
    check(conn != NULL);
    check(call->id < broadcast->count && broadcast->left > 0);
    struct broadcast_answer *mine = &broadcast->answers[call->id];
    mine->err = answer->err;
    mine->offset = answer->offset;
    check(answer->epoch.size <= EPOCH_MAX);
    if (answer->epoch.size > 0) memcpy(mine->epoch, answer->epoch.at, answer->epoch.size);
    if (--broadcast->left > 0) return;
    broadcast_reply(shard, conn, broadcast);
    mem_free(broadcast);
}

enum err api_broadcast(const struct api *api)
{
    struct api_publication publication;
    TRY(api_parse_publication(api->body, true, &api->shard->arena, &publication));
    uint32_t count = publication.channels_count;
    struct broadcast *broadcast =
        mem_alloc(sizeof *broadcast + count * sizeof broadcast->answers[0]);
    broadcast->sink = api->sink;
    broadcast->count = count;
    for (uint32_t i = 0; i < count; i++) {
        struct call *call;
        enum err err = publish_to(api, &publication, publication.channels[i], on_broadcast, &call);
        broadcast->answers[i].err = err;
        if (err != ERR_OK) continue;
        call->id = i;
        call->context = broadcast;
        broadcast->left++;
    }
    if (broadcast->left > 0) return ERR_OK;
    broadcast_reply(api->shard, api->conn, broadcast);
    mem_free(broadcast);
    return ERR_OK;
}
