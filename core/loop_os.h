/*
 * loop_os: what the three files of the real loop share.
 *
 *   FREE ─▶ CONNECTING ─▶ OPEN ─▶ CLOSING ─▶ CLOSED ─▶ FREE
 *     └────── accept ──────▲         │          └ our CLOSE is with the kernel
 *                                    └ waits for the last event of what is armed
 *
 * Invariants:
 *   - At most one receive is armed per socket, and at most one send waits.
 *   - A slot is closed only after everything armed on it gave its last event,
 *     and is free only after the close's own.  The kernel reuses a slot as soon
 *     as it closed it, so nothing of an old tenant can be under way by then;
 *     the generation in each tag says so a second time.
 *   - Ending what is armed is done by cancelling: it happens inside the enter,
 *     where a shutdown goes to a kernel thread.  Only loop_shutdown uses that.
 *
 * Source:  loop_os.c (life, turns, writes), sock_os.c (one socket),
 *          accept_os.c (how sockets come)
 *
 * Thread:  the owner shard, but for the bell.
 */
#pragma once

#include <sys/socket.h>

#include "core/check.h"
#include "core/ring.h"

enum sock_state { SOCK_FREE, SOCK_CONNECTING, SOCK_OPEN, SOCK_CLOSING, SOCK_CLOSED };
enum recv_state {
    RECV_IDLE,
    RECV_ARMED,
    RECV_CANCELLED, /* armed, and its last event was asked for */
    RECV_STARVED,   /* found no buffer; its bit is in `starved` */
};

struct sock {
    uint32_t generation; /* 24 bits */
    uint8_t kind;
    uint8_t state : 3, recv : 3;
    bool wants_recv : 1;     /* the owner has receiving armed */
    bool has_ended : 1;      /* on_end was given */
    bool is_sending : 1;     /* a loop_send_wait is under way */
    bool is_abort : 1;       /* close by reset */
    bool wants_shutdown : 1; /* once the send is done */
    bool is_shutting : 1;    /* a shutdown is with the kernel */
    bool is_connecting : 1;  /* a connect is with the kernel */
    bool is_asking : 1;      /* the question for the peer's address is */
};
static_assert(sizeof(struct sock) == 8, "an idle socket costs eight bytes here");

/* A loop_send_wait; touched only for sockets that were ever blocked. */
struct send_wait {
    const uint8_t *data;
    uint32_t size, sent;
};

/* Begins as the kernel's sockaddr_in or sockaddr_in6 do. */
struct peer_name {
    uint16_t family, port;
    uint8_t address[20]; /* IPv4: 4 bytes; IPv6: the flow, then 16 */
};
static_assert(sizeof(struct peer_name) == 24, "the kernel fills as much as is asked for");

enum accept_state { ACCEPT_IDLE, ACCEPT_ONE, ACCEPT_MANY, ACCEPT_CANCELLED };

/* One listener, and the accept that is under way there. */
struct acceptor {
    int listener;       /* -1: not listening */
    uint32_t peer_size; /* bytes of a name of the listener's family that matter */
    enum accept_state state;
    uint32_t generation, failures;
    uint64_t pause_ms; /* no accept before */
};

struct loop {
    struct ring *ring;
    struct sock *socks;
    struct send_wait *waits;
    struct peer_name *peers; /* touched only where asked for */
    uint64_t *starved;       /* a bit per socket */
    uint32_t starved_count, starved_next, starved_batch;
    uint32_t socks_max, links_max, socks_used, links_used;
    uint32_t writes; /* under way */
    int bell;
    struct acceptor acceptors[SOCK_ACCEPTED_COUNT];
    struct sock_handlers handlers[SOCK_KIND_COUNT];
    void *owners[SOCK_KIND_COUNT];
    struct sockaddr_storage *addresses; /* of links that connect */
    struct loop_counters counters;
};

static inline struct sock *sock_at(struct loop *loop, uint32_t index)
{
    check(index < loop->socks_max);
    return &loop->socks[index];
}

static inline uint32_t sock_index(const struct loop *loop, const struct sock *sock)
{
    return (uint32_t)(sock - loop->socks);
}

static inline uint64_t sock_tag(const struct loop *loop, const struct sock *sock, enum ring_op op)
{
    return ring_tag(op, sock->generation, sock_index(loop, sock));
}

static inline const struct sock_handlers *sock_handlers(const struct loop *loop,
                                                        const struct sock *sock)
{
    return &loop->handlers[sock->kind];
}

static inline void *sock_owner(const struct loop *loop, const struct sock *sock)
{
    return loop->owners[sock->kind];
}

static inline bool sock_is_link(const struct loop *loop, const struct sock *sock)
{
    return sock_index(loop, sock) < loop->links_max;
}

/* sock_os.c */
void sock_take(struct loop *loop, struct sock *sock, enum sock_kind kind, enum sock_state state);
void on_sock_event(struct loop *loop, const struct ring_event *event);
void on_close_event(struct loop *loop, struct sock *sock);
/* Arms starved sockets again, as many as the buffers can serve. */
void loop_feed(struct loop *loop);

/* accept_os.c */
/* Brings what is armed in line with what is wanted. */
void loop_accept(struct loop *loop);
/* Is any listener pausing? */
bool loop_accept_is_paused(const struct loop *loop);
/* Ends pauses that are over; returns `wake_ms` or the first end of another one. */
uint64_t loop_accept_pause(struct loop *loop, uint64_t wake_ms, uint64_t now_ms);
void on_accept_event(struct loop *loop, const struct ring_event *event);
void on_connect_event(struct loop *loop, struct sock *sock, int result);
void on_peer_event(struct loop *loop, struct sock *sock, int result);
