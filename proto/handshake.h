/*
 * handshake: a request → 101, or a status and a reason.  Pure.
 *
 * RFC 6455 section 4.2.1 without regard to case where the RFC says so; version
 * 13 only (426 otherwise, with the header that names it).  The Origin rule: no
 * Origin is fine; one that equals the Host is fine; else it must match a glob
 * of `client.allowed_origins` ("*" matches all; e.g. a scheme and "*.example.com").
 * The same rule decides what a page of another origin may read (CORS).
 * The wire: Protobuf when its subprotocol is offered or the query says
 * format=protobuf or cf_protocol=protobuf, else JSON.
 *
 * Thread:  any.
 * Tests:   tests/unit/proto/test_handshake.c
 */
#pragma once

#include "proto/codec.h"
#include "proto/http.h"

#define HANDSHAKE_KEY_SIZE 24 /* base64 of 16 bytes */

/* All that the answer needs: the request may be gone by then. */
struct handshake {
    enum wire wire;
    const char *subprotocol; /* to echo, or NULL */
    bool frame_pings;        /* cf_ws_frame_ping_pong=true */
    char key[HANDSHAKE_KEY_SIZE];
};

/* `origins`: origins_count globs.  ERR_OK, or ERR_DENIED / ERR_BAD_HTTP with `fault`. */
must_use enum err handshake_check(const struct http_request *request, const char *const *origins,
                                  uint32_t origins_count, struct handshake *handshake,
                                  struct http_fault *fault);
/* The 101 response; at most HTTP_RESPONSE_HEAD_MAX bytes. */
void handshake_write(struct writer *writer, const struct handshake *handshake);

/* The header lines by which a browser lets a page of the request's Origin read
 * the answer (Fetch standard, section 3.2), and with OPTIONS send the request:
 * credentials included, so the origin is named and never "*".  Nothing for a
 * request without an Origin or with one that is not allowed.  At most
 * HANDSHAKE_CORS_MAX bytes; an origin that does not fit is not allowed. */
#define HANDSHAKE_CORS_MAX 700
void handshake_write_cors(struct writer *writer, const struct http_request *request,
                          const char *const *origins, uint32_t origins_count);
/* True when `text` matches `glob`, ASCII case ignored: '*' any run, '?' one byte,
 * [abc], [a-z] and [!a] one of a set, {a,b} one of several, a backslash
 * takes the meaning of the next. */
bool handshake_glob(const char *glob, struct bytes text);
