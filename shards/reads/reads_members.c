/*
 * reads_members: a channel's members over HTTP.
 *
 * PUT {users} is the whole list, POST {users} adds, DELETE {users} removes; a user of a POST
 * may be {"user","joined","read"}, an import.  GET ?limit=&after= → a page of them.
 */
#include "shards/api/api_parts.h"
#include "shards/letter_members.h"
#include "shards/reads/reads_parts.h"

static enum err members_change(const struct reads_ask *ask, enum members_kind kind)
{
    struct shard *shard = ask->shard;
    struct api_members members;
    TRY(api_parse_members(ask->request->body, kind == MEMBERS_ADD, &shard->arena, &members));
    struct letter_members question = {
        .channel = ask->channel,
        .kind = (uint8_t)kind,
        .users = members.users,
        .joins = members.joins,
        .count = members.users_count,
    };
    struct call *call;
    TRY(reads_call(ask, reads_on_done, &call, &question.call));
    call_post(shard, letter_pack_members(shard->post, call->to, &question));
    return ERR_OK;
}

enum err reads_members_put(const struct reads_ask *ask)
{
    return members_change(ask, MEMBERS_SET);
}

enum err reads_members_post(const struct reads_ask *ask)
{
    return members_change(ask, MEMBERS_ADD);
}

enum err reads_members_delete(const struct reads_ask *ask)
{
    return members_change(ask, MEMBERS_REMOVE);
}

static void on_list(struct shard *shard, struct call *call, struct conn *conn,
                    const struct answer *answer)
{
    if (!reads_is_answered(shard, call, conn, answer)) return;
    struct json_out out = {0};
    api_write_members(&out, answer);
    reads_reply(shard, call, conn, &out);
}

enum err reads_members_list(const struct reads_ask *ask)
{
    struct letter_members_list question = {.channel = ask->channel};
    TRY(reads_query_page(ask, &question.limit, &question.after));
    struct call *call;
    TRY(reads_call(ask, on_list, &call, &question.call));
    call_post(ask->shard, letter_pack_members_list(ask->shard->post, call->to, &question));
    return ERR_OK;
}
