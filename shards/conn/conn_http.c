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
#include "shards/ops/health.h"
#include "shards/ops/metrics.h"
#include "shards/shard.h"

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
    uint8_t head[HTTP_RESPONSE_HEAD_MAX + 512];
    struct writer writer = writer_of(head, sizeof head);
    http_write_head(&writer, status, content_type, body.size, keep_alive, extra);
    check(!writer.failed);
    metric_add(&shard->metrics, METRIC_HTTP_REQUESTS, 1);
    push_bytes(shard, conn, writer_bytes(&writer),
               conn->flags & CONN_HEAD_ONLY ? BYTES_NONE : body);
    conn->flags &= ~(uint32_t)CONN_HEAD_ONLY;
    if (conn->state != CONN_HTTP) return;
    if (!keep_alive) conn->flags |= CONN_CLOSE_SENT;
    conn_due(shard, conn, shard_second_after(shard, HTTP_IDLE_MS));
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
    if (conn->input != NULL) conn->input->size = 0;
    respond(shard, conn, status, "text/plain; charset=utf-8", bytes_of_text(reason), false, NULL);
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
    conn_leave(shard, conn, CLOSE_NONE);
    conn_move(conn, CONN_CLOSING);
    conn->flags |= CONN_CLOSE_SENT;
    conn_due(shard, conn, shard_second(shard) + CONN_CLOSING_S);
}

static void upgrade(struct shard *shard, struct conn *conn, const struct http_request *request)
{
    const struct config *config = shard->config;
    struct handshake handshake;
    struct http_fault fault;
    uint32_t share =
        (config->client_connection_limit + shard->shards_count - 1) / shard->shards_count;
    if (shard->is_draining || (share > 0 && shard->clients_count >= share)) {
        conn_respond(shard, conn, 503, "text/plain; charset=utf-8",
                     bytes_of_text(shard->is_draining ? "shutting down" : "too many connections"),
                     "Retry-After: 1\r\n");
        return;
    }
    if (handshake_check(request, config->client_allowed_origins.items,
                        config->client_allowed_origins.count, &handshake, &fault) != ERR_OK) {
        conn_respond(shard, conn, fault.status, "text/plain; charset=utf-8",
                     bytes_of_text(fault.reason), NULL);
        return;
    }
    if (codec_of(handshake.wire) == NULL) {
        conn_respond(shard, conn, 400, "text/plain; charset=utf-8",
                     BYTES_LITERAL("the Protobuf protocol is not served; connect with JSON"), NULL);
        return;
    }
    uint8_t head[HTTP_RESPONSE_HEAD_MAX];
    struct writer writer = writer_of(head, sizeof head);
    handshake_write(&writer, request, &handshake);
    check(!writer.failed);
    metric_add(&shard->metrics, METRIC_HTTP_REQUESTS, 1);
    push_bytes(shard, conn, writer_bytes(&writer), BYTES_NONE);
    if (conn->state != CONN_HTTP) return;
    conn->wire = (uint8_t)handshake.wire;
    conn_move(conn, CONN_WS);
    conn_due(shard, conn, shard_second_after(shard, config->client_stale_close_delay_ms));
}

/* Method, path → handler; the prefix rows match everything below them. */
enum route {
    ROUTE_NONE,
    ROUTE_WEBSOCKET,
    ROUTE_API,
    ROUTE_HEALTH,
    ROUTE_HEALTH_SIMPLE,
    ROUTE_METRICS
};

static enum route route_of(const struct config *config, struct bytes path)
{
    if (bytes_equal_text(path, config->websocket_handler_prefix)) return ROUTE_WEBSOCKET;
    size_t prefix = strlen(config->http_api_handler_prefix);
    if (path.size > prefix + 1 && memcmp(path.at, config->http_api_handler_prefix, prefix) == 0 &&
        path.at[prefix] == '/')
        return ROUTE_API;
    if (config->health_enabled && bytes_equal_text(path, "/health")) return ROUTE_HEALTH;
    if (config->health_enabled && bytes_equal_text(path, "/health/simple"))
        return ROUTE_HEALTH_SIMPLE;
    if (config->prometheus_enabled && bytes_equal_text(path, "/metrics")) return ROUTE_METRICS;
    return ROUTE_NONE;
}

void conn_request(struct shard *shard, struct conn *conn, const struct http_request *request)
{
    check(conn->state == CONN_HTTP);
    conn->flags &= ~(uint32_t)(CONN_KEEP_ALIVE | CONN_HEAD_ONLY);
    if (request->keep_alive) conn->flags |= CONN_KEEP_ALIVE;
    if (request->method == HTTP_HEAD) conn->flags |= CONN_HEAD_ONLY;

    enum route route = route_of(shard->config, request->path);
    bool is_get = request->method == HTTP_GET || request->method == HTTP_HEAD;
    bool is_allowed = route == ROUTE_API         ? request->method == HTTP_POST
                      : route == ROUTE_WEBSOCKET ? request->method == HTTP_GET
                                                 : is_get;
    if (route != ROUTE_NONE && !is_allowed) {
        conn_respond(shard, conn, 405, "text/plain; charset=utf-8",
                     BYTES_LITERAL("method not allowed"),
                     route == ROUTE_API ? "Allow: POST\r\n" : "Allow: GET\r\n");
        return;
    }
    switch (route) {
    case ROUTE_NONE:
        conn_respond(shard, conn, 404, "text/plain; charset=utf-8", BYTES_LITERAL("not found"),
                     NULL);
        break;
    case ROUTE_WEBSOCKET: upgrade(shard, conn, request); break;
    case ROUTE_API: api_on_request(shard, conn, request); break;
    case ROUTE_HEALTH: health_on_request(shard, conn, request); break;
    case ROUTE_HEALTH_SIMPLE: health_on_request_simple(shard, conn, request); break;
    case ROUTE_METRICS: metrics_on_request(shard, conn, request); break;
    }
}
