/*
 * conn: the life of a connection.
 *
 * Who makes which move:
 *   FREE → HTTP       conn_on_accept
 *   HTTP → WS         conn_upgrade (conn_http.c)
 *   WS → CLOSING      conn_end: our close frame is queued, the peer's is awaited
 *   any → DYING       conn_end, conn_on_end, the closing deadline
 *   DYING → FREE      conn_settle, with the last answer and on_closed
 *
 * A dying connection with calls under way keeps its slot: its sends are off and
 * our direction is shut down, but the socket is closed only after the last
 * answer, so that the number cannot come back as somebody else.
 */
#include "shards/conn/conn.h"

#include <string.h>

#include "core/check.h"
#include "core/limits.h"
#include "core/log.h"
#include "core/mem.h"
#include "core/sm.h"
#include "shards/cmd/connecting.h"
#include "shards/cmd/subscription.h"
#include "shards/conn/conn_tls.h"
#include "shards/shard.h"

static void conn_invariant(const void *object)
{
    const struct conn *conn = object;
    if (conn->state == CONN_DYING || conn->state == CONN_FREE)
        check(conn->subs_count == 0 || conn->calls_count > 0);
    if (conn->state == CONN_WS) check((conn->flags & CONN_CLOSE_SENT) == 0);
    if (conn->state == CONN_FREE) check(conn->calls_count == 0);
}

static const struct sm_state states[CONN_STATE_COUNT] = {
    [CONN_FREE] = {"free", SM_TO(CONN_HTTP)},
    [CONN_HTTP] = {"http", SM_TO(CONN_WS) | SM_TO(CONN_DYING)},
    [CONN_WS] = {"ws", SM_TO(CONN_CLOSING) | SM_TO(CONN_DYING)},
    [CONN_CLOSING] = {"closing", SM_TO(CONN_DYING)},
    [CONN_DYING] = {"dying", SM_TO(CONN_FREE)},
};

static const struct sm conn_sm = {"conn", states, CONN_STATE_COUNT, conn_invariant};

struct conn *conn_at(struct shard *shard, uint32_t index)
{
    return slab_at(&shard->conns, index);
}

uint32_t conn_index(const struct shard *shard, const struct conn *conn)
{
    return slab_handle(&shard->conns, conn).index;
}

void conn_move(struct conn *conn, enum conn_state state)
{
    sm_move(&conn_sm, &conn->state, (uint8_t)state, conn);
}

/* --- the wheel of seconds ------------------------------------------------ */

/* Each connection has its part of the second, so that a second's worth is not one
 * burst: 4,000 pings at once would be 10 ms in which nothing else is sent. */
static uint32_t phase_of(uint32_t index)
{
    return index % PING_PHASES;
}

static uint32_t *due_slot(struct shard *shard, uint32_t index, uint32_t due_s)
{
    uint64_t phase = (uint64_t)due_s * PING_PHASES + phase_of(index);
    return &shard->ping_wheel[phase % array_count(shard->ping_wheel)];
}

static void due_unlink(struct shard *shard, struct conn *conn)
{
    if (conn->due_s == 0) return;
    uint32_t *first = due_slot(shard, conn_index(shard, conn), conn->due_s);
    if (conn->due_prev != UINT32_MAX)
        conn_at(shard, conn->due_prev)->due_next = conn->due_next;
    else
        *first = conn->due_next;
    if (conn->due_next != UINT32_MAX) conn_at(shard, conn->due_next)->due_prev = conn->due_prev;
    conn->due_s = 0;
}

void conn_due(struct shard *shard, struct conn *conn, uint32_t at_s)
{
    due_unlink(shard, conn);
    uint32_t index = conn_index(shard, conn);
    /* The first second whose phase of this connection is still to be run. */
    uint64_t first_s = (shard->ping_phase + PING_PHASES - phase_of(index)) / PING_PHASES;
    conn->due_s = max_u32(at_s, (uint32_t)first_s);
    uint32_t *first = due_slot(shard, index, conn->due_s);
    conn->due_prev = UINT32_MAX;
    conn->due_next = *first;
    if (*first != UINT32_MAX) conn_at(shard, *first)->due_prev = index;
    *first = index;
}

/* --- beginning and end ---------------------------------------------------- */

static void conn_on_accept(void *context, uint32_t sock)
{
    struct shard *shard = context;
    struct handle handle;
    struct conn *conn = slab_get_at(&shard->conns, sock, &handle);
    check(conn != NULL); /* one slot per socket of the loop's table */

    conn->subs_first = conn->due_next = conn->due_prev = UINT32_MAX;
    conn_move(conn, CONN_HTTP);
    metric_add(&shard->metrics, METRIC_CONNECTIONS, 1);
    if (shard->is_leaving)
        conn_end(shard, conn, CLOSE_SHUTDOWN);
    else if (shard->tls.context != NULL)
        conn_tls_accept(shard, conn);
    else {
        conn_due(shard, conn,
                 shard_second_after(shard, shard->config->http_server_header_timeout_ms));
        loop_recv_arm(shard->loop, sock);
    }
}

struct bytes conn_info(const struct shard *shard, const struct conn *conn)
{
    return intern_text(&shard->texts, conn->user.info);
}

/* Views of what is replaced may come in, so it goes last. */
void conn_set_user(struct shard *shard, struct conn *conn, struct bytes user, struct bytes info)
{
    check(user.size <= UINT8_MAX);
    char *far = conn->flags & CONN_USER_FAR ? conn->user.far : NULL;
    uint32_t info_before = conn->user.info;
    char near[CONN_USER_NEAR] = {0};
    conn->user.info = intern_take(&shard->texts, info);
    conn->flags &= ~(uint32_t)CONN_USER_FAR;
    if (user.size > CONN_USER_NEAR) {
        conn->user.far = mem_text(user.at, user.size);
        conn->flags |= CONN_USER_FAR;
    } else {
        if (user.size > 0) memcpy(near, user.at, user.size);
        memcpy(conn->user.near, near, sizeof near);
    }
    conn->user_size = (uint8_t)user.size;
    mem_free(far);
    intern_give(&shard->texts, info_before);
}

void conn_forget_user(struct shard *shard, struct conn *conn)
{
    if (conn->flags & CONN_USER_FAR) mem_free(conn->user.far);
    intern_give(&shard->texts, conn->user.info);
    conn->flags &= ~(uint32_t)CONN_USER_FAR;
    conn->user_size = 0;
    memset(&conn->user, 0, sizeof conn->user);
}

static void conn_forget_input(struct shard *shard, struct conn *conn)
{
    ws_end(&conn->ws, shard->ws_pool);
    mem_free(conn->input);
    conn->input = NULL;
}

void conn_leave(struct shard *shard, struct conn *conn, enum close reason)
{
    connecting_end(shard, conn);
    subscription_leave_all(shard, conn);
    door_leave(shard, conn);
    connect_unregister(shard, conn);
    if (conn->flags & CONN_CONNECTED) {
        conn->flags &= ~(uint32_t)CONN_CONNECTED;
        shard->clients_count--;
        metric_sub(&shard->metrics, METRIC_CLIENTS, 1);
        char id[37], user[64];
        codec_uuid(conn->client, id);
        log_debug("client gone client=%s user=%s reason=%s", id,
                  log_quote(user, sizeof user, conn_user(conn).at, conn->user_size),
                  reason == CLOSE_NONE ? "peer" : close_row(reason)->label);
    }
}

static void conn_die(struct shard *shard, struct conn *conn)
{
    check(conn->state != CONN_FREE);
    if (conn->state == CONN_DYING) return;
    conn_leave(shard, conn, conn->close);
    conn_forget_input(shard, conn);
    shard->upgraded_count -= conn->state != CONN_HTTP;
    conn_move(conn, CONN_DYING);
    due_unlink(shard, conn);
    conn_settle(shard, conn);
}

static void conn_free(struct shard *shard, struct conn *conn)
{
    check(conn->out_flight == 0);
    conn_drop_output(shard, conn, false);
    if (conn->flags & CONN_TLS) conn_tls_free(shard, conn);
    conn_forget_input(shard, conn);
    conn_forget_user(shard, conn);
    conn_move(conn, CONN_FREE);
    metric_sub(&shard->metrics, METRIC_CONNECTIONS, 1);
    slab_put(&shard->conns, conn);
}

void conn_settle(struct shard *shard, struct conn *conn)
{
    check(conn->state == CONN_DYING);
    uint32_t sock = conn_index(shard, conn);
    if (conn->calls_count > 0) {
        if (!(conn->flags & CONN_PEER_GONE)) loop_recv_disarm(shard->loop, sock);
        return;
    }
    if (conn->out_flight > 0) return; /* conn_flush_done comes back here */
    if (conn->flags & CONN_TLS && conn_tls_delays_end(shard, conn)) return;
    if (!(conn->flags & CONN_CLOSING_SOCK)) {
        conn->flags |= CONN_CLOSING_SOCK;
        loop_close(shard->loop, sock, false);
        return;
    }
    if (conn->flags & CONN_SOCK_CLOSED) conn_free(shard, conn);
}

static void conn_on_closed(void *context, uint32_t sock)
{
    struct shard *shard = context;
    struct conn *conn = conn_at(shard, sock);
    check(conn != NULL);
    check(conn->state == CONN_DYING);
    conn->flags |= CONN_SOCK_CLOSED;
    conn_settle(shard, conn);
}

/* A WebSocket without its close frame is broken.  An HTTP client may end its side
 * right behind its last request and still wants the answer (RFC 9112 section 9.6). */
static void conn_on_end(void *context, uint32_t sock, int error)
{
    struct shard *shard = context;
    struct conn *conn = conn_at(shard, sock);
    check(conn != NULL);
    if (conn->flags & CONN_TLS) {
        conn_tls_on_end(shard, conn, error);
        return;
    }
    conn->flags |= CONN_PEER_GONE;
    if (conn->state == CONN_HTTP && error == 0)
        conn_end_http(shard, conn);
    else if (conn->state != CONN_DYING)
        conn_die(shard, conn);
}

void conn_end_http(struct shard *shard, struct conn *conn)
{
    check(conn->flags & CONN_PEER_GONE);
    if (conn->state != CONN_HTTP || conn->flags & CONN_PAUSED) return;
    conn->flags |= CONN_CLOSE_SENT;
    if (conn->out_bytes == 0) conn_die(shard, conn);
}

static void conn_on_recv(void *context, uint32_t sock, uint8_t *data, uint32_t size)
{
    struct shard *shard = context;
    struct conn *conn = conn_at(shard, sock);
    check(conn != NULL);
    metric_add(&shard->metrics, METRIC_RECEIVED_BYTES, size);
    if (unlikely(conn->flags & CONN_TLS))
        conn_tls_recv(shard, conn, data, size);
    else
        conn_input(shard, conn, data, size);
}

const struct sock_handlers conn_handlers = {
    .on_accept = conn_on_accept,
    .on_recv = conn_on_recv,
    .on_end = conn_on_end,
    .on_send = conn_on_send,
    .on_closed = conn_on_closed,
    .on_peer = conn_tls_on_peer,
};

void conn_close_peer(struct shard *shard, struct conn *conn)
{
    conn_die(shard, conn);
}

/* A socket that is closed over bytes nobody read is reset, and the reset takes our
 * last words from the peer's buffer: a 413 or a close code would not arrive while
 * the peer still sends (RFC 9112 section 9.6, RFC 6455 section 7.1.1).  So input
 * goes on being read, and dropped by CONN_CLOSE_SENT. */
void conn_linger(struct shard *shard, struct conn *conn)
{
    check(conn->flags & CONN_CLOSE_SENT);
    if (conn->flags & CONN_LINGERS) return;
    if (conn->flags & CONN_TLS && conn_tls_part(shard, conn)) return; /* comes back here */
    if (conn->flags & CONN_PEER_GONE) {
        conn_die(shard, conn);
        return;
    }
    conn->flags |= CONN_LINGERS;
    uint32_t sock = conn_index(shard, conn);
    loop_shutdown(shard->loop, sock);
    conn_due(shard, conn, shard_second(shard) + CONN_CLOSING_S);
    conn_forget_input(shard, conn);
    conn->flags &= ~(uint32_t)CONN_PAUSED;
    loop_recv_arm(shard->loop, sock);
}

/* What the peer must still read, then the close frame.  A slow reader's queue is
 * dropped but for the frame it is in the middle of (protocol: 3000 and 3008 do
 * not flush). */
static void conn_queue_close(struct shard *shard, struct conn *conn, enum close reason,
                             uint16_t code, const char *text)
{
    if (reason == CLOSE_SLOW || reason == CLOSE_CONNECTION) conn_drop_output(shard, conn, true);
    uint8_t bytes[127];
    uint32_t size = ws_close_frame(bytes, code, text);
    struct frame *frame = frame_new(&shard->frames, size);
    if (frame == NULL) return; /* the socket's end says it without a code */
    memcpy(frame_payload(frame), bytes, size);
    frame_seal(frame, BYTES_NONE, size);
    metric_add_code(&shard->metrics, FAMILY_CLOSES_SENT, code);
    conn_queue(shard, conn, frame);
    frame_unref(&shard->frames, frame);
}

static void count_end(struct shard *shard, enum close reason)
{
    if (reason == CLOSE_SLOW) metric_add(&shard->metrics, METRIC_SLOW, 1);
    if (reason == CLOSE_STALE) metric_add(&shard->metrics, METRIC_STALE, 1);
    if (reason == CLOSE_NO_PONG) metric_add(&shard->metrics, METRIC_NO_PONG, 1);
}

static void end(struct shard *shard, struct conn *conn, enum close reason, uint16_t code,
                const char *text)
{
    check(reason > CLOSE_NONE && reason < CLOSE_COUNT);
    if (conn->state == CONN_DYING || conn->state == CONN_CLOSING) return;
    check(conn->state == CONN_HTTP || conn->state == CONN_WS);
    conn->close = (uint8_t)reason;
    metric_add_code(&shard->metrics, FAMILY_DISCONNECTS, code);
    count_end(shard, reason);
    if (conn->state == CONN_HTTP) {
        conn_die(shard, conn);
        return;
    }
    conn_leave(shard, conn, reason);
    conn_move(conn, CONN_CLOSING);
    conn_queue_close(shard, conn, reason, code, text);
    if (conn->state != CONN_CLOSING) return; /* no room even for that: it is dying */
    conn_due(shard, conn, shard_second(shard) + CONN_CLOSING_S);
    /* Input that was waiting is of no more use; the peer's close still is. */
    if (conn->input != NULL) conn->input->size = conn->input->message = 0;
    if (conn->flags & CONN_PAUSED) {
        conn->flags &= ~(uint32_t)CONN_PAUSED;
        if (!(conn->flags & CONN_PEER_GONE)) loop_recv_arm(shard->loop, conn_index(shard, conn));
    }
}

void conn_end(struct shard *shard, struct conn *conn, enum close reason)
{
    const struct close_row *row = close_row(reason);
    end(shard, conn, reason, row->code, row->text);
}

void conn_end_with(struct shard *shard, struct conn *conn, uint16_t code, struct bytes reason)
{
    check(reason.size <= CLOSE_REASON_MAX);
    char text[CLOSE_REASON_MAX + 1];
    if (reason.size > 0) memcpy(text, reason.at, reason.size);
    text[reason.size] = '\0';
    end(shard, conn, close_of_code(code), code, text);
}

/* --- once a second -------------------------------------------------------- */

static uint32_t seconds_up(uint64_t ms)
{
    return (uint32_t)max_u64(1, (ms + 999) / 1000);
}

/* The next look: the ping's time, the end of the token or of a subscription's and the
 * time to renew it, or when a reader is too slow. */
void conn_schedule(struct shard *shard, struct conn *conn)
{
    uint32_t at = conn->ping_s;
    uint64_t end = UINT64_MAX;
    if (conn->flags & CONN_SUBS_END) end = subscription_first_end(shard, conn);
    if (end == UINT64_MAX) conn->flags &= ~(uint32_t)CONN_SUBS_END;
    if (conn->expires_s != 0)
        end = min_u64(end,
                      conn->expires_s + seconds_up(shard->config->client_expired_close_delay_ms));
    if (end != UINT64_MAX) {
        uint64_t now = shard->clock.wall_ms / 1000;
        uint64_t left = end > now ? end - now : 0;
        at = (uint32_t)min_u64(at, shard_second(shard) + left + 1);
    }
    if (conn->flags & CONN_BLOCKED) at = min_u32(at, conn_late_s(shard, conn));
    conn_due(shard, conn, at);
}

uint64_t conn_first_ping_ms(struct rng *rng, uint64_t interval_ms)
{
    uint64_t half = interval_ms / 2, rounding = 2000;
    uint64_t room = interval_ms - half;
    return half + rng_below(rng, room > rounding ? room - rounding : 1);
}

void conn_begin_pings(struct shard *shard, struct conn *conn)
{
    uint64_t wait = conn_first_ping_ms(&shard->rng, shard->config->client_ping_interval_ms);
    conn->ping_s = shard_second_after(shard, wait);
    conn_schedule(shard, conn);
}

/* Pings of one tick, shared by all of a wire and by all who get WebSocket pings: after
 * a stall many are due at once, and half a KiB for each would stay touched for ever. */
struct pings {
    struct frame *frames[WIRE_COUNT + 1]; /* NULL: not made yet */
};

static struct frame *ping_frame(struct shard *shard, const struct conn *conn, struct pings *pings)
{
    bool is_framed = conn->flags & CONN_FRAME_PINGS;
    const struct codec *codec = codec_of((enum wire)conn->wire);
    enum ws_opcode opcode = codec->is_binary ? WS_OP_BINARY : WS_OP_TEXT;
    struct frame **frame = &pings->frames[is_framed ? WIRE_COUNT : conn->wire];
    if (*frame == NULL)
        *frame = is_framed ? conn_frame(shard, WS_OP_PING, BYTES_NONE)
                           : conn_frame(shard, opcode, codec->ping);
    return *frame;
}

static void conn_ping(struct shard *shard, struct conn *conn, struct pings *pings)
{
    struct frame *frame = ping_frame(shard, conn, pings);
    if (frame != NULL) {
        conn_push(shard, conn, frame);
        conn->flags |= CONN_PINGED;
    }
    conn->flags |= CONN_PING_PHASE;
    conn->flags &= ~(uint32_t)CONN_MOVED;
    conn->ping_s = shard_second_after(shard, shard->config->client_pong_timeout_ms);
}

/* The ping stands behind a large answer, or the pong behind commands that wait for
 * one: as long as bytes go, the client is alive. */
static bool is_reading(const struct conn *conn)
{
    return conn->flags & CONN_MOVED && (conn->out_owed > 0 || conn->flags & CONN_PAUSED);
}

static void conn_tick_client(struct shard *shard, struct conn *conn, struct pings *pings)
{
    uint32_t now = shard_second(shard);
    uint64_t wall_s = shard->clock.wall_ms / 1000;
    if (conn->expires_s != 0 &&
        wall_s >= conn->expires_s + seconds_up(shard->config->client_expired_close_delay_ms)) {
        conn_end(shard, conn, CLOSE_EXPIRED);
        return;
    }
    if (conn->flags & CONN_SUBS_END) subscription_tick(shard, conn);
    if (conn->state != CONN_WS) return;
    if (now >= conn->ping_s) {
        if (!(conn->flags & CONN_PING_PHASE)) {
            conn_ping(shard, conn, pings);
        } else if (conn->flags & CONN_PINGED && is_reading(conn)) {
            conn->flags &= ~(uint32_t)CONN_MOVED;
            conn->ping_s = shard_second_after(shard, shard->config->client_pong_timeout_ms);
        } else if (conn->flags & CONN_PINGED) {
            conn_end(shard, conn, CLOSE_NO_PONG);
            return;
        } else {
            /* A client that is told of 25 s may count on a ping in each 25: the look at
             * the pong came up to a second late, so the next ping comes that much sooner. */
            uint32_t interval = seconds_up(shard->config->client_ping_interval_ms);
            uint32_t waited = seconds_up(shard->config->client_pong_timeout_ms) + 1;
            conn->flags &= ~(uint32_t)CONN_PING_PHASE;
            conn->ping_s = now + (interval > waited ? interval - waited : 1);
        }
    }
    if (conn->state == CONN_WS) conn_schedule(shard, conn);
}

static void conn_tick_one(struct shard *shard, struct conn *conn, struct pings *pings)
{
    uint64_t idle_ms = shard->config->http_server_idle_timeout_ms;
    switch ((enum conn_state)conn->state) {
    case CONN_HTTP:
        /* An answer may take as long as the peer reads at all, some of it in each
         * client.queue_max_age.  Nothing more in time: say so when half a request is
         * there. */
        if (conn->out_bytes > 0 && conn->flags & CONN_MOVED) {
            conn->flags &= ~(uint32_t)CONN_MOVED;
            conn_due(shard, conn,
                     shard_second_after(shard, shard->config->client_queue_max_age_ms));
        } else if (conn->out_bytes > 0 || conn->flags & CONN_CLOSE_SENT)
            conn_die(shard, conn);
        else if (conn->flags & CONN_PAUSED)
            conn_due(shard, conn, shard_second_after(shard, idle_ms));
        else if (conn_saved_size(conn) > 0)
            conn_refuse(shard, conn, 408, "the request did not arrive in time");
        else
            conn_die(shard, conn);
        break;
    case CONN_WS:
        if (conn_is_late(shard, conn))
            conn_end(shard, conn, CLOSE_SLOW);
        else if (conn->flags & CONN_ECHO) {
            if (conn->flags & CONN_BLOCKED) conn_due(shard, conn, conn_late_s(shard, conn));
        } else if (conn->flags & CONN_CONNECTED)
            conn_tick_client(shard, conn, pings);
        else
            conn_end(shard, conn, CLOSE_STALE);
        break;
    case CONN_CLOSING: conn_die(shard, conn); break;
    case CONN_DYING:
    case CONN_FREE:
    case CONN_STATE_COUNT: impossible("only live connections are in the wheel");
    }
}

void conn_tick(struct shard *shard)
{
    uint32_t now_s = shard_second(shard);
    uint64_t now = shard_phase(shard), slots = array_count(shard->ping_wheel);
    check(now >= shard->ping_phase);
    /* After a long stall each slot is looked at once. */
    if (now - shard->ping_phase > slots) shard->ping_phase = now - slots;
    struct pings pings = {{NULL}};
    while (shard->ping_phase < now) {
        shard->ping_phase++;
        uint32_t index = shard->ping_wheel[shard->ping_phase % slots];
        while (index != UINT32_MAX) {
            struct conn *conn = conn_at(shard, index);
            uint32_t next = conn->due_next;
            if (conn->due_s <= now_s) {
                due_unlink(shard, conn);
                conn_tick_one(shard, conn, &pings);
            }
            index = next;
        }
    }
    for (size_t i = 0; i < array_count(pings.frames); i++)
        if (pings.frames[i] != NULL) frame_unref(&shard->frames, pings.frames[i]);
}
