/*
 * loop: a real ring and real loopback sockets, both ends on this thread.
 *
 * The peers are plain sockets; `turn` runs the loop until a fact holds.  What
 * the loop reports is written down per socket and compared.
 */
#include "unit/core/loop_world.h"

#include <signal.h>

static void accepts_receives_sends_and_closes(void **state)
{
    struct world *w = world_new(*state, NULL);
    int peer = world_peer(w);
    uint32_t sock = world_accepted(w, 0);
    loop_recv_arm(w->loop, sock);
    peer_send(peer, "hello", 5);
    turn_until(w, w->socks[sock].received == 5);
    assert_memory_equal(w->socks[sock].bytes, "hello", 5);

    loop_send_now(w->loop, sock, "world!", 6);
    turn(w, 0);
    char got[8];
    assert_int_equal(recv(peer, got, sizeof got, 0), 6);
    assert_int_equal(w->socks[sock].sends, 0); /* a whole send says nothing */

    close(peer);
    turn_until(w, w->socks[sock].ends == 1);
    assert_int_equal(w->socks[sock].end_error, 0);
    loop_close(w->loop, sock, false);
    turn_until(w, w->socks[sock].closes == 1);
    assert_int_equal(loop_socks(w->loop), 0);
    world_free(w);
}

/* Data that waits before the first arming, and in a disarmed socket, comes once
 * it is armed. */
static void disarmed_socket_loses_nothing(void **state)
{
    struct world *w = world_new(*state, NULL);
    int peer = world_peer(w);
    uint32_t sock = world_accepted(w, 0);
    peer_send(peer, "ab", 2);
    for (int i = 0; i < 3; i++) turn(w, 1);
    assert_int_equal(w->socks[sock].received, 0);

    uint32_t sent = 2;
    for (int round = 0; round < 20; round++) {
        loop_recv_arm(w->loop, sock);
        turn_until(w, w->socks[sock].received == sent);
        loop_recv_disarm(w->loop, sock);
        if (round % 3 == 0) loop_recv_arm(w->loop, sock); /* before the cancel was seen */
        if (round % 3 == 0) loop_recv_disarm(w->loop, sock);
        turn(w, 0);
        turn(w, 0);
        char byte = (char)('a' + round);
        peer_send(peer, &byte, 1);
        sent++;
        turn(w, 1);
        turn(w, 1);
        assert_int_equal(w->socks[sock].received, sent - 1);
    }
    loop_recv_arm(w->loop, sock);
    turn_until(w, w->socks[sock].received == sent);
    for (int round = 0; round < 20; round++)
        assert_int_equal(w->socks[sock].bytes[2 + round], 'a' + round);
    close(peer);
    world_free(w);
}

/* Two buffers of 64 bytes, twelve peers that send a lot at once. */
static void starved_buffers_lose_nothing(void **state)
{
    struct world *w = world_new(*state, &(struct loop_options){.socks_max = 128,
                                                               .recv_buffers = 2,
                                                               .recv_buffer_size = 64,
                                                               .sq_entries = 64,
                                                               .cq_entries = 256});
    enum { PEERS = 12, SIZE = 3000 };
    int peers[PEERS];
    static uint8_t text[SIZE];
    for (uint32_t i = 0; i < SIZE; i++) text[i] = (uint8_t)(i * 7);
    for (uint32_t i = 0; i < PEERS; i++) {
        peers[i] = world_peer(w);
        uint32_t sock = world_accepted(w, i);
        loop_recv_arm(w->loop, sock);
    }
    turn(w, 0);
    for (uint32_t i = 0; i < PEERS; i++) peer_send(peers[i], text, SIZE);
    for (uint32_t i = 0; i < PEERS; i++) turn_until(w, w->socks[w->accepted[i]].received == SIZE);
    for (uint32_t i = 0; i < PEERS; i++) {
        assert_memory_equal(w->socks[w->accepted[i]].bytes, text, SIZE);
        close(peers[i]);
    }
    struct loop_counters counters;
    loop_count(w->loop, &counters);
    assert_true(counters.recv_starved > 0);
    world_free(w);
}

/* A starved socket that is disarmed or closed is not armed again. */
static void starved_socket_may_be_closed(void **state)
{
    struct world *w = world_new(*state, &(struct loop_options){.socks_max = 128,
                                                               .recv_buffers = 1,
                                                               .recv_buffer_size = 16,
                                                               .sq_entries = 64,
                                                               .cq_entries = 256});
    enum { PEERS = 8 };
    int peers[PEERS];
    static uint8_t text[4000];
    for (uint32_t i = 0; i < PEERS; i++) {
        peers[i] = world_peer(w);
        loop_recv_arm(w->loop, world_accepted(w, i));
        peer_send(peers[i], text, sizeof text);
    }
    turn(w, 1);
    turn(w, 1);
    for (uint32_t i = 0; i < PEERS; i++) {
        if (i % 2 == 0)
            loop_close(w->loop, w->accepted[i], false);
        else
            loop_recv_disarm(w->loop, w->accepted[i]);
    }
    for (uint32_t i = 0; i < PEERS; i += 2) turn_until(w, w->socks[w->accepted[i]].closes == 1);
    for (uint32_t i = 1; i < PEERS; i += 2) {
        loop_recv_arm(w->loop, w->accepted[i]);
        turn_until(w, w->socks[w->accepted[i]].received == sizeof text);
    }
    for (uint32_t i = 0; i < PEERS; i++) close(peers[i]);
    world_free(w);
}

/* Sends until the socket is full, then the rest by loop_send_wait while the
 * peer reads: every byte arrives once, in order. */
static void slow_reader_gets_every_byte(void **state)
{
    struct world *w = world_new(*state, NULL);
    int peer = world_peer(w);
    uint32_t sock = world_accepted(w, 0);
    enum { SIZE = 32 << 20 };
    uint8_t *text = malloc(SIZE), *got = malloc(SIZE);
    for (size_t i = 0; i < SIZE; i++) text[i] = (uint8_t)(i * 31 + (i >> 12));

    uint32_t sent = 0;
    while (w->socks[sock].sends == 0) {
        uint32_t piece = 256 << 10;
        loop_send_now(w->loop, sock, text + sent, piece);
        turn(w, 0);
        if (w->socks[sock].sends == 0) sent += piece;
        assert_true(sent < SIZE / 2);
    }
    assert_int_equal(w->socks[sock].send_error, EAGAIN);
    sent += w->socks[sock].send_size;
    loop_send_wait(w->loop, sock, text + sent, SIZE - sent);
    for (int i = 0; i < 5; i++) turn(w, 1);
    assert_int_equal(w->socks[sock].sends, 1); /* nobody reads: it waits */

    size_t received = 0;
    while (received < SIZE) {
        ssize_t size = recv(peer, got + received, SIZE - received, MSG_DONTWAIT);
        if (size > 0) received += (size_t)size;
        turn(w, 0);
    }
    turn_until(w, w->socks[sock].sends == 2);
    assert_int_equal(w->socks[sock].send_error, 0);
    assert_int_equal(w->socks[sock].send_size, SIZE - sent);
    assert_memory_equal(got, text, SIZE);
    free(text);
    free(got);
    close(peer);
    world_free(w);
}

static void close_ends_a_waiting_send_first(void **state)
{
    struct world *w = world_new(*state, NULL);
    int peer = world_peer(w);
    uint32_t sock = world_accepted(w, 0);
    loop_recv_arm(w->loop, sock);
    world_fill(w, sock);
    loop_send_wait(w->loop, sock, "rest", 4);
    turn(w, 0);
    loop_close(w->loop, sock, false);
    turn_until(w, w->socks[sock].closes == 1);
    assert_int_equal(w->socks[sock].sends, 1);
    assert_int_equal(w->socks[sock].send_error, ECANCELED);
    assert_true(w->socks[sock].send_time < w->socks[sock].close_time);
    assert_int_equal(w->socks[sock].ends, 0); /* not after loop_close */
    close(peer);
    world_free(w);
}

static void peer_reset(int peer)
{
    struct linger linger = {1, 0};
    setsockopt(peer, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
    close(peer);
}

static void reset_ends_a_waiting_send_and_the_receive(void **state)
{
    struct world *w = world_new(*state, NULL);
    int peer = world_peer(w);
    uint32_t sock = world_accepted(w, 0);
    loop_recv_arm(w->loop, sock);
    world_fill(w, sock);
    loop_send_wait(w->loop, sock, "rest", 4);
    turn(w, 0);
    peer_reset(peer);
    turn_until(w, w->socks[sock].ends == 1 && w->socks[sock].sends == 1);
    /* The kernel tells one of the two why. */
    assert_true(w->socks[sock].end_error == ECONNRESET || w->socks[sock].end_error == 0);
    assert_int_not_equal(w->socks[sock].send_error, 0);
    loop_close(w->loop, sock, false);
    turn_until(w, w->socks[sock].closes == 1);
    world_free(w);
}

static void send_to_a_reset_socket_fails(void **state)
{
    struct world *w = world_new(*state, NULL);
    int peer = world_peer(w);
    uint32_t sock = world_accepted(w, 0);
    peer_reset(peer);
    turn(w, 5);
    loop_send_now(w->loop, sock, "x", 1);
    turn_until(w, w->socks[sock].sends == 1);
    assert_true(w->socks[sock].send_error == EPIPE || w->socks[sock].send_error == ECONNRESET);
    world_free(w);
}

static void abort_resets_and_close_does_not(void **state)
{
    struct world *w = world_new(*state, NULL);
    char byte;
    for (uint32_t i = 0; i < 2; i++) {
        int peer = world_peer(w);
        uint32_t sock = world_accepted(w, i);
        loop_recv_arm(w->loop, sock);
        turn(w, 0);
        loop_close(w->loop, sock, i == 1);
        turn_until(w, w->socks[sock].closes == (int)i + 1);
        ssize_t size = recv(peer, &byte, 1, 0);
        assert_int_equal(size, i == 1 ? -1 : 0);
        if (i == 1) assert_int_equal(errno, ECONNRESET);
        close(peer);
    }
    world_free(w);
}

/* The table has one slot to accept into; each tenant leaves with its receive
 * armed and bytes under way, and none of them reaches the next. */
static void reused_slot_knows_only_its_tenant(void **state)
{
    struct world *w = world_new(*state, &(struct loop_options){.socks_max = 2,
                                                               .links_max = 1,
                                                               .recv_buffers = 16,
                                                               .recv_buffer_size = 256,
                                                               .sq_entries = 64,
                                                               .cq_entries = 256});
    enum { TENANTS = 300 };
    int peers[TENANTS];
    for (uint32_t i = 0; i < TENANTS; i++) {
        peers[i] = world_peer(w);
        uint8_t name = (uint8_t)i;
        peer_send(peers[i], &name, 1);
        uint32_t sock = world_accepted(w, i);
        assert_int_equal(sock, 1);
        w->socks[sock].received = 0;
        loop_recv_arm(w->loop, sock);
        turn_until(w, w->socks[sock].received == 1);
        assert_int_equal(w->socks[sock].bytes[0], name);
        uint8_t late = 0xee;
        if (i % 2 == 0) peer_send(peers[i], &late, 1);
        if (i % 3 == 0) peer_reset(peers[i]);
        loop_close(w->loop, sock, i % 5 == 0);
        if (i % 7 == 0) turn_until(w, w->socks[sock].closes == (int)i + 1);
    }
    for (uint32_t i = 0; i < TENANTS; i++)
        if (i % 3 != 0) close(peers[i]);
    turn_until(w, w->socks[1].closes == TENANTS);
    world_free(w);
}

/* More peers than slots: the rest waits in the backlog, and all are served. */
static void full_table_stops_accepting_and_goes_on(void **state)
{
    struct world *w = world_new(*state, &(struct loop_options){.socks_max = 8,
                                                               .links_max = 4,
                                                               .recv_buffers = 16,
                                                               .recv_buffer_size = 256,
                                                               .sq_entries = 64,
                                                               .cq_entries = 256});
    enum { PEERS = 40 };
    int peers[PEERS];
    for (uint32_t i = 0; i < PEERS; i++) peers[i] = world_peer(w);
    turn_until(w, w->accepted_count == 4);
    for (int i = 0; i < 5; i++) turn(w, 1);
    assert_int_equal(w->accepted_count, 4);
    assert_int_equal(loop_socks(w->loop), 4);
    for (uint32_t i = 0; i < PEERS; i++) {
        uint32_t sock = world_accepted(w, i);
        loop_send_now(w->loop, sock, "hi", 2);
        turn(w, 0);
        loop_close(w->loop, sock, false);
    }
    turn_until(w, loop_socks(w->loop) == 0);
    for (uint32_t i = 0; i < PEERS; i++) {
        char got[4];
        assert_int_equal(recv(peers[i], got, sizeof got, 0), 2);
        close(peers[i]);
    }
    struct loop_counters counters;
    loop_count(w->loop, &counters);
    assert_int_equal(counters.accepts, PEERS);
    assert_int_equal(counters.accept_errors, 0);
    world_free(w);
}

/* A table with room for backlogs accepts by one multishot; a wave of peers. */
static void many_peers_are_accepted_and_served(void **state)
{
    struct world *w = world_new(*state, &(struct loop_options){.socks_max = 16384,
                                                               .recv_buffers = 64,
                                                               .recv_buffer_size = 512,
                                                               .sq_entries = 256,
                                                               .cq_entries = 1024});
    if (loop_socks_max(w->loop) < 12000) skip();
    enum { PEERS = 1500 };
    static int peers[PEERS];
    for (uint32_t i = 0; i < PEERS; i++) {
        peers[i] = world_peer(w);
        if (i % 100 == 99) turn(w, 0);
    }
    for (uint32_t i = 0; i < PEERS; i++) loop_recv_arm(w->loop, world_accepted(w, i));
    for (int round = 0; round < 5; round++) {
        for (uint32_t i = 0; i < PEERS; i++) peer_send(peers[i], "ping", 4);
        for (uint32_t i = 0; i < PEERS; i++)
            turn_until(w, w->socks[w->accepted[i]].received == 4u * (unsigned)(round + 1));
        for (uint32_t i = 0; i < PEERS; i++) loop_send_now(w->loop, w->accepted[i], "pong", 4);
        turn(w, 0);
        for (uint32_t i = 0; i < PEERS; i++) {
            char got[8];
            assert_int_equal(recv(peers[i], got, sizeof got, 0), 4);
        }
    }
    for (uint32_t i = 0; i < PEERS; i++) {
        if (i % 2 == 0)
            close(peers[i]);
        else
            loop_close(w->loop, w->accepted[i], i % 4 == 1);
    }
    for (uint32_t i = 0; i < PEERS; i++) {
        if (i % 2 == 0) {
            turn_until(w, w->socks[w->accepted[i]].ends == 1);
            loop_close(w->loop, w->accepted[i], false);
        } else {
            close(peers[i]);
        }
    }
    turn_until(w, loop_socks(w->loop) == 0);
    world_free(w);
}

/* A completion queue of 16 with 200 armed receives, an armed accept and the
 * doorbell: overflow ends multishots, and each is armed again. */
static void overflow_disarms_nothing_for_good(void **state)
{
    struct world *w = world_new(*state, &(struct loop_options){.socks_max = 512,
                                                               .recv_buffers = 256,
                                                               .recv_buffer_size = 64,
                                                               .sq_entries = 8,
                                                               .cq_entries = 16});
    enum { PEERS = 200 };
    int peers[PEERS];
    for (uint32_t i = 0; i < PEERS; i++) {
        peers[i] = world_peer(w);
        loop_recv_arm(w->loop, world_accepted(w, i));
    }
    turn(w, 0);
    for (unsigned round = 1; round <= 10; round++) {
        for (uint32_t i = 0; i < PEERS; i++) peer_send(peers[i], "x", 1);
        loop_wake(w->loop);
        for (uint32_t i = 0; i < PEERS; i++)
            turn_until(w, w->socks[w->accepted[i]].received == round);
    }
    int more = world_peer(w);
    world_accepted(w, PEERS);
    struct loop_counters counters;
    loop_count(w->loop, &counters);
    print_message("overflows: %llu\n", (unsigned long long)counters.overflows);

    /* Failing sends, more than the queue holds, all reported. */
    static uint8_t zeros[16 << 20];
    for (uint32_t i = 0; i < 40; i++) loop_send_now(w->loop, w->accepted[i], zeros, sizeof zeros);
    turn(w, 0);
    for (uint32_t i = 0; i < 40; i++) {
        assert_int_equal(w->socks[w->accepted[i]].sends, 1);
        assert_int_equal(w->socks[w->accepted[i]].send_error, EAGAIN);
    }
    for (uint32_t i = 0; i < PEERS; i++) close(peers[i]);
    close(more);
    world_free(w);
}

int main(void)
{
    signal(SIGPIPE, SIG_DFL); /* MSG_NOSIGNAL must do without */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(accepts_receives_sends_and_closes),
        cmocka_unit_test(disarmed_socket_loses_nothing),
        cmocka_unit_test(starved_buffers_lose_nothing),
        cmocka_unit_test(starved_socket_may_be_closed),
        cmocka_unit_test(slow_reader_gets_every_byte),
        cmocka_unit_test(close_ends_a_waiting_send_first),
        cmocka_unit_test(reset_ends_a_waiting_send_and_the_receive),
        cmocka_unit_test(send_to_a_reset_socket_fails),
        cmocka_unit_test(abort_resets_and_close_does_not),
        cmocka_unit_test(reused_slot_knows_only_its_tenant),
        cmocka_unit_test(full_table_stops_accepting_and_goes_on),
        cmocka_unit_test(many_peers_are_accepted_and_served),
        cmocka_unit_test(overflow_disarms_nothing_for_good),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
