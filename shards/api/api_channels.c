/*
 * api_channels: channels, which of them somebody listens to.
 *
 * {"pattern"} → {"channels":{"<name>":{"num_clients"}}}.  The pattern is a glob
 * (core/glob.h); without one every channel is listed.  Every shard is asked for the
 * channels whose home it is; above CHANNELS_LISTED_MAX the call fails by name
 * (1004), and when one shard, of this node or another, cannot be asked it fails for now,
 * because half a list looks like a whole one.
 */
#include "core/check.h"
#include "core/map.h"
#include "core/mem.h"
#include "shards/api/api_parts.h"
#include "shards/api/fleet.h"
#include "shards/shard.h"
#include "storage/peers.h"

struct row {
    uint32_t clients;
    uint32_t size;
    uint8_t name[];
};

struct listing {
    uint32_t left; /* who has not answered */
    enum err err;  /* the first that came */
    struct map rows;
};

/* With other nodes a channel has a row of each. */
static void take_row(struct listing *listing, struct bytes name, uint32_t clients)
{
    struct row *row = map_find(&listing->rows, name);
    if (row == NULL && listing->rows.count == CHANNELS_LISTED_MAX) listing->err = ERR_LIMIT_LISTED;
    if (listing->err != ERR_OK) return;
    if (row == NULL) {
        row = mem_alloc(sizeof *row + name.size);
        row->size = (uint32_t)name.size;
        memcpy(row->name, name.at, name.size);
        map_put(&listing->rows, bytes_of(row->name, row->size), row);
    }
    row->clients += clients;
}

static void listing_fini(struct listing *listing)
{
    uint32_t at = 0;
    struct row *row;
    while ((row = map_next(&listing->rows, &at)) != NULL) mem_free(row);
    map_fini(&listing->rows);
    mem_free(listing);
}

static void reply(struct shard *shard, struct conn *conn, const struct api_sink *sink,
                  const struct listing *listing)
{
    uint32_t at = 0;
    const struct row *row;
    struct json_out out = {0};
    json_out_object(&out);
    json_out_key(&out, "channels");
    json_out_object(&out);
    while ((row = map_next(&listing->rows, &at)) != NULL) {
        json_out_key_text(&out, bytes_of(row->name, row->size));
        json_out_object(&out);
        json_out_key(&out, "num_clients");
        json_out_u64(&out, row->clients);
        json_out_object_end(&out);
    }
    json_out_object_end(&out);
    json_out_object_end(&out);
    api_reply(shard, conn, sink, json_out_bytes(&out));
    json_out_fini(&out);
}

static void answered(struct shard *shard, struct call *call, struct conn *conn)
{
    struct listing *listing = call->context;
    check(listing->left > 0);
    if (--listing->left > 0) return;
    if (listing->err != ERR_OK)
        api_fail(shard, conn, &call->sink, listing->err);
    else
        reply(shard, conn, &call->sink, listing);
    listing_fini(listing);
}

static void on_rows(struct shard *shard, struct call *call, struct conn *conn,
                    const struct answer *answer)
{
    struct listing *listing = call->context;
    if (listing->err == ERR_OK) listing->err = answer->err;
    for (uint32_t i = 0; i < answer->rows_count; i++)
        take_row(listing, answer->rows[i].name, answer->rows[i].clients);
    answered(shard, call, conn);
}

/* One shard of another node. */
static void take_part(struct listing *listing, struct bytes part)
{
    struct reader reader = reader_of(part);
    uint32_t err = read_u32(&reader), count = read_u32(&reader);
    if (listing->err == ERR_OK && (reader.failed || err != ERR_OK))
        listing->err = err == ERR_LIMIT_LISTED ? ERR_LIMIT_LISTED : ERR_STORE_DOWN;
    for (uint32_t i = 0; i < count && !reader.failed; i++) {
        struct bytes name = read_sized(&reader);
        uint32_t clients = read_u32(&reader);
        if (!reader.failed && name.size > 0) take_row(listing, name, clients);
    }
}

static void on_fleet(struct shard *shard, struct call *call, struct conn *conn,
                     const struct answer *answer)
{
    struct listing *listing = call->context;
    struct reader parts = reader_of(answer->epoch);
    if (listing->err == ERR_OK) listing->err = answer->err;
    while (parts.left > 0 && !parts.failed) take_part(listing, read_sized(&parts));
    answered(shard, call, conn);
}

static void ask(const struct api *api, struct listing *listing, uint32_t to, enum letter_kind kind,
                call_fn on_answer, struct bytes text)
{
    struct letter_ask question = {.channel = text};
    struct call *call;
    if (listing->err != ERR_OK) return;
    listing->err = api_call_to(api, to, on_answer, &call, &question.call);
    if (listing->err != ERR_OK) return;
    call->context = listing;
    listing->left++;
    call_post(api->shard, letter_pack_ask(api->shard->post, to, kind, &question));
}

enum err api_channels(const struct api *api)
{
    struct shard *shard = api->shard;
    struct bytes glob = BYTES_LITERAL("*");
    TRY(api_parse_text(api->body, "pattern", &shard->arena, &glob));
    if (glob.size == 0) glob = BYTES_LITERAL("*");
    if (glob.size > CHANNEL_NAME_MAX) return ERR_BAD_REQUEST;

    struct listing *listing = mem_alloc(sizeof *listing);
    map_init(&listing->rows, rng_next(&shard->rng));
    for (uint32_t to = 0; to < shard->shards_count; to++)
        ask(api, listing, to, LETTER_CHANNELS, on_rows, glob);
    if (store_has_peers(shard->store)) {
        uint8_t *text = arena_get(&shard->arena, 1 + glob.size);
        text[0] = FLEET_CHANNELS;
        memcpy(text + 1, glob.at, glob.size);
        ask(api, listing, shard->index, LETTER_PEERS, on_fleet, bytes_of(text, 1 + glob.size));
    }
    if (listing->left > 0) return ERR_OK;
    enum err err = listing->err;
    listing_fini(listing);
    return err;
}
