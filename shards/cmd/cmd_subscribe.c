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
#include "shards/token/token.h"

/* A subscription token: expired is 109, unsigned or foreign is 103, one for
 * somebody else or another channel ends the connection (3500). */
static enum err check_token(struct shard *shard, struct conn *conn, struct bytes channel,
                            struct bytes token, struct jwt_claims *claims)
{
    TRY(token_verify(shard, JWT_SUBSCRIPTION, token, claims));
    if (!claims->has_channel) return ERR_TOKEN_INVALID;
    char client[37];
    codec_uuid(conn->client, client);
    bool is_theirs = bytes_equal(claims->channel, channel) &&
                     bytes_equal(claims->user, conn_user(conn)) &&
                     (claims->client.size == 0 || bytes_equal_text(claims->client, client));
    if (!is_theirs) conn_end(shard, conn, CLOSE_INVALID_TOKEN);
    return ERR_OK;
}

/* What the token grants: the namespace's options, the token's own in their place. */
static enum err options_of_token(struct shard *shard, struct conn *conn,
                                 const struct cmd_subscribe *request, struct sub_options *options)
{
    struct jwt_claims claims;
    TRY(check_token(shard, conn, request->channel, request->token, &claims));
    if (conn->state != CONN_WS) return ERR_OK;
    options_override(options, &claims.override);
    options_say(options, conn, &claims.info, &claims.data);
    return token_expiry(shard, &claims, &options->expires_s);
}

/* What holds before the channel is looked at.  ERR_END: the connection has ended. */
static enum err check_request(struct shard *shard, struct conn *conn,
                              const struct cmd_subscribe *request)
{
    struct bytes delta = request->delta;
    if (request->channel.size == 0) {
        conn_end(shard, conn, CLOSE_BAD_REQUEST);
        return ERR_END;
    }
    if (request->channel.size > CHANNEL_NAME_MAX) return ERR_BAD_CHANNEL;
    if (subscription_find(shard, conn, request->channel) != UINT32_MAX)
        return ERR_ALREADY_SUBSCRIBED;
    TRY(subscription_room(shard, conn));
    if (delta.size > 0 && !bytes_equal_text(delta, "fossil")) {
        conn_end(shard, conn, CLOSE_BAD_REQUEST);
        return ERR_END;
    }
    return request->has_filter ? ERR_BAD_REQUEST : ERR_OK;
}

enum err cmd_subscribe(struct shard *shard, struct conn *conn, const struct cmd *cmd)
{
    check(cmd->kind == CMD_SUBSCRIBE);
    const struct cmd_subscribe *request = &cmd->subscribe;
    enum err err = check_request(shard, conn, request);
    if (err != ERR_OK) return err == ERR_END ? ERR_OK : err;

    const struct config_namespace *space;
    TRY(rules_channel(shard, request->channel, &space));
    if (request->type != 0) return ERR_DENIED; /* streams only */
    struct subscription_ask ask = {
        .id = cmd->id,
        .channel = request->channel,
        .recover = request->recover,
        .reject_unrecovered = request->flag & SUBSCRIBE_FLAG_REJECT_UNRECOVERED,
        .epoch = request->epoch,
        .offset = request->offset,
    };
    options_of_namespace(space, &ask.options);
    if (request->token.size > 0)
        TRY(options_of_token(shard, conn, request, &ask.options));
    else
        TRY(rules_may_subscribe(shard, conn, request->channel, space));
    if (conn->state != CONN_WS) return ERR_OK;
    options_add_wishes(shard, conn, space, request, &ask.options);
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

/* A new token for a subscription.  Of a server-side one the client has none to
 * renew (3501).  A good token whose `expire_at` is past is answered 110. */
enum err cmd_sub_refresh(struct shard *shard, struct conn *conn, const struct cmd *cmd)
{
    check(cmd->kind == CMD_SUB_REFRESH);
    struct bytes channel = cmd->sub_refresh.channel, token = cmd->sub_refresh.token;
    if (channel.size == 0) {
        conn_end(shard, conn, CLOSE_BAD_REQUEST);
        return ERR_OK;
    }
    uint32_t index = subscription_find(shard, conn, channel);
    if (index == UINT32_MAX) return ERR_NOT_SUBSCRIBED;
    const struct sub *sub = slab_at(&shard->subs, index);
    if (sub->flags & SUB_SERVER_SIDE) {
        conn_end(shard, conn, CLOSE_BAD_REQUEST);
        return ERR_OK;
    }
    if (token.size == 0) return ERR_BAD_REQUEST;

    struct jwt_claims claims;
    uint32_t expires_s = 0;
    enum err err = check_token(shard, conn, channel, token, &claims);
    if (conn->state != CONN_WS) return ERR_OK;
    if (err_class_of(err) == ERR_CLASS_BUSY) return err; /* waits, or is to come back */
    if (err != ERR_OK) {
        conn_end(shard, conn, err == ERR_TOKEN_EXPIRED ? CLOSE_SUB_EXPIRED : CLOSE_INVALID_TOKEN);
        return ERR_OK;
    }
    TRY(token_expiry(shard, &claims, &expires_s));
    subscription_set_end(shard, conn, index, expires_s);
    subscription_set_info(shard, index, claims.info.is_opaque ? BYTES_NONE : claims.info.bytes);
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
