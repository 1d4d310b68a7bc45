/*
 * The upgrade: RFC 6455's own example, each rule broken once, origins and globs
 * by tables, the choice of the wire.
 */
#include "unit/proto/wire.h"

#include "proto/handshake.h"

static uint8_t buffer[4096];
static struct http_request request;
static struct http_fault fault;
static struct handshake handshake;

static const char *const globs[] = {"https://*.example.com", "http://localhost:30?0"};

static enum err attempt(const char *line, const char *headers)
{
    size_t size = (size_t)snprintf((char *)buffer, sizeof(buffer),
                                   "%s\r\nHost: gate.example:8000\r\n%s\r\n", line, headers);
    if (http_parse(buffer, size, 64, &request, &fault) != HTTP_WHOLE)
        fail_msg("%s: %s %s", fault.reason, line, headers);
    return handshake_check(&request, globs, array_count(globs), &handshake, &fault);
}

#define LINE "GET /connection/websocket HTTP/1.1"
#define KEY  "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
#define UP   "Upgrade: websocket\r\nConnection: Upgrade\r\n"
#define V13  "Sec-WebSocket-Version: 13\r\n"

static void the_example_of_the_rfc_is_answered(void **state)
{
    (void)state;
    assert_int_equal(attempt(LINE, UP KEY V13), ERR_OK);
    assert_int_equal(handshake.wire, WIRE_JSON);
    assert_null(handshake.subprotocol);
    assert_false(handshake.frame_pings);
    uint8_t room[HTTP_RESPONSE_HEAD_MAX];
    struct writer writer = writer_of(room, sizeof(room));
    handshake_write(&writer, &handshake);
    assert_bytes(writer_bytes(&writer),
                 "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                 "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n");
}

static void case_and_lists_do_not_matter(void **state)
{
    (void)state;
    assert_int_equal(
        attempt(LINE, "UPGRADE: foo, WebSocket\r\nconnection: keep-alive, upgrade\r\n" KEY V13),
        ERR_OK);
    assert_int_equal(
        attempt(LINE "",
                "upgrade: WEBSOCKET\r\nConnection: keep-alive\r\nConnection: Upgrade\r\n" KEY V13),
        ERR_OK);
}

static void each_broken_rule_has_its_status(void **state)
{
    (void)state;
    static const struct {
        uint16_t status;
        const char *line, *headers;
    } rows[] = {
        {405, "POST / HTTP/1.1", UP KEY V13},
        {400, "GET / HTTP/1.0", UP KEY V13},
        {426, LINE, "Connection: Upgrade\r\n" KEY V13},
        {426, LINE, "Upgrade: websocket\r\n" KEY V13},
        {426, LINE, "Upgrade: websockets\r\nConnection: Upgrade\r\n" KEY V13},
        {426, LINE, UP KEY "Sec-WebSocket-Version: 8\r\n"},
        {426, LINE, UP KEY "Sec-WebSocket-Version: 13, 8\r\n"},
        {400, LINE, UP KEY},
        {400, LINE, UP KEY V13 V13},
        {400, LINE, UP V13},
        {400, LINE, UP KEY KEY V13},
        {400, LINE, UP V13 "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=\r\n"},
        {400, LINE, UP V13 "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQAA\r\n"},
        {400, LINE, UP V13 "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25j-Q==\r\n"},
        {400, LINE,
         UP KEY V13 "Origin: http://gate.example:8000\r\nOrigin: http://gate.example:8000\r\n"},
    };
    for (size_t i = 0; i < array_count(rows); i++) {
        enum err err = attempt(rows[i].line, rows[i].headers);
        if (err != ERR_BAD_HTTP || fault.status != rows[i].status || fault.reason == NULL)
            fail_msg("row %zu: %s %u", i, err_name(err), fault.status);
    }
}

static void origins_follow_the_rule(void **state)
{
    (void)state;
    static const struct {
        const char *origin;
        bool is_fine;
    } rows[] = {
        {"http://gate.example:8000", true},
        {"HTTPS://GATE.example:8000", true},
        {"http://gate.example", false},
        {"https://a.example.com", true},
        {"https://a.b.EXAMPLE.com", true},
        {"https://example.com", false},
        {"https://a.example.com.evil", false},
        {"http://a.example.com", false},
        {"http://localhost:3000", true},
        {"http://localhost:3001", false},
        {"http://localhost:30000", false},
        {"null", false},
        {"gate.example:8000", false},
        {"", false},
        {"http://evilgate.example:8000", false},
        {"http://gate.example:8000/", false},
    };
    for (size_t i = 0; i < array_count(rows); i++) {
        char headers[512];
        snprintf(headers, sizeof(headers), UP KEY V13 "Origin: %s\r\n", rows[i].origin);
        enum err err = attempt(LINE, headers);
        if (err != (rows[i].is_fine ? ERR_OK : ERR_DENIED))
            fail_msg("%s: %s", rows[i].origin, err_name(err));
        if (!rows[i].is_fine) assert_int_equal(fault.status, 403);
    }
}

static void globs_match(void **state)
{
    (void)state;
    static const struct {
        const char *glob, *text;
        bool matches;
    } rows[] = {
        {"*", "", true},
        {"*", "anything", true},
        {"", "", true},
        {"", "a", false},
        {"a*", "a", true},
        {"a*b*c", "aXbYbZc", true},
        {"a*b*c", "aXbYbZ", false},
        {"*a", "ba", true},
        {"*a", "ab", false},
        {"?", "", false},
        {"?", "x", true},
        {"a?c", "ABC", true},
        {"**", "x", true},
        {"*.*", "x.y", true},
        {"*.*", "xy", false},
        {"abc", "ab", false},
        {"ab", "abc", false},
        {"[ab]c", "Bc", true},
        {"[ab]c", "cc", false},
        {"[a-c]", "b", true},
        {"[a-c]", "d", false},
        {"[!a-c]", "d", true},
        {"[!a-c]", "b", false},
        {"[]]", "]", true},
        {"[ab", "a", false},
        {"http{,s}://*.{a,b.{c,d}}", "https://x.b.d", true},
        {"http{,s}://*.{a,b.{c,d}}", "http://x.a", true},
        {"http{,s}://*.{a,b.{c,d}}", "http://x.b", false},
        {"{a,b", "a", false},
        {"{*,b}c", "xyc", true},
        {"\\*", "*", true},
        {"\\*", "a", false},
        {"[\\]]", "]", true},
        {"*a*a*a*a*a*a*a*a*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", false},
    };
    for (size_t i = 0; i < array_count(rows); i++) {
        if (handshake_glob(rows[i].glob, bytes_of_text(rows[i].text)) != rows[i].matches)
            fail_msg("%s %s", rows[i].glob, rows[i].text);
    }
    assert_false(handshake_glob("a", BYTES_LITERAL("\0")));
}

static const char *cors_of(const char *line, const char *headers)
{
    static uint8_t room[HANDSHAKE_CORS_MAX + 1];
    (void)attempt(line, headers);
    struct writer writer = writer_of(room, HANDSHAKE_CORS_MAX);
    handshake_write_cors(&writer, &request, globs, array_count(globs));
    assert_false(writer.failed);
    room[writer.used] = 0;
    return (const char *)room;
}

static void pages_of_allowed_origins_may_read(void **state)
{
    (void)state;
    assert_string_equal(cors_of(LINE, ""), "Vary: Origin\r\n");
    assert_string_equal(cors_of(LINE, "Origin: https://example.com\r\n"), "Vary: Origin\r\n");
    assert_string_equal(cors_of(LINE, "Origin: https://a.example.com\r\n"),
                        "Vary: Origin\r\nAccess-Control-Allow-Origin: https://a.example.com\r\n"
                        "Access-Control-Allow-Credentials: true\r\n");
    assert_string_equal(cors_of("OPTIONS / HTTP/1.1", "Origin: http://localhost:3000\r\n"
                                                      "Access-Control-Request-Headers: x, y\r\n"),
                        "Vary: Origin\r\nAccess-Control-Allow-Origin: http://localhost:3000\r\n"
                        "Access-Control-Allow-Credentials: true\r\n"
                        "Access-Control-Allow-Methods: GET\r\nAccess-Control-Max-Age: 300\r\n"
                        "Access-Control-Allow-Headers: x, y\r\n");
    /* The longest of everything still fits. */
    char headers[1024], long_origin[256] = "https://", many[256];
    memset(long_origin + 8, 'a', 255 - 8 - 12);
    strcpy(long_origin + 255 - 12, ".example.com");
    memset(many, 'x', 223);
    many[223] = 0;
    snprintf(headers, sizeof headers, "Origin: %s\r\nAccess-Control-Request-Headers: %s\r\n",
             long_origin, many);
    assert_non_null(strstr(cors_of("OPTIONS / HTTP/1.1", headers), many));
}

static void the_wire_is_chosen(void **state)
{
    (void)state;
    assert_int_equal(attempt(LINE, UP KEY V13 "Sec-WebSocket-Protocol: x, centrifuge-json\r\n"),
                     ERR_OK);
    assert_string_equal(handshake.subprotocol, "centrifuge-json");
    assert_int_equal(
        attempt("GET /?format=json&cf_protocol_version=v2&cf_ws_frame_ping_pong=true HTTP/1.1",
                UP KEY V13),
        ERR_OK);
    assert_true(handshake.frame_pings);
    static const char *const asks[] = {"GET /?format=protobuf HTTP/1.1",
                                       "GET /?cf_protocol=protobuf HTTP/1.1"};
    for (size_t i = 0; i < array_count(asks); i++) {
        assert_int_equal(attempt(asks[i], UP KEY V13), ERR_OK);
        assert_int_equal(handshake.wire, WIRE_PROTOBUF);
    }
    assert_int_equal(attempt(LINE, UP KEY V13
                             "Sec-WebSocket-Protocol: centrifuge-json, centrifuge-protobuf\r\n"),
                     ERR_OK);
    assert_int_equal(handshake.wire, WIRE_PROTOBUF);
    assert_string_equal(handshake.subprotocol, "centrifuge-protobuf");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_example_of_the_rfc_is_answered),
        cmocka_unit_test(case_and_lists_do_not_matter),
        cmocka_unit_test(each_broken_rule_has_its_status),
        cmocka_unit_test(origins_follow_the_rule),
        cmocka_unit_test(globs_match),
        cmocka_unit_test(pages_of_allowed_origins_may_read),
        cmocka_unit_test(the_wire_is_chosen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
