/*
 * handshake: a request → 101, or a status and a reason.  Pure.
 *
 * RFC 6455 section 4.2.1 without regard to case where the RFC says so; version
 * 13 only (426 otherwise, with the header that names it).  The Origin rule: no
 * Origin is fine; one that equals the Host is fine; else it must match a glob
 * of `client.allowed_origins` ("*" matches all; e.g. a scheme and "*.example.com").
 * The wire: Protobuf when its subprotocol is offered or the query says
 * format=protobuf or cf_protocol=protobuf, else JSON.
 *
 * Thread:  any.
 * Tests:   tests/unit/proto/test_handshake.c
 */
#pragma once

#include "proto/codec.h"
#include "proto/http.h"

struct handshake {
    enum wire wire;
    const char *subprotocol; /* to echo, or NULL */
    bool frame_pings;        /* cf_ws_frame_ping_pong=true */
};

/* `origins`: origins_count globs.  ERR_OK, or ERR_DENIED / ERR_BAD_HTTP with `fault`. */
must_use enum err handshake_check(const struct http_request *request, const char *const *origins,
                                  uint32_t origins_count, struct handshake *handshake,
                                  struct http_fault *fault);
/* The 101 response; at most HTTP_RESPONSE_HEAD_MAX bytes. */
void handshake_write(struct writer *writer, const struct http_request *request,
                     const struct handshake *handshake);
/* True when `text` matches `glob` ('*' any run, '?' one byte), ASCII case ignored. */
bool handshake_glob(const char *glob, struct bytes text);
