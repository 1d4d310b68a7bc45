/*
 * reads: credentials, routes, envelopes.
 */
#include "shards/reads/reads.h"

#include "core/check.h"
#include "proto/outcome.h"
#include "shards/api/api.h"
#include "shards/cmd/rules.h"
#include "shards/home.h"
#include "shards/reads/reads_parts.h"

#define JSON_TYPE "application/json"

static const struct route {
    enum http_method method;
    enum reads_kind kind;
    const char *path;
    reads_fn handler;
} routes[] = {
#define ROUTE(method, path, kind, handler) {method, READS_##kind, path, handler},
#include "shards/reads/route.def"
#undef ROUTE
};

/* --- connections ------------------------------------------------------------------ */

/* They are the gateway's own in everything but what they may ask. */
static void on_accept(void *context, uint32_t sock)
{
    struct shard *shard = context;
    conn_handlers.on_accept(shard, sock);
    conn_at(shard, sock)->flags |= CONN_INDEX;
}

void reads_start(struct shard *shard)
{
    struct sock_handlers handlers = conn_handlers;
    handlers.on_accept = on_accept;
    loop_handle(shard->loop, SOCK_INDEX, &handlers, shard);
    if (shard->index_listener >= 0) loop_listen_as(shard->loop, SOCK_INDEX, shard->index_listener);
}

/* --- envelopes -------------------------------------------------------------------- */

static void observe(struct shard *shard, enum reads_kind kind, uint64_t began_ns)
{
    uint64_t took_ns = shard->clock.mono_ns - began_ns;
    if (kind == READS_CURSOR)
        metric_observe(&shard->metrics, FAMILY_READ_CURSOR_API_MS, took_ns);
    else if (kind == READS_QUERY)
        metric_observe(&shard->metrics, FAMILY_READ_INDEX_QUERY_MS, took_ns);
}

static void error_write(struct json_out *out, enum err err, const char *message)
{
    json_out_object(out);
    json_out_member_text(out, "error", bytes_of_text(err_name(err)));
    json_out_member_u64(out, "code", outcome_of(err)->code);
    json_out_member_text(out, "message", bytes_of_text(message));
    json_out_object_end(out);
}

void reads_fault_write(struct json_out *out, uint16_t status, const char *reason)
{
    error_write(out, status == 413 ? ERR_LIMIT_SIZE : ERR_BAD_REQUEST, reason);
}

static void respond_error(struct shard *shard, struct conn *conn, enum err err, uint16_t status,
                          const char *extra)
{
    check(err != ERR_OK);
    struct json_out out = {0};
    error_write(&out, err, err_text(err));
    conn_respond(shard, conn, status, JSON_TYPE, json_out_bytes(&out), extra);
    json_out_fini(&out);
}

static void refuse(struct shard *shard, struct conn *conn, enum err err)
{
    uint16_t status = outcome_of(err)->http;
    metric_add(&shard->metrics, METRIC_READ_INDEX_ERRORS, 1);
    respond_error(shard, conn, err, status, status == 503 ? "Retry-After: 1\r\n" : NULL);
}

bool reads_is_answered(struct shard *shard, const struct call *call, struct conn *conn,
                       const struct answer *answer)
{
    check(conn != NULL);
    if (answer->err == ERR_OK) return conn->state == CONN_HTTP;
    observe(shard, (enum reads_kind)call->kind, call->began_ns);
    if (conn->state == CONN_HTTP) refuse(shard, conn, answer->err);
    return false;
}

void reads_reply(struct shard *shard, const struct call *call, struct conn *conn,
                 struct json_out *out)
{
    check(conn->state == CONN_HTTP);
    observe(shard, (enum reads_kind)call->kind, call->began_ns);
    conn_respond(shard, conn, 200, JSON_TYPE, json_out_bytes(out), NULL);
    json_out_fini(out);
}

void reads_on_done(struct shard *shard, struct call *call, struct conn *conn,
                   const struct answer *answer)
{
    if (!reads_is_answered(shard, call, conn, answer)) return;
    struct json_out out = {0};
    json_out_object(&out);
    json_out_object_end(&out);
    reads_reply(shard, call, conn, &out);
}

void reads_on_offset(struct shard *shard, struct call *call, struct conn *conn,
                     const struct answer *answer)
{
    if (!reads_is_answered(shard, call, conn, answer)) return;
    struct json_out out = {0};
    json_out_object(&out);
    json_out_key(&out, "offset");
    json_out_u64(&out, answer->offset);
    if (answer->epoch.size > 0) json_out_member_text(&out, "epoch", answer->epoch);
    json_out_object_end(&out);
    reads_reply(shard, call, conn, &out);
}

/* --- routes ----------------------------------------------------------------------- */

/* Takes what stands before the next slash; both without their leading one. */
static struct bytes segment_take(struct bytes *path)
{
    check(path->size > 0 && path->at[0] == '/');
    const uint8_t *at = path->at + 1;
    const uint8_t *slash = memchr(at, '/', path->size - 1);
    size_t size = slash != NULL ? (size_t)(slash - at) : path->size - 1;
    *path = bytes_of(at + size, path->size - 1 - size);
    return bytes_of(at, size);
}

static bool path_matches(struct bytes path, const char *text, struct bytes *id,
                         struct bytes *offset)
{
    struct bytes pattern = bytes_of_text(text);
    while (path.size > 0 && path.at[0] == '/' && pattern.size > 0) {
        struct bytes part = segment_take(&path), wanted = segment_take(&pattern);
        if (bytes_equal_text(wanted, "{id}"))
            *id = part;
        else if (bytes_equal_text(wanted, "{offset}"))
            *offset = part;
        else if (!bytes_equal(part, wanted))
            return false;
    }
    return path.size == 0 && pattern.size == 0;
}

/* The row of a request; NULL: none.  `allow`: the methods that its path has. */
static const struct route *route_find(const struct http_request *request, struct bytes *id,
                                      struct bytes *offset, uint32_t *allow)
{
    enum http_method method = request->method == HTTP_HEAD ? HTTP_GET : request->method;
    *id = *offset = BYTES_NONE;
    *allow = 0;
    for (size_t i = 0; i < array_count(routes); i++) {
        if (!path_matches(request->path, routes[i].path, id, offset)) continue;
        if (routes[i].method == method) return &routes[i];
        *allow |= 1u << routes[i].method;
    }
    return NULL;
}

bool reads_has_body(const struct http_request *request)
{
    struct bytes id, offset;
    uint32_t allow;
    return request->method != HTTP_GET && route_find(request, &id, &offset, &allow) != NULL;
}

/* 405 names what the path has, 404 that it has nothing. */
static void respond_nowhere(struct shard *shard, struct conn *conn, uint32_t allow)
{
    if (allow == 0) {
        respond_error(shard, conn, ERR_NOT_FOUND, 404, NULL);
        return;
    }
    static const struct {
        enum http_method method;
        const char *text;
    } names[] = {
        {HTTP_GET, "GET, HEAD"}, {HTTP_POST, "POST"}, {HTTP_PUT, "PUT"}, {HTTP_DELETE, "DELETE"}};
    char extra[64];
    struct writer writer = writer_of(extra, sizeof extra - 1);
    write_text(&writer, "Allow: ");
    for (size_t i = 0, count = 0; i < array_count(names); i++) {
        if (!(allow >> names[i].method & 1)) continue;
        if (count++ > 0) write_text(&writer, ", ");
        write_text(&writer, names[i].text);
    }
    write_text(&writer, "\r\n");
    check(!writer.failed);
    extra[writer.used] = '\0';
    respond_error(shard, conn, ERR_NOT_FOUND, 405, extra);
}

enum err reads_channel_check(const struct reads_ask *ask)
{
    const struct config_namespace *options;
    TRY(rules_space(ask->shard, ask->channel, &options));
    return config_has_history(options) ? ERR_OK : ERR_NOT_AVAILABLE;
}

enum err reads_call(const struct reads_ask *ask, call_fn on_answer, struct call **call,
                    struct handle *handle)
{
    uint32_t home = home_of_channel(ask->channel, ask->shard->shards_count);
    TRY(call_begin(ask->shard, ask->conn, home, on_answer, call, handle));
    (*call)->kind = (uint8_t)ask->kind;
    conn_await(ask->shard, ask->conn);
    return ERR_OK;
}

static enum err ask_run(struct reads_ask *ask, const struct route *route, struct bytes id,
                        struct bytes offset)
{
    if (ask->shard->is_draining) return ERR_DRAINING;
    if (id.at != NULL) {
        TRY(reads_decode(id, &ask->shard->arena, &ask->channel));
        TRY(reads_channel_check(ask));
    }
    if (offset.at != NULL && !bytes_to_u64(offset, &ask->offset)) return ERR_BAD_REQUEST;
    return route->handler(ask);
}

void reads_on_request(struct shard *shard, struct conn *conn, const struct http_request *request)
{
    check(conn->state == CONN_HTTP && conn->flags & CONN_INDEX);
    struct bytes id, offset;
    uint32_t allow;
    const struct route *route = route_find(request, &id, &offset, &allow);
    if (route == NULL) {
        respond_nowhere(shard, conn, allow);
        return;
    }
    if (route->kind != READS_OPEN && !api_is_allowed(shard->config, request)) {
        metric_add(&shard->metrics, METRIC_READ_INDEX_ERRORS, 1);
        respond_error(shard, conn, ERR_UNAUTHORIZED, 401, NULL);
        return;
    }
    struct reads_ask ask = {.shard = shard, .conn = conn, .request = request, .kind = route->kind};
    enum err err = ask_run(&ask, route, id, offset);
    if (err == ERR_OK) return;
    observe(shard, route->kind, shard->clock.mono_ns);
    refuse(shard, conn, err);
}
