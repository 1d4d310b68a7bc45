/*
 * net: addresses, and what an accepted socket inherits.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/net.h"

static void addresses_are_numbers(void **state)
{
    (void)state;
    struct net_address address;
    assert_int_equal(net_address_parse("127.0.0.1", 80, &address), ERR_OK);
    assert_int_equal(address.storage.ss_family, AF_INET);
    assert_int_equal(address.size, sizeof(struct sockaddr_in));
    assert_int_equal(net_address_parse("::1", 80, &address), ERR_OK);
    assert_int_equal(address.storage.ss_family, AF_INET6);
    assert_int_equal(net_address_parse("*", 80, &address), ERR_OK);
    static const char *const bad[] = {"",           "localhost", "127.0.0",     "127.0.0.256",
                                      "127.0.0.1 ", "[::1]",     "127.0.0.1:80"};
    for (size_t i = 0; i < array_count(bad); i++)
        assert_int_equal(net_address_parse(bad[i], 80, &address), ERR_BAD_REQUEST);
    assert_int_equal(net_address_local("127.0.0.1", 80, &address), ERR_OK);
    assert_int_equal(net_address_local("nowhere", 80, &address), ERR_BAD_REQUEST);
    assert_int_equal(net_address_local("localhost", 80, &address), ERR_OK);
    assert_int_equal(address.storage.ss_family, AF_INET);
    const struct sockaddr_in *in = (const struct sockaddr_in *)&address.storage;
    assert_int_equal(ntohl(in->sin_addr.s_addr), INADDR_LOOPBACK);
    assert_int_equal(net_address_resolve("127.0.0.1", 80, &address), ERR_OK);
    assert_int_equal(net_address_resolve("localhost", 80, &address), ERR_OK);
    assert_int_equal(net_address_resolve("no such name.invalid", 80, &address), ERR_IO);
}

static int option_of(int fd, int level, int option)
{
    int value = -1;
    socklen_t size = sizeof value;
    assert_int_equal(getsockopt(fd, level, option, &value, &size), 0);
    return value;
}

static void accepted_socket_inherits_its_options(void **state)
{
    (void)state;
    struct net_address address;
    assert_int_equal(net_address_parse("127.0.0.1", 0, &address), ERR_OK);
    int listener = net_listen(&address, false);
    assert_true(listener >= 0);
    uint16_t port = net_port(listener);
    assert_true(port > 0);
    assert_int_equal(net_address_parse("127.0.0.1", port, &address), ERR_OK);
    int peer = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(peer, (struct sockaddr *)&address.storage, address.size), 0);
    int accepted = accept(listener, NULL, NULL);
    assert_true(accepted >= 0);
    assert_int_equal(option_of(accepted, IPPROTO_TCP, TCP_NODELAY), 1);
    assert_int_equal(option_of(accepted, IPPROTO_TCP, TCP_NOTSENT_LOWAT), 16384);
    assert_int_equal(option_of(accepted, IPPROTO_TCP, TCP_USER_TIMEOUT), 30000);
    assert_int_equal(option_of(accepted, SOL_SOCKET, SO_KEEPALIVE), 1);
    assert_int_equal(option_of(accepted, IPPROTO_TCP, TCP_KEEPIDLE), 60);
    close(peer);
    close(accepted);

    assert_int_equal(net_listen(&address, false), -EADDRINUSE);
    close(listener);
}

static void listeners_share_a_port_when_asked(void **state)
{
    (void)state;
    struct net_address address;
    assert_int_equal(net_address_parse("*", 0, &address), ERR_OK);
    int first = net_listen(&address, true);
    assert_true(first >= 0);
    assert_int_equal(net_address_parse("*", net_port(first), &address), ERR_OK);
    int second = net_listen(&address, true);
    assert_true(second >= 0);
    assert_int_equal(net_port(first), net_port(second));
    close(first);
    close(second);
    assert_int_equal(net_address_parse("192.0.2.1", 0, &address), ERR_OK);
    assert_int_equal(net_listen(&address, false), -EADDRNOTAVAIL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_are_numbers),
        cmocka_unit_test(accepted_socket_inherits_its_options),
        cmocka_unit_test(listeners_share_a_port_when_asked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
