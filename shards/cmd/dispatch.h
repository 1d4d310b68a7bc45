/*
 * dispatch: the commands of one WebSocket message, in order.
 *
 * A row of cmd.def → its handler.  Handlers answer by themselves or return an
 * error, which becomes the command's error reply; ERR_CREDIT_SPENT and
 * ERR_KEY_UNKNOWN mean that the command and everything after it wait.
 *
 * Thread:  the connection's shard.
 */
#pragma once

#include "core/bytes.h"
#include "core/err.h"

struct shard;
struct conn;
struct cmd;

enum dispatch {
    DISPATCH_DONE, /* everything was handled, or the connection is ending */
    /* Out of credit, too early, or connecting: `frame` stands at the command to try again. */
    DISPATCH_WAIT,
    DISPATCH_YIELD,     /* the same, after some commands: others who wait go before it */
    DISPATCH_WAIT_KEYS, /* the same, until keys of tokens have come */
};

/* `is_first`: `frame` is a whole message, not the rest of one. */
enum dispatch dispatch_message(struct shard *shard, struct conn *conn, struct reader *frame,
                               bool is_first);

/* Handlers, one file each. */
must_use enum err cmd_connect(struct shard *shard, struct conn *conn, const struct cmd *cmd);
must_use enum err cmd_subscribe(struct shard *shard, struct conn *conn, const struct cmd *cmd);
must_use enum err cmd_unsubscribe(struct shard *shard, struct conn *conn, const struct cmd *cmd);
must_use enum err cmd_publish(struct shard *shard, struct conn *conn, const struct cmd *cmd);
must_use enum err cmd_presence(struct shard *shard, struct conn *conn, const struct cmd *cmd);
must_use enum err cmd_presence_stats(struct shard *shard, struct conn *conn, const struct cmd *cmd);
must_use enum err cmd_history(struct shard *shard, struct conn *conn, const struct cmd *cmd);
must_use enum err cmd_refresh(struct shard *shard, struct conn *conn, const struct cmd *cmd);
must_use enum err cmd_sub_refresh(struct shard *shard, struct conn *conn, const struct cmd *cmd);
