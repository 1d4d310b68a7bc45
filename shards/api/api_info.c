/*
 * api_info: info, this node as one entry of `nodes`, and its shards.
 *
 * {} → {"nodes":[{"uid","name","version","num_clients","num_users","num_channels",
 * "num_subs","uptime","shards":[{"index","num_clients","num_channels","num_subs"}]}]}
 *
 * A shard that had no credit to answer with is left out of the sums, and its
 * entry says "missing".
 */
#include "core/check.h"
#include "proto/codec.h"
#include "shards/api/api_parts.h"
#include "shards/node.h"
#include "shards/ops/survey.h"
#include "shards/shard.h"

static void member_always(struct json_out *out, const char *name, uint64_t value)
{
    json_out_key(out, name);
    json_out_u64(out, value);
}

static void write_shards(struct json_out *out, const struct survey *survey)
{
    json_out_key(out, "shards");
    json_out_array(out);
    for (uint32_t i = 0; i < survey->shards_count; i++) {
        const struct survey_shard *shard = &survey->shards[i];
        json_out_object(out);
        member_always(out, "index", i);
        member_always(out, "num_clients", shard->clients);
        member_always(out, "num_channels", shard->channels);
        member_always(out, "num_subs", shard->subscriptions);
        if (!shard->has_answered) {
            json_out_key(out, "missing");
            json_out_bool(out, true);
        }
        json_out_object_end(out);
    }
    json_out_array_end(out);
}

static void write_node(struct json_out *out, const struct shard *shard, const struct survey *survey)
{
    const struct node *node = shard->node;
    uint64_t clients = 0, channels = 0, subscriptions = 0;
    for (uint32_t i = 0; i < survey->shards_count; i++) {
        clients += survey->shards[i].clients;
        channels += survey->shards[i].channels;
        subscriptions += survey->shards[i].subscriptions;
    }
    char uid[37];
    codec_uuid(node->id, uid);
    json_out_object(out);
    json_out_member_text(out, "uid", bytes_of_text(uid));
    json_out_member_text(out, "name", bytes_of_text(node->name));
    json_out_member_text(out, "version", BYTES_LITERAL(SLUICE_VERSION));
    member_always(out, "num_clients", clients);
    member_always(out, "num_users", survey->users);
    member_always(out, "num_channels", channels);
    member_always(out, "num_subs", subscriptions);
    uint64_t now_ms = shard->clock.wall_ms;
    member_always(out, "uptime",
                  now_ms > node->started_ms ? (now_ms - node->started_ms) / 1000 : 0);
    write_shards(out, survey);
    json_out_object_end(out);
}

static void on_survey(struct shard *shard, struct conn *conn, const struct api_sink *sink,
                      const struct survey *survey)
{
    struct json_out out = {0};
    json_out_object(&out);
    json_out_key(&out, "nodes");
    json_out_array(&out);
    write_node(&out, shard, survey);
    json_out_array_end(&out);
    json_out_object_end(&out);
    api_reply(shard, conn, sink, json_out_bytes(&out));
    json_out_fini(&out);
}

enum err api_info(const struct api *api)
{
    TRY(api_parse_nothing(api->body));
    TRY(survey_begin(api->shard, api->conn, SURVEY_WITH_USERS, &api->sink, on_survey));
    if (!(api->conn->flags & CONN_PAUSED)) conn_await(api->shard, api->conn);
    return ERR_OK;
}
