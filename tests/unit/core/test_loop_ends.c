/*
 * loop_ends: bells, listeners that stop, connections that we make, shutdown.
 *
 * The method of test_loop.c: real sockets, both ends on this thread.
 */
#include "unit/core/loop_world.h"

#include <pthread.h>
#include <signal.h>

static void *ring_later(void *argument)
{
    struct world *w = argument;
    /* Rings that nobody has answered yet become one, so more than are waited for. */
    for (int i = 0; i < 200; i++) {
        usleep(2000);
        loop_wake(w->loop);
    }
    return NULL;
}

static void doorbell_of_another_thread_wakes(void **state)
{
    struct world *w = world_new(*state, NULL);
    pthread_t thread;
    turn(w, 0);
    pthread_create(&thread, NULL, ring_later, w);
    for (int i = 0; i < 20; i++) {
        uint64_t before = clock_mono_ns();
        loop_enter(w->loop, before / 1000000u + 60000);
        loop_run(w->loop);
        assert_true(clock_mono_ns() - before < 50000000000u);
    }
    pthread_join(thread, NULL);
    /* And an enter with a deadline ends there. */
    uint64_t before = clock_mono_ns();
    for (int i = 0; i < 3; i++) turn(w, 0);
    loop_enter(w->loop, before / 1000000u + 20);
    assert_true(clock_mono_ns() - before >= 15000000u);
    world_free(w);
}

static void listening_stops_and_starts(void **state)
{
    struct world *w = world_new(*state, NULL);
    int first = world_peer(w);
    world_accepted(w, 0);
    loop_listen_stop(w->loop);
    turn(w, 0);
    turn(w, 0);
    int second = world_peer(w);
    for (int i = 0; i < 5; i++) turn(w, 1);
    assert_int_equal(w->accepted_count, 1);
    loop_listen(w->loop, w->listener);
    world_accepted(w, 1);
    loop_listen_stop(w->loop);
    loop_listen(w->loop, w->listener); /* while the stop is under way */
    int third = world_peer(w);
    world_accepted(w, 2);
    loop_listen_end(w->loop);
    int late = socket(AF_INET, SOCK_STREAM, 0);
    const struct sockaddr *address = (const struct sockaddr *)&w->address.storage;
    assert_int_equal(connect(late, address, w->address.size), -1);
    assert_int_equal(errno, ECONNREFUSED);
    for (int i = 0; i < 3; i++) turn(w, 1);
    assert_int_equal(w->accepted_count, 3);
    close(late);
    close(first);
    close(second);
    close(third);
    world_free(w);
}

static void link_connects_talks_and_closes(void **state)
{
    struct world *w = world_new(*state, NULL);
    uint32_t link =
        loop_connect(w->loop, SOCK_LINK, (struct sockaddr *)&w->address.storage, w->address.size);
    assert_int_not_equal(link, SOCK_NONE);
    turn_until(w, w->socks[link].connects == 1);
    assert_int_equal(w->socks[link].connect_error, 0);
    uint32_t sock = world_accepted(w, 0);
    loop_recv_arm(w->loop, sock);
    loop_send_now(w->loop, link, "from link", 9);
    turn_until(w, w->socks[sock].received == 9);
    loop_recv_arm(w->loop, link);
    loop_send_now(w->loop, sock, "to link", 7);
    turn_until(w, w->socks[link].received == 7);
    loop_close(w->loop, link, false);
    turn_until(w, w->socks[link].closes == 1 && w->socks[sock].ends == 1);
    world_free(w);
}

static void refused_link_says_so_and_closes(void **state)
{
    struct world *w = world_new(*state, NULL);
    struct net_address nowhere;
    assert_int_equal(net_address_parse("127.0.0.1", 1, &nowhere), ERR_OK);
    for (int i = 1; i <= 100; i++) {
        uint32_t link =
            loop_connect(w->loop, SOCK_LINK, (struct sockaddr *)&nowhere.storage, nowhere.size);
        assert_int_not_equal(link, SOCK_NONE);
        turn_until(w, w->socks[link].connects == i);
        assert_int_equal(w->socks[link].connect_error, ECONNREFUSED);
        loop_close(w->loop, link, false);
        turn_until(w, w->socks[link].closes == i);
    }
    world_free(w);
}

static void links_have_their_own_slots(void **state)
{
    struct world *w = world_new(*state, &(struct loop_options){.socks_max = 8,
                                                               .links_max = 2,
                                                               .recv_buffers = 16,
                                                               .recv_buffer_size = 256,
                                                               .sq_entries = 64,
                                                               .cq_entries = 256});
    struct sockaddr *address = (struct sockaddr *)&w->address.storage;
    uint32_t a = loop_connect(w->loop, SOCK_LINK, address, w->address.size);
    uint32_t b = loop_connect(w->loop, SOCK_LINK, address, w->address.size);
    assert_true(a < 2 && b < 2 && a != b);
    assert_int_equal(loop_connect(w->loop, SOCK_LINK, address, w->address.size), SOCK_NONE);
    loop_close(w->loop, a, false); /* while it connects */
    turn_until(w, w->socks[a].closes == 1);
    assert_int_equal(w->socks[a].connects, 0);
    uint32_t c = loop_connect(w->loop, SOCK_LINK, address, w->address.size);
    assert_int_equal(c, a);
    turn_until(w, w->socks[c].connects == 1 && w->socks[b].connects == 1);
    world_free(w);
}

/* The peer reads to the end what was queued, then sees the end; what it still
 * sends arrives. */
static void shutdown_follows_what_was_queued(void **state)
{
    struct world *w = world_new(*state, NULL);
    int peer = world_peer(w);
    uint32_t sock = world_accepted(w, 0);
    loop_recv_arm(w->loop, sock);
    world_fill(w, sock);
    loop_send_wait(w->loop, sock, "the end", 7);
    loop_shutdown(w->loop, sock);
    char got[65536], last[7];
    ssize_t size;
    bool has_ended = false;
    while (!has_ended) {
        turn(w, 0);
        size = recv(peer, got, sizeof got, MSG_DONTWAIT);
        if (size >= 7) memcpy(last, got + size - 7, 7);
        has_ended = size == 0;
    }
    assert_memory_equal(last, "the end", 7);
    peer_send(peer, "bye", 3);
    close(peer);
    turn_until(w, w->socks[sock].ends == 1);
    assert_int_equal(w->socks[sock].received, 3);
    loop_close(w->loop, sock, false);
    turn_until(w, w->socks[sock].closes == 1);
    world_free(w);
}

static void shutdown_then_close_at_once(void **state)
{
    struct world *w = world_new(*state, NULL);
    for (uint32_t i = 0; i < 50; i++) {
        int peer = world_peer(w);
        uint32_t sock = world_accepted(w, i);
        loop_recv_arm(w->loop, sock);
        loop_send_now(w->loop, sock, "bye", 3);
        loop_shutdown(w->loop, sock);
        if (i % 2 == 0) turn(w, 0);
        loop_close(w->loop, sock, false);
        turn_until(w, loop_socks(w->loop) == 0);
        char got[8];
        assert_int_equal(recv(peer, got, sizeof got, 0), 3);
        assert_int_equal(recv(peer, got, sizeof got, 0), 0);
        close(peer);
    }
    world_free(w);
}

static uint32_t seconds_count;

static void on_second(void *owner, uint32_t sock)
{
    (void)owner;
    (void)sock;
    seconds_count++;
}

static void a_second_listener_brings_sockets_of_its_kind(void **state)
{
    struct world *w = world_new(state, NULL);
    static const struct sock_handlers handlers = {on_second, on_connect, on_recv, on_end,
                                                  on_send,   on_closed,  on_peer};
    seconds_count = 0;
    loop_handle(w->loop, SOCK_INDEX, &handlers, w);
    struct net_address address;
    assert_int_equal(net_address_parse("127.0.0.1", 0, &address), ERR_OK);
    int listener = net_listen(&address, false);
    assert_true(listener >= 0);
    assert_int_equal(net_address_parse("127.0.0.1", net_port(listener), &address), ERR_OK);
    loop_listen_as(w->loop, SOCK_INDEX, listener);
    int peers[4];
    for (uint32_t i = 0; i < 4; i++) {
        if (i % 2 == 0) {
            peers[i] = world_peer(w);
            world_accepted(w, i / 2);
            continue;
        }
        peers[i] = socket(AF_INET, SOCK_STREAM, 0);
        const struct sockaddr *to = (const struct sockaddr *)&address.storage;
        assert_int_equal(connect(peers[i], to, address.size), 0);
        turn_until(w, seconds_count == (i + 1) / 2);
    }
    assert_int_equal(w->accepted_count, 2);
    loop_listen_end(w->loop); /* both */
    int late = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(late, (const struct sockaddr *)&address.storage, address.size), -1);
    assert_int_equal(errno, ECONNREFUSED);
    close(late);
    for (uint32_t i = 0; i < 4; i++) close(peers[i]);
    close(listener);
    world_free(w);
}

/* The answer comes before the bytes of a receive that is armed behind the question. */
static void peer_tells_its_address(void **state)
{
    static const uint8_t expected[16] = {
        [10] = 0xff, [11] = 0xff, [12] = 127, [13] = 0, [14] = 0, [15] = 1};
    struct world *w = world_new(state, NULL);
    for (uint32_t i = 0; i < 2; i++) {
        if (i == 1) { /* an IPv6 listener, an IPv4 client */
            struct net_address any;
            loop_listen_stop(w->loop);
            turn(w, 0);
            close(w->listener);
            assert_int_equal(net_address_parse("*", 0, &any), ERR_OK);
            w->listener = net_listen(&any, false);
            assert_true(w->listener >= 0);
            uint16_t port = net_port(w->listener);
            assert_int_equal(net_address_parse("127.0.0.1", port, &w->address), ERR_OK);
            loop_listen(w->loop, w->listener);
        }
        int peer = world_peer(w);
        peer_send(peer, "hello", 5);
        uint32_t sock = world_accepted(w, i);
        struct diary *diary = &w->socks[sock];
        memset(diary, 0, sizeof *diary); /* the slot may have been the first one's */
        loop_ask_peer(w->loop, sock);
        loop_recv_arm(w->loop, sock);
        while (diary->received == 0) {
            turn(w, 5);
            if (diary->received > 0) assert_int_equal(diary->peers, 1);
        }
        if (diary->peer_error != EOPNOTSUPP) { /* Linux before 6.7 */
            assert_int_equal(diary->peer_error, 0);
            assert_memory_equal(diary->peer, expected, sizeof expected);
        }
        loop_ask_peer(w->loop, sock);
        loop_close(w->loop, sock, false);
        turn_until(w, diary->closes == 1);
        assert_int_equal(diary->peers, 1); /* nothing after the close */
        close(peer);
    }
    world_free(w);
}

int main(void)
{
    signal(SIGPIPE, SIG_DFL); /* MSG_NOSIGNAL must do without */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(doorbell_of_another_thread_wakes),
        cmocka_unit_test(listening_stops_and_starts),
        cmocka_unit_test(link_connects_talks_and_closes),
        cmocka_unit_test(refused_link_says_so_and_closes),
        cmocka_unit_test(links_have_their_own_slots),
        cmocka_unit_test(shutdown_follows_what_was_queued),
        cmocka_unit_test(shutdown_then_close_at_once),
        cmocka_unit_test(a_second_listener_brings_sockets_of_its_kind),
        cmocka_unit_test(peer_tells_its_address),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
