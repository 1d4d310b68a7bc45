/*
 * api_publish: publish and broadcast.
 *
 * A broadcast is one publish per channel; each has its own answer in the order
 * of the request, and one that fails fails alone.  API_BROADCAST_PARALLEL_MAX are
 * under way at once, so the largest one is slow before it takes anything from others.
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
    TRY(rules_space(shard, channel, &options));
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

/* One broadcast under way; a call's `id` is the place of its channel. */
struct broadcast {
    struct api_sink sink;
    struct api_publication publication; /* views of the request, or of `kept` */
    uint8_t *kept;                      /* the heap; NULL: the turn of the request goes on */
    uint32_t next;                      /* the first channel that was not begun */
    uint32_t left;                      /* channels that are begun and not answered */
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
    for (uint32_t i = 0; i < broadcast->publication.channels_count; i++) {
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

/* --- what outlives the turn --------------------------------------------------------- */

static struct bytes put_bytes(struct writer *writer, struct bytes bytes)
{
    struct bytes copy = bytes_of(writer->start + writer->used, bytes.size);
    write_bytes(writer, bytes);
    return bytes.size > 0 ? copy : BYTES_NONE;
}

/* Copies what channels still to come need into one block. */
static void broadcast_keep(struct broadcast *broadcast)
{
    check(broadcast->kept == NULL);
    struct api_publication *publication = &broadcast->publication;
    uint32_t first = broadcast->next, count = publication->channels_count;
    size_t views = count * sizeof *publication->channels;
    size_t size = publication->data.size + publication->tags.size + publication->key.size +
                  publication->version_epoch.size;
    for (uint32_t i = first; i < count; i++) size += publication->channels[i].size;
    broadcast->kept = mem_alloc(views + size);

    struct bytes *channels = (struct bytes *)(void *)broadcast->kept;
    struct writer writer = writer_of(broadcast->kept + views, size);
    for (uint32_t i = first; i < count; i++)
        channels[i] = put_bytes(&writer, publication->channels[i]);
    publication->channels = channels;
    publication->data = put_bytes(&writer, publication->data);
    publication->tags = put_bytes(&writer, publication->tags);
    publication->key = put_bytes(&writer, publication->key);
    publication->version_epoch = put_bytes(&writer, publication->version_epoch);
    check(!writer.failed);
}

/* --- the walk ----------------------------------------------------------------------- */

static void broadcast_run(struct shard *shard, struct conn *conn, struct broadcast *broadcast);

static void on_broadcast(struct shard *shard, struct call *call, struct conn *conn,
                         const struct answer *answer)
{
    struct broadcast *broadcast = call->context;
    check(conn != NULL);
    check(call->id < broadcast->next && broadcast->left > 0);
    struct broadcast_answer *mine = &broadcast->answers[call->id];
    mine->err = answer->err;
    mine->offset = answer->offset;
    check(answer->epoch.size <= EPOCH_MAX);
    if (answer->epoch.size > 0) memcpy(mine->epoch, answer->epoch.at, answer->epoch.size);
    broadcast->left--;
    broadcast_run(shard, conn, broadcast);
}

/* Begins the next channel; false when it must wait for the answer to another one, and when
 * there is no credit for the first one. */
static bool broadcast_begin(struct shard *shard, struct conn *conn, struct broadcast *broadcast)
{
    struct api api = {.shard = shard, .conn = conn, .sink = broadcast->sink};
    struct call *call;
    uint32_t index = broadcast->next;
    enum err err = publish_to(&api, &broadcast->publication, broadcast->publication.channels[index],
                              on_broadcast, &call);
    if (err == ERR_CREDIT_SPENT && (broadcast->left > 0 || index == 0)) return false;
    broadcast->answers[index].err = err;
    broadcast->next++;
    if (err != ERR_OK) return true;
    call->id = index;
    call->context = broadcast;
    broadcast->left++;
    return true;
}

static void broadcast_destroy(struct broadcast *broadcast)
{
    check(broadcast->left == 0);
    mem_free(broadcast->kept);
    mem_free(broadcast);
}

/* Begins what may begin; the last answer ends the broadcast.  Of a connection that is gone
 * no further channel begins. */
static void broadcast_run(struct shard *shard, struct conn *conn, struct broadcast *broadcast)
{
    uint32_t count = broadcast->publication.channels_count;
    while (broadcast->next < count && broadcast->left < API_BROADCAST_PARALLEL_MAX &&
           conn->state == CONN_HTTP && broadcast_begin(shard, conn, broadcast))
        continue;
    if (broadcast->left > 0) {
        if (broadcast->next < count && broadcast->kept == NULL) broadcast_keep(broadcast);
        return;
    }
    check(broadcast->next == count || conn->state != CONN_HTTP);
    broadcast_reply(shard, conn, broadcast);
    broadcast_destroy(broadcast);
}

enum err api_broadcast(const struct api *api)
{
    struct api_publication publication;
    TRY(api_parse_publication(api->body, true, &api->shard->arena, &publication));
    struct broadcast *broadcast =
        mem_alloc(sizeof *broadcast + publication.channels_count * sizeof broadcast->answers[0]);
    broadcast->sink = api->sink;
    broadcast->publication = publication;
    if (!broadcast_begin(api->shard, api->conn, broadcast)) {
        broadcast_destroy(broadcast);
        return ERR_CREDIT_SPENT;
    }
    broadcast_run(api->shard, api->conn, broadcast);
    return ERR_OK;
}
