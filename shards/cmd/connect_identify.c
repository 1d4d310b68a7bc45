/*
 * connect_identify: tokens, and clients without one.
 */
#include "shards/cmd/connect_identify.h"

#include "core/check.h"
#include "core/entropy.h"
#include "proto/jwt.h"
#include "shards/cmd/connecting.h"
#include "shards/shard.h"
#include "shards/token/token.h"

/* A random UUID, version 4 (RFC 9562 section 5.4). */
static void make_client_id(uint8_t id[16])
{
    entropy_fill(id, 16);
    id[6] = (uint8_t)((id[6] & 0x0f) | 0x40);
    id[8] = (uint8_t)((id[8] & 0x3f) | 0x80);
}

enum err identify_token(struct shard *shard, struct bytes token, struct jwt_claims *claims)
{
    *claims = (struct jwt_claims){0};
    const struct config *config = shard->config;
    if (token.size == 0) {
        bool is_open =
            config->client_insecure || config->client_allow_anonymous_connect_without_token;
        return is_open ? ERR_OK : ERR_UNAUTHORIZED;
    }
    enum err err = token_verify(shard, JWT_CONNECTION, token, claims);
    if (err != ERR_TOKEN_EXPIRED) TRY(err);
    /* A subscription token is not a pass, and a newer one would be none. */
    if (claims->has_channel) return ERR_TOKEN_INVALID;
    /* In insecure mode a good signature is enough. */
    if (!config->client_insecure) TRY(err);
    bool is_nobody = claims->user.size == 0;
    return is_nobody && config->client_disallow_anonymous_connection_tokens ? ERR_DENIED : ERR_OK;
}

enum err identify_expiry(const struct shard *shard, const struct jwt_claims *claims,
                         uint32_t *expires_s)
{
    *expires_s = 0;
    return shard->config->client_insecure ? ERR_OK : token_expiry(shard, claims, expires_s);
}

/* The token's subscriptions, for as long as the connect is under way. */
static void keep_subs(struct connecting *connecting, const struct jwt_claims *claims)
{
    if (claims->subs_count == 0) return;
    struct jwt_sub *subs = connecting_alloc(connecting, claims->subs_count * sizeof *subs);
    for (uint32_t i = 0; i < claims->subs_count; i++) {
        subs[i] = claims->subs[i];
        subs[i].channel = connecting_keep(connecting, subs[i].channel);
        subs[i].info.bytes = connecting_keep(connecting, subs[i].info.bytes);
        subs[i].data.bytes = connecting_keep(connecting, subs[i].data.bytes);
    }
    connecting->token_subs = subs;
    connecting->token_subs_count = claims->subs_count;
}

static enum connect_step refuse(struct shard *shard, struct conn *conn, enum err err)
{
    /* Answered, so that SDKs come back with a new token, or with this one. */
    if (err == ERR_TOKEN_EXPIRED || err == ERR_KEYS_DOWN || err == ERR_EXPIRED)
        connecting_fail(shard, conn, err);
    else
        conn_end(shard, conn,
                 err == ERR_UNAUTHORIZED ? CLOSE_BAD_REQUEST
                 : err == ERR_DENIED     ? CLOSE_DENIED
                                         : CLOSE_INVALID_TOKEN);
    return CONNECT_OVER;
}

enum connect_step connect_identify(struct shard *shard, struct conn *conn)
{
    struct jwt_claims claims;
    struct connecting *connecting = conn->connecting;
    bool has_token = connecting->request.token.size > 0;
    /* A proxy in front of us has named the user in the upgrade; a token wins. */
    if (!has_token && conn->user_size > 0) {
        make_client_id(conn->client);
        return CONNECT_DONE;
    }
    enum err err = identify_token(shard, connecting->request.token, &claims);
    if (err == ERR_CREDIT_SPENT) return CONNECT_CREDIT;
    if (err == ERR_KEY_UNKNOWN) {
        token_park(shard, conn);
        return CONNECT_WAITS;
    }
    if (err == ERR_OK) err = identify_expiry(shard, &claims, &connecting->expires_s);
    if (err != ERR_OK) return refuse(shard, conn, err);
    make_client_id(conn->client);
    conn_forget_user(shard, conn);
    /* Bytes that are no JSON cannot stand in a JSON frame. */
    conn_set_user(shard, conn, claims.user, claims.info.is_opaque ? BYTES_NONE : claims.info.bytes);
    keep_subs(connecting, &claims);
    return CONNECT_DONE;
}
