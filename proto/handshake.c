/*
 * handshake: RFC 6455 section 4.2, one rule after the other.
 *
 * The key is only looked at (22 digits of base64 and "=="), as section 4.2.1
 * allows: what it decodes to is nobody's concern.
 */
#include "proto/handshake.h"

#include "core/check.h"
#include "core/crypt.h"

#define KEY_SIZE    HANDSHAKE_KEY_SIZE
#define ORIGIN_MAX  255
#define PROTOBUF    "centrifuge-protobuf"
#define JSON        "centrifuge-json"
#define FAULT(s, r) ((struct http_fault){(s), (r)})

static enum err refuse(struct http_fault *fault, uint16_t status, const char *reason)
{
    *fault = FAULT(status, reason);
    return status == 403 ? ERR_DENIED : ERR_BAD_HTTP;
}

/* The value of a header that may stand once; NONE when absent, false when it is
 * repeated. */
static bool single(const struct http_request *request, const char *name, struct bytes *value)
{
    uint32_t count = 0;
    *value = BYTES_NONE;
    for (uint32_t i = 0; i < request->headers_count; i++) {
        if (!bytes_equal_nocase(request->headers[i].name, bytes_of_text(name))) continue;
        *value = request->headers[i].value;
        count++;
    }
    return count <= 1;
}

static bool is_key(struct bytes key)
{
    if (key.size != KEY_SIZE || key.at[22] != '=' || key.at[23] != '=') return false;
    for (size_t i = 0; i < 22; i++) {
        uint8_t c = key.at[i];
        bool alnum = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (!alnum && c != '+' && c != '/') return false;
    }
    return true;
}

static enum err check_upgrade(const struct http_request *request, struct handshake *handshake,
                              struct http_fault *fault)
{
    struct bytes key, version;
    if (request->method != HTTP_GET) return refuse(fault, 405, "a WebSocket begins with GET");
    if (request->minor < 1) return refuse(fault, 400, "a WebSocket needs HTTP/1.1");
    if (!http_header_has(request, "Connection", "upgrade") ||
        !http_header_has(request, "Upgrade", "websocket"))
        return refuse(fault, 426, "this path speaks WebSocket");
    if (request->is_chunked || request->length > 0)
        return refuse(fault, 400, "a WebSocket handshake has no body");
    if (!single(request, "Sec-WebSocket-Version", &version) || version.size == 0)
        return refuse(fault, 400, "Sec-WebSocket-Version must stand once");
    if (!bytes_equal_text(version, "13")) return refuse(fault, 426, "WebSocket version 13 only");
    if (!single(request, "Sec-WebSocket-Key", &key) || !is_key(key))
        return refuse(fault, 400, "malformed Sec-WebSocket-Key");
    memcpy(handshake->key, key.at, KEY_SIZE);
    return ERR_OK;
}

/* The host of "scheme://host"; NONE for anything else, as for "null". */
static struct bytes origin_host(struct bytes origin)
{
    for (size_t i = 0; i + 3 <= origin.size; i++) {
        if (memcmp(origin.at + i, "://", 3) == 0)
            return bytes_of(origin.at + i + 3, origin.size - i - 3);
    }
    return BYTES_NONE;
}

static bool is_allowed(const struct http_request *request, struct bytes origin,
                       const char *const *origins, uint32_t origins_count)
{
    check(origins_count == 0 || origins != NULL);
    struct bytes host = origin_host(origin);
    if (host.size > 0 && bytes_equal_nocase(host, request->host)) return true;
    if (origin.size > ORIGIN_MAX) return false; /* a scheme, a host's 253 bytes are fewer */
    for (uint32_t i = 0; i < origins_count; i++) {
        if (handshake_glob(origins[i], origin)) return true;
    }
    return false;
}

static enum err check_origin(const struct http_request *request, const char *const *origins,
                             uint32_t origins_count, struct http_fault *fault)
{
    struct bytes origin;
    if (!single(request, "Origin", &origin)) return refuse(fault, 400, "more than one Origin");
    if (origin.at == NULL || is_allowed(request, origin, origins, origins_count)) return ERR_OK;
    return refuse(fault, 403, "this origin is not among client.allowed_origins");
}

static bool query_is(const struct http_request *request, const char *name, const char *value)
{
    char found[32];
    return http_query(request, name, found, sizeof(found)) && strcmp(found, value) == 0;
}

static void choose_wire(const struct http_request *request, struct handshake *handshake)
{
    bool offered = http_header_has(request, "Sec-WebSocket-Protocol", PROTOBUF);
    if (offered)
        handshake->subprotocol = PROTOBUF;
    else if (http_header_has(request, "Sec-WebSocket-Protocol", JSON))
        handshake->subprotocol = JSON;
    bool is_protobuf = offered || query_is(request, "format", "protobuf") ||
                       query_is(request, "cf_protocol", "protobuf");
    handshake->wire = is_protobuf ? WIRE_PROTOBUF : WIRE_JSON;
}

enum err handshake_check(const struct http_request *request, const char *const *origins,
                         uint32_t origins_count, struct handshake *handshake,
                         struct http_fault *fault)
{
    *handshake = (struct handshake){.wire = WIRE_JSON};
    *fault = FAULT(0, NULL);
    TRY(check_upgrade(request, handshake, fault));
    TRY(check_origin(request, origins, origins_count, fault));
    choose_wire(request, handshake);
    handshake->frame_pings = query_is(request, "cf_ws_frame_ping_pong", "true");
    check(fault->status == 0);
    return ERR_OK;
}

/* RFC 6455 section 4.2.2: base64 of SHA-1 of the key and a fixed text. */
static void write_accept(struct writer *writer, const char key[KEY_SIZE])
{
    static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    uint8_t text[KEY_SIZE + sizeof(guid) - 1], digest[20];
    char accept[32];
    memcpy(text, key, KEY_SIZE);
    memcpy(text + KEY_SIZE, guid, sizeof(guid) - 1);
    crypt_sha1(bytes_of(text, sizeof(text)), digest);
    size_t size = crypt_base64(bytes_of(digest, sizeof(digest)), accept, sizeof(accept));
    write_bytes(writer, bytes_of(accept, size));
}

void handshake_write(struct writer *writer, const struct handshake *handshake)
{
    write_text(writer, "HTTP/1.1 101 Switching Protocols\r\n"
                       "Upgrade: websocket\r\n"
                       "Connection: Upgrade\r\n"
                       "Sec-WebSocket-Accept: ");
    write_accept(writer, handshake->key);
    if (handshake->subprotocol != NULL) {
        write_text(writer, "\r\nSec-WebSocket-Protocol: ");
        write_text(writer, handshake->subprotocol);
    }
    write_text(writer, "\r\n\r\n");
}

/* Answers differ by origin, so that no cache may mix them: Vary stands always. */
void handshake_write_cors(struct writer *writer, const struct http_request *request,
                          const char *const *origins, uint32_t origins_count)
{
    struct bytes origin, wants;
    write_text(writer, "Vary: Origin\r\n");
    if (!single(request, "Origin", &origin) || origin.size == 0 || origin.size > ORIGIN_MAX) return;
    if (!is_allowed(request, origin, origins, origins_count)) return;
    write_text(writer, "Access-Control-Allow-Origin: ");
    write_bytes(writer, origin);
    write_text(writer, "\r\nAccess-Control-Allow-Credentials: true\r\n");
    if (request->method != HTTP_OPTIONS) return;
    write_text(writer, "Access-Control-Allow-Methods: GET\r\nAccess-Control-Max-Age: 300\r\n");
    if (!single(request, "Access-Control-Request-Headers", &wants)) return;
    if (wants.size == 0 || wants.size > ORIGIN_MAX - 32) return;
    write_text(writer, "Access-Control-Allow-Headers: ");
    write_bytes(writer, wants);
    write_text(writer, "\r\n");
}
