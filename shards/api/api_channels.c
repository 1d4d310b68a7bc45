/*
 * api_channels: channels, which of them somebody listens to.
 *
 * {"pattern"} → {"channels":{"<name>":{"num_clients"}}}.  The pattern is a glob
 * (core/glob.h); without one every channel is listed.  Every shard is asked for the
 * channels whose home it is; above CHANNELS_LISTED_MAX the call fails by name
 * (1004), and when one shard cannot be asked it fails for now, because half a list
 * looks like a whole one.
 */
#include "core/check.h"
#include "core/mem.h"
#include "shards/api/api_parts.h"
#include "shards/shard.h"

struct listing {
    uint32_t left;  /* shards that have not answered */
    uint32_t count; /* channels in `out` */
    enum err err;   /* the first that came */
    struct json_out out;
};

static void take_rows(struct listing *listing, const struct answer *answer)
{
    if (listing->err == ERR_OK) listing->err = answer->err;
    if (listing->err != ERR_OK) return;
    listing->count += answer->rows_count;
    if (listing->count > CHANNELS_LISTED_MAX) {
        listing->err = ERR_LIMIT_LISTED;
        return;
    }
    for (uint32_t i = 0; i < answer->rows_count; i++) {
        json_out_key_text(&listing->out, answer->rows[i].name);
        json_out_object(&listing->out);
        json_out_key(&listing->out, "num_clients");
        json_out_u64(&listing->out, answer->rows[i].clients);
        json_out_object_end(&listing->out);
    }
}

static void on_rows(struct shard *shard, struct call *call, struct conn *conn,
                    const struct answer *answer)
{
    struct listing *listing = call->context;
    check(listing->left > 0);
    take_rows(listing, answer);
    if (--listing->left > 0) return;
    json_out_object_end(&listing->out);
    json_out_object_end(&listing->out);
    if (listing->err != ERR_OK)
        api_fail(shard, conn, &call->sink, listing->err);
    else
        api_reply(shard, conn, &call->sink, json_out_bytes(&listing->out));
    json_out_fini(&listing->out);
    mem_free(listing);
}

enum err api_channels(const struct api *api)
{
    struct shard *shard = api->shard;
    struct letter_ask question = {.channel = BYTES_LITERAL("*")};
    TRY(api_parse_text(api->body, "pattern", &shard->arena, &question.channel));
    if (question.channel.size == 0) question.channel = BYTES_LITERAL("*");
    if (question.channel.size > CHANNEL_NAME_MAX) return ERR_BAD_REQUEST;

    struct listing *listing = mem_alloc(sizeof *listing);
    json_out_object(&listing->out);
    json_out_key(&listing->out, "channels");
    json_out_object(&listing->out);
    for (uint32_t to = 0; to < shard->shards_count; to++) {
        struct call *call;
        enum err err = api_call_to(api, to, on_rows, &call, &question.call);
        if (err != ERR_OK) {
            listing->err = err;
            break;
        }
        call->context = listing;
        listing->left++;
        call_post(shard, letter_pack_ask(shard->post, to, LETTER_CHANNELS, &question));
    }
    if (listing->left > 0) return ERR_OK;
    enum err err = listing->err;
    json_out_fini(&listing->out);
    mem_free(listing);
    return err;
}
