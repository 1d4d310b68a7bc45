/*
 * cmd_subscribe: subscribe, unsubscribe, sub_refresh.
 *
 * Centrifuge client protocol, subscribe: checks in Centrifugo's order; the home
 * then makes the subscription live and answers with what was missed.
 */
#include "core/check.h"
#include "proto/jwt.h"
#include "shards/cmd/dispatch.h"
#include "shards/cmd/rules.h"
#include "shards/cmd/subscription.h"
#include "shards/shard.h"

/* A subscription token: expired is 109, unsigned or foreign is 103, one for
 * somebody else or another channel ends the connection (3500). */
static enum err check_token(struct shard *shard, struct conn *conn, struct bytes channel,
                            struct bytes token, uint32_t *expires_s)
{
    struct jwt_claims claims;
    if (shard->token_key == NULL) return ERR_TOKEN_INVALID;
    uint64_t now = shard->clock.wall_ms / 1000;
    TRY(jwt_verify(shard->token_key, token, now, &shard->arena, &claims));
    if (!claims.has_channel) return ERR_TOKEN_INVALID;
    if (!bytes_equal(claims.channel, channel) || !bytes_equal(claims.user, conn_user(conn))) {
        conn_end(shard, conn, CLOSE_INVALID_TOKEN);
        return ERR_OK;
    }
    uint64_t end = claims.has_expire_at ? claims.expire_at : claims.has_exp ? claims.exp : 0;
    *expires_s = (uint32_t)min_u64(end, UINT32_MAX);
    return ERR_OK;
}

static bool is_recoverable(const struct config_namespace *options,
                           const struct cmd_subscribe *request)
{
    if (!config_has_history(options)) return false;
    bool asked_recover = request->recoverable || request->recover;
    if (options->force_recovery || options->force_positioning) return true;
    return options->allow_recovery && (asked_recover || request->positioned);
}

enum err cmd_subscribe(struct shard *shard, struct conn *conn, const struct cmd *cmd)
{
    check(cmd->kind == CMD_SUBSCRIBE);
    const struct cmd_subscribe *request = &cmd->subscribe;
    if (request->channel.size == 0) {
        conn_end(shard, conn, CLOSE_BAD_REQUEST);
        return ERR_OK;
    }
    if (request->channel.size > CHANNEL_NAME_MAX) return ERR_BAD_CHANNEL;
    if (subscription_find(shard, conn, request->channel) != UINT32_MAX)
        return ERR_ALREADY_SUBSCRIBED;
    if (conn->subs_count >= shard->config->client_channel_limit) return ERR_LIMIT_CHANNELS;
    if (request->has_filter) return ERR_BAD_REQUEST;

    const struct config_namespace *options;
    TRY(rules_channel(shard, request->channel, &options));
    if (request->type != 0) return ERR_DENIED; /* streams only */
    struct subscription_ask ask = {
        .id = cmd->id,
        .request = request,
        .is_recoverable = is_recoverable(options, request),
    };
    if (request->token.size > 0)
        TRY(check_token(shard, conn, request->channel, request->token, &ask.expires_s));
    else
        TRY(rules_may_subscribe(shard, conn, request->channel, options));
    if (conn->state != CONN_WS) return ERR_OK;
    return subscription_begin(shard, conn, &ask);
}

/* SDKs reconnect on an error reply, so a channel without a subscription is fine. */
enum err cmd_unsubscribe(struct shard *shard, struct conn *conn, const struct cmd *cmd)
{
    check(cmd->kind == CMD_UNSUBSCRIBE);
    if (cmd->unsubscribe.channel.size == 0) {
        conn_end(shard, conn, CLOSE_BAD_REQUEST);
        return ERR_OK;
    }
    subscription_leave(shard, conn, cmd->unsubscribe.channel);
    struct reply reply = {.id = cmd->id, .kind = CMD_UNSUBSCRIBE};
    conn_reply(shard, conn, &reply);
    return ERR_OK;
}

enum err cmd_sub_refresh(struct shard *shard, struct conn *conn, const struct cmd *cmd)
{
    check(cmd->kind == CMD_SUB_REFRESH);
    uint32_t index = subscription_find(shard, conn, cmd->sub_refresh.channel);
    if (index == UINT32_MAX) return ERR_NOT_SUBSCRIBED;
    if (cmd->sub_refresh.token.size == 0) return ERR_BAD_REQUEST;

    uint32_t expires_s = 0;
    enum err err =
        check_token(shard, conn, cmd->sub_refresh.channel, cmd->sub_refresh.token, &expires_s);
    if (conn->state != CONN_WS) return ERR_OK;
    if (err != ERR_OK) {
        conn_end(shard, conn, err == ERR_TOKEN_EXPIRED ? CLOSE_SUB_EXPIRED : CLOSE_INVALID_TOKEN);
        return ERR_OK;
    }
    struct sub *sub = slab_at(&shard->subs, index);
    sub->expires_s = expires_s;
    uint64_t now = shard->clock.wall_ms / 1000;
    struct reply reply = {
        .id = cmd->id,
        .kind = CMD_SUB_REFRESH,
        .sub_refresh = {.expires = expires_s != 0,
                        .ttl = expires_s > now ? (uint32_t)(expires_s - now) : 0},
    };
    conn_reply(shard, conn, &reply);
    return ERR_OK;
}
