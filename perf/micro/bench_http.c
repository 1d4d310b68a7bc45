/* Requests through the HTTP parser: the upgrade as a browser sends it, a call of the
 * server API, and a head that comes in two pieces. */
#include <string.h>

#include "bench.h"
#include "core/check.h"
#include "proto/http.h"

#define REQUESTS 1000

static const char upgrade[] =
    "GET /connection/websocket HTTP/1.1\r\nHost: chat.example.org\r\nConnection: Upgrade\r\n"
    "Pragma: no-cache\r\nCache-Control: no-cache\r\n"
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/130.0.0.0 Safari/537.36\r\nUpgrade: websocket\r\nOrigin: https://chat.example.org\r\n"
    "Sec-WebSocket-Version: 13\r\nAccept-Encoding: gzip, deflate, br\r\n"
    "Accept-Language: en-US,en;q=0.9\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n";
static const char publish[] =
    "POST /api/publish HTTP/1.1\r\nHost: 127.0.0.1:8000\r\nX-API-Key: 0123456789abcdef\r\n"
    "Content-Type: application/json\r\nContent-Length: 47\r\n\r\n"
    "{\"channel\":\"chat:index\",\"data\":{\"text\":\"hello\"}}";

static struct http_request request;

static void whole(void *context)
{
    struct http_fault fault;
    static uint8_t bytes[2048];
    size_t size = strlen(context);
    memcpy(bytes, context, size);
    for (uint32_t i = 0; i < REQUESTS; i++)
        check(http_parse(bytes, size, 65536, &request, &fault) == HTTP_WHOLE);
}

static void pieces(void *context)
{
    struct http_fault fault;
    static uint8_t bytes[2048];
    size_t size = strlen(context);
    memcpy(bytes, context, size);
    for (uint32_t i = 0; i < REQUESTS; i++) {
        struct http_progress progress = {0};
        check(http_parse_on(bytes, size / 2, 65536, &request, &fault, &progress) == HTTP_MORE);
        check(http_parse_on(bytes, size, 65536, &request, &fault, &progress) == HTTP_WHOLE);
    }
}

int main(void)
{
    bench("http: upgrade of a browser, 506 bytes", REQUESTS, whole, (void *)(uintptr_t)upgrade);
    bench("http: the same in two pieces", REQUESTS, pieces, (void *)(uintptr_t)upgrade);
    bench("http: server API publish, 181 bytes", REQUESTS, whole, (void *)(uintptr_t)publish);
    return 0;
}
