/*
 * cmd_history: a client reads a channel's stored publications.
 *
 * Centrifuge client protocol, history: limit absent or 0 asks for the position
 * only; above the option, or below 0, it is clamped to it.
 */
#include "core/check.h"
#include "shards/call.h"
#include "shards/channel/wire.h"
#include "shards/cmd/dispatch.h"
#include "shards/cmd/rules.h"
#include "shards/home.h"
#include "shards/shard.h"

static void on_history(struct shard *shard, struct call *call, struct conn *conn,
                       const struct answer *answer)
{
    check(conn != NULL);
    if (conn->state != CONN_WS) return;
    if (answer->err != ERR_OK) {
        conn_reply_error(shard, conn, call->id, answer->err);
        return;
    }
    struct wire_publication *publications =
        arena_get(&shard->arena, (answer->publications_count + (size_t)1) * sizeof *publications);
    for (uint32_t i = 0; i < answer->publications_count; i++)
        wire_of_publication(&answer->publications[i], answer->epoch, &publications[i]);
    struct reply reply = {
        .id = call->id,
        .kind = CMD_HISTORY,
        .history = {.publications = publications,
                    .publications_count = answer->publications_count,
                    .epoch = answer->epoch,
                    .offset = answer->offset},
    };
    conn_reply(shard, conn, &reply);
}

enum err cmd_history(struct shard *shard, struct conn *conn, const struct cmd *cmd)
{
    check(cmd->kind == CMD_HISTORY);
    const struct cmd_history *request = &cmd->history;
    if (request->channel.size == 0) {
        conn_end(shard, conn, CLOSE_BAD_REQUEST);
        return ERR_OK;
    }
    const struct config_namespace *options;
    TRY(rules_channel(shard, request->channel, &options));
    TRY(rules_may_read_history(shard, conn, request->channel, options));
    if (request->reverse && request->has_since && request->since_offset == 0)
        return ERR_BAD_REQUEST;

    uint32_t most = shard->config->client_history_max_publications;
    bool is_clamped = request->limit < 0 || (uint32_t)request->limit > most;
    struct call *call;
    struct letter_history question = {
        .channel = request->channel,
        .since = request->has_since ? request->since_offset : 0,
        .since_epoch = request->has_since ? request->since_epoch : BYTES_NONE,
        .limit = is_clamped ? most : (uint32_t)request->limit,
        .is_reverse = request->reverse,
        .user = conn_user(conn),
    };
    uint32_t home = home_of_channel(request->channel, shard->shards_count);
    TRY(call_begin_bulk(shard, conn, home, on_history, &call, &question.call));
    call->id = cmd->id;
    call_is_question(conn, call);
    call_post(shard, letter_pack_history(shard->post, home, &question));
    return ERR_OK;
}
