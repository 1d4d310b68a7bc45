/*
 * wire: frames.
 */
#include "wire.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define READ_SIZE (256u << 10)
#define SEND_MAX  16384

int wire_connect(struct wire *wire, uint32_t source, uint16_t port)
{
    *wire = (struct wire){.fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)};
    if (wire->fd < 0) return -errno;
    int on = 1;
    setsockopt(wire->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (source != 0) {
        struct sockaddr_in from = {.sin_family = AF_INET};
        from.sin_addr.s_addr = htonl((INADDR_LOOPBACK & 0xffffff00u) + source);
        setsockopt(wire->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
        if (bind(wire->fd, (struct sockaddr *)&from, sizeof from) != 0) return -errno;
    }
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (connect(wire->fd, (struct sockaddr *)&address, sizeof address) == 0) return 0;
    return errno == EINPROGRESS ? 0 : -errno;
}

static bool wire_send(struct wire *wire, const void *data, size_t size)
{
    ssize_t sent = send(wire->fd, data, size, MSG_NOSIGNAL);
    return sent == (ssize_t)size;
}

bool wire_upgrade(struct wire *wire, const char *path)
{
    char request[512];
    int size = snprintf(request, sizeof request,
                        "GET %s HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
                        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                        "Sec-WebSocket-Key: c3dhcm0gc3dhcm0gc3dhcg==\r\n\r\n",
                        path);
    return wire_send(wire, request, (size_t)size);
}

bool wire_send_text(struct wire *wire, const char *text, size_t size)
{
    static const uint8_t mask[4] = {0x5a, 0x3c, 0x96, 0xe1};
    uint8_t frame[SEND_MAX + 8];
    size_t at = 0;
    if (size > SEND_MAX) return false;
    frame[at++] = 0x81;
    if (size < 126) {
        frame[at++] = (uint8_t)(0x80 | size);
    } else {
        frame[at++] = 0x80 | 126;
        frame[at++] = (uint8_t)(size >> 8);
        frame[at++] = (uint8_t)size;
    }
    memcpy(frame + at, mask, 4);
    at += 4;
    for (size_t i = 0; i < size; i++) frame[at + i] = (uint8_t)text[i] ^ mask[i % 4];
    return wire_send(wire, frame, at + size);
}

void wire_close(struct wire *wire)
{
    if (wire->fd >= 0) close(wire->fd);
    free(wire->rest);
    *wire = (struct wire){.fd = -1};
}

/* Takes whole messages off data[size]; returns how many bytes it took, or -1
 * when the server ends the connection. */
static ssize_t wire_take(struct wire *wire, const uint8_t *data, size_t size, wire_text_fn on_text,
                         void *context)
{
    size_t at = 0;
    if (!wire->is_upgraded) {
        const uint8_t *end = memmem(data, size, "\r\n\r\n", 4);
        if (end == NULL) return 0;
        if (size < 12 || memcmp(data + 9, "101", 3) != 0) return -1;
        wire->is_upgraded = true;
        at = (size_t)(end - data) + 4;
    }
    while (size - at >= 2) {
        size_t head = 2, length = data[at + 1] & 0x7f;
        if (length == 126) {
            head = 4;
            if (size - at < head) break;
            length = (size_t)data[at + 2] << 8 | data[at + 3];
        } else if (length == 127) {
            head = 10;
            if (size - at < head) break;
            length = 0;
            for (int i = 2; i < 10; i++) length = length << 8 | data[at + (size_t)i];
        }
        if (size - at < head + length) break;
        uint8_t op = data[at] & 0xf;
        if (op == 8) return -1;
        if (op == 1 || op == 0) on_text(context, (const char *)data + at + head, length);
        at += head + length;
    }
    return (ssize_t)at;
}

enum wire_result wire_read(struct wire *wire, wire_text_fn on_text, void *context)
{
    static uint8_t buffer[READ_SIZE * 2];
    size_t have = wire->rest_size;
    if (have > READ_SIZE) return WIRE_CLOSED; /* larger than anything we ask for */
    if (have > 0) memcpy(buffer, wire->rest, have);
    ssize_t got = recv(wire->fd, buffer + have, READ_SIZE, 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return WIRE_DONE;
    if (got <= 0) return WIRE_CLOSED;
    size_t size = have + (size_t)got;
    ssize_t taken = wire_take(wire, buffer, size, on_text, context);
    if (taken < 0) return WIRE_CLOSED;
    wire->rest_size = size - (size_t)taken;
    if (wire->rest_size > 0) {
        wire->rest = realloc(wire->rest, wire->rest_size);
        if (wire->rest == NULL) abort();
        memcpy(wire->rest, buffer + taken, wire->rest_size);
    }
    return (size_t)got < READ_SIZE ? WIRE_DONE : WIRE_MORE;
}
