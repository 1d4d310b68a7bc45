/*
 * dispatch: one message's commands.
 */
#include "shards/cmd/dispatch.h"

#include "core/check.h"
#include "core/limits.h"
#include "core/log.h"
#include "shards/rpc/rpc.h"
#include "shards/shard.h"

/* The answer to a ping; one that nobody asked for breaks the protocol. */
static enum err cmd_pong(struct shard *shard, struct conn *conn, const struct cmd *cmd)
{
    (void)cmd;
    if (!(conn->flags & CONN_PINGED) || conn->flags & CONN_FRAME_PINGS)
        conn_end(shard, conn, CLOSE_BAD_REQUEST);
    else
        conn->flags &= ~(uint32_t)CONN_PINGED;
    return ERR_OK;
}

/* The command ping is known and off. */
static enum err cmd_unavailable(struct shard *shard, struct conn *conn, const struct cmd *cmd)
{
    (void)shard;
    (void)conn;
    (void)cmd;
    return ERR_NOT_AVAILABLE;
}

/* `send` has no reply, so that nothing takes it must be told by the close. */
static enum err cmd_send(struct shard *shard, struct conn *conn, const struct cmd *cmd)
{
    (void)cmd;
    conn_end(shard, conn, CLOSE_NOT_AVAILABLE);
    return ERR_OK;
}

typedef enum err (*cmd_fn)(struct shard *shard, struct conn *conn, const struct cmd *cmd);

static const cmd_fn handlers[CMD_COUNT] = {
    [CMD_PONG] = cmd_pong,
    [CMD_CONNECT] = cmd_connect,
    [CMD_SUBSCRIBE] = cmd_subscribe,
    [CMD_UNSUBSCRIBE] = cmd_unsubscribe,
    [CMD_PUBLISH] = cmd_publish,
    [CMD_PRESENCE] = cmd_presence,
    [CMD_PRESENCE_STATS] = cmd_presence_stats,
    [CMD_HISTORY] = cmd_history,
    [CMD_PING] = cmd_unavailable,
    [CMD_RPC] = rpc_on_cmd,
    [CMD_SEND] = cmd_send,
    [CMD_REFRESH] = cmd_refresh,
    [CMD_SUB_REFRESH] = cmd_sub_refresh,
};

/* Rules that hold before any handler: connect goes first and once, every command
 * that wants a reply has an id. */
static bool is_in_order(const struct conn *conn, const struct cmd *cmd)
{
    if (cmd->kind == CMD_PONG) return conn->flags & CONN_CONNECTED;
    if (cmd->id == 0 && cmd->kind != CMD_SEND) return false;
    if (conn->flags & CONN_CONNECT_FAILED) return false;
    return (cmd->kind == CMD_CONNECT) == !(conn->flags & CONN_CONNECTED);
}

/* client.command_rate_limit, a second's worth at once.  A pong answers us and is
 * free; `send` has no reply, so that it is too fast must be told by the close. */
static enum err check_rate(struct shard *shard, struct conn *conn, const struct cmd *cmd,
                           struct bucket **bucket)
{
    uint32_t limit = shard->config->client_command_rate_limit;
    *bucket = NULL;
    if (limit == 0 || cmd->kind == CMD_PONG) return ERR_OK;
    *bucket = &shard->command_rates[conn_index(shard, conn)];
    struct bucket_rate rate = {limit, limit};
    if (bucket_wait_ms(*bucket, &rate, clock_turn_ms(&shard->clock), 1) == 0) return ERR_OK;
    metric_add(&shard->metrics, METRIC_COMMANDS_LIMITED, 1);
    *bucket = NULL;
    if (cmd->kind == CMD_SEND) conn_end(shard, conn, CLOSE_TOO_FAST);
    return ERR_TOO_FAST;
}

/* What only asks is answered from what the commands before it did, so it waits until
 * they are answered: a publication is in the history of the same frame.  Questions do
 * not wait for one another. */
static bool is_too_early(const struct conn *conn, const struct cmd *cmd)
{
    check(conn->calls_count >= conn->questions_count);
    if (cmd->kind != CMD_HISTORY && cmd->kind != CMD_PRESENCE && cmd->kind != CMD_PRESENCE_STATS)
        return false;
    return conn->calls_count > conn->questions_count || conn->questions_count == UINT8_MAX;
}

/* Runs one command; what must wait is not yet paid for. */
static enum err run(struct shard *shard, struct conn *conn, const struct cmd *cmd)
{
    if (is_too_early(conn, cmd)) return ERR_CREDIT_SPENT;
    struct bucket *bucket;
    TRY(check_rate(shard, conn, cmd, &bucket));
    enum err err = handlers[cmd->kind](shard, conn, cmd);
    if (bucket == NULL || err == ERR_CREDIT_SPENT || err == ERR_KEY_UNKNOWN) return err;
    struct bucket_rate rate = {shard->config->client_command_rate_limit,
                               shard->config->client_command_rate_limit};
    bool is_taken = bucket_take(bucket, &rate, clock_turn_ms(&shard->clock), 1);
    check(is_taken);
    return err;
}

enum dispatch dispatch_message(struct shard *shard, struct conn *conn, struct reader *frame,
                               bool is_first)
{
    const struct codec *codec = codec_of((enum wire)conn->wire);
    check(codec != NULL);
    if (is_first) conn->commands = 0;
    bool has_run = false;
    for (; conn->state == CONN_WS; conn->commands++) {
        /* What stands behind a connect command under way waits for its reply. */
        if (conn->flags & CONN_CONNECTING && frame->left > 0) return DISPATCH_WAIT;
        if (shard_share_is_spent(shard) && frame->left > 0) return DISPATCH_YIELD;
        struct reader before = *frame;
        struct cmd cmd;
        enum err err = codec->next(frame, conn->commands == 0, &shard->arena, &cmd);
        if (err == ERR_END) break;
        if (err != ERR_OK || conn->commands == COMMANDS_PER_FRAME_MAX || !is_in_order(conn, &cmd)) {
            conn_end(shard, conn, CLOSE_BAD_REQUEST);
            break;
        }
        metric_add(&shard->metrics, METRIC_COMMANDS, 1);
        err = run(shard, conn, &cmd);
        if (err == ERR_CREDIT_SPENT || err == ERR_KEY_UNKNOWN) {
            *frame = before;
            if (err == ERR_KEY_UNKNOWN) return DISPATCH_WAIT_KEYS;
            return has_run ? DISPATCH_YIELD : DISPATCH_WAIT;
        }
        has_run = true;
        shard->share_used++;
        if (err != ERR_OK) {
            log_debug("command refused kind=%s err=%s", cmd_name(cmd.kind), err_name(err));
            conn_reply_error(shard, conn, cmd.id, err);
        }
    }
    return DISPATCH_DONE;
}
