/*
 * cmd_publish: a client publishes.
 *
 * The reply follows durability: the home answers when the store has it.  The
 * publisher's own info travels with the publication; a subscriber that
 * published gets its own push like everybody else.
 */
#include <string.h>

#include "core/check.h"
#include "shards/call.h"
#include "shards/cmd/dispatch.h"
#include "shards/cmd/rules.h"
#include "shards/cmd/subscription.h"
#include "shards/home.h"
#include "shards/shard.h"

static void on_published(struct shard *shard, struct call *call, struct conn *conn,
                         const struct answer *answer)
{
    check(conn != NULL);
    if (conn->state != CONN_WS) return;
    if (answer->err != ERR_OK) {
        conn_reply_error(shard, conn, call->id, answer->err);
        return;
    }
    struct reply reply = {.id = call->id, .kind = CMD_PUBLISH};
    conn_reply(shard, conn, &reply);
}

enum err cmd_publish(struct shard *shard, struct conn *conn, const struct cmd *cmd)
{
    check(cmd->kind == CMD_PUBLISH);
    struct bytes channel = cmd->publish.channel;
    if (channel.size == 0) {
        conn_end(shard, conn, CLOSE_BAD_REQUEST);
        return ERR_OK;
    }
    const struct config_namespace *options;
    TRY(rules_channel(shard, channel, &options));
    if (cmd->publish.type != 0) return ERR_BAD_REQUEST; /* streams only */
    bool is_opaque;
    TRY(rules_data(cmd->publish.data, !cmd->publish.is_opaque, options, &is_opaque));
    TRY(rules_may_publish(shard, conn, channel, options));

    struct call *call;
    struct letter_publish question = {.channel = channel};
    uint32_t home = home_of_channel(channel, shard->shards_count);
    TRY(call_begin(shard, conn, home, on_published, &call, &question.call));
    call->id = cmd->id;
    question.publication = (struct publication){
        .data = cmd->publish.data,
        .is_opaque = is_opaque,
        .has_info = true,
        .user = conn_user(conn),
        .conn_info = conn_info(shard, conn),
        .chan_info = subscription_info_of(shard, conn, channel),
    };
    memcpy(question.publication.client, conn->client, sizeof conn->client);
    channel_publish(shard, home, &question);
    return ERR_OK;
}
