/*
 * net: socket options that every connection inherits from its listener.
 */
#include "core/net.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/check.h"

/* Unsent bytes above which a socket counts as full.  With it a reader that does
 * not read holds 80 KB of kernel memory, without it 4.2 MB; the congestion
 * window stays free, so throughput does not suffer. */
#define NOTSENT_LOWAT_BYTES  (16 << 10)
/* A peer that acknowledges nothing for so long is gone; keepalive alone leaves
 * unacknowledged data lying for a quarter of an hour. */
#define USER_TIMEOUT_MS      30000
#define KEEPALIVE_IDLE_S     60
#define KEEPALIVE_INTERVAL_S 15

static void net_address_v4(struct net_address *address, struct in_addr host, uint16_t port)
{
    struct sockaddr_in *in = (struct sockaddr_in *)&address->storage;
    *address = (struct net_address){.size = sizeof *in};
    in->sin_family = AF_INET;
    in->sin_addr = host;
    in->sin_port = htons(port);
}

static void net_address_v6(struct net_address *address, struct in6_addr host, uint16_t port)
{
    struct sockaddr_in6 *in = (struct sockaddr_in6 *)&address->storage;
    *address = (struct net_address){.size = sizeof *in};
    in->sin6_family = AF_INET6;
    in->sin6_addr = host;
    in->sin6_port = htons(port);
}

enum err net_address_parse(const char *host, uint16_t port, struct net_address *address)
{
    struct in_addr v4;
    struct in6_addr v6;
    if (strcmp(host, "*") == 0)
        net_address_v6(address, in6addr_any, port);
    else if (inet_pton(AF_INET, host, &v4) == 1)
        net_address_v4(address, v4, port);
    else if (inet_pton(AF_INET6, host, &v6) == 1)
        net_address_v6(address, v6, port);
    else
        return ERR_BAD_REQUEST;
    return ERR_OK;
}

enum err net_address_local(const char *host, uint16_t port, struct net_address *address)
{
    bool is_named = strcmp(host, "localhost") == 0;
    return net_address_parse(is_named ? "127.0.0.1" : host, port, address);
}

enum err net_address_resolve(const char *host, uint16_t port, struct net_address *address)
{
    if (net_address_parse(host, port, address) == ERR_OK) return ERR_OK;
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct addrinfo *found;
    char service[8];
    snprintf(service, sizeof service, "%u", port);
    if (getaddrinfo(host, service, &hints, &found) != 0) return ERR_IO;
    check(found->ai_addrlen <= sizeof address->storage);
    *address = (struct net_address){.size = found->ai_addrlen};
    memcpy(&address->storage, found->ai_addr, found->ai_addrlen);
    freeaddrinfo(found);
    return ERR_OK;
}

static bool net_option(int fd, int level, int option, int value)
{
    return setsockopt(fd, level, option, &value, sizeof value) == 0;
}

/* False with errno set.  The listener itself stays blocking: the loop polls it. */
static bool net_listen_on(int fd, const struct net_address *address, bool is_shared)
{
    if (!net_option(fd, SOL_SOCKET, SO_REUSEADDR, 1)) return false;
    if (is_shared && !net_option(fd, SOL_SOCKET, SO_REUSEPORT, 1)) return false;
    if (address->storage.ss_family == AF_INET6 && !net_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, 0))
        return false;
    bool is_set = net_option(fd, IPPROTO_TCP, TCP_NODELAY, 1) &&
                  net_option(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, NOTSENT_LOWAT_BYTES) &&
                  net_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, USER_TIMEOUT_MS) &&
                  net_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1) &&
                  net_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, KEEPALIVE_IDLE_S) &&
                  net_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S);
    if (!is_set) return false;
    if (bind(fd, (const struct sockaddr *)&address->storage, address->size) != 0) return false;
    return listen(fd, NET_BACKLOG) == 0;
}

/* "*" as IPv4, for machines without IPv6. */
static bool net_address_fall_back(const struct net_address *address, struct net_address *v4)
{
    const struct sockaddr_in6 *in = (const struct sockaddr_in6 *)&address->storage;
    if (address->storage.ss_family != AF_INET6) return false;
    if (memcmp(&in->sin6_addr, &in6addr_any, sizeof in6addr_any) != 0) return false;
    net_address_v4(v4, (struct in_addr){htonl(INADDR_ANY)}, ntohs(in->sin6_port));
    return true;
}

int net_listen(const struct net_address *address, bool is_shared)
{
    check(address->size > 0 && address->size <= sizeof address->storage);
    int fd = socket(address->storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && net_listen_on(fd, address, is_shared)) return fd;
    int error = errno;
    if (fd >= 0) close(fd);
    struct net_address v4;
    bool has_no_v6 = error == EAFNOSUPPORT || error == EADDRNOTAVAIL;
    if (has_no_v6 && net_address_fall_back(address, &v4)) return net_listen(&v4, is_shared);
    return -error;
}

uint16_t net_port(int listener)
{
    struct sockaddr_storage storage = {0};
    socklen_t size = sizeof storage;
    int result = getsockname(listener, (struct sockaddr *)&storage, &size);
    check(result == 0);
    if (storage.ss_family == AF_INET6) return ntohs(((struct sockaddr_in6 *)&storage)->sin6_port);
    check(storage.ss_family == AF_INET);
    return ntohs(((struct sockaddr_in *)&storage)->sin_port);
}
