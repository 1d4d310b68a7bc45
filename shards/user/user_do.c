/*
 * user_do: disconnect, subscribe, unsubscribe, refresh, message.
 */
#include "shards/user/user_do.h"

#include "core/check.h"
#include "core/log.h"
#include "shards/call.h"
#include "shards/cmd/connecting.h"
#include "shards/cmd/subscription.h"
#include "shards/shard.h"
#include "shards/user/act.h"

static bool is_addressed(const struct conn *conn, const struct act *act)
{
    if (act->client.size > 0) return memcmp(act->client.at, conn->client, 16) == 0;
    for (size_t at = 0; at < act->whitelist.size; at += 16)
        if (memcmp(act->whitelist.at + at, conn->client, 16) == 0) return false;
    return true;
}

static void disconnect(struct shard *shard, struct conn *conn, const struct act *act)
{
    conn_end_with(shard, conn, act->code, act->reason);
}

/* An end that has come already: there is nothing to wait for. */
static bool is_past(const struct shard *shard, const struct act *act)
{
    return act->expires_s != 0 && act->expires_s <= shard->clock.wall_ms / 1000;
}

static void refresh(struct shard *shard, struct conn *conn, const struct act *act)
{
    if (act->is_expired || is_past(shard, act)) {
        conn_end(shard, conn, CLOSE_EXPIRED);
        return;
    }
    if (act->has_info) conn_set_user(shard, conn, conn_user(conn), act->info.bytes);
    if (conn->flags & CONN_CONNECTING) {
        conn->connecting->expires_s = act->expires_s;
        return;
    }
    conn->expires_s = act->expires_s;
    conn_schedule(shard, conn);
}

/* No right of the user is asked for: the backend decides.  The client is told by a
 * Subscribe push once the channel's home has answered. */
static void subscribe(struct shard *shard, struct conn *conn, const struct act *act)
{
    const struct config_namespace *space = config_namespace_of(shard->config, act->channel);
    if (space == NULL) return; /* a reload took it away meanwhile */
    if (is_past(shard, act)) return;
    struct subscription_ask ask = {
        .channel = act->channel,
        .recover = act->recovers,
        .offset = act->offset,
        .epoch = act->epoch,
    };
    options_of_namespace(space, &ask.options);
    options_override(&ask.options, &act->override);
    options_say(&ask.options, conn, &act->info, &act->data);
    ask.options.expires_s = act->expires_s;
    enum err err = subscription_serve(shard, conn, &ask);
    if (err != ERR_OK) log_debug("server-side subscription refused err=%s", err_name(err));
}

static void message(struct shard *shard, struct conn *conn, const struct act *act)
{
    struct push push = {.kind = PUSH_MESSAGE, .message.data = act->data.bytes};
    conn_send_push(shard, conn, &push);
}

static void act_on(struct shard *shard, struct conn *conn, const struct act *act)
{
    switch ((enum act_verb)act->verb) {
    case ACT_DISCONNECT: disconnect(shard, conn, act); return;
    case ACT_REFRESH: refresh(shard, conn, act); return;
    case ACT_SUBSCRIBE: subscribe(shard, conn, act); return;
    case ACT_UNSUBSCRIBE:
        (void)subscription_unsubscribe(shard, conn, act->channel, UNSUBSCRIBE_SERVER);
        return;
    case ACT_MESSAGE: message(shard, conn, act); return;
    case ACT_VERB_COUNT: break;
    }
    impossible("there is no other verb");
}

/* Anonymous clients are registered nowhere, so they are looked for. */
static void act_on_anonymous(struct shard *shard, const struct act *act)
{
    for (uint32_t i = 0; i < shard->conns.touched; i++) {
        struct conn *conn = conn_at(shard, i);
        if (conn == NULL || conn->state != CONN_WS || conn->user_size > 0) continue;
        if ((conn->flags & CONN_CONNECTED) && is_addressed(conn, act)) act_on(shard, conn, act);
    }
}

void user_on_do(void *context, struct letter *letter)
{
    struct shard *shard = context;
    struct letter_user_do in;
    letter_read_user_do(letter, &shard->arena, &in);
    metric_add(&shard->metrics, METRIC_MESSAGES_RECEIVED_CONTROL, 1);
    struct act act;
    struct reader reader = reader_of(in.packed);
    act_read(&reader, &act);
    check(!reader.failed && reader.left == 0);

    if (in.is_anonymous) act_on_anonymous(shard, &act);
    for (uint32_t i = 0; i < in.conns_count; i++) {
        struct conn *conn = slab_find(&shard->conns, in.conns[i]);
        if (conn == NULL || conn->state != CONN_WS) continue;
        check(conn->flags & CONN_REGISTERED);
        if (is_addressed(conn, &act)) act_on(shard, conn, &act);
    }
    if (in.call.generation == 0) return;
    struct answer answer = {.call = in.call};
    call_answer(shard, letter, &answer);
}
