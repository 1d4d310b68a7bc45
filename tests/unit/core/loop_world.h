/*
 * loop_world: a loop, its listener, plain peers, and a diary of what the loop
 * reported.  For test_loop.c and test_loop_write.c.
 */
#pragma once

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/clock.h"
#include "core/loop.h"
#include "core/net.h"

#define SOCKS       16384
#define DIARY_BYTES 8192

struct diary {
    uint8_t bytes[DIARY_BYTES]; /* the first that arrived */
    uint32_t received;
    int ends, end_error;
    uint32_t sends;
    int send_error, send_time;
    uint32_t send_size;
    int closes, close_time;
    int connects, connect_error;
    int peers, peer_error;
    uint8_t peer[16];
};

struct world {
    struct loop *loop;
    int listener;
    struct net_address address;
    struct diary *socks;
    uint32_t accepted[SOCKS];
    uint32_t accepted_count;
    int time; /* counts callbacks */
};

static void on_accept(void *owner, uint32_t sock)
{
    struct world *w = owner;
    assert_true(w->accepted_count < SOCKS);
    w->accepted[w->accepted_count++] = sock;
}
static void on_connect(void *owner, uint32_t sock, int error)
{
    struct diary *diary = &((struct world *)owner)->socks[sock];
    diary->connects++;
    diary->connect_error = error;
}
static void on_recv(void *owner, uint32_t sock, uint8_t *data, uint32_t size)
{
    struct diary *diary = &((struct world *)owner)->socks[sock];
    assert_true(size > 0);
    if (diary->received + size <= DIARY_BYTES) memcpy(diary->bytes + diary->received, data, size);
    diary->received += size;
    memset(data, 0xdb, size); /* the bytes are ours for the call */
}
static void on_end(void *owner, uint32_t sock, int error)
{
    struct diary *diary = &((struct world *)owner)->socks[sock];
    diary->ends++;
    diary->end_error = error;
}
static void on_send(void *owner, uint32_t sock, uint32_t sent, int error)
{
    struct world *w = owner;
    struct diary *diary = &w->socks[sock];
    diary->sends++;
    diary->send_size = sent;
    diary->send_error = error;
    diary->send_time = ++w->time;
}
static void on_closed(void *owner, uint32_t sock)
{
    struct world *w = owner;
    w->socks[sock].closes++;
    w->socks[sock].close_time = ++w->time;
}

static void on_peer(void *owner, uint32_t sock, const uint8_t address[16], int error)
{
    struct diary *diary = &((struct world *)owner)->socks[sock];
    diary->peers++;
    diary->peer_error = error;
    memcpy(diary->peer, address, 16);
}

/* `options` NULL: a table that is never nearly full for these tests. */
static struct world *world_new(void *state, const struct loop_options *options)
{
    (void)state;
    static const struct loop_options usual = {.socks_max = 1024,
                                              .recv_buffers = 64,
                                              .recv_buffer_size = 2048,
                                              .sq_entries = 256,
                                              .cq_entries = 4096};
    static const struct sock_handlers handlers = {on_accept, on_connect, on_recv, on_end,
                                                  on_send,   on_closed,  on_peer};
    struct world *w = calloc(1, sizeof *w);
    w->socks = calloc(SOCKS, sizeof *w->socks);
    assert_int_equal(loop_create(options != NULL ? options : &usual, &w->loop), ERR_OK);
    loop_handle(w->loop, SOCK_CONN, &handlers, w);
    loop_handle(w->loop, SOCK_LINK, &handlers, w);
    loop_start(w->loop);
    assert_int_equal(net_address_parse("127.0.0.1", 0, &w->address), ERR_OK);
    w->listener = net_listen(&w->address, false);
    assert_true(w->listener >= 0);
    assert_int_equal(net_address_parse("127.0.0.1", net_port(w->listener), &w->address), ERR_OK);
    loop_listen(w->loop, w->listener);
    return w;
}

static void world_free(struct world *w)
{
    loop_destroy(w->loop);
    close(w->listener);
    free(w->socks);
    free(w);
}

static void turn(struct world *w, uint64_t wait_ms)
{
    loop_enter(w->loop, wait_ms == 0 ? 0 : clock_mono_ns() / 1000000u + wait_ms);
    loop_run(w->loop);
}

#define turn_until(w, fact)                                                                        \
    do {                                                                                           \
        uint64_t until_ = clock_mono_ns() + 20000000000u;                                          \
        while (!(fact)) {                                                                          \
            turn(w, 5);                                                                            \
            if (clock_mono_ns() > until_) fail_msg("never came true: %s", #fact);                  \
        }                                                                                          \
    } while (0)

/* The socket of the `nth` accepted connection. */
static inline uint32_t world_accepted(struct world *w, uint32_t nth)
{
    turn_until(w, w->accepted_count > nth);
    return w->accepted[nth];
}

static inline int world_peer(struct world *w)
{
    int peer = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(peer >= 0);
    assert_int_equal(connect(peer, (struct sockaddr *)&w->address.storage, w->address.size), 0);
    return peer;
}

static inline void peer_send(int peer, const void *data, size_t size)
{
    assert_int_equal(send(peer, data, size, MSG_NOSIGNAL), (ssize_t)size);
}

/* Until not a byte goes any more: what loopback moves on makes room at first. */
static inline void world_fill(struct world *w, uint32_t sock)
{
    static uint8_t zeros[256 << 10];
    for (int full = 0; full < 10;) {
        uint32_t before = w->socks[sock].sends;
        loop_send_now(w->loop, sock, zeros, sizeof zeros);
        turn(w, 0);
        bool is_full = w->socks[sock].sends > before && w->socks[sock].send_size == 0;
        full = is_full ? full + 1 : 0;
        if (is_full) turn(w, 1);
    }
    assert_int_equal(w->socks[sock].send_error, EAGAIN);
    w->socks[sock].sends = 0;
}
