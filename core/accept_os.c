/*
 * accept_os: how sockets come: accepted from a listener, or connected by us.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/log.h"
#include "core/loop_os.h"
#include "core/net.h"

/* A multishot accept takes a whole backlog at once, and what finds no slot is
 * lost.  So it is used only while a backlog and some more fit; nearer to a full
 * table each accept is asked for by itself. */
#define ACCEPT_MANY_SLOTS   (NET_BACKLOG + NET_BACKLOG / 4)
/* Failures in a row after which accepting pauses. */
#define ACCEPT_FAILURES_MAX 16
#define ACCEPT_PAUSE_MS     100

/* ── accepting ─────────────────────────────────────────────────────────── */

static uint32_t loop_slots_free(const struct loop *loop)
{
    uint32_t accepted = loop->socks_used - loop->links_used;
    check(accepted <= loop->socks_max - loop->links_max);
    return loop->socks_max - loop->links_max - accepted;
}

static enum accept_state accept_wanted(const struct loop *loop, const struct acceptor *acceptor)
{
    uint32_t free = loop_slots_free(loop);
    if (acceptor->listener < 0 || free == 0) return ACCEPT_IDLE;
    /* The backlogs of all listeners may come in the same moment.  Going back to many wants
     * some more room than staying, so that the two do not take turns. */
    uint32_t many = 0;
    for (uint32_t i = 0; i < SOCK_ACCEPTED_COUNT; i++)
        if (loop->acceptors[i].listener >= 0) many += ACCEPT_MANY_SLOTS;
    if (acceptor->state != ACCEPT_MANY) many += ACCEPT_MANY_SLOTS;
    return free >= many ? ACCEPT_MANY : ACCEPT_ONE;
}

static void accept_from(struct loop *loop, enum sock_kind kind)
{
    struct acceptor *acceptor = &loop->acceptors[kind];
    enum accept_state wanted = accept_wanted(loop, acceptor);
    if (acceptor->state == ACCEPT_IDLE) {
        if (wanted == ACCEPT_IDLE || acceptor->pause_ms != 0) return;
        acceptor->state = wanted;
        acceptor->generation++;
        ring_accept(loop->ring, acceptor->listener, wanted == ACCEPT_MANY,
                    ring_tag(RING_ACCEPT, acceptor->generation, kind));
        return;
    }
    bool is_fine =
        acceptor->state == wanted || (acceptor->state == ACCEPT_ONE && wanted != ACCEPT_IDLE);
    if (is_fine || acceptor->state == ACCEPT_CANCELLED) return;
    acceptor->state = ACCEPT_CANCELLED;
    ring_cancel(loop->ring, ring_tag(RING_ACCEPT, acceptor->generation, kind));
}

void loop_accept(struct loop *loop)
{
    for (uint32_t i = 0; i < SOCK_ACCEPTED_COUNT; i++) accept_from(loop, (enum sock_kind)i);
}

/* How much of a peer's name there is depends on the family, and asking for more is
 * an error: an IPv6 listener's peers have IPv6 names, IPv4 clients included. */
static uint32_t peer_size_of(int listener)
{
    struct sockaddr_storage own;
    socklen_t size = sizeof own;
    if (getsockname(listener, (struct sockaddr *)&own, &size) != 0) return 0;
    if (own.ss_family == AF_INET) return 8;
    return own.ss_family == AF_INET6 ? 24 : 0;
}

void loop_ask_peer(struct loop *loop, uint32_t index)
{
    struct sock *sock = sock_at(loop, index);
    check(sock->state == SOCK_OPEN && !sock->is_asking);
    check(sock_handlers(loop, sock)->on_peer != NULL);
    uint64_t tag = sock_tag(loop, sock, RING_PEER);
    sock->is_asking = true;
    check(sock->kind < SOCK_ACCEPTED_COUNT);
    uint32_t size = loop->acceptors[sock->kind].peer_size;
    if (size == 0)
        ring_post(loop->ring, tag, -EAFNOSUPPORT);
    else
        ring_peer(loop->ring, index, &loop->peers[index], size, tag);
}

void on_peer_event(struct loop *loop, struct sock *sock, int result)
{
    check(sock->is_asking);
    sock->is_asking = false;
    if (sock->state != SOCK_OPEN) return;
    uint32_t index = sock_index(loop, sock);
    const struct peer_name *name = &loop->peers[index];
    uint8_t address[16] = {[10] = 0xff, [11] = 0xff};
    if (result >= 0 && name->family == AF_INET)
        memcpy(address + 12, name->address, 4);
    else if (result >= 0)
        memcpy(address, name->address + 4, 16);
    sock_handlers(loop, sock)
        ->on_peer(sock_owner(loop, sock), index, address, result < 0 ? -result : 0);
}

void loop_listen_as(struct loop *loop, enum sock_kind kind, int listener)
{
    check(listener >= 0);
    check(kind < SOCK_ACCEPTED_COUNT && loop->handlers[kind].on_accept != NULL);
    struct acceptor *acceptor = &loop->acceptors[kind];
    check(acceptor->listener < 0);
    acceptor->listener = listener;
    acceptor->peer_size = peer_size_of(listener);
    acceptor->pause_ms = 0;
    acceptor->failures = 0;
    loop_accept(loop);
}

void loop_listen_stop(struct loop *loop)
{
    for (uint32_t i = 0; i < SOCK_ACCEPTED_COUNT; i++) loop->acceptors[i].listener = -1;
    loop_accept(loop);
}

/* Not close: an accept that was prepared names the descriptor until the next enter, and
 * one under way keeps the socket open behind it. */
void loop_listen_end(struct loop *loop)
{
    check(loop->acceptors[SOCK_CONN].listener >= 0);
    for (uint32_t i = 0; i < SOCK_ACCEPTED_COUNT; i++) {
        int listener = loop->acceptors[i].listener;
        if (listener >= 0 && shutdown(listener, SHUT_RD) != 0)
            log_warn("cannot end listening error=\"%s\"", strerror(errno));
    }
    loop_listen_stop(loop);
}

/* An accept that failed for want of something gets a pause, because it would
 * fail again at once; one lost connection (ECONNABORTED) does not. */
static void accept_failed(struct loop *loop, struct acceptor *acceptor, int error)
{
    if (error == ECANCELED) return;
    loop->counters.accept_errors++;
    acceptor->failures++;
    bool is_scarce = error == ENFILE || error == EMFILE || error == ENOMEM || error == ENOBUFS;
    if (!is_scarce && acceptor->failures < ACCEPT_FAILURES_MAX) return;
    log_warn("accept failed error=\"%s\" failures=%u pause_ms=%u", strerror(error),
             acceptor->failures, ACCEPT_PAUSE_MS);
    acceptor->pause_ms = clock_mono_ns() / 1000000u + ACCEPT_PAUSE_MS;
}

void on_accept_event(struct loop *loop, const struct ring_event *event)
{
    enum sock_kind kind = (enum sock_kind)ring_tag_slot(event->tag);
    check(kind < SOCK_ACCEPTED_COUNT);
    struct acceptor *acceptor = &loop->acceptors[kind];
    uint32_t generation = acceptor->generation & RING_GENERATION_MASK;
    if (!event->has_more && ring_tag_generation(event->tag) == generation)
        acceptor->state = ACCEPT_IDLE;
    if (event->result < 0) {
        accept_failed(loop, acceptor, -event->result);
        return;
    }
    struct sock *sock = sock_at(loop, (uint32_t)event->result);
    check(!sock_is_link(loop, sock));
    /* Kernels before 6.10 may tell of the new tenant before the old one's close. */
    if (sock->state == SOCK_CLOSED) on_close_event(loop, sock);
    sock_take(loop, sock, kind, SOCK_OPEN);
    acceptor->failures = 0;
    loop->counters.accepts++;
    sock_handlers(loop, sock)->on_accept(sock_owner(loop, sock), sock_index(loop, sock));
}

bool loop_accept_is_paused(const struct loop *loop)
{
    bool is_paused = false;
    for (uint32_t i = 0; i < SOCK_ACCEPTED_COUNT; i++)
        is_paused = is_paused || loop->acceptors[i].pause_ms != 0;
    return is_paused;
}

uint64_t loop_accept_pause(struct loop *loop, uint64_t wake_ms, uint64_t now_ms)
{
    for (uint32_t i = 0; i < SOCK_ACCEPTED_COUNT; i++) {
        struct acceptor *acceptor = &loop->acceptors[i];
        if (acceptor->pause_ms == 0) continue;
        if (now_ms < acceptor->pause_ms) {
            wake_ms = min_u64(wake_ms, acceptor->pause_ms);
        } else {
            acceptor->pause_ms = 0;
            accept_from(loop, (enum sock_kind)i);
        }
    }
    return wake_ms;
}

/* ── connecting ────────────────────────────────────────────────────────── */

/* A link is made by the ordinary calls and then moved into its slot: links are
 * few, and before kernel 6.7 a slot's socket cannot be given TCP_NODELAY,
 * without which a pipeline waits for delayed acknowledgements. */
static int link_open(struct loop *loop, uint32_t index, const struct sockaddr *address)
{
    int fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return -errno;
    int on = 1;
    bool is_internet = address->sa_family == AF_INET || address->sa_family == AF_INET6;
    int result = 0;
    if (is_internet && setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0)
        result = -errno;
    if (result == 0 && setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on) != 0)
        result = -errno;
    if (result == 0) result = ring_place(loop->ring, index, fd);
    close(fd);
    return result;
}

uint32_t loop_connect(struct loop *loop, enum sock_kind kind, const struct sockaddr *address,
                      uint32_t address_size)
{
    check(kind < SOCK_KIND_COUNT && loop->handlers[kind].on_connect != NULL);
    check(address_size <= sizeof *loop->addresses);
    uint32_t index = 0;
    while (index < loop->links_max && loop->socks[index].state != SOCK_FREE) index++;
    if (index == loop->links_max) return SOCK_NONE;

    struct sock *sock = sock_at(loop, index);
    sock_take(loop, sock, kind, SOCK_CONNECTING);
    sock->is_connecting = true;
    uint64_t tag = sock_tag(loop, sock, RING_CONNECT);
    int result = link_open(loop, index, address);
    if (result < 0) {
        ring_post(loop->ring, tag, result);
        return index;
    }
    memcpy(&loop->addresses[index], address, address_size);
    ring_connect(loop->ring, index, (struct sockaddr *)&loop->addresses[index], address_size, tag);
    return index;
}

void on_connect_event(struct loop *loop, struct sock *sock, int result)
{
    check(sock->is_connecting);
    sock->is_connecting = false;
    if (sock->state == SOCK_CLOSING) return;
    check(sock->state == SOCK_CONNECTING);
    if (result == 0) sock->state = SOCK_OPEN;
    sock_handlers(loop, sock)->on_connect(sock_owner(loop, sock), sock_index(loop, sock), -result);
}
