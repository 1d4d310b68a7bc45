/*
 * conn_in: bytes → requests and messages → commands.
 *
 * Whole messages are handled in the kernel's buffer.  What must wait (a partial
 * HTTP request, or commands when a pair of shards is out of credit) is saved in
 * `input`, receiving is disarmed, and conn_continue goes on from there:
 *
 *     input = | rest of a message, unmasked (`message` bytes) | raw bytes |
 *
 * Bytes that the ring already had still arrive while paused and are appended,
 * so order is kept.
 */
#include "shards/conn/conn.h"

#include <string.h>

#include "core/check.h"
#include "core/mem.h"
#include "proto/http.h"
#include "shards/cmd/dispatch.h"
#include "shards/shard.h"
#include "shards/token/token.h"

static void input_save(struct conn *conn, const uint8_t *data, uint32_t size)
{
    if (size == 0) return;
    struct conn_saved *saved = conn->input;
    uint32_t have = conn_saved_size(conn), need = have + size;
    if (saved == NULL || need > saved->room) {
        uint32_t room = saved == NULL ? need : max_u32(need, saved->room * 2);
        conn->input = mem_resize(saved, sizeof *saved + room);
        if (saved == NULL) conn->input->message = 0;
        saved = conn->input;
        saved->room = room;
    }
    memcpy(saved->data + have, data, size);
    saved->size = need;
}

/* What was saved, off the connection, because handling it may save again. */
static struct conn_saved *input_take(struct conn *conn)
{
    struct conn_saved *saved = conn->input;
    conn->input = NULL;
    return saved;
}

void conn_pause(struct shard *shard, struct conn *conn)
{
    if (conn->flags & CONN_PAUSED) return;
    conn->flags |= CONN_PAUSED;
    if (!(conn->flags & CONN_PEER_GONE)) loop_recv_disarm(shard->loop, conn_index(shard, conn));
}

void conn_await(struct shard *shard, struct conn *conn)
{
    check(conn->state == CONN_HTTP);
    conn_pause(shard, conn);
}

void conn_resume(struct shard *shard, struct conn *conn)
{
    if (conn->flags & CONN_LISTED) return;
    conn->flags |= CONN_LISTED;
    indexes_add(&shard->resumed, conn_index(shard, conn));
}

/* --- WebSocket -------------------------------------------------------------- */

static void ws_control(struct shard *shard, struct conn *conn, enum ws_event event,
                       const struct ws_message *message)
{
    if (event == WS_PONG) { /* RFC 6455 section 5.5.3: unsolicited ones are fine */
        if (conn->flags & CONN_FRAME_PINGS) conn->flags &= ~(uint32_t)CONN_PINGED;
        return;
    }
    struct frame *frame;
    if (event == WS_PING) {
        frame = conn_frame(shard, WS_OP_PONG, message->data);
        if (frame == NULL) return;
        conn_push(shard, conn, frame);
        frame_unref(&shard->frames, frame);
        return;
    }
    check(event == WS_CLOSE);
    if (conn->state == CONN_CLOSING) {
        /* Both sides have said it: end as soon as ours went. */
        conn->flags |= CONN_CLOSE_SENT;
        if (conn->out_bytes == 0) conn_close_peer(shard, conn);
        return;
    }
    /* Their close first: echo its code, then end. */
    conn_answer_close(shard, conn, message->close_code);
}

/* A message of commands; true when its rest must wait. */
static bool ws_commands(struct shard *shard, struct conn *conn, struct bytes message, bool is_first)
{
    struct reader frame = reader_of(message);
    enum dispatch dispatch = dispatch_message(shard, conn, &frame, is_first);
    if (dispatch == DISPATCH_DONE) return false;
    conn_pause(shard, conn);
    /* The connect reply goes on with what came behind the command (cmd/connecting.c).
     * Credit comes back with an answer: shard.c moves the waiting on then. */
    if (!(conn->flags & CONN_CONNECTING)) {
        conn->flags |= CONN_LISTED;
        if (dispatch == DISPATCH_WAIT_KEYS)
            token_park(shard, conn);
        else
            shard_await_credit(shard, conn_index(shard, conn), dispatch == DISPATCH_YIELD);
    }
    check(conn_saved_size(conn) == 0);
    input_save(conn, frame.at, (uint32_t)frame.left);
    if (frame.left > 0) conn->input->message = (uint32_t)frame.left;
    return true;
}

/* The rest of what came waits until the answers given have gone. */
static void input_save_full(struct shard *shard, struct conn *conn, const uint8_t *at, size_t size)
{
    if (conn->state != CONN_WS) return;
    conn->flags |= CONN_FULL;
    conn_pause(shard, conn);
    input_save(conn, at, (uint32_t)size);
}

static void ws_take(struct shard *shard, struct conn *conn, uint8_t *data, uint32_t size)
{
    uint8_t *at = data;
    size_t left = size;
    size_t message_max = shard->config->websocket_message_max_bytes;
    struct echo echo = {NULL, 0};
    while ((conn->state == CONN_WS || conn->state == CONN_CLOSING) &&
           !(conn->flags & CONN_CLOSE_SENT)) {
        struct ws_message message;
        enum ws_event event = ws_next(&conn->ws, shard->ws_pool, &at, &left, message_max, &message);
        bool is_data = event == WS_TEXT || event == WS_BINARY;
        if (echo.frame != NULL && !is_data) conn_echo_flush(shard, conn, &echo);
        switch (event) {
        case WS_MORE: check(left == 0); return;
        case WS_TEXT:
        case WS_BINARY:
            if (conn->state == CONN_CLOSING) break; /* said goodbye: only their close counts */
            metric_add(&shard->metrics, METRIC_RECEIVED, 1);
            if (conn->flags & CONN_ECHO) {
                conn_echo(shard, conn, &echo, event, message.data, left);
                if (!conn_is_full(shard, conn)) break;
                /* Who sends and does not read waits with the next. */
                conn_echo_flush(shard, conn, &echo);
                input_save_full(shard, conn, at, left);
                return;
            }
            if (ws_commands(shard, conn, message.data, true)) {
                input_save(conn, at, (uint32_t)left);
                return;
            }
            break;
        case WS_PING:
        case WS_PONG:
        case WS_CLOSE: ws_control(shard, conn, event, &message); break;
        case WS_FAULT:
            if (conn->state == CONN_WS) conn_end(shard, conn, message.fault);
            /* The stream has lost its frames: nothing after can be read. */
            if (conn->state == CONN_CLOSING) {
                conn->flags |= CONN_CLOSE_SENT;
                if (conn->out_bytes == 0) conn_close_peer(shard, conn);
            }
            return;
        }
    }
}

/* A message of 64 MiB takes its memory only as long as it is looked at. */
static void ws_input(struct shard *shard, struct conn *conn, uint8_t *data, uint32_t size)
{
    ws_take(shard, conn, data, size);
    ws_pool_rest(shard->ws_pool);
}

/* --- HTTP ------------------------------------------------------------------ */

/* The head is there, its body is not: once for each request, the clock of bodies
 * starts and a client that asked for it is told to go on.  False: nobody here reads
 * such a body, and the answer was given without it. */
static bool http_body_begins(struct shard *shard, struct conn *conn, struct http_request *request)
{
    if (!conn_wants_body(shard, conn, request)) {
        conn->http = (struct http_progress){0};
        request->keep_alive = false;
        conn_request(shard, conn, request);
        return false;
    }
    conn_due(shard, conn, shard_second_after(shard, shard->config->http_server_body_timeout_ms));
    if (request->expects_continue) conn_continue_100(shard, conn);
    return true;
}

/* Handles whole requests at data[size]; returns how many bytes they took.  What
 * is left is the beginning of a request, `is_known` when an earlier call has seen
 * some of it. */
static uint32_t http_input(struct shard *shard, struct conn *conn, uint8_t *data, uint32_t size,
                           bool is_known)
{
    uint32_t used = 0;
    size_t body_max = shard->config->http_server_body_max_bytes;
    uint64_t head_ms = shard->config->http_server_header_timeout_ms;
    while (conn->state == CONN_HTTP && !(conn->flags & (CONN_PAUSED | CONN_CLOSE_SENT)) &&
           used < size) {
        /* Who sends requests and reads no answers waits with the next. */
        if (conn->out_bytes > SEND_GATHER_MAX) {
            conn->flags |= CONN_FULL;
            conn_pause(shard, conn);
            return used;
        }
        struct http_request request;
        struct http_fault fault;
        bool is_body = conn->http.need > 0;
        switch (http_parse_on(data + used, size - used, body_max, &request, &fault, &conn->http)) {
        case HTTP_MORE:
            if (!is_known || used > 0) conn_due(shard, conn, shard_second_after(shard, head_ms));
            return used;
        case HTTP_MORE_BODY:
            if (!is_body && !http_body_begins(shard, conn, &request)) return size;
            return used;
        case HTTP_REFUSED: conn_refuse(shard, conn, fault.status, fault.reason); return size;
        case HTTP_WHOLE:
            check(request.size > 0 && request.size <= size - used);
            conn->http = (struct http_progress){0};
            used += (uint32_t)request.size;
            conn_request(shard, conn, &request);
            break;
        }
    }
    return used;
}

/* Goes on with a saved request, in the buffer where it stands: a body of 8 MiB
 * comes in thousands of pieces. */
static void http_continue(struct shard *shard, struct conn *conn, bool is_known)
{
    check(conn->state == CONN_HTTP);
    if (conn_saved_size(conn) < conn->http.need) return;
    struct conn_saved *saved = input_take(conn);
    uint8_t *input = saved->data;
    uint32_t size = saved->size;
    uint32_t used = http_input(shard, conn, input, size, is_known);
    if (conn->state == CONN_HTTP && used < size && !(conn->flags & CONN_CLOSE_SENT)) {
        check(conn->input == NULL);
        if (used > 0) memmove(input, input + used, size - used);
        saved->size = size - used;
        conn->input = saved;
        return;
    }
    if (conn->state == CONN_WS) ws_input(shard, conn, input + used, size - used);
    mem_free(saved);
}

/* --- both --------------------------------------------------------------------- */

void conn_input(struct shard *shard, struct conn *conn, uint8_t *data, uint32_t size)
{
    if (conn->state == CONN_DYING || conn->flags & CONN_CLOSE_SENT) return;
    if (conn->flags & CONN_PAUSED) {
        input_save(conn, data, size);
        return;
    }
    if (conn->state != CONN_HTTP) {
        ws_input(shard, conn, data, size);
        return;
    }
    if (conn_saved_size(conn) > 0) {
        input_save(conn, data, size);
        http_continue(shard, conn, true);
        return;
    }
    uint32_t used = http_input(shard, conn, data, size, false);
    if (used == size || conn->state == CONN_DYING) return;
    if (conn->state == CONN_WS)
        ws_input(shard, conn, data + used, size - used);
    else
        input_save(conn, data + used, size - used);
}

/* Goes on with what was saved: first the message's rest, then raw bytes. */
void conn_continue(struct shard *shard, struct conn *conn)
{
    if (conn->state == CONN_DYING || conn->state == CONN_CLOSING) return;
    if (conn->flags & CONN_PAUSED) {
        conn->flags &= ~(uint32_t)CONN_PAUSED;
        if (!(conn->flags & CONN_PEER_GONE)) loop_recv_arm(shard->loop, conn_index(shard, conn));
    }
    if (conn->state == CONN_HTTP) {
        if (conn_saved_size(conn) > 0) http_continue(shard, conn, false);
        if (conn->flags & CONN_PEER_GONE) conn_end_http(shard, conn);
        return;
    }
    if (conn_saved_size(conn) == 0) return;
    struct conn_saved *saved = input_take(conn);
    uint8_t *at = saved->data;
    uint32_t size = saved->size, message = saved->message;
    bool waits = false;
    if (message > 0) {
        waits = ws_commands(shard, conn, bytes_of(at, message), false);
        at += message;
        size -= message;
    }
    if (waits)
        input_save(conn, at, size);
    else if (size > 0)
        ws_input(shard, conn, at, size);
    mem_free(saved);
}
