/*
 * net: addresses and listening sockets.
 *
 * One listener per shard on the same port (SO_REUSEPORT); options that every
 * accepted socket inherits (TCP_NODELAY, TCP_NOTSENT_LOWAT, TCP_USER_TIMEOUT,
 * keepalive) are set here once.
 *
 * Thread:  any; before shards start.
 * Tests:   tests/unit/core/test_net.c
 */
#pragma once

#include <sys/socket.h>

#include "core/err.h"

/* Connections that wait to be accepted; net.core.somaxconn may bound it further. */
#define NET_BACKLOG 4096

struct net_address {
    struct sockaddr_storage storage;
    uint32_t size;
};

/* Parses "127.0.0.1", "::1" or "*" with a port; numbers only. */
must_use enum err net_address_parse(const char *host, uint16_t port, struct net_address *address);
/* The same of an address to listen on: "localhost" is 127.0.0.1, no resolver asked. */
must_use enum err net_address_local(const char *host, uint16_t port, struct net_address *address);
/* Resolves a name too; blocking. */
must_use enum err net_address_resolve(const char *host, uint16_t port, struct net_address *address);
/* A bound, listening, close-on-exec descriptor, or -errno.  `is_shared`: SO_REUSEPORT. */
must_use int net_listen(const struct net_address *address, bool is_shared);
/* The port a listener is bound to. */
uint16_t net_port(int listener);
