/*
 * cmd_presence: a client asks who is subscribed, or how many.
 *
 * Centrifuge client protocol, presence and presence_stats: an unknown namespace
 * is 102, a bad name 107, a channel that lists nobody 108, and only then is it
 * asked whether this client may (103).
 */
#include "core/check.h"
#include "shards/call.h"
#include "shards/cmd/dispatch.h"
#include "shards/cmd/rules.h"
#include "shards/home.h"
#include "shards/shard.h"

static void on_presence(struct shard *shard, struct call *call, struct conn *conn,
                        const struct answer *answer)
{
    check(conn != NULL);
    if (conn->state != CONN_WS) return;
    if (answer->err != ERR_OK) {
        conn_reply_error(shard, conn, call->id, answer->err);
        return;
    }
    struct reply reply = {
        .id = call->id,
        .kind = CMD_PRESENCE,
        .presence = {.infos = answer->infos, .infos_count = answer->infos_count},
    };
    conn_reply(shard, conn, &reply);
}

static void on_stats(struct shard *shard, struct call *call, struct conn *conn,
                     const struct answer *answer)
{
    check(conn != NULL);
    if (conn->state != CONN_WS) return;
    if (answer->err != ERR_OK) {
        conn_reply_error(shard, conn, call->id, answer->err);
        return;
    }
    struct reply reply = {
        .id = call->id,
        .kind = CMD_PRESENCE_STATS,
        .presence_stats = {.clients_count = answer->clients_count,
                           .users_count = answer->users_count},
    };
    conn_reply(shard, conn, &reply);
}

/* What both begin with; ends the connection for an empty name. */
static enum err may_ask(struct shard *shard, struct conn *conn, struct bytes channel)
{
    const struct config_namespace *options;
    if (channel.size == 0) {
        conn_end(shard, conn, CLOSE_BAD_REQUEST);
        return ERR_OK;
    }
    TRY(rules_channel(shard, channel, &options));
    return rules_may_see_presence(shard, conn, channel, options);
}

enum err cmd_presence(struct shard *shard, struct conn *conn, const struct cmd *cmd)
{
    check(cmd->kind == CMD_PRESENCE);
    struct letter_ask question = {.channel = cmd->presence.channel};
    TRY(may_ask(shard, conn, question.channel));
    if (conn->state != CONN_WS) return ERR_OK;
    struct call *call;
    uint32_t home = home_of_channel(question.channel, shard->shards_count);
    TRY(call_begin_bulk(shard, conn, home, on_presence, &call, &question.call));
    call->id = cmd->id;
    call_is_question(conn, call);
    call_post(shard, letter_pack_ask(shard->post, home, LETTER_PRESENCE, &question));
    return ERR_OK;
}

enum err cmd_presence_stats(struct shard *shard, struct conn *conn, const struct cmd *cmd)
{
    check(cmd->kind == CMD_PRESENCE_STATS);
    struct letter_ask question = {.channel = cmd->presence_stats.channel};
    TRY(may_ask(shard, conn, question.channel));
    if (conn->state != CONN_WS) return ERR_OK;
    struct call *call;
    uint32_t home = home_of_channel(question.channel, shard->shards_count);
    TRY(call_begin(shard, conn, home, on_stats, &call, &question.call));
    call->id = cmd->id;
    call_is_question(conn, call);
    call_post(shard, letter_pack_ask(shard->post, home, LETTER_PRESENCE_STATS, &question));
    return ERR_OK;
}
