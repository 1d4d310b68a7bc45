/*
 * api: credentials, dispatch, envelopes.
 */
#include "shards/api/api.h"

#include "core/check.h"
#include "core/crypt.h"
#include "proto/outcome.h"
#include "shards/api/api_parts.h"
#include "shards/home.h"
#include "shards/shard.h"

#define JSON_TYPE  "application/json"
#define PLAIN_TYPE "text/plain; charset=utf-8"

static const struct {
    const char *path;
    api_fn handler;
} methods[] = {
#define API(path, handler) {path, handler},
#include "shards/api/api.def"
#undef API
};

/* --- credentials ------------------------------------------------------------------ */

/* "apikey KEY", the scheme in any case; BYTES_NONE for anything else. */
static struct bytes key_of_authorization(struct bytes value)
{
    size_t scheme = sizeof("apikey") - 1;
    if (value.size <= scheme + 1 || value.at[scheme] != ' ') return BYTES_NONE;
    if (!bytes_equal_nocase(bytes_of(value.at, scheme), BYTES_LITERAL("apikey"))) return BYTES_NONE;
    return bytes_of(value.at + scheme + 1, value.size - scheme - 1);
}

/* Centrifugo's order: a key in X-API-Key keeps Authorization from being looked
 * at, the query may always speak. */
bool api_is_allowed(const struct config *config, const struct http_request *request)
{
    if (config->http_api_insecure) return true;
    struct bytes key = bytes_of_text(config->http_api_key);
    if (key.size == 0) return false;
    struct bytes given = http_header(request, "X-API-Key");
    if (given.size == 0) given = key_of_authorization(http_header(request, "Authorization"));
    if (given.size > 0 && crypt_equal(given, key)) return true;
    char query[1024];
    return http_query(request, "api_key", query, sizeof query) &&
           crypt_equal(bytes_of_text(query), key);
}

/* --- envelopes -------------------------------------------------------------------- */

static void observe(struct shard *shard, const struct api_sink *sink)
{
    metric_observe(&shard->metrics, FAMILY_API_SECONDS, shard->clock.mono_ns - sink->began_ns);
}

void api_reply(struct shard *shard, struct conn *conn, const struct api_sink *sink,
               struct bytes result)
{
    check(result.size > 0);
    if (sink->batch != NULL) {
        api_batch_answer(shard, conn, sink, ERR_OK, result);
        return;
    }
    if (conn->state != CONN_HTTP) return;
    observe(shard, sink);
    struct json_out out = {0};
    json_out_object(&out);
    json_out_key(&out, "result");
    json_out_raw(&out, result);
    json_out_object_end(&out);
    conn_respond(shard, conn, 200, JSON_TYPE, json_out_bytes(&out), NULL);
    json_out_fini(&out);
}

/* Here 104 speaks of whatever a path or a command names. */
#define NOT_FOUND_TEXT "not found"

static void write_code(struct json_out *out, enum err err)
{
    const struct outcome *outcome = outcome_of(err);
    const char *text = err == ERR_NOT_FOUND ? NOT_FOUND_TEXT : outcome->text;
    json_out_object(out);
    json_out_member_u64(out, "code", outcome->code);
    json_out_member_text(out, "message", bytes_of_text(text));
    json_out_object_end(out);
}

void api_write_error(struct json_out *out, enum err err)
{
    json_out_key(out, "error");
    write_code(out, err);
}

void api_write_published(struct json_out *out, const struct answer *answer)
{
    if (answer->err != ERR_OK) {
        api_write_error(out, answer->err);
        return;
    }
    json_out_key(out, "result");
    json_out_object(out);
    json_out_member_u64(out, "offset", answer->offset);
    if (answer->offset > 0) json_out_member_text(out, "epoch", answer->epoch);
    json_out_object_end(out);
}

void api_fail(struct shard *shard, struct conn *conn, const struct api_sink *sink, enum err err)
{
    check(err != ERR_OK);
    metric_add_code(&shard->metrics, FAMILY_API_ERRORS, outcome_of(err)->code);
    if (sink->batch != NULL) {
        api_batch_answer(shard, conn, sink, err, BYTES_NONE);
        return;
    }
    if (conn->state != CONN_HTTP) return;
    observe(shard, sink);
    const struct outcome *outcome = outcome_of(err);
    struct json_out out = {0};
    if (sink->is_transport) {
        write_code(&out, err);
    } else {
        json_out_object(&out);
        api_write_error(&out, err);
        json_out_object_end(&out);
    }
    /* What a proxy or a client library must see without reading the body: come back later,
     * and a path that leads nowhere. */
    bool is_status =
        sink->is_transport || sink->is_nowhere || err == ERR_CREDIT_SPENT || err == ERR_DRAINING;
    conn_respond(shard, conn, is_status ? outcome->http : 200, JSON_TYPE, json_out_bytes(&out),
                 outcome->http == 503 && is_status ? "Retry-After: 1\r\n" : NULL);
    json_out_fini(&out);
}

/* --- dispatch --------------------------------------------------------------------- */

enum err api_call_to(const struct api *api, uint32_t to, call_fn on_answer, struct call **call,
                     struct handle *handle)
{
    TRY(call_begin(api->shard, api->conn, to, on_answer, call, handle));
    (*call)->sink = api->sink;
    if (!(api->conn->flags & CONN_PAUSED)) conn_await(api->shard, api->conn);
    return ERR_OK;
}

enum err api_call(const struct api *api, struct bytes channel, call_fn on_answer,
                  struct call **call, struct handle *handle)
{
    uint32_t home = home_of_channel(channel, api->shard->shards_count);
    return api_call_to(api, home, on_answer, call, handle);
}

/* What follows the prefix and its slash. */
static struct bytes method_of(const struct shard *shard, const struct http_request *request)
{
    size_t skip = strlen(shard->config->http_api_handler_prefix) + 1;
    check(request->path.size > skip);
    return bytes_of(request->path.at + skip, request->path.size - skip);
}

const char *api_method_name(struct bytes name)
{
    for (size_t i = 0; i < array_count(methods); i++)
        if (bytes_equal_text(name, methods[i].path)) return methods[i].path;
    return NULL;
}

enum err api_run(const struct api *api, struct bytes name)
{
    metric_add(&api->shard->metrics, METRIC_API_CALLS, 1);
    if (api->shard->is_draining) return ERR_DRAINING;
    for (size_t i = 0; i < array_count(methods); i++) {
        if (!bytes_equal_text(name, methods[i].path)) continue;
        return methods[i].handler == NULL ? ERR_NOT_AVAILABLE : methods[i].handler(api);
    }
    return ERR_NOT_FOUND;
}

/* A body that cannot be read. */
static void refuse_body(struct shard *shard, struct conn *conn, enum err err)
{
    const char *text = err == ERR_BAD_JSON
                           ? "the JSON is malformed, or a value is of another type than it may be"
                           : err_text(err);
    metric_add(&shard->metrics, METRIC_API_ERRORS_OTHER, 1);
    conn_respond(shard, conn, 400, PLAIN_TYPE, bytes_of_text(text), NULL);
}

void api_on_request(struct shard *shard, struct conn *conn, const struct http_request *request)
{
    check(conn->state == CONN_HTTP);
    if (!api_is_allowed(shard->config, request)) {
        metric_add(&shard->metrics, METRIC_API_CALLS, 1);
        metric_add(&shard->metrics, METRIC_API_ERRORS_OTHER, 1);
        conn_respond(shard, conn, 401, NULL, BYTES_NONE, NULL);
        return;
    }
    struct api api = {
        .shard = shard,
        .conn = conn,
        .body = request->body,
        .sink.began_ns = shard->clock.mono_ns,
        .sink.is_transport = shard->config->http_api_error_mode == CONFIG_ERROR_TRANSPORT ||
                             bytes_equal_nocase(http_header(request, "X-Centrifugo-Error-Mode"),
                                                BYTES_LITERAL("transport")),
    };
    struct bytes method = method_of(shard, request);
    api.sink.is_nowhere = api_method_name(method) == NULL;
    enum err err = api_run(&api, method);
    if (err == ERR_OK) return;
    if (err_class_of(err) == ERR_CLASS_PEER)
        refuse_body(shard, conn, err);
    else
        api_fail(shard, conn, &api.sink, err);
}
