/* wire: RFC 6455 as a client needs it.  The key is one fixed nonce, so its answer is known. */
#include "wire.h"

#include <stdio.h>
#include <strings.h>

#define NONCE  "dGhlIHNhbXBsZSBub25jZQ=="
#define ANSWER "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

void wire_upgrade(struct text *out, const char *host, const char *path, const char *subprotocol)
{
    char request[1024];
    int size = snprintf(request, sizeof request,
                        "GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\n"
                        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                        "Sec-WebSocket-Key: " NONCE "\r\n%s%s%s\r\n",
                        path, host, subprotocol != NULL ? "Sec-WebSocket-Protocol: " : "",
                        subprotocol != NULL ? subprotocol : "", subprotocol != NULL ? "\r\n" : "");
    if (size < 0 || (size_t)size >= sizeof request) abort();
    text_add(out, request, (uint32_t)size);
}

uint32_t wire_upgraded(const char *data, uint32_t size, bool *is_good)
{
    const char *end = memmem(data, size, "\r\n\r\n", 4);
    *is_good = false;
    if (end == NULL) return 0;
    uint32_t head = (uint32_t)(end - data) + 4;
    *is_good = head > 12 && memcmp(data, "HTTP/1.1 101", 12) == 0 &&
               memmem(data, head, ANSWER, sizeof ANSWER - 1) != NULL;
    return head;
}

void wire_frame(struct text *out, enum opcode opcode, const char *payload, uint32_t size)
{
    uint8_t head[14] = {(uint8_t)(0x80 | opcode)};
    uint32_t at = 2;
    if (size < 126) {
        head[1] = (uint8_t)(0x80 | size);
    } else if (size < 65536) {
        head[1] = 0x80 | 126;
        head[2] = (uint8_t)(size >> 8);
        head[3] = (uint8_t)size;
        at = 4;
    } else {
        head[1] = 0x80 | 127;
        for (uint32_t i = 0; i < 4; i++) head[6 + i] = (uint8_t)(size >> (24 - 8 * i));
        at = 10;
    }
    text_add(out, head, at + 4); /* and a mask of zeroes */
    text_add(out, payload, size);
}

uint32_t wire_read(const char *data, uint32_t size, struct wire_message *message)
{
    const uint8_t *at = (const uint8_t *)data;
    if (size < 2) return 0;
    if ((at[0] & 0x70) != 0 || (at[1] & 0x80) != 0) return UINT32_MAX;
    uint64_t length = at[1];
    uint32_t head = 2;
    if (length == 126) {
        if (size < 4) return 0;
        length = (uint64_t)at[2] << 8 | at[3];
        head = 4;
    } else if (length == 127) {
        if (size < 10) return 0;
        length = 0;
        for (uint32_t i = 2; i < 10; i++) length = length << 8 | at[i];
        head = 10;
    }
    if (length > INT32_MAX) return UINT32_MAX;
    if (size - head < length) return 0;
    *message = (struct wire_message){
        .opcode = at[0] & 15,
        .payload = data + head,
        .size = (uint32_t)length,
        .is_last = (at[0] & 0x80) != 0,
    };
    return head + (uint32_t)length;
}
