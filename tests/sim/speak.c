/*
 * speak: a request, and a frame.
 */
#include "speak.h"

#include <stdio.h>

#include "core/check.h"
#include "wire_pb.h"
#include "world.h"

void speak_upgrade(struct link *link, bool is_binary)
{
    char text[512];
    int size = snprintf(text, sizeof(text),
                        "GET /connection/websocket HTTP/1.1\r\nHost: sim\r\nUpgrade: websocket\r\n"
                        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n%s"
                        "Sec-WebSocket-Key: c2ltdWxhdGVkIG5vbmNlIQ==\r\n\r\n",
                        is_binary ? "Sec-WebSocket-Protocol: centrifuge-protobuf\r\n" : "");
    check(size > 0 && (size_t)size < sizeof(text));
    net_write(link, text, (size_t)size);
}

void speak(struct link *link, bool is_binary, enum ws_opcode opcode, struct bytes payload)
{
    uint8_t out[SPEAK_MAX + 14];
    struct intake binary = {NULL, 0, 0};
    if (opcode == WS_TEXT && is_binary) {
        pb_put_command(&binary, payload);
        opcode = WS_BINARY;
        payload = bytes_of(binary.bytes, binary.size);
    }
    check(payload.size <= SPEAK_MAX);
    size_t used = ws_put(out, opcode, true, payload, (uint32_t)rng_next(&world.rng));
    net_write(link, out, used);
    intake_free(&binary);
}
