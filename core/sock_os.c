/*
 * sock_os: one socket, from its first receive to its close.
 */
#include <errno.h>
#include <string.h>

#include "core/loop_os.h"

void sock_take(struct loop *loop, struct sock *sock, enum sock_kind kind, enum sock_state state)
{
    check(sock->state == SOCK_FREE);
    check(sock->recv == RECV_IDLE);
    check(!sock->is_sending && !sock->is_shutting && !sock->is_connecting);
    uint32_t generation = sock->generation;
    memset(sock, 0, sizeof *sock);
    sock->generation = generation;
    sock->kind = (uint8_t)kind;
    sock->state = (uint8_t)state;
    loop->socks_used++;
    if (sock_is_link(loop, sock)) loop->links_used++;
}

/* Closes once nothing is under way on the socket any more. */
static void sock_close_when_quiet(struct loop *loop, struct sock *sock)
{
    if (sock->state != SOCK_CLOSING) return;
    if (sock->recv == RECV_ARMED || sock->recv == RECV_CANCELLED) return;
    if (sock->is_sending || sock->is_shutting || sock->is_connecting || sock->is_asking) return;
    sock->state = SOCK_CLOSED;
    ring_close(loop->ring, sock_index(loop, sock), sock->is_abort,
               sock_tag(loop, sock, RING_CLOSE));
}

static void sock_starve(struct loop *loop, struct sock *sock)
{
    uint32_t index = sock_index(loop, sock);
    sock->recv = RECV_STARVED;
    loop->starved[index / 64] |= UINT64_C(1) << index % 64;
    loop->starved_count++;
    loop->counters.recv_starved++;
}

static void sock_feed(struct loop *loop, struct sock *sock)
{
    if (sock->recv != RECV_STARVED) return;
    uint32_t index = sock_index(loop, sock);
    check(loop->starved_count > 0);
    sock->recv = RECV_IDLE;
    loop->starved[index / 64] &= ~(UINT64_C(1) << index % 64);
    loop->starved_count--;
}

/* Arms the receive that the owner wants, where none is armed. */
static void sock_recv(struct loop *loop, struct sock *sock)
{
    if (sock->state != SOCK_OPEN || sock->recv != RECV_IDLE || !sock->wants_recv) return;
    sock->recv = RECV_ARMED;
    ring_recv(loop->ring, sock_index(loop, sock), sock_tag(loop, sock, RING_RECV));
}

/* From where the last turn stopped, so that each has its turn; by then the
 * turn's buffers are all back.  The first word is looked at twice: above the
 * start, and at the end below it. */
void loop_feed(struct loop *loop)
{
    uint32_t words = (loop->socks_max + 63) / 64;
    uint32_t start = loop->starved_next;
    uint64_t above = ~UINT64_C(0) << start % 64;
    uint32_t left = loop->starved_batch;
    for (uint32_t i = 0; i <= words && loop->starved_count > 0; i++) {
        uint32_t word = (start / 64 + i) % words;
        uint64_t bits = loop->starved[word];
        if (i == 0) bits &= above;
        if (i == words) bits &= ~above;
        for (; bits != 0; bits &= bits - 1) {
            uint32_t index = word * 64 + (uint32_t)__builtin_ctzll(bits);
            if (left-- == 0) {
                loop->starved_next = index;
                return;
            }
            struct sock *sock = sock_at(loop, index);
            sock_feed(loop, sock);
            sock_recv(loop, sock);
        }
    }
}

void loop_recv_arm(struct loop *loop, uint32_t index)
{
    struct sock *sock = sock_at(loop, index);
    check(sock->state == SOCK_OPEN);
    if (sock->has_ended) return;
    sock->wants_recv = true;
    sock_recv(loop, sock);
}

void loop_recv_disarm(struct loop *loop, uint32_t index)
{
    struct sock *sock = sock_at(loop, index);
    check(sock->state == SOCK_OPEN);
    sock->wants_recv = false;
    sock_feed(loop, sock);
    if (sock->recv != RECV_ARMED) return;
    sock->recv = RECV_CANCELLED;
    ring_cancel(loop->ring, sock_tag(loop, sock, RING_RECV));
}

void loop_send_now(struct loop *loop, uint32_t index, const void *data, uint32_t size)
{
    struct sock *sock = sock_at(loop, index);
    check(sock->state == SOCK_OPEN);
    check(!sock->is_sending);
    check(size > 0);
    loop->counters.sends++;
    ring_send(loop->ring, index, data, size, true, sock_tag(loop, sock, RING_SEND_NOW));
}

static void sock_send_rest(struct loop *loop, struct sock *sock)
{
    const struct send_wait *wait = &loop->waits[sock_index(loop, sock)];
    check(wait->sent < wait->size);
    ring_send(loop->ring, sock_index(loop, sock), wait->data + wait->sent, wait->size - wait->sent,
              false, sock_tag(loop, sock, RING_SEND_WAIT));
}

void loop_send_wait(struct loop *loop, uint32_t index, const void *data, uint32_t size)
{
    struct sock *sock = sock_at(loop, index);
    check(sock->state == SOCK_OPEN);
    check(!sock->is_sending);
    check(size > 0);
    sock->is_sending = true;
    loop->waits[index] = (struct send_wait){data, size, 0};
    loop->counters.sends_blocked++;
    sock_send_rest(loop, sock);
}

void loop_close(struct loop *loop, uint32_t index, bool is_abort)
{
    struct sock *sock = sock_at(loop, index);
    check(sock->state == SOCK_OPEN || sock->state == SOCK_CONNECTING);
    sock->state = SOCK_CLOSING;
    sock->is_abort = is_abort;
    sock->wants_recv = sock->wants_shutdown = false;
    sock_feed(loop, sock);
    if (sock->recv == RECV_ARMED) {
        sock->recv = RECV_CANCELLED;
        ring_cancel(loop->ring, sock_tag(loop, sock, RING_RECV));
    }
    if (sock->is_sending) ring_cancel(loop->ring, sock_tag(loop, sock, RING_SEND_WAIT));
    if (sock->is_connecting) ring_cancel(loop->ring, sock_tag(loop, sock, RING_CONNECT));
    sock_close_when_quiet(loop, sock);
}

static void sock_shutdown(struct loop *loop, struct sock *sock)
{
    sock->wants_shutdown = false;
    sock->is_shutting = true;
    ring_shutdown(loop->ring, sock_index(loop, sock), sock_tag(loop, sock, RING_SHUTDOWN));
}

void loop_shutdown(struct loop *loop, uint32_t index)
{
    struct sock *sock = sock_at(loop, index);
    check(sock->state == SOCK_OPEN);
    if (sock->is_shutting) return;
    if (sock->is_sending)
        sock->wants_shutdown = true;
    else
        sock_shutdown(loop, sock);
}

/* ── events ────────────────────────────────────────────────────────────── */

/* A receive ended without being asked to.  The rest of what the peer sent is
 * still in the socket: arming again loses nothing. */
static void on_recv_ended(struct loop *loop, struct sock *sock, int result)
{
    switch (-result) {
    case ECANCELED:
    case EINTR:
    case EAGAIN: return;
    case ENOBUFS:
        if (sock->wants_recv) sock_starve(loop, sock);
        return;
    default: break;
    }
    sock->has_ended = true;
    sock->wants_recv = false;
    sock_handlers(loop, sock)->on_end(sock_owner(loop, sock), sock_index(loop, sock), -result);
}

static void on_recv_event(struct loop *loop, struct sock *sock, const struct ring_event *event)
{
    if (!event->has_more) sock->recv = RECV_IDLE;
    if (event->result > 0 && event->has_buffer && sock->state == SOCK_OPEN) {
        loop->counters.recvs++;
        sock_handlers(loop, sock)
            ->on_recv(sock_owner(loop, sock), sock_index(loop, sock),
                      ring_buffer(loop->ring, event->buffer), (uint32_t)event->result);
    } else if (event->result <= 0 && sock->state == SOCK_OPEN) {
        on_recv_ended(loop, sock, event->result);
    }
    sock_recv(loop, sock);
}

static void on_send_now_event(struct loop *loop, struct sock *sock, int result)
{
    if (sock->state != SOCK_OPEN) return;
    int error = EAGAIN;
    if (result < 0 && result != -EINTR && result != -ENOBUFS && result != -ENOMEM) error = -result;
    uint32_t sent = result > 0 ? (uint32_t)result : 0;
    sock_handlers(loop, sock)->on_send(sock_owner(loop, sock), sock_index(loop, sock), sent, error);
}

static void on_send_wait_event(struct loop *loop, struct sock *sock, int result)
{
    check(sock->is_sending);
    struct send_wait *wait = &loop->waits[sock_index(loop, sock)];
    int error = 0;
    if (result > 0)
        wait->sent += (uint32_t)result;
    else if (result != -EINTR && result != -EAGAIN)
        error = result == 0 ? EPIPE : -result;
    check(wait->sent <= wait->size);
    if (sock->state == SOCK_CLOSING)
        error = ECANCELED;
    else if (error == 0 && wait->sent < wait->size) {
        sock_send_rest(loop, sock); /* a short send, WAITALL or not */
        return;
    }
    sock->is_sending = false;
    uint32_t sent = wait->sent;
    *wait = (struct send_wait){0};
    if (sock->wants_shutdown) sock_shutdown(loop, sock);
    sock_handlers(loop, sock)->on_send(sock_owner(loop, sock), sock_index(loop, sock), sent, error);
}

void on_close_event(struct loop *loop, struct sock *sock)
{
    check(sock->state == SOCK_CLOSED);
    check(sock->recv == RECV_IDLE);
    uint32_t index = sock_index(loop, sock);
    sock->state = SOCK_FREE;
    sock->generation = (sock->generation + 1) & RING_GENERATION_MASK;
    loop->socks_used--;
    if (sock_is_link(loop, sock)) loop->links_used--;
    sock_handlers(loop, sock)->on_closed(sock_owner(loop, sock), index);
}

/* True when the event belongs to the slot's tenant of now. */
void on_sock_event(struct loop *loop, const struct ring_event *event)
{
    struct sock *sock = sock_at(loop, ring_tag_slot(event->tag));
    if (sock->state == SOCK_FREE || ring_tag_generation(event->tag) != sock->generation) return;

    switch (ring_tag_op(event->tag)) {
    case RING_CONNECT: on_connect_event(loop, sock, event->result); break;
    case RING_RECV: on_recv_event(loop, sock, event); break;
    case RING_SEND_NOW: on_send_now_event(loop, sock, event->result); break;
    case RING_SEND_WAIT: on_send_wait_event(loop, sock, event->result); break;
    case RING_PEER: on_peer_event(loop, sock, event->result); break;
    case RING_SHUTDOWN: sock->is_shutting = false; break;
    case RING_CLOSE: on_close_event(loop, sock); return;
    default: impossible("a tag with a slot has one of these sorts");
    }
    sock_close_when_quiet(loop, sock);
}
