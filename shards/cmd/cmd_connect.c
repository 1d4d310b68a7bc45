/*
 * cmd_connect: who is this?
 *
 * Centrifuge client protocol, connect: a token decides when there is one
 * (expired: error 109, so that the SDK fetches a new one; invalid: 3500);
 * without one, insecure mode or the anonymous option; else 3501.
 */
#include "core/check.h"
#include "core/entropy.h"
#include "core/log.h"
#include "proto/jwt.h"
#include "shards/cmd/dispatch.h"
#include "shards/shard.h"

/* Far ends stay within a u32 of seconds: a year is renewed often enough. */
#define EXPIRY_MAX_S (365u * 86400u)

/* A random UUID, version 4 (RFC 9562 section 5.4). */
static void make_client_id(uint8_t id[16])
{
    entropy_fill(id, 16);
    id[6] = (uint8_t)((id[6] & 0x0f) | 0x40);
    id[8] = (uint8_t)((id[8] & 0x3f) | 0x80);
}

static enum err identify(struct shard *shard, const struct cmd_connect *connect,
                         struct jwt_claims *claims)
{
    *claims = (struct jwt_claims){.has_exp = false};
    if (connect->token.size > 0) {
        if (shard->token_key == NULL) return ERR_TOKEN_INVALID;
        uint64_t now_s = shard->clock.wall_ms / 1000;
        enum err err = jwt_verify(shard->token_key, connect->token, now_s, &shard->arena, claims);
        /* In insecure mode a good signature is enough. */
        if (err == ERR_TOKEN_EXPIRED && shard->config->client_insecure) {
            claims->has_exp = claims->has_expire_at = false;
            return ERR_OK;
        }
        TRY(err);
        /* A subscription token is not a pass. */
        return claims->has_channel || claims->user.size > USER_ID_MAX ? ERR_TOKEN_INVALID : ERR_OK;
    }
    bool is_open = shard->config->client_insecure ||
                   shard->config->client_allow_anonymous_connect_without_token;
    return is_open ? ERR_OK : ERR_UNAUTHORIZED;
}

/* When the token must be renewed: `expire_at` wins over `exp`, 0 is never. */
static uint32_t expiry_of(const struct shard *shard, const struct jwt_claims *claims)
{
    if (shard->config->client_insecure) return 0;
    uint64_t now = shard->clock.wall_ms / 1000;
    uint64_t end = claims->has_expire_at ? claims->expire_at : claims->has_exp ? claims->exp : 0;
    return end == 0 ? 0 : (uint32_t)min_u64(end, now + EXPIRY_MAX_S);
}

static void log_connected(const struct shard *shard, const struct conn *conn)
{
    char id[37], user[64];
    codec_uuid(conn->client, id);
    log_debug("client connected client=%s user=%s shard=%u", id,
              log_quote(user, sizeof user, conn_user(conn).at, conn->user_size), shard->index);
}

static void reply_connected(struct shard *shard, struct conn *conn, uint32_t id)
{
    uint64_t now = shard->clock.wall_ms / 1000;
    bool has_pings = !(conn->flags & CONN_FRAME_PINGS); /* else they are frames */
    struct reply reply = {
        .id = id,
        .kind = CMD_CONNECT,
        .connect =
            {
                .version = BYTES_LITERAL(SLUICE_VERSION),
                .ping = has_pings
                            ? (uint32_t)((shard->config->client_ping_interval_ms + 999) / 1000)
                            : 0,
                .pong = has_pings,
                .expires = conn->expires_s != 0,
                .ttl = conn->expires_s > now ? (uint32_t)(conn->expires_s - now) : 0,
            },
    };
    memcpy(reply.connect.client, conn->client, sizeof conn->client);
    conn_reply(shard, conn, &reply);
}

enum err cmd_connect(struct shard *shard, struct conn *conn, const struct cmd *cmd)
{
    check(cmd->kind == CMD_CONNECT);
    check(!(conn->flags & CONN_CONNECTED));
    if (shard->is_draining) {
        conn_end(shard, conn, CLOSE_SHUTDOWN);
        return ERR_OK;
    }
    struct jwt_claims claims;
    enum err err = identify(shard, &cmd->connect, &claims);
    if (err == ERR_TOKEN_EXPIRED) {
        conn->flags |= CONN_CONNECT_FAILED;
        return err;
    }
    if (err != ERR_OK) {
        conn_end(shard, conn, err == ERR_UNAUTHORIZED ? CLOSE_BAD_REQUEST : CLOSE_INVALID_TOKEN);
        return ERR_OK;
    }
    make_client_id(conn->client);
    conn_set_user(conn, claims.user, claims.info.is_opaque ? BYTES_NONE : claims.info.bytes);
    conn->expires_s = expiry_of(shard, &claims);
    conn->flags |= CONN_CONNECTED;
    shard->clients_count++;
    metric_add(&shard->metrics, METRIC_CLIENTS, 1);
    metric_add(&shard->metrics, METRIC_ACCEPTED, 1);
    log_connected(shard, conn);
    reply_connected(shard, conn, cmd->id);
    if (conn->state == CONN_WS) conn_begin_pings(shard, conn);
    return ERR_OK;
}

/* A new token before the old one ends: the same user, or 3500. */
enum err cmd_refresh(struct shard *shard, struct conn *conn, const struct cmd *cmd)
{
    check(cmd->kind == CMD_REFRESH);
    struct jwt_claims claims;
    struct cmd_connect connect = {.token = cmd->refresh.token};
    if (connect.token.size == 0) {
        conn_end(shard, conn, CLOSE_BAD_REQUEST);
        return ERR_OK;
    }
    enum err err = identify(shard, &connect, &claims);
    if (err == ERR_OK && !bytes_equal(claims.user, conn_user(conn))) err = ERR_TOKEN_INVALID;
    if (err != ERR_OK) {
        conn_end(shard, conn, err == ERR_TOKEN_EXPIRED ? CLOSE_EXPIRED : CLOSE_INVALID_TOKEN);
        return ERR_OK;
    }
    conn->expires_s = expiry_of(shard, &claims);
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
