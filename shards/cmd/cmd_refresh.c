/*
 * cmd_refresh: a new token before the old one ends: the same user, or 3500.
 *
 * Its info is shown with what the client publishes and where it subscribes from now on.
 */
#include "core/check.h"
#include "proto/jwt.h"
#include "shards/cmd/connect_identify.h"
#include "shards/cmd/connect_subs.h"
#include "shards/cmd/dispatch.h"
#include "shards/shard.h"

enum err cmd_refresh(struct shard *shard, struct conn *conn, const struct cmd *cmd)
{
    check(cmd->kind == CMD_REFRESH);
    if (cmd->refresh.token.size == 0) {
        conn_end(shard, conn, CLOSE_BAD_REQUEST);
        return ERR_OK;
    }
    struct jwt_claims claims;
    enum err err = identify_token(shard, cmd->refresh.token, &claims);
    if (err_class_of(err) == ERR_CLASS_BUSY) return err; /* waits, or is to come back */
    if (err == ERR_OK && !bytes_equal(claims.user, conn_user(conn))) err = ERR_TOKEN_INVALID;
    if (err != ERR_OK) {
        conn_end(shard, conn, err == ERR_TOKEN_EXPIRED ? CLOSE_EXPIRED : CLOSE_INVALID_TOKEN);
        return ERR_OK;
    }
    /* Other subscriptions than before: they begin with a new connection. */
    if (!connect_subs_match(shard, conn, &claims)) {
        conn_end(shard, conn, CLOSE_INSUFFICIENT);
        return ERR_OK;
    }
    uint32_t expires_s;
    TRY(identify_expiry(shard, &claims, &expires_s));
    conn->expires_s = expires_s;
    /* A token that says nothing of its bearer leaves what is known; bytes that are no
     * JSON cannot stand in a JSON frame. */
    struct bytes info = claims.info.is_opaque ? BYTES_NONE : claims.info.bytes;
    if (claims.info.bytes.size > 0) conn_set_user(shard, conn, conn_user(conn), info);
    uint64_t now = shard->clock.wall_ms / 1000;
    struct reply reply = {
        .id = cmd->id,
        .kind = CMD_REFRESH,
        .refresh = {.expires = conn->expires_s != 0,
                    .ttl = conn->expires_s > now ? (uint32_t)(conn->expires_s - now) : 0},
    };
    conn_reply(shard, conn, &reply);
    if (conn->state == CONN_WS) conn_schedule(shard, conn);
    return ERR_OK;
}
