/*
 * ws_head: the rules of a frame header, byte by byte; headers and close frames out.
 *
 * wslay checks three of these rules and only when the header is whole and the
 * payload has begun; a peer must hear of a broken one at once, and of a message
 * that is too large before its bytes are paid for.
 */
#include "core/check.h"
#include "core/utf8.h"
#include "proto/ws_parts.h"

/* RFC 6455 sections 5.2 to 5.5: no extension was negotiated, so RSV is 0; a
 * continuation continues something; a new message waits for the end of the open
 * one; control frames are whole. */
static enum close take_first(uint8_t byte, const struct ws_before *before)
{
    uint8_t opcode = byte & WS_OPCODE;
    if ((byte & WS_RSV) != 0) return CLOSE_PROTOCOL;
    switch (opcode) {
    case WS_OP_MORE: return before->in_message ? CLOSE_NONE : CLOSE_PROTOCOL;
    case WS_OP_TEXT:
    case WS_OP_BINARY: return before->in_message ? CLOSE_PROTOCOL : CLOSE_NONE;
    case WS_OP_CLOSE:
    case WS_OP_PING:
    case WS_OP_PONG: return (byte & WS_FIN) != 0 ? CLOSE_NONE : CLOSE_PROTOCOL;
    default: return CLOSE_PROTOCOL; /* reserved */
    }
}

/* The size is known: is it in its shortest form (section 5.2), and does it fit? */
static enum close check_size(const struct ws_head *head, const struct ws_before *before)
{
    uint8_t form = head->bytes[1] & WS_SIZE;
    if (form == WS_SIZE_16 && head->size < WS_SIZE_16) return CLOSE_PROTOCOL;
    if (form == WS_SIZE_64 && head->size <= UINT16_MAX) return CLOSE_PROTOCOL;
    if (ws_is_control(head->bytes[0] & WS_OPCODE)) return CLOSE_NONE;
    check(before->message_size <= before->message_max);
    if (head->size > before->message_max - before->message_size) return CLOSE_TOO_BIG;
    return CLOSE_NONE;
}

static enum close take_second(struct ws_head *head, const struct ws_before *before)
{
    uint8_t byte = head->bytes[1], form = byte & WS_SIZE;
    if ((byte & WS_MASK) == 0) return CLOSE_PROTOCOL; /* section 5.1 */
    if (ws_is_control(head->bytes[0] & WS_OPCODE) && form > WS_CONTROL_MAX) return CLOSE_PROTOCOL;
    head->need = form == WS_SIZE_64 ? 14 : form == WS_SIZE_16 ? 8 : 6;
    if (form > WS_CONTROL_MAX) return CLOSE_NONE;
    head->size = form;
    /* Half a code (section 5.5.1). */
    if ((head->bytes[0] & WS_OPCODE) == WS_OP_CLOSE && form == 1) return CLOSE_PROTOCOL;
    return check_size(head, before);
}

enum close ws_head_take(struct ws_head *head, uint8_t byte, const struct ws_before *before)
{
    check(head->used < WS_HEADER_MAX && !ws_head_is_whole(head));
    head->bytes[head->used++] = byte;
    if (head->used == 1) return take_first(byte, before);
    if (head->used == 2) return take_second(head, before);
    uint8_t size_end = head->need - 4;
    if (head->used > size_end) return CLOSE_NONE; /* the mask */
    if (head->used == 3 && head->need == WS_HEADER_MAX && (byte & 0x80) != 0)
        return CLOSE_PROTOCOL; /* the most significant bit must be 0 */
    head->size = head->size << 8 | byte;
    return head->used == size_end ? check_size(head, before) : CLOSE_NONE;
}

/* Section 7.4 and the registry of codes: 1004 to 1006 and 1015 never travel. */
static bool is_close_code(uint16_t code)
{
    if (code >= 3000) return code <= 4999;
    return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014);
}

/* Can a code that begins with this byte travel? */
static bool is_close_high(uint8_t high)
{
    return high == 1000 >> 8 || (high >= 3000 >> 8 && high <= 4999 >> 8);
}

enum close ws_close_take(const uint8_t *payload, size_t used, size_t size, struct utf8 *utf8)
{
    check(used <= size && size <= WS_CONTROL_MAX);
    if (used < 1 && size >= 1 && !is_close_high(payload[0])) return CLOSE_PROTOCOL;
    if (used < 2 && size >= 2 && !is_close_code((uint16_t)(payload[0] << 8 | payload[1])))
        return CLOSE_PROTOCOL;
    size_t from = used > 2 ? used : 2;
    if (size <= from) return CLOSE_NONE;
    return utf8_feed(utf8, bytes_of(payload + from, size - from)) ? CLOSE_NONE : CLOSE_UTF8;
}

enum close ws_close_payload(struct bytes payload, uint16_t *code)
{
    struct utf8 utf8 = {0};
    *code = WS_NO_STATUS;
    if (payload.size == 0) return CLOSE_NONE;
    if (payload.size == 1) return CLOSE_PROTOCOL; /* half a code */
    enum close fault = ws_close_take(payload.at, 0, payload.size, &utf8);
    if (fault != CLOSE_NONE) return fault;
    if (!utf8_is_whole(&utf8)) return CLOSE_UTF8;
    *code = (uint16_t)(payload.at[0] << 8 | payload.at[1]);
    return CLOSE_NONE;
}

uint32_t ws_header(uint8_t header[10], enum ws_opcode opcode, uint64_t size)
{
    check(size <= INT64_MAX);
    check(!ws_is_control((uint8_t)opcode) || size <= WS_CONTROL_MAX);
    header[0] = (uint8_t)(WS_FIN | opcode);
    if (size < WS_SIZE_16) {
        header[1] = (uint8_t)size;
        return 2;
    }
    uint32_t digits = size <= UINT16_MAX ? 2 : 8;
    header[1] = digits == 2 ? WS_SIZE_16 : WS_SIZE_64;
    for (uint32_t i = 0; i < digits; i++) header[2 + i] = (uint8_t)(size >> (8 * (digits - 1 - i)));
    return 2 + digits;
}

uint32_t ws_close_frame(uint8_t frame[127], uint16_t code, const char *reason)
{
    size_t size = reason != NULL ? strlen(reason) : 0;
    check(is_close_code(code));
    check(size <= WS_CONTROL_MAX - 2);
    uint32_t header = ws_header(frame, WS_OP_CLOSE, 2 + size);
    frame[header] = (uint8_t)(code >> 8);
    frame[header + 1] = (uint8_t)code;
    if (size > 0) memcpy(frame + header + 2, reason, size);
    return header + 2 + (uint32_t)size;
}
