/*
 * wire: the client's side of a WebSocket over the caller's bytes.
 *
 * Frames of ours carry the mask zero, which costs a server as much as any other.
 * Frames from the server must be unmasked and whole messages may come in pieces.
 *
 * Thread:  any; pure.
 */
#pragma once

#include <stdbool.h>

#include "text.h"

enum opcode {
    OPCODE_TEXT = 1,
    OPCODE_BINARY = 2,
    OPCODE_CLOSE = 8,
    OPCODE_PING = 9,
    OPCODE_PONG = 10
};

/* The request of an upgrade; `subprotocol` may be NULL. */
void wire_upgrade(struct text *out, const char *host, const char *path, const char *subprotocol);
/* The size of the answer's head when data[size] holds all of it, 0 when more is needed;
 * *is_good when it is the switch of protocols that was asked for. */
uint32_t wire_upgraded(const char *data, uint32_t size, bool *is_good);

void wire_frame(struct text *out, enum opcode opcode, const char *payload, uint32_t size);

struct wire_message {
    enum opcode opcode;
    const char *payload;
    uint32_t size;
    bool is_last; /* of a message in pieces */
};
/* Reads one frame: its size, 0 when data[size] does not hold all of it; UINT32_MAX when no
 * server may send it. */
uint32_t wire_read(const char *data, uint32_t size, struct wire_message *message);
