/*
 * place: where a server of Redis is.
 *
 * Thread:  any; place_parse blocks when it has to resolve a name.
 * Tests:   tests/unit/storage/test_slots.c
 */
#pragma once

#include "core/bytes.h"
#include "core/net.h"

struct redis_place {
    struct net_address address;
    char text[128]; /* "127.0.0.1:6379", for people */
};

/* "redis://host:port", "rediss://host:port", "host:port", "host" or "[::1]:port"; without a
 * port, `port`.  Whether TLS is spoken is not said here (redis.tls). */
must_use enum err place_parse(const char *text, uint16_t port, struct redis_place *place);
/* An address in digits, as servers name each other; an empty host is that of `asked`.
 * ERR_BAD_REQUEST for anything else: nobody is asked. */
must_use enum err place_of(struct bytes host, uint64_t port, const struct redis_place *asked,
                           struct redis_place *place);
bool place_is_same(const struct redis_place *a, const struct redis_place *b);
