/*
 * cli_wire: connect, ask, listen.
 */
#include "shards/cli_wire.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "core/check.h"
#include "core/crypt.h"
#include "core/entropy.h"
#include "core/mem.h"

#define READ_SIZE (64u << 10)

enum { FRAME_CONTINUED = 0, FRAME_TEXT = 1, FRAME_CLOSE = 8, FRAME_PING = 9, FRAME_PONG = 10 };

/* ---- addresses ---- */

static enum err url_refuse(char *why, const char *text, const char *reason)
{
    snprintf(why, WIRE_WHY_MAX, "--url %.200s: %s", text, reason);
    return ERR_BAD_REQUEST;
}

enum err wire_url_parse(const char *text, struct wire_url *url, char *why)
{
    check(text != NULL && url != NULL);
    *url = (struct wire_url){.port = "80"};
    const char *scheme_end = strstr(text, "://");
    size_t scheme = scheme_end == NULL ? 0 : (size_t)(scheme_end - text);
    struct bytes name = bytes_of(text, scheme);
    if (bytes_equal_text(name, "wss") || bytes_equal_text(name, "https"))
        return url_refuse(why, text, WIRE_NO_TLS);
    if (!bytes_equal_text(name, "ws") && !bytes_equal_text(name, "http"))
        return url_refuse(why, text, "wants http://host:port or ws://host:port");
    const char *host = scheme_end + 3;
    bool is_bracketed = host[0] == '[';
    size_t host_size = is_bracketed ? strcspn(++host, "]") : strcspn(host, ":/");
    const char *behind = host + host_size + (is_bracketed && host[host_size] == ']');
    if (host_size == 0 || host_size >= sizeof(url->host))
        return url_refuse(why, text, "names no host");
    memcpy(url->host, host, host_size);
    if (*behind == ':') {
        char *end;
        long port = strtol(behind + 1, &end, 10);
        if (port < 1 || port > 65535 || end == behind + 1)
            return url_refuse(why, text, "wants a port from 1 to 65535");
        snprintf(url->port, sizeof(url->port), "%ld", port);
        behind = end;
    }
    if ((*behind != 0 && *behind != '/') || strlen(behind) >= sizeof(url->path) ||
        strpbrk(behind, " \r\n") != NULL)
        return url_refuse(why, text, "has a path that cannot be");
    if (strcmp(behind, "/") != 0) snprintf(url->path, sizeof(url->path), "%s", behind);
    return ERR_OK;
}

static enum err fail(struct wire *wire, enum err err, const char *format, ...) printf_like(3, 4);

static enum err fail(struct wire *wire, enum err err, const char *format, ...)
{
    va_list values;
    va_start(values, format);
    vsnprintf(wire->why, sizeof(wire->why), format, values);
    va_end(values);
    return err;
}

/* ---- the socket ---- */

void wire_patience(struct wire *wire, uint32_t seconds)
{
    struct timeval limit = {.tv_sec = (time_t)seconds};
    int failed = setsockopt(wire->fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    check(failed == 0);
    failed = setsockopt(wire->fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
    check(failed == 0);
}

enum err wire_open(struct wire *wire, const struct wire_url *url, uint32_t patience_s)
{
    *wire = (struct wire){.fd = -1, .url = *url};
    struct addrinfo wanted = {.ai_socktype = SOCK_STREAM}, *found;
    int error = getaddrinfo(url->host, url->port, &wanted, &found);
    if (error != 0)
        return fail(wire, ERR_IO, "the host '%s' is not known: %s", url->host, gai_strerror(error));
    int last = 0;
    for (struct addrinfo *at = found; at != NULL && wire->fd < 0; at = at->ai_next) {
        wire->fd = socket(at->ai_family, at->ai_socktype | SOCK_CLOEXEC, at->ai_protocol);
        if (wire->fd < 0) continue;
        wire_patience(wire, patience_s);
        if (connect(wire->fd, at->ai_addr, at->ai_addrlen) == 0) break;
        last = errno;
        close(wire->fd);
        wire->fd = -1;
    }
    freeaddrinfo(found);
    if (wire->fd < 0)
        return fail(wire, ERR_IO,
                    "cannot connect to %s port %s: %s; is the gateway running there? "
                    "start it with: sluice serve --config FILE",
                    url->host, url->port, strerror(last));
    int one = 1;
    setsockopt(wire->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)); /* only a matter of speed */
    return ERR_OK;
}

void wire_close(struct wire *wire)
{
    if (wire->fd >= 0) close(wire->fd);
    mem_free(wire->input);
    mem_free(wire->message);
    wire->fd = -1;
    wire->input = wire->message = NULL;
    wire->input_size = wire->input_room = wire->message_size = 0;
}

static enum err send_all(struct wire *wire, struct bytes bytes)
{
    while (bytes.size > 0) {
        ssize_t sent = send(wire->fd, bytes.at, bytes.size, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR) continue;
        if (sent <= 0)
            return fail(wire, ERR_IO, "the connection to %s port %s broke: %s", wire->url.host,
                        wire->url.port, strerror(errno));
        bytes = bytes_of(bytes.at + sent, bytes.size - (size_t)sent);
    }
    return ERR_OK;
}

/* Reads until `size` bytes wait. */
static enum err need(struct wire *wire, size_t size)
{
    check(size <= WIRE_MESSAGE_MAX + READ_SIZE);
    while (wire->input_size < size) {
        if (wire->input_room < wire->input_size + READ_SIZE) {
            wire->input_room = max_u64(2 * wire->input_room, wire->input_size + READ_SIZE);
            wire->input = mem_resize(wire->input, wire->input_room);
        }
        ssize_t got =
            recv(wire->fd, wire->input + wire->input_size, wire->input_room - wire->input_size, 0);
        if (got < 0 && errno == EINTR) continue;
        if (got == 0)
            return fail(wire, ERR_IO, "%s port %s closed the connection", wire->url.host,
                        wire->url.port);
        if (got < 0)
            return fail(wire, ERR_IO, "%s port %s: %s", wire->url.host, wire->url.port,
                        errno == EAGAIN ? "no answer in time" : strerror(errno));
        wire->input_size += (size_t)got;
    }
    return ERR_OK;
}

static void take(struct wire *wire, size_t size)
{
    check(size <= wire->input_size);
    memmove(wire->input, wire->input + size, wire->input_size - size);
    wire->input_size -= size;
}

/* ---- HTTP ---- */

/* Reads a head; *head_size covers its blank line. */
static enum err read_head(struct wire *wire, uint16_t *status, size_t *head_size, size_t *body_size)
{
    const char *end = NULL;
    while (end == NULL) {
        TRY(need(wire, wire->input_size + 1));
        end = memmem(wire->input, wire->input_size, "\r\n\r\n", 4);
        if (end == NULL && wire->input_size > READ_SIZE) break;
    }
    unsigned code = 0;
    if (end == NULL || wire->input_size < 12 ||
        sscanf((const char *)wire->input, "HTTP/1.%*1u %3u", &code) != 1)
        return fail(wire, ERR_BAD_HTTP, "%s port %s does not answer as a web server does",
                    wire->url.host, wire->url.port);
    *status = (uint16_t)code;
    *head_size = (size_t)(end - (const char *)wire->input) + 4;
    *body_size = 0;
    static const char name[] = "\r\ncontent-length:";
    for (size_t at = 0; at + sizeof(name) - 1 < *head_size; at++)
        if (strncasecmp((const char *)wire->input + at, name, sizeof(name) - 1) == 0)
            *body_size = strtoull((const char *)wire->input + at + sizeof(name) - 1, NULL, 10);
    if (*body_size > WIRE_MESSAGE_MAX)
        return fail(wire, ERR_TOO_LONG, "the answer is longer than %u bytes", WIRE_MESSAGE_MAX);
    return ERR_OK;
}

enum err wire_post(struct wire *wire, const char *path, const char *key, struct bytes body,
                   uint16_t *status, struct bytes *answer)
{
    check(wire->fd >= 0);
    char head[2048];
    int size = snprintf(head, sizeof(head),
                        "POST %s HTTP/1.1\r\nHost: %s:%s\r\nContent-Type: application/json\r\n"
                        "%s%s%sContent-Length: %zu\r\n\r\n",
                        path, wire->url.host, wire->url.port, key[0] != 0 ? "X-API-Key: " : "", key,
                        key[0] != 0 ? "\r\n" : "", body.size);
    if (size < 0 || (size_t)size >= sizeof(head))
        return fail(wire, ERR_TOO_LONG, "the key is too long");
    /* What the last answer left is its own. */
    wire->input_size = 0;
    TRY(send_all(wire, bytes_of(head, (size_t)size)));
    TRY(send_all(wire, body));
    size_t head_size, body_size;
    TRY(read_head(wire, status, &head_size, &body_size));
    TRY(need(wire, head_size + body_size));
    *answer = bytes_of(wire->input + head_size, body_size);
    return ERR_OK;
}

/* ---- WebSocket ---- */

bool wire_wants_tls(uint16_t status, struct bytes answer)
{
    static const char said[] = "this port speaks TLS";
    return status == 400 && answer.size >= sizeof(said) - 1 &&
           memcmp(answer.at, said, sizeof(said) - 1) == 0;
}

enum err wire_upgrade(struct wire *wire, const char *path)
{
    uint8_t nonce[16];
    char key[32], head[1024];
    entropy_fill(nonce, sizeof(nonce));
    size_t used = crypt_base64(bytes_of(nonce, sizeof(nonce)), key, sizeof(key) - 1);
    key[used] = 0;
    int size = snprintf(head, sizeof(head),
                        "GET %s HTTP/1.1\r\nHost: %s:%s\r\nUpgrade: websocket\r\n"
                        "Connection: Upgrade\r\nSec-WebSocket-Key: %s\r\n"
                        "Sec-WebSocket-Version: 13\r\n"
                        "Sec-WebSocket-Protocol: centrifuge-json\r\n\r\n",
                        path, wire->url.host, wire->url.port, key);
    check(size > 0 && (size_t)size < sizeof(head));
    TRY(send_all(wire, bytes_of(head, (size_t)size)));
    uint16_t status;
    size_t head_size, body_size;
    TRY(read_head(wire, &status, &head_size, &body_size));
    if (status != 101) {
        TRY(need(wire, head_size + body_size));
        if (wire_wants_tls(status, bytes_of(wire->input + head_size, body_size)))
            return fail(wire, ERR_BAD_HTTP, "%s port %s speaks TLS, and " WIRE_NO_TLS,
                        wire->url.host, wire->url.port);
        return fail(wire, ERR_BAD_HTTP, "%s port %s refuses a WebSocket at %s: %u %.*s",
                    wire->url.host, wire->url.port, path, status, (int)min_u64(body_size, 200),
                    (const char *)wire->input + head_size);
    }
    take(wire, head_size);
    return ERR_OK;
}

static enum err send_frame(struct wire *wire, uint8_t code, struct bytes payload)
{
    uint8_t *frame = mem_alloc(payload.size + 14), mask[4];
    struct writer writer = writer_of(frame, payload.size + 14);
    write_u8(&writer, 0x80 | code);
    if (payload.size < 126) {
        write_u8(&writer, (uint8_t)(0x80 | payload.size));
    } else if (payload.size <= UINT16_MAX) {
        write_u8(&writer, 0x80 | 126);
        write_u8(&writer, (uint8_t)(payload.size >> 8));
        write_u8(&writer, (uint8_t)payload.size);
    } else {
        write_u8(&writer, 0x80 | 127);
        for (int shift = 56; shift >= 0; shift -= 8)
            write_u8(&writer, (uint8_t)((uint64_t)payload.size >> shift));
    }
    entropy_fill(mask, sizeof(mask));
    write_bytes(&writer, bytes_of(mask, sizeof(mask)));
    for (size_t i = 0; i < payload.size; i++) write_u8(&writer, payload.at[i] ^ mask[i % 4]);
    check(!writer.failed);
    enum err err = send_all(wire, writer_bytes(&writer));
    mem_free(frame);
    return err;
}

enum err wire_send(struct wire *wire, struct bytes text)
{
    return send_frame(wire, FRAME_TEXT, text);
}

struct wire_frame {
    uint8_t code;
    bool is_last;
    struct bytes payload; /* lies in the input behind `head` bytes */
    size_t head;
};

static enum err read_frame(struct wire *wire, struct wire_frame *frame)
{
    TRY(need(wire, 2));
    uint64_t size = wire->input[1] & 0x7f;
    size_t extra = size == 126 ? 2 : size == 127 ? 8 : 0;
    TRY(need(wire, 2 + extra));
    if (extra > 0) size = 0;
    for (size_t i = 0; i < extra; i++) size = size << 8 | wire->input[2 + i];
    if (wire->input[1] & 0x80 || wire->input[0] & 0x70 ||
        size > WIRE_MESSAGE_MAX - wire->message_size)
        return fail(wire, ERR_BAD_FRAME, "%s port %s sends frames that cannot be", wire->url.host,
                    wire->url.port);
    TRY(need(wire, 2 + extra + (size_t)size));
    *frame = (struct wire_frame){
        .code = wire->input[0] & 0x0f,
        .is_last = wire->input[0] & 0x80,
        .payload = bytes_of(wire->input + 2 + extra, (size_t)size),
        .head = 2 + extra,
    };
    return ERR_OK;
}

static void note_close(struct wire *wire, struct bytes payload)
{
    wire->close_code =
        payload.size >= 2 ? (uint16_t)(payload.at[0] << 8 | payload.at[1]) : (uint16_t)1005;
    snprintf(wire->close_text, sizeof(wire->close_text), "%.*s",
             payload.size > 2 ? (int)(payload.size - 2) : 0,
             payload.size > 2 ? (const char *)payload.at + 2 : "");
}

enum err wire_receive(struct wire *wire, struct bytes *text)
{
    wire->message_size = 0;
    for (;;) {
        struct wire_frame frame = {0};
        TRY(read_frame(wire, &frame));
        enum err err = ERR_OK;
        if (frame.code == FRAME_CLOSE) {
            note_close(wire, frame.payload);
            err = ERR_END;
        } else if (frame.code == FRAME_PING) {
            err = send_frame(wire, FRAME_PONG, frame.payload);
        } else if (frame.code == FRAME_TEXT || frame.code == FRAME_CONTINUED) {
            size_t size = frame.payload.size;
            wire->message = mem_resize(wire->message, wire->message_size + size + 1);
            memcpy(wire->message + wire->message_size, frame.payload.at, size);
            wire->message_size += size;
        }
        bool is_whole = frame.is_last && frame.code <= FRAME_TEXT;
        take(wire, frame.head + frame.payload.size);
        TRY(err);
        if (!is_whole) continue;
        *text = bytes_of(wire->message, wire->message_size);
        return ERR_OK;
    }
}
