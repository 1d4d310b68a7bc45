/*
 * ws: WebSocket frames in, frame headers out.
 *
 * Frames that lie whole in the received bytes are parsed and unmasked in place;
 * a frame that arrives split, a fragmented message and every control frame go
 * through wslay's frame API with a context borrowed from a pool, so an idle
 * connection owns four bytes.  All rules of RFC 6455 are ours to keep: mask,
 * opcode, RSV, order of continuation, length forms, control frames, UTF-8,
 * close codes, size; a violation is told at its first byte.
 *
 * Thread:  owner shard.
 * Bound:   linear in the bytes; a message's memory is bounded by message_max.
 * Tests:   tests/unit/proto/test_ws.c; the fast path is fuzzed against wslay
 *          (tests/fuzz/fuzz_ws.c)
 */
#pragma once

#include "core/bytes.h"
#include "proto/close.h"

struct ws_pool;

/* Zeroed memory is a connection at a frame boundary. */
struct ws {
    uint32_t context; /* index + 1 in the pool while a frame or message is split; 0: none */
};

/* `contexts_max` connections may stand inside a split frame or message at once; it
 * may be the number of connections, since a context costs nothing until used.
 * Past it a connection that needs one is ended with CLOSE_INTERNAL. */
struct ws_pool *ws_pool_create(uint32_t contexts_max);
/* Accepts NULL; contexts still lent are freed too. */
void ws_pool_destroy(struct ws_pool *pool);
/* The message given last is of no more use: what its bytes took is given back. */
void ws_pool_rest(struct ws_pool *pool);
/* Contexts lent now. */
uint32_t ws_pool_used(const struct ws_pool *pool);

enum ws_event {
    WS_MORE, /* everything given was taken; nothing is whole yet */
    WS_TEXT,
    WS_BINARY,
    WS_PING, /* data: to be echoed in a pong */
    WS_PONG,
    WS_CLOSE, /* the peer's close; close_code 1005 when it gave none */
    WS_FAULT, /* end the connection with `fault` */
};

struct ws_message {
    struct bytes
        data; /* valid until the next ws_next or ws_pool_rest; a close's: code and reason */
    uint16_t close_code;
    enum close fault;
};

/* Takes bytes from *at (which moves on, *left shrinks) up to one event.  After
 * WS_CLOSE or WS_FAULT nothing more may be fed. */
enum ws_event ws_next(struct ws *ws, struct ws_pool *pool, uint8_t **at, size_t *left,
                      size_t message_max, struct ws_message *message);
/* Gives back what the connection borrowed. */
void ws_end(struct ws *ws, struct ws_pool *pool);

enum ws_opcode {
    WS_OP_TEXT = 1,
    WS_OP_BINARY = 2,
    WS_OP_CLOSE = 8,
    WS_OP_PING = 9,
    WS_OP_PONG = 10,
};
/* Writes an unmasked, final frame's header; returns 2, 4 or 10. */
uint32_t ws_header(uint8_t header[10], enum ws_opcode opcode, uint64_t size);
/* A whole close frame; frame[127]; returns its size. */
uint32_t ws_close_frame(uint8_t frame[127], uint16_t code, const char *reason);
