/*
 * The simulated loop and network: an echo server on a fiber and clients that
 * compare what comes back, through partial receives, small windows and
 * waiting sends.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "core/mem.h"
#include "disk_sim.h"
#include "fiber.h"
#include "loop_sim.h"
#include "mem_sim.h"
#include "net_sim.h"
#include "world.h"

#define BYTES 5000u
#define SOCKS 64u

/* An echo server: keeps what is to be sent, one send at a time. */
static struct {
    struct loop *loop;
    struct echo {
        uint8_t data[BYTES];
        uint32_t first, last, flying;
        bool is_ended, must_wait, is_closed;
    } socks[SOCKS];
    uint32_t closed, written;
    bool is_over;
} server;

static struct peer {
    struct link *link;
    uint32_t sent, got;
    bool is_over, is_orderly;
} peers[SOCKS];

static uint8_t byte_at(uint32_t peer, uint32_t at)
{
    return (uint8_t)(peer * 31 + at * 7 + at / 256);
}

static void on_accept(void *owner, uint32_t sock)
{
    (void)owner;
    memset(&server.socks[sock], 0, sizeof(server.socks[sock]));
    loop_recv_arm(server.loop, sock);
}

static void on_recv(void *owner, uint32_t sock, uint8_t *data, uint32_t size)
{
    (void)owner;
    struct echo *echo = &server.socks[sock];
    memcpy(echo->data + echo->last, data, size);
    echo->last += size;
}

static void on_end(void *owner, uint32_t sock, int error)
{
    (void)owner;
    (void)error;
    server.socks[sock].is_ended = true;
}

static void on_send(void *owner, uint32_t sock, uint32_t sent, int error)
{
    (void)owner;
    struct echo *echo = &server.socks[sock];
    if (echo->must_wait) {
        assert_true(error == 0 || error == EPIPE || error == ECANCELED);
        echo->must_wait = false;
        echo->first += error == 0 ? echo->flying : 0;
        if (error != 0) echo->is_ended = true;
    } else {
        assert_true(sent < echo->flying);
        echo->first -= echo->flying - sent; /* it was taken for sent */
        echo->must_wait = error == EAGAIN;
        if (error != EAGAIN) echo->is_ended = true;
    }
    echo->flying = 0;
}

static void on_closed(void *owner, uint32_t sock)
{
    (void)owner;
    (void)sock;
    server.closed++;
}

static void server_sends(uint32_t sock)
{
    struct echo *echo = &server.socks[sock];
    if (echo->is_closed) return;
    uint32_t left = echo->last - echo->first;
    if (echo->must_wait && echo->flying == 0 && !echo->is_ended) {
        echo->flying = left;
        loop_send_wait(server.loop, sock, echo->data + echo->first, left);
    } else if (!echo->must_wait && left > 0 && !echo->is_ended) {
        echo->flying = left;
        loop_send_now(server.loop, sock, echo->data + echo->first, left);
        echo->first += left;
    } else if (echo->is_ended) {
        echo->is_closed = true;
        loop_close(server.loop, sock, false);
    }
}

static void on_written(struct write_op *op, int error)
{
    assert_int_equal(error, 0);
    assert_int_equal(op->size, 3000);
    server.written++;
}

static void server_main(void *argument)
{
    (void)argument;
    static uint8_t data[3000];
    static struct write_op op;
    static const struct loop_options options = {
        .socks_max = SOCKS, .recv_buffers = 8, .recv_buffer_size = 512};
    static const struct sock_handlers handlers = {on_accept, NULL,      on_recv, on_end,
                                                  on_send,   on_closed, NULL};
    assert_int_equal(loop_create(&options, &server.loop), ERR_OK);
    loop_start(server.loop);
    loop_handle(server.loop, SOCK_CONN, &handlers, NULL);
    loop_listen(server.loop, 3);
    op = (struct write_op){.file = disk_open("/d/log", DISK_WRITE | DISK_READ | DISK_CREATE),
                           .data = data,
                           .size = sizeof(data),
                           .is_synced = true,
                           .on_done = on_written};
    loop_write_sync(server.loop, &op);
    while (server.closed < SOCKS) {
        loop_enter(server.loop, UINT64_MAX);
        loop_run(server.loop);
        for (uint32_t i = 0; i < SOCKS; i++)
            if (server.socks[i].last > 0 || server.socks[i].is_ended) server_sends(i);
    }
    assert_int_equal(loop_socks(server.loop), 0);
    loop_destroy(server.loop);
    server.is_over = true;
}

static void peer_open(void *owner)
{
    struct peer *peer = owner;
    uint32_t number = (uint32_t)(peer - peers);
    while (peer->sent < BYTES) {
        uint8_t data[700];
        uint32_t size = (uint32_t)min_u64(1 + chance_below(sizeof(data)), BYTES - peer->sent);
        for (uint32_t i = 0; i < size; i++) data[i] = byte_at(number, peer->sent + i);
        net_write(peer->link, data, size);
        peer->sent += size;
    }
}

static void peer_data(void *owner, const uint8_t *data, size_t size)
{
    struct peer *peer = owner;
    for (size_t i = 0; i < size; i++)
        assert_int_equal(data[i], byte_at((uint32_t)(peer - peers), peer->got + (uint32_t)i));
    peer->got += (uint32_t)size;
    if (peer->got == BYTES) {
        net_close(peer->link, false);
        peer->is_over = true;
    }
}

static void peer_end(void *owner, bool is_orderly)
{
    struct peer *peer = owner;
    peer->is_over = true;
    peer->is_orderly = is_orderly;
}

static void drive(void)
{
    for (uint32_t i = 0; i < 1000000; i++) {
        world_run_due();
        if (fibers_step()) {
            world.now_ns += chance_below(20000);
            continue;
        }
        uint64_t next = min_u64(world_next_ns(), fibers_next_ns());
        if (next == UINT64_MAX) return;
        world.now_ns = max_u64(world.now_ns, next);
    }
}

static uint64_t run_echo(uint64_t seed, bool is_cut)
{
    static const struct net_peer handlers = {peer_open, peer_data, peer_end};
    static const struct net_sim_options net = {.delay_ns_min = 1000,
                                               .delay_ns_max = 1000000,
                                               .window_min = 500,
                                               .window_max = 9000,
                                               .short_percent = 20,
                                               .split_percent = 40};
    static const struct loop_sim_options loops = {.closed_ns_max = 100000};
    static const struct disk_sim_options disk = {
        .pause_percent = 20, .pause_ns_max = 1000, .sync_ns_max = 1000};
    memset(&server, 0, sizeof(server));
    memset(peers, 0, sizeof(peers));
    world_init(seed);
    disk_sim_init(&disk);
    net_sim_init(&net);
    loop_sim_init(&loops);
    assert_int_equal(disk_mkdir("/d"), 0);
    fiber_spawn("server", server_main, NULL);
    while (loop_sim_listening() == 0) fibers_step();
    for (uint32_t i = 0; i < SOCKS; i++) peers[i].link = net_connect(&handlers, &peers[i]);
    if (is_cut) {
        while (peers[5].got == 0) {
            world_run_due();
            fibers_step();
            world.now_ns += 1000;
        }
        net_reset(peers[5].link);
    }
    drive();
    for (uint32_t i = 0; i < SOCKS; i++)
        assert_true(peers[i].got == BYTES || (is_cut && i == 5 && peers[i].is_over));
    assert_true(server.is_over);
    assert_int_equal(server.written, 1);
    assert_int_equal(mem_sim_count(), 0);
    fibers_drop();
    net_sim_fini();
    disk_sim_fini();
    world_fini();
    return world.trace_hash;
}

static void echoes_arrive_whole(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 10; seed++) run_echo(seed, false);
}

static void a_reset_ends_one_link_only(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 10; seed++) run_echo(seed, true);
}

static void a_seed_repeats_itself(void **state)
{
    (void)state;
    assert_true(run_echo(3, true) == run_echo(3, true));
    assert_true(run_echo(3, true) != run_echo(4, true));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(echoes_arrive_whole),
        cmocka_unit_test(a_reset_ends_one_link_only),
        cmocka_unit_test(a_seed_repeats_itself),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    fibers_fini();
    return failed;
}
