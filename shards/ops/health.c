/*
 * health: can this node serve, and if not, why.
 *
 * Red exactly when some client would feel it: a shard whose store cannot make
 * appends durable, token keys that cannot be had, a shard too busy to be asked, a
 * node that is leaving.
 */
#include "shards/ops/health.h"

#include "core/check.h"
#include "shards/json_out.h"
#include "shards/ops/survey.h"
#include "shards/shard.h"
#include "shards/token/token.h"

#define JSON_TYPE  "application/json"
#define PLAIN_TYPE "text/plain; charset=utf-8"
#define NO_STORE   "Cache-Control: no-store\r\n"

static void member_u64(struct json_out *out, const char *name, uint64_t value)
{
    json_out_key(out, name);
    json_out_u64(out, value);
}

static void member_bool(struct json_out *out, const char *name, bool value)
{
    json_out_key(out, name);
    json_out_bool(out, value);
}

/* The servers behind the store as this shard sees them. */
static void write_servers(struct json_out *out, const struct store_health *health)
{
    json_out_key(out, "servers");
    json_out_array(out);
    for (uint32_t i = 0; i < health->servers_count; i++) {
        const struct store_server *server = &health->servers[i];
        check(server->address != NULL && server->role != NULL);
        json_out_object(out);
        json_out_member_text(out, "address", bytes_of_text(server->address));
        json_out_member_text(out, "role", bytes_of_text(server->role));
        member_bool(out, "ok", server->problem == NULL);
        if (server->problem != NULL)
            json_out_member_text(out, "detail", bytes_of_text(server->problem));
        json_out_object_end(out);
    }
    json_out_array_end(out);
}

/* The store as the whole node feels it: the worst of its shards. */
static bool write_store(struct json_out *out, const struct shard *shard,
                        const struct survey *survey)
{
    bool is_ok = true;
    const char *detail = "";
    uint64_t latency_us = 0, lag_bytes = 0;
    for (uint32_t i = 0; i < survey->shards_count; i++) {
        const struct survey_shard *one = &survey->shards[i];
        if (!one->has_answered) continue;
        latency_us = max_u64(latency_us, one->store_latency_us);
        lag_bytes += one->store_lag_bytes;
        /* The first sentence about trouble is shown, else the first of all. */
        if (*detail == '\0' || (is_ok && !one->store_ok)) detail = one->store_detail;
        is_ok = is_ok && one->store_ok;
    }
    struct store_health health = {0};
    store_health(shard->store, &health);
    json_out_key(out, "store");
    json_out_object(out);
    member_bool(out, "ok", is_ok);
    json_out_member_text(out, "engine", bytes_of_text(shard->store->engine->name));
    json_out_member_text(out, "detail", bytes_of_text(detail));
    json_out_member_text(out, "durability", bytes_of_text(health.durability));
    member_u64(out, "latency_us", latency_us);
    member_u64(out, "lag_bytes", lag_bytes);
    if (health.servers_count > 0) write_servers(out, &health);
    json_out_object_end(out);
    return is_ok;
}

/* The keys of tokens that are fetched.  Red when no client with such a token could
 * connect: a set that could not be renewed and still serves is told and is not. */
static bool write_keys(struct json_out *out, const struct survey *survey)
{
    static const char *const details[] = {
        [KEYS_NOT_ASKED] = "no token wanted a key yet",
        [KEYS_FINE] = "the last fetch was good",
        [KEYS_OLD] = "the last fetch failed; the keys before it serve",
        [KEYS_DOWN] = "the last fetch failed; clients with tokens of these keys cannot connect",
    };
    uint8_t state = survey->shards[0].keys_state;
    check(state < array_count(details));
    if (state == KEYS_NONE) return true;
    bool is_ok = state != KEYS_DOWN;
    json_out_key(out, "keys");
    json_out_object(out);
    member_bool(out, "ok", is_ok);
    json_out_member_text(out, "detail", bytes_of_text(details[state]));
    member_u64(out, "latency_us", survey->shards[0].keys_latency_us);
    json_out_object_end(out);
    return is_ok;
}

static void write_shards(struct json_out *out, const struct survey *survey)
{
    json_out_key(out, "shards");
    json_out_array(out);
    for (uint32_t i = 0; i < survey->shards_count; i++) {
        const struct survey_shard *one = &survey->shards[i];
        json_out_object(out);
        member_u64(out, "index", i);
        member_bool(out, "ok", one->has_answered && one->store_ok);
        if (one->has_answered) member_u64(out, "num_clients", one->clients);
        if (!one->has_answered)
            json_out_member_text(out, "detail", BYTES_LITERAL("too busy to ask"));
        json_out_object_end(out);
    }
    json_out_array_end(out);
}

static void on_survey(struct shard *shard, struct conn *conn, const struct api_sink *sink,
                      const struct survey *survey)
{
    (void)sink;
    if (conn->state != CONN_HTTP) return;
    struct json_out parts = {0}, out = {0};
    json_out_object(&parts);
    bool store_ok = write_store(&parts, shard, survey);
    bool keys_ok = write_keys(&parts, survey);
    write_shards(&parts, survey);
    json_out_object_end(&parts);

    bool is_ok = store_ok && keys_ok && survey->missing == 0 && !shard->is_draining;
    json_out_object(&out);
    json_out_member_text(&out, "status",
                         bytes_of_text(shard->is_draining ? "draining"
                                       : is_ok            ? "ok"
                                                          : "unhealthy"));
    /* The members of `parts`, without its braces. */
    json_out_raw(&out, bytes_of(parts.at + 1, parts.used - 2));
    json_out_object_end(&out);
    conn_respond(shard, conn, is_ok ? 200 : 503, JSON_TYPE, json_out_bytes(&out), NO_STORE);
    json_out_fini(&parts);
    json_out_fini(&out);
}

void health_on_request(struct shard *shard, struct conn *conn, const struct http_request *request)
{
    check(request->method == HTTP_GET || request->method == HTTP_HEAD);
    if (survey_begin(shard, conn, SURVEY_COUNTERS, NULL, on_survey) == ERR_OK)
        conn_await(shard, conn);
    else
        conn_respond(shard, conn, 503, JSON_TYPE, BYTES_LITERAL("{\"status\":\"busy\"}"), NO_STORE);
}

void health_on_request_simple(struct shard *shard, struct conn *conn,
                              const struct http_request *request)
{
    check(request->method == HTTP_GET || request->method == HTTP_HEAD);
    if (shard->is_draining)
        conn_respond(shard, conn, 503, PLAIN_TYPE, BYTES_LITERAL("draining"), NO_STORE);
    else
        conn_respond(shard, conn, 200, PLAIN_TYPE, BYTES_LITERAL("ok"), NO_STORE);
}
