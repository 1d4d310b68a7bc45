/*
 * api_policy: what members of one channel learn of readers.
 *
 * receipts_policy_set  {"channel","receipts","receipts_opt_out"} → {}: as the namespace's
 *                      options of these names, for this channel alone and for good; what is
 *                      absent or null is as the namespace says.
 * receipts_policy      {"channel"} → {"receipts","receipts_opt_out","own":{…}}: what is in
 *                      force, and what of it is the channel's own.
 */
#include "core/check.h"
#include "proto/json.h"
#include "shards/api/api_parts.h"
#include "shards/cmd/rules.h"
#include "shards/letter_members.h"
#include "shards/policy.h"
#include "shards/shard.h"

static enum err parse_receipts(struct json *json, struct arena *arena, struct letter_policy *out)
{
    struct bytes text = BYTES_NONE;
    if (json_peek(json) == JSON_NULL) {
        json_skip(json);
        return ERR_OK;
    }
    json_text(json, arena, &text);
    for (int i = CONFIG_RECEIPTS_OFF; i <= CONFIG_RECEIPTS_ALL; i++) {
        if (!bytes_equal(text, policy_name((enum config_receipts)i))) continue;
        out->own = policy_with_receipts(out->own, (enum config_receipts)i);
        return ERR_OK;
    }
    return ERR_BAD_REQUEST;
}

enum err api_parse_policy(struct bytes body, struct arena *arena, struct letter_policy *out)
{
    *out = (struct letter_policy){.is_set = true};
    enum err err = ERR_OK;
    struct bytes name;
    struct json json;
    json_open(&json, body);
    if (json_enter_object(&json))
        while (json_key(&json, &name)) {
            bool opt_out = false;
            if (bytes_equal_text(name, "channel")) {
                json_text(&json, arena, &out->channel);
            } else if (bytes_equal_text(name, "receipts")) {
                enum err bad = parse_receipts(&json, arena, out);
                if (err == ERR_OK) err = bad;
            } else if (bytes_equal_text(name, "receipts_opt_out") &&
                       json_peek(&json) != JSON_NULL) {
                json_bool(&json, &opt_out);
                if (json.error == ERR_OK) out->own = policy_with_opt_out(out->own, opt_out);
            } else {
                json_skip(&json);
            }
        }
    TRY(json_close(&json));
    return err;
}

static void write_opt_out(struct json_out *out, bool opt_out)
{
    json_out_key(out, "receipts_opt_out");
    json_out_bool(out, opt_out);
}

void api_write_policy(struct json_out *out, const struct answer *answer)
{
    uint32_t own = (uint32_t)(answer->offset >> 32);
    struct policy now = policy_of((uint32_t)answer->offset, (struct policy){0});
    struct policy says = policy_of(own, now);
    json_out_object(out);
    json_out_member_text(out, "receipts", policy_name(now.receipts));
    write_opt_out(out, now.opt_out);
    json_out_key(out, "own");
    json_out_object(out);
    if (policy_has_receipts(own)) json_out_member_text(out, "receipts", policy_name(says.receipts));
    if (policy_has_opt_out(own)) write_opt_out(out, says.opt_out);
    json_out_object_end(out);
    json_out_object_end(out);
}

static void on_policy(struct shard *shard, struct call *call, struct conn *conn,
                      const struct answer *answer)
{
    if (answer->err != ERR_OK) {
        api_fail(shard, conn, &call->sink, answer->err);
        return;
    }
    struct json_out out = {0};
    api_write_policy(&out, answer);
    api_reply(shard, conn, &call->sink, json_out_bytes(&out));
    json_out_fini(&out);
}

static void on_set(struct shard *shard, struct call *call, struct conn *conn,
                   const struct answer *answer)
{
    if (answer->err != ERR_OK)
        api_fail(shard, conn, &call->sink, answer->err);
    else
        api_reply(shard, conn, &call->sink, BYTES_LITERAL("{}"));
}

static enum err ask(const struct api *api, struct letter_policy *question, call_fn on_answer)
{
    struct shard *shard = api->shard;
    const struct config_namespace *options;
    TRY(rules_space(shard, question->channel, &options));
    if (!config_has_history(options)) return ERR_NOT_AVAILABLE; /* and no receipts */
    struct call *call;
    TRY(api_call(api, question->channel, on_answer, &call, &question->call));
    call_post(shard, letter_pack_policy(shard->post, call->to, question));
    return ERR_OK;
}

enum err api_receipts_policy(const struct api *api)
{
    struct letter_policy question = {.channel = BYTES_NONE};
    TRY(api_parse_text(api->body, "channel", &api->shard->arena, &question.channel));
    return ask(api, &question, on_policy);
}

enum err api_receipts_policy_set(const struct api *api)
{
    struct letter_policy question;
    TRY(api_parse_policy(api->body, &api->shard->arena, &question));
    return ask(api, &question, on_set);
}
