/*
 * rpc_receipt_digest: what is new for me, over all my channels.
 *
 * {"version"?} → {"version", "channels": [{"channel","epoch","head","read","delivered"?,
 * "unread","first_unread"?}], "more"?}; cmd/digest.h says what a version is.  The same comes
 * with the connect reply to who asks for it in the connect command's data.
 */
#include "core/check.h"
#include "proto/json.h"
#include "shards/cmd/digest.h"
#include "shards/rpc/rpc_parts.h"
#include "shards/shard.h"

static enum err digest_parse(struct bytes text, struct arena *arena, struct bytes *version)
{
    *version = BYTES_NONE;
    if (text.size == 0) return ERR_OK;
    struct bytes name;
    struct json json;
    json_open(&json, text);
    if (json_enter_object(&json))
        while (json_key(&json, &name)) {
            if (bytes_equal_text(name, "version"))
                json_text(&json, arena, version);
            else
                json_skip(&json);
        }
    TRY(json_close(&json));
    return digest_is_version(*version) ? ERR_OK : ERR_BAD_REQUEST;
}

static void on_digest(struct shard *shard, struct conn *conn, uint32_t id, enum err err,
                      struct json_out *out)
{
    if (conn->state != CONN_WS) {
        if (out != NULL) json_out_fini(out);
        return;
    }
    struct call call = {.id = id};
    if (err == ERR_OK)
        rpc_reply(shard, &call, conn, out);
    else
        conn_reply_error(shard, conn, id, err);
}

enum err rpc_receipt_digest(const struct rpc *rpc)
{
    struct bytes version;
    TRY(digest_parse(rpc->data, &rpc->shard->arena, &version));
    if (rpc->conn->user_size == 0) return ERR_NOT_MEMBER;
    return digest_begin(rpc->shard, rpc->conn, version, rpc->id, on_digest);
}
