/*
 * ws_parts: what the files of the WebSocket language share.
 *
 * Private to proto/ws*.c.
 *
 *    0                   1                   2                   3
 *    0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
 *   +-+-+-+-+-------+-+-------------+-------------------------------+
 *   |F|R|R|R| opcode|M| size (7)    | size, 16 or 64 bits, when the |
 *   |I|S|S|S|  (4)  |A|             | seven are 126 or 127          |
 *   |N|V|V|V|       |S|             |                               |
 *   | |1|2|3|       |K|             |                               |
 *   +-+-+-+-+-------+-+-------------+-------------------------------+
 *   | mask, 4 bytes, from a client always; then the payload         |
 *   +---------------------------------------------------------------+
 *
 * Thread:  any; pure.
 * Source:  RFC 6455 section 5.2.
 */
#pragma once

#include "core/utf8.h"
#include "proto/ws.h"

#define WS_FIN         0x80
#define WS_RSV         0x70
#define WS_OPCODE      0x0F
#define WS_MASK        0x80
#define WS_SIZE        0x7F
#define WS_SIZE_16     126
#define WS_SIZE_64     127
#define WS_CONTROL_MAX 125
#define WS_OP_MORE     0 /* continuation */
#define WS_HEADER_MAX  14
#define WS_NO_STATUS   1005

static inline bool ws_is_control(uint8_t opcode)
{
    return (opcode & 8) != 0;
}

/* A frame header as far as it came.  Zeroed: before its first byte. */
struct ws_head {
    uint8_t bytes[WS_HEADER_MAX];
    uint8_t used, need; /* need: 0 until the second byte tells it */
    uint64_t size;      /* of the payload; known once ws_head_is_whole */
};

static inline bool ws_head_is_whole(const struct ws_head *head)
{
    return head->need != 0 && head->used == head->need;
}

/* What stood before this frame. */
struct ws_before {
    bool in_message;     /* a fragmented message is open */
    size_t message_size; /* of its fragments so far */
    size_t message_max;
};

/* Takes the next byte of a header that is not whole: CLOSE_NONE, or the rule it
 * breaks, told at the byte that breaks it. */
enum close ws_head_take(struct ws_head *head, uint8_t byte, const struct ws_before *before);

/* Looks at the next bytes of a close frame's payload, `used` of them seen before:
 * CLOSE_NONE, or why it is none, told at the byte that makes it so. */
enum close ws_close_take(const uint8_t *payload, size_t used, size_t size, struct utf8 *utf8);
/* Reads a whole one. */
enum close ws_close_payload(struct bytes payload, uint16_t *code);

/* Unmasks at[size] in place (RFC 6455 section 5.3).  Returns whether any byte is
 * beyond ASCII. */
bool ws_unmask(uint8_t *at, size_t size, const uint8_t key[4]);
/* The fast path: a whole, final, masked data frame at *at is unmasked in place
 * and given as *event.  False when the slow path must look: nothing was taken
 * or changed then. */
bool ws_fast(uint8_t **at, size_t *left, size_t message_max, struct ws_message *message,
             enum ws_event *event);
