/*
 * rpc_sync: where this user's client stands in its conversations.
 *
 * sync.save  {"client", "channels": {NAME: {"offset", "epoch"}, …}} → {}
 * sync.load  {"client"} → {"channels": {NAME: {"offset", "epoch", "at", "missed"?}, …}}
 *
 * `client` names the installation, as the user's clients agree upon.  A position can be
 * saved of a channel that the connection is subscribed to: else `missed` would tell
 * anybody how much is said in a channel.  It is absent where the position is of
 * another epoch and cannot be gone on from.
 */
#include "core/check.h"
#include "core/mem.h"
#include "proto/json.h"
#include "shards/cmd/subscription.h"
#include "shards/rpc/rpc_parts.h"
#include "shards/shard.h"
#include "storage/sync.h"

struct sync_ask {
    struct bytes client;
    struct store_position positions[SYNC_SAVED_MAX];
    uint32_t count;
};

/* Under way; the connection may be gone when it ends. */
struct sync_run {
    struct store_sync op;
    struct shard *shard;
    struct handle conn;
    uint32_t id;
    bool is_load;
};

static void position_parse(struct json *json, struct arena *arena, struct store_position *position)
{
    struct bytes name;
    if (!json_enter_object(json)) return;
    while (json_key(json, &name)) {
        if (bytes_equal_text(name, "offset"))
            json_u64(json, &position->offset);
        else if (bytes_equal_text(name, "epoch"))
            json_text(json, arena, &position->epoch);
        else
            json_skip(json);
    }
}

static void positions_parse(struct json *json, struct arena *arena, struct sync_ask *out)
{
    struct store_position position = {0};
    if (!json_enter_object(json)) return;
    for (; json_key_text(json, arena, &position.channel); out->count++) {
        position_parse(json, arena, &position);
        if (out->count < SYNC_SAVED_MAX) out->positions[out->count] = position;
        position = (struct store_position){0};
    }
}

static enum err sync_parse(struct bytes text, struct arena *arena, struct sync_ask *out)
{
    struct bytes name;
    struct json json;
    *out = (struct sync_ask){0};
    json_open(&json, text);
    if (json_enter_object(&json))
        while (json_key(&json, &name)) {
            if (bytes_equal_text(name, "client")) {
                json_text(&json, arena, &out->client);
            } else if (bytes_equal_text(name, "channels")) {
                out->count = 0;
                positions_parse(&json, arena, out);
            } else {
                json_skip(&json);
            }
        }
    TRY(json_close(&json));
    if (!sync_client_is_fine(out->client)) return ERR_BAD_REQUEST;
    return out->count > SYNC_SAVED_MAX ? ERR_LIMIT_SIZE : ERR_OK;
}

static void write_position(struct json_out *out, const struct store_position *position)
{
    json_out_key_text(out, position->channel);
    json_out_object(out);
    json_out_key(out, "offset");
    json_out_u64(out, position->offset);
    json_out_member_text(out, "epoch", position->epoch);
    json_out_member_u64(out, "at", position->at_ms);
    if (position->is_current) {
        json_out_key(out, "missed");
        json_out_u64(out, position->missed);
    }
    json_out_object_end(out);
}

static void on_end(struct store_sync *op, enum err err, const struct store_position *positions,
                   uint32_t count)
{
    struct sync_run *run = container_of(op, struct sync_run, op);
    struct shard *shard = run->shard;
    struct conn *conn = slab_find(&shard->conns, run->conn);
    struct json_out out = {0};
    if (conn != NULL && conn->state == CONN_WS && err != ERR_OK) {
        conn_reply_error(shard, conn, run->id, err);
    } else if (conn != NULL && conn->state == CONN_WS) {
        json_out_object(&out);
        if (run->is_load) {
            json_out_key(&out, "channels");
            json_out_object(&out);
            for (uint32_t i = 0; i < count; i++) write_position(&out, &positions[i]);
            json_out_object_end(&out);
        }
        json_out_object_end(&out);
        struct reply reply = {.id = run->id, .kind = CMD_RPC, .rpc.data = json_out_bytes(&out)};
        conn_reply(shard, conn, &reply);
        json_out_fini(&out);
    }
    mem_free(run);
}

static enum err sync_begin(const struct rpc *rpc, const struct sync_ask *ask, bool is_load)
{
    struct sync_run *run = mem_alloc(sizeof *run);
    run->shard = rpc->shard;
    run->conn = slab_handle(&rpc->shard->conns, rpc->conn);
    run->id = rpc->id;
    run->is_load = is_load;
    run->op = (struct store_sync){.user = conn_user(rpc->conn),
                                  .client = ask->client,
                                  .positions = ask->positions,
                                  .positions_count = ask->count,
                                  .on_end = on_end};
    store_sync(rpc->shard->store, &run->op);
    run->op.positions = NULL; /* copied; ours end with the command */
    return ERR_OK;
}

static enum err sync_take(const struct rpc *rpc, struct sync_ask *ask)
{
    TRY(sync_parse(rpc->data, &rpc->shard->arena, ask));
    if (!store_has_sync(rpc->shard->store)) return ERR_NOT_AVAILABLE;
    return rpc->conn->user_size == 0 ? ERR_DENIED : ERR_OK;
}

enum err rpc_sync_save(const struct rpc *rpc)
{
    struct sync_ask ask;
    TRY(sync_take(rpc, &ask));
    if (ask.count == 0) return ERR_BAD_REQUEST;
    for (uint32_t i = 0; i < ask.count; i++) {
        const struct store_position *position = &ask.positions[i];
        if (position->epoch.size == 0 || position->epoch.size > EPOCH_MAX) return ERR_BAD_REQUEST;
        if (subscription_find(rpc->shard, rpc->conn, position->channel) == UINT32_MAX)
            return ERR_NOT_SUBSCRIBED;
    }
    return sync_begin(rpc, &ask, false);
}

enum err rpc_sync_load(const struct rpc *rpc)
{
    struct sync_ask ask;
    TRY(sync_take(rpc, &ask));
    ask.count = 0; /* a question names no positions */
    return sync_begin(rpc, &ask, true);
}
