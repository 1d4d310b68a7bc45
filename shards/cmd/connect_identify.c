/*
 * connect_identify: tokens, and clients without one.
 */
#include "shards/cmd/connect_identify.h"

#include "core/check.h"
#include "core/entropy.h"
#include "proto/jwt.h"
#include "shards/cmd/connecting.h"
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

enum err identify_token(struct shard *shard, struct bytes token, struct jwt_claims *claims)
{
    *claims = (struct jwt_claims){.has_exp = false};
    if (token.size > 0) {
        if (shard->token_key == NULL) return ERR_TOKEN_INVALID;
        uint64_t now_s = shard->clock.wall_ms / 1000;
        enum err err = jwt_verify(shard->token_key, token, now_s, &shard->arena, claims);
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

/* `expire_at` wins over `exp`. */
uint32_t identify_expiry(const struct shard *shard, const struct jwt_claims *claims)
{
    if (shard->config->client_insecure) return 0;
    uint64_t now = shard->clock.wall_ms / 1000;
    uint64_t end = claims->has_expire_at ? claims->expire_at : claims->has_exp ? claims->exp : 0;
    return end == 0 ? 0 : (uint32_t)min_u64(end, now + EXPIRY_MAX_S);
}

/* Claims live for a turn, a connect may take longer. */
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

enum connect_step connect_identify(struct shard *shard, struct conn *conn)
{
    struct jwt_claims claims;
    enum err err = identify_token(shard, conn->connecting->request.token, &claims);
    if (err == ERR_TOKEN_EXPIRED) {
        connecting_fail(shard, conn, err);
        return CONNECT_OVER;
    }
    if (err != ERR_OK) {
        conn_end(shard, conn, err == ERR_UNAUTHORIZED ? CLOSE_BAD_REQUEST : CLOSE_INVALID_TOKEN);
        return CONNECT_OVER;
    }
    make_client_id(conn->client);
    conn_set_user(conn, claims.user, claims.info.is_opaque ? BYTES_NONE : claims.info.bytes);
    keep_subs(conn->connecting, &claims);
    conn->connecting->expires_s = identify_expiry(shard, &claims);
    return CONNECT_DONE;
}
