/*
 * api_info: info, an entry of `nodes` for each node, this one first, and its shards.
 *
 * {} → {"nodes":[{"uid","name","version","num_clients","num_users","num_channels",
 * "num_subs","uptime","shards":[{"index","num_clients","num_channels","num_subs"}]}]}
 *
 * A shard that had no credit to answer with is left out of the sums, and its
 * entry says "missing".
 */
#include "core/check.h"
#include "core/mem.h"
#include "proto/codec.h"
#include "shards/api/api_parts.h"
#include "shards/api/fleet.h"
#include "shards/node.h"
#include "shards/ops/survey.h"
#include "shards/shard.h"
#include "storage/peers.h"

static void member_always(struct json_out *out, const char *name, uint64_t value)
{
    json_out_key(out, name);
    json_out_u64(out, value);
}

static void write_shards(struct json_out *out, const struct survey_shard *shards, uint32_t count)
{
    json_out_key(out, "shards");
    json_out_array(out);
    for (uint32_t i = 0; i < count; i++) {
        const struct survey_shard *shard = &shards[i];
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

struct told_node {
    const uint8_t *id;
    struct bytes name, version;
    uint64_t users, uptime_s;
    const struct survey_shard *shards;
    uint32_t shards_count;
};

static void write_node(struct json_out *out, const struct told_node *node)
{
    uint64_t clients = 0, channels = 0, subscriptions = 0;
    for (uint32_t i = 0; i < node->shards_count; i++) {
        clients += node->shards[i].clients;
        channels += node->shards[i].channels;
        subscriptions += node->shards[i].subscriptions;
    }
    char uid[37];
    codec_uuid(node->id, uid);
    json_out_object(out);
    json_out_member_text(out, "uid", bytes_of_text(uid));
    json_out_member_text(out, "name", node->name);
    json_out_member_text(out, "version", node->version);
    member_always(out, "num_clients", clients);
    member_always(out, "num_users", node->users);
    member_always(out, "num_channels", channels);
    member_always(out, "num_subs", subscriptions);
    member_always(out, "uptime", node->uptime_s);
    write_shards(out, node->shards, node->shards_count);
    json_out_object_end(out);
}

/* --- other nodes ------------------------------------------------------------------ */

/* What is to be told of one, from the answers of its shards. */
struct fleet_node {
    struct fleet_info any; /* of any shard */
    struct survey_shard shards[SHARDS_MAX];
    uint64_t users;
};

static void take_shard(struct fleet_node *node, const struct fleet_info *info)
{
    struct survey_shard *shard = &node->shards[info->shard];
    if (shard->has_answered || info->shards_count != node->any.shards_count) return;
    *shard = (struct survey_shard){
        .has_answered = true,
        .clients = info->clients,
        .channels = info->channels,
        .subscriptions = info->subscriptions,
    };
    node->users += info->users;
}

/* All answers of the node that the first one is of; the others stay for another look. */
static void gather_node(struct bytes parts, const struct fleet_info *first, struct fleet_node *node)
{
    struct fleet_info info;
    struct reader reader = reader_of(parts);
    *node = (struct fleet_node){.any = *first};
    while (fleet_info_next(&reader, &info))
        if (bytes_equal(info.id, first->id)) take_shard(node, &info);
}

static bool is_first(struct bytes parts, const struct fleet_info *of)
{
    struct fleet_info info;
    struct reader reader = reader_of(parts);
    while (fleet_info_next(&reader, &info))
        if (bytes_equal(info.id, of->id)) return info.shard == of->shard;
    return false;
}

static void write_others(struct json_out *out, struct bytes parts)
{
    struct fleet_info info;
    struct reader reader = reader_of(parts);
    struct fleet_node *node = mem_alloc(sizeof *node);
    while (fleet_info_next(&reader, &info)) {
        if (!is_first(parts, &info)) continue;
        gather_node(parts, &info, node);
        write_node(out, &(struct told_node){.id = info.id.at,
                                            .name = info.name,
                                            .version = info.version,
                                            .users = node->users,
                                            .uptime_s = info.uptime_s,
                                            .shards = node->shards,
                                            .shards_count = info.shards_count});
    }
    mem_free(node);
}

/* --- this node -------------------------------------------------------------------- */

static struct json_out *begin_list(const struct shard *shard, const struct survey *survey)
{
    const struct node *node = shard->node;
    struct json_out *out = mem_alloc(sizeof *out);
    uint64_t now_ms = shard->clock.wall_ms;
    json_out_object(out);
    json_out_key(out, "nodes");
    json_out_array(out);
    write_node(out,
               &(struct told_node){
                   .id = node->id,
                   .name = bytes_of_text(node->name),
                   .version = BYTES_LITERAL(SLUICE_VERSION),
                   .users = survey->users,
                   .uptime_s = now_ms > node->started_ms ? (now_ms - node->started_ms) / 1000 : 0,
                   .shards = survey->shards,
                   .shards_count = survey->shards_count,
               });
    return out;
}

static void end_list(struct shard *shard, struct conn *conn, const struct api_sink *sink,
                     struct json_out *out)
{
    json_out_array_end(out);
    json_out_object_end(out);
    api_reply(shard, conn, sink, json_out_bytes(out));
    json_out_fini(out);
    mem_free(out);
}

/* A node that did not answer in time is left out, as one that is gone. */
static void on_fleet(struct shard *shard, struct call *call, struct conn *conn,
                     const struct answer *answer)
{
    struct json_out *out = call->context;
    write_others(out, answer->epoch);
    end_list(shard, conn, &call->sink, out);
}

static void on_survey(struct shard *shard, struct conn *conn, const struct api_sink *sink,
                      const struct survey *survey)
{
    struct json_out *out = begin_list(shard, survey);
    if (store_has_peers(shard->store) && conn->state == CONN_HTTP) {
        static const char question[] = {FLEET_INFO};
        struct letter_ask ask = {.channel = bytes_of(question, sizeof question)};
        struct api api = {.shard = shard, .conn = conn, .sink = *sink};
        struct call *call;
        if (api_call_to(&api, shard->index, on_fleet, &call, &ask.call) == ERR_OK) {
            call->context = out;
            call_post(shard, letter_pack_ask(shard->post, shard->index, LETTER_PEERS, &ask));
            return;
        }
    }
    end_list(shard, conn, sink, out);
}

enum err api_info(const struct api *api)
{
    TRY(api_parse_nothing(api->body));
    TRY(survey_begin(api->shard, api->conn, SURVEY_WITH_USERS, &api->sink, on_survey));
    if (!(api->conn->flags & CONN_PAUSED)) conn_await(api->shard, api->conn);
    return ERR_OK;
}
