/*
 * conn_http: requests → answers, upgrades.
 *
 * One request at a time: a pipelined one waits until this one is answered, so
 * answers keep the order of requests (RFC 9112 section 9.3.2).
 */
#include <stdio.h>
#include <string.h>

#include "core/check.h"
#include "core/mem.h"
#include "proto/handshake.h"
#include "shards/api/api.h"
#include "shards/conn/conn.h"
#include "shards/json_out.h"
#include "shards/ops/health.h"
#include "shards/ops/metrics.h"
#include "shards/reads/reads.h"
#include "shards/shard.h"

#define PLAIN_TYPE "text/plain; charset=utf-8"
#define JSON_TYPE  "application/json"

static void push_bytes(struct shard *shard, struct conn *conn, struct bytes head, struct bytes body)
{
    struct frame *frame = frame_new(&shard->frames, (uint32_t)(head.size + body.size));
    if (frame == NULL) {
        conn_end(shard, conn, CLOSE_INTERNAL);
        return;
    }
    memcpy(frame_payload(frame), head.at, head.size);
    if (body.size > 0) memcpy(frame_payload(frame) + head.size, body.at, body.size);
    frame_seal(frame, BYTES_NONE, (uint32_t)(head.size + body.size));
    /* An answer is one message, however long: it does not count as slow reading. */
    conn_queue(shard, conn, frame);
    frame_unref(&shard->frames, frame);
}

static void respond(struct shard *shard, struct conn *conn, uint16_t status,
                    const char *content_type, struct bytes body, bool keep_alive, const char *extra)
{
    uint8_t head[HTTP_RESPONSE_HEAD_MAX + HANDSHAKE_CORS_MAX];
    struct writer writer = writer_of(head, sizeof head);
    http_write_head(&writer, status, content_type, body.size, keep_alive, extra);
    check(!writer.failed);
    metric_add(&shard->metrics, METRIC_HTTP_REQUESTS, 1);
    push_bytes(shard, conn, writer_bytes(&writer),
               conn->flags & CONN_HEAD_ONLY ? BYTES_NONE : body);
    conn->flags &= ~(uint32_t)CONN_HEAD_ONLY;
    if (conn->state != CONN_HTTP) return;
    if (!keep_alive) conn->flags |= CONN_CLOSE_SENT;
    conn_due(shard, conn, shard_second_after(shard, shard->config->http_server_idle_timeout_ms));
}

void conn_respond(struct shard *shard, struct conn *conn, uint16_t status, const char *content_type,
                  struct bytes body, const char *extra)
{
    if (conn->state != CONN_HTTP) return;
    bool keep_alive = conn->flags & CONN_KEEP_ALIVE && !shard->is_draining;
    respond(shard, conn, status, content_type, body, keep_alive, extra);
    if (conn->flags & CONN_PAUSED) conn_resume(shard, conn);
}

void conn_refuse(struct shard *shard, struct conn *conn, uint16_t status, const char *reason)
{
    check(conn->state == CONN_HTTP);
    metric_add(&shard->metrics, status == 408 ? METRIC_HTTP_TIMEOUTS : METRIC_HTTP_REFUSED, 1);
    if (conn->input != NULL) conn->input->size = 0;
    if (conn->flags & CONN_INDEX) {
        struct json_out out = {0};
        reads_fault_write(&out, status, reason);
        respond(shard, conn, status, JSON_TYPE, json_out_bytes(&out), false, NULL);
        json_out_fini(&out);
        return;
    }
    respond(shard, conn, status, PLAIN_TYPE, bytes_of_text(reason), false, NULL);
}

void conn_continue_100(struct shard *shard, struct conn *conn)
{
    push_bytes(shard, conn, BYTES_LITERAL("HTTP/1.1 100 Continue\r\n\r\n"), BYTES_NONE);
}

/* RFC 6455 section 7.4: a code that may not travel is answered by a close without one. */
void conn_answer_close(struct shard *shard, struct conn *conn, uint16_t code)
{
    check(conn->state == CONN_WS);
    conn->close = CLOSE_NONE;
    uint8_t bytes[127];
    uint32_t size = ws_close_frame(bytes, code == 1005 ? 1000 : code, "");
    push_bytes(shard, conn, bytes_of(bytes, size), BYTES_NONE);
    if (conn->state != CONN_WS) return; /* no room for the frame: it is ending */
    metric_add_code(&shard->metrics, FAMILY_CLOSES_SENT, code == 1005 ? 1000 : code);
    conn_leave(shard, conn, CLOSE_NONE);
    conn_move(conn, CONN_CLOSING);
    conn->flags |= CONN_CLOSE_SENT;
    conn_due(shard, conn, shard_second(shard) + CONN_CLOSING_S);
}

void conn_respond_busy(struct shard *shard, struct conn *conn)
{
    conn_respond(shard, conn, 503, PLAIN_TYPE,
                 bytes_of_text(shard->is_draining ? "shutting down" : "too many connections"),
                 "Retry-After: 1\r\n");
}

void conn_upgrade(struct shard *shard, struct conn *conn, const struct handshake *handshake,
                  bool is_echo)
{
    check(conn->state == CONN_HTTP);
    uint8_t head[HTTP_RESPONSE_HEAD_MAX];
    struct writer writer = writer_of(head, sizeof head);
    handshake_write(&writer, handshake);
    check(!writer.failed);
    metric_add(&shard->metrics, METRIC_HTTP_REQUESTS, 1);
    push_bytes(shard, conn, writer_bytes(&writer), BYTES_NONE);
    if (conn->state != CONN_HTTP) return;
    conn->wire = (uint8_t)handshake->wire;
    if (is_echo) conn->flags |= CONN_ECHO;
    if (handshake->frame_pings) conn->flags |= CONN_FRAME_PINGS;
    if (shard->config->client_command_rate_limit > 0)
        shard->command_rates[conn_index(shard, conn)] = (struct bucket){0};
    conn_move(conn, CONN_WS);
    shard->upgraded_count++;
    conn_due(shard, conn, shard_second_after(shard, shard->config->client_stale_close_delay_ms));
}

static void respond_text(struct shard *shard, struct conn *conn, uint16_t status, const char *text,
                         const char *extra)
{
    conn_respond(shard, conn, status, PLAIN_TYPE, bytes_of_text(text), extra);
}

/* What a browser's page may reach answers it by the rules of CORS. */
static void enter(struct shard *shard, struct conn *conn, const struct http_request *request,
                  bool is_echo)
{
    const struct config *config = shard->config;
    const char *const *origins = config->client_allowed_origins.items;
    uint32_t origins_count = config->client_allowed_origins.count;
    struct handshake handshake;
    struct http_fault fault;
    char cors[HANDSHAKE_CORS_MAX + 1];
    struct writer writer = writer_of((uint8_t *)cors, HANDSHAKE_CORS_MAX);
    handshake_write_cors(&writer, request, origins, origins_count);
    check(!writer.failed);
    cors[writer.used] = '\0';
    if (request->method == HTTP_OPTIONS)
        conn_respond(shard, conn, 204, NULL, BYTES_NONE, cors);
    else if (request->method != HTTP_GET)
        respond_text(shard, conn, 405, "method not allowed", "Allow: GET, OPTIONS\r\n");
    else if (shard->is_draining)
        conn_respond_busy(shard, conn);
    else if (handshake_check(request, origins, origins_count, &handshake, &fault) != ERR_OK)
        respond_text(shard, conn, fault.status, fault.reason, cors);
    else if (conn_take_proxy_user(shard, conn, request))
        door_enter(shard, conn, &handshake, is_echo);
}

/* Method, path → handler; the prefix rows match everything below them. */
enum route {
    ROUTE_NONE,
    ROUTE_WEBSOCKET,
    ROUTE_ECHO,
    ROUTE_API,
    ROUTE_HEALTH,
    ROUTE_HEALTH_SIMPLE,
    ROUTE_METRICS
};

static enum route route_of(const struct config *config, struct bytes path)
{
    if (bytes_equal_text(path, config->websocket_handler_prefix)) return ROUTE_WEBSOCKET;
    size_t prefix = strlen(config->http_api_handler_prefix);
    if (!config->http_api_disabled && path.size > prefix + 1 &&
        memcmp(path.at, config->http_api_handler_prefix, prefix) == 0 && path.at[prefix] == '/')
        return ROUTE_API;
    if (config->debug_echo && bytes_equal_text(path, "/debug/echo")) return ROUTE_ECHO;
    if (config->health_enabled && bytes_equal_text(path, "/health")) return ROUTE_HEALTH;
    if (config->health_enabled && bytes_equal_text(path, "/health/simple"))
        return ROUTE_HEALTH_SIMPLE;
    if (config->prometheus_enabled && bytes_equal_text(path, "/metrics")) return ROUTE_METRICS;
    return ROUTE_NONE;
}

bool conn_wants_body(const struct shard *shard, const struct conn *conn,
                     const struct http_request *request)
{
    bool is_call =
        conn->flags & CONN_INDEX
            ? reads_has_body(request)
            : request->method == HTTP_POST && route_of(shard->config, request->path) == ROUTE_API;
    if (is_call && api_is_allowed(shard->config, request)) return true;
    /* Who asks before he sends, or does not say how much, hears at once. */
    bool is_known = !request->expects_continue && !request->is_chunked;
    return is_known && request->length <= HTTP_HEAD_MAX;
}

void conn_request(struct shard *shard, struct conn *conn, const struct http_request *request)
{
    check(conn->state == CONN_HTTP);
    conn->flags &= ~(uint32_t)(CONN_KEEP_ALIVE | CONN_HEAD_ONLY);
    if (request->keep_alive) conn->flags |= CONN_KEEP_ALIVE;
    if (request->method == HTTP_HEAD) conn->flags |= CONN_HEAD_ONLY;
    if (conn->flags & CONN_INDEX) {
        reads_on_request(shard, conn, request);
        return;
    }

    enum route route = route_of(shard->config, request->path);
    bool is_get = request->method == HTTP_GET || request->method == HTTP_HEAD;
    switch (route) {
    case ROUTE_NONE:
        if (request->path.size == 1 && request->path.at[0] == '*') /* RFC 9110 section 9.3.7 */
            conn_respond(shard, conn, 204, NULL, BYTES_NONE, "Allow: GET, HEAD, POST, OPTIONS\r\n");
        else
            respond_text(shard, conn, 404, "not found", NULL);
        return;
    case ROUTE_WEBSOCKET:
    case ROUTE_ECHO: enter(shard, conn, request, route == ROUTE_ECHO); return;
    case ROUTE_API:
        if (request->method != HTTP_POST)
            respond_text(shard, conn, 405, "method not allowed", "Allow: POST\r\n");
        else if (!request->has_length && !request->is_chunked)
            respond_text(shard, conn, 411, "a call has a body, and a body a length", NULL);
        else
            api_on_request(shard, conn, request);
        return;
    case ROUTE_HEALTH:
    case ROUTE_HEALTH_SIMPLE:
    case ROUTE_METRICS: break;
    }
    if (!is_get)
        respond_text(shard, conn, 405, "method not allowed", "Allow: GET, HEAD\r\n");
    else if (route == ROUTE_HEALTH)
        health_on_request(shard, conn, request);
    else if (route == ROUTE_HEALTH_SIMPLE)
        health_on_request_simple(shard, conn, request);
    else
        metrics_on_request(shard, conn, request);
}
