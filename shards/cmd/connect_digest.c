/*
 * connect_digest: what is new for the user comes with the connect reply.
 *
 * Asked for by the connect command's data, {"digest": "<version>"}, the empty version for
 * everything; the reply's data is {"digest": {…}} then.  The user's home knows the
 * connection already, so what moves meanwhile is told by pushes behind the reply, and
 * nothing falls between the two.  Without a digest to be had (a store in trouble) the
 * client connects all the same, with data {"digest": null}: messages come first.
 */
#include "core/check.h"
#include "core/log.h"
#include "proto/json.h"
#include "shards/cmd/connecting.h"
#include "shards/cmd/digest.h"
#include "shards/json_out.h"
#include "shards/shard.h"

/* True when one is asked for. */
static bool is_wanted(struct bytes data, struct arena *arena, struct bytes *version)
{
    struct bytes name;
    bool is_named = false;
    *version = BYTES_NONE;
    if (data.size == 0) return false;
    struct json json;
    json_open(&json, data);
    if (json_peek(&json) != JSON_OBJECT) return false; /* the application's own */
    if (json_enter_object(&json))
        while (json_key(&json, &name)) {
            if (!bytes_equal_text(name, "digest") || json_peek(&json) != JSON_TEXT) {
                json_skip(&json);
                continue;
            }
            json_text(&json, arena, version);
            is_named = true;
        }
    return json_close(&json) == ERR_OK && is_named;
}

/* NULL: there is none. */
static void put_digest(struct connecting *connecting, const struct json_out *digest)
{
    struct json_out out = {0};
    json_out_object(&out);
    json_out_key(&out, "digest");
    json_out_raw(&out, digest != NULL ? json_out_bytes(digest) : BYTES_LITERAL("null"));
    json_out_object_end(&out);
    connecting->data = connecting_keep(connecting, json_out_bytes(&out));
    connecting->is_digested = true;
    json_out_fini(&out);
}

static void on_digest(struct shard *shard, struct conn *conn, uint32_t id, enum err err,
                      struct json_out *digest)
{
    (void)id;
    if (conn->flags & CONN_CONNECTING) put_digest(conn->connecting, digest);
    if (err != ERR_OK && err != ERR_END)
        log_warn("a client connects without its digest err=%s", err_name(err));
    if (digest != NULL) json_out_fini(digest);
    if (conn->flags & CONN_CONNECTING && conn->state == CONN_WS) connecting_go_on(shard, conn);
}

enum connect_step connect_digest(struct shard *shard, struct conn *conn)
{
    struct connecting *connecting = conn->connecting;
    struct bytes version;
    if (connecting->is_digested || conn->user_size == 0) return CONNECT_DONE;
    if (connecting->is_digesting) return CONNECT_WAITS;
    if (!is_wanted(connecting->request.data, &shard->arena, &version)) return CONNECT_DONE;
    enum err err = digest_begin(shard, conn, version, 0, on_digest);
    if (err == ERR_CREDIT_SPENT) return CONNECT_CREDIT;
    if (err != ERR_OK) put_digest(connecting, NULL);
    connecting->is_digesting = err == ERR_OK;
    return err == ERR_OK ? CONNECT_WAITS : CONNECT_DONE;
}
