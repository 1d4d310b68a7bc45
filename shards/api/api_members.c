/*
 * api_members: who belongs to a channel.
 *
 * members_set     {"channel","users":["user", …]} → {}: the whole list.  Who is in it and was
 *                 not joins at the next offset; who was and is not leaves, with the cursor; an
 *                 empty list makes a channel without members.
 * members_add     {"channel","users":["user", …]} → {}: who is a member stays as it is.
 * members_remove  {"channel","users":["user", …]} → {}
 * members_import  {"channel","users":[{"user","joined","read"}, …]} → {}: joined, the first
 *                 offset meant for the user (0 or absent: the next one), and how far it is read.
 * members         {"channel","limit","after"} → {"users":[{"user","joined","read","delivered",
 *                 "hidden"}, …],"total","next"}: a page of at most 1,000; next is absent behind
 *                 the last one.
 *
 * Up to MEMBERS_MAX users in one call; "members" is another name of "users".
 */
#include "core/check.h"
#include "shards/api/api_parts.h"
#include "shards/cmd/rules.h"
#include "shards/letter_members.h"
#include "shards/shard.h"

static void on_changed(struct shard *shard, struct call *call, struct conn *conn,
                       const struct answer *answer)
{
    check(conn != NULL);
    if (answer->err != ERR_OK)
        api_fail(shard, conn, &call->sink, answer->err);
    else
        api_reply(shard, conn, &call->sink, BYTES_LITERAL("{}"));
}

static enum err members_change(const struct api *api, enum members_kind kind, bool is_import)
{
    struct shard *shard = api->shard;
    struct api_members members;
    TRY(api_parse_members(api->body, is_import, &shard->arena, &members));
    const struct config_namespace *options;
    TRY(rules_space(shard, members.channel, &options));

    struct letter_members question = {
        .channel = members.channel,
        .kind = (uint8_t)kind,
        .users = members.users,
        .joins = members.joins,
        .count = members.users_count,
    };
    struct call *call;
    TRY(api_call(api, members.channel, on_changed, &call, &question.call));
    call_post(shard, letter_pack_members(shard->post, call->to, &question));
    return ERR_OK;
}

enum err api_members_set(const struct api *api)
{
    return members_change(api, MEMBERS_SET, false);
}

enum err api_members_add(const struct api *api)
{
    return members_change(api, MEMBERS_ADD, false);
}

enum err api_members_remove(const struct api *api)
{
    return members_change(api, MEMBERS_REMOVE, false);
}

enum err api_members_import(const struct api *api)
{
    return members_change(api, MEMBERS_ADD, true);
}

/* --- the list --------------------------------------------------------------------- */

void api_write_members(struct json_out *out, const struct answer *answer)
{
    json_out_object(out);
    json_out_key(out, "users");
    json_out_array(out);
    for (uint32_t i = 0; i < answer->members_count; i++) {
        const struct cursor_member *member = &answer->members[i];
        json_out_object(out);
        json_out_key(out, "user");
        json_out_text(out, member->user);
        json_out_key(out, "joined");
        json_out_u64(out, member->joined);
        json_out_key(out, "read");
        json_out_u64(out, member->read);
        json_out_member_u64(out, "delivered", member->delivered);
        if (member->is_hidden) {
            json_out_key(out, "hidden");
            json_out_bool(out, true);
        }
        json_out_object_end(out);
    }
    json_out_array_end(out);
    json_out_key(out, "total");
    json_out_u64(out, answer->offset);
    json_out_member_u64(out, "next", answer->next_slot);
    json_out_object_end(out);
}

static void on_list(struct shard *shard, struct call *call, struct conn *conn,
                    const struct answer *answer)
{
    if (answer->err != ERR_OK) {
        api_fail(shard, conn, &call->sink, answer->err);
        return;
    }
    struct json_out out = {0};
    api_write_members(&out, answer);
    api_reply(shard, conn, &call->sink, json_out_bytes(&out));
    json_out_fini(&out);
}

enum err api_members(const struct api *api)
{
    struct shard *shard = api->shard;
    struct letter_members_list question;
    TRY(api_parse_members_list(api->body, &shard->arena, &question));
    const struct config_namespace *options;
    TRY(rules_space(shard, question.channel, &options));
    struct call *call;
    TRY(api_call(api, question.channel, on_list, &call, &question.call));
    call_post(shard, letter_pack_members_list(shard->post, call->to, &question));
    return ERR_OK;
}
