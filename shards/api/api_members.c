/*
 * api_members: members_set, the whole member list of a channel.
 *
 * {"channel", "members":["user", …]} → {}.  Who is in the list and was not joins
 * at the next offset; who was and is not leaves, with the cursor.  An empty list
 * makes a channel without members.
 */
#include "core/check.h"
#include "shards/api/api_parts.h"
#include "shards/cmd/rules.h"
#include "shards/shard.h"

static void on_members_set(struct shard *shard, struct call *call, struct conn *conn,
                           const struct answer *answer)
{
    check(conn != NULL);
    if (answer->err != ERR_OK)
        api_fail(shard, conn, &call->sink, answer->err);
    else
        api_reply(shard, conn, &call->sink, BYTES_LITERAL("{}"));
}

enum err api_members_set(const struct api *api)
{
    struct shard *shard = api->shard;
    struct api_members members;
    TRY(api_parse_members(api->body, &shard->arena, &members));
    const struct config_namespace *options;
    TRY(rules_space(shard, members.channel, &options));

    struct letter_members_set question = {
        .channel = members.channel,
        .users = members.users,
        .users_count = members.users_count,
    };
    struct call *call;
    TRY(api_call(api, members.channel, on_members_set, &call, &question.call));
    call_post(shard, letter_pack_members_set(shard->post, call->to, &question));
    return ERR_OK;
}
