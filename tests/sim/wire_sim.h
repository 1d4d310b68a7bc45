/*
 * wire_sim: the client's side of HTTP and WebSocket, and a reader of JSON.
 *
 * Written on its own, so that a mistake of the gateway's codecs is not
 * repeated here.
 */
#pragma once

#include "core/bytes.h"

/* Bytes received and not understood yet. */
struct intake {
    uint8_t *bytes;
    size_t size, room;
};
void intake_put(struct intake *intake, const uint8_t *data, size_t size);
void intake_drop(struct intake *intake, size_t size);
void intake_free(struct intake *intake);

enum ws_opcode {
    WS_CONTINUE = 0,
    WS_TEXT = 1,
    WS_BINARY = 2,
    WS_CLOSE = 8,
    WS_PING = 9,
    WS_PONG = 10
};

struct ws_message {
    enum ws_opcode opcode;
    struct bytes payload;
    size_t size; /* of the whole frame */
};
/* The first whole frame; false when more is needed.  A frame that a server may
 * not send fails the run. */
bool ws_take(const struct intake *intake, struct ws_message *message);
/* Writes a masked frame; returns its size.  `out` has room for payload + 14. */
size_t ws_put(uint8_t *out, enum ws_opcode opcode, bool is_final, struct bytes payload,
              uint32_t mask);

struct http_answer {
    uint32_t status;
    struct bytes body;
    size_t size; /* of head and body */
};
/* The first whole answer; the body's length comes from Content-Length. */
bool http_take(const struct intake *intake, struct http_answer *answer);

/* The value of `name` in the object; false when it has none.  A value is its
 * text, strings with their quotes.  Text that is no JSON fails the run. */
bool peek_get(struct bytes object, const char *name, struct bytes *value);
/* Walks an object: begin with *at = 0.  `name` is without its quotes. */
bool peek_member(struct bytes object, size_t *at, struct bytes *name, struct bytes *value);
/* Walks an array: begin with *at = 0. */
bool peek_each(struct bytes array, size_t *at, struct bytes *value);
uint64_t peek_number(struct bytes object, const char *name, uint64_t otherwise);
bool peek_true(struct bytes object, const char *name);
/* A string's inside, without escapes; copied and cut to `size`. */
void peek_text(struct bytes object, const char *name, char *text, size_t size);
