/*
 * HTTP requests by tables: what is taken, and every way to be refused with its
 * status.  Each valid request is also cut at every byte (it must wait, never be
 * refused nor be whole) and followed by another one (it must take its own bytes).
 * Buffers are tight, so that ASan sees any overrun.
 */
#include "unit/proto/wire.h"

#include "proto/http.h"

#define BODY_MAX 64

struct taken {
    const char *text;
    enum http_method method;
    const char *path, *query, *host, *body;
    bool keep_alive;
};

static const struct taken requests[] = {
    {"GET / HTTP/1.1\r\nHost: a\r\n\r\n", HTTP_GET, "/", "", "a", "", true},
    {"\r\nGET / HTTP/1.1\r\nHost:a\r\n\r\n", HTTP_GET, "/", "", "a", "", true},
    {"GET /x?a=1&b=?2 HTTP/1.1\r\nhOST: \t a:80 \t\r\nX-Empty:\r\nX:\xFF\t!\r\n\r\n", HTTP_GET,
     "/x", "a=1&b=?2", "a:80", "", true},
    {"GET http://h.example/p?q HTTP/1.1\r\nHost: H.example\r\n\r\n", HTTP_GET, "/p", "q",
     "H.example", "", true},
    {"GET HTTP://[::1]:8000?q HTTP/1.1\r\nHost: [::1]:8000\r\n\r\n", HTTP_GET, "/", "q",
     "[::1]:8000", "", true},
    {"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", HTTP_OPTIONS, "*", "", "a", "", true},
    {"DELETE /x HTTP/1.1\r\nHost: a\r\nConnection: x, Close\r\n\r\n", HTTP_DELETE, "/x", "", "a",
     "", false},
    {"PUT /x HTTP/1.1\r\nHost: a\r\n\r\n", HTTP_PUT, "/x", "", "a", "", true},
    {"PATCH /x HTTP/1.1\r\nHost: a\r\n\r\n", HTTP_OTHER, "/x", "", "a", "", true},
    {"GET / HTTP/1.0\r\n\r\n", HTTP_GET, "/", "", "", "", false},
    {"HEAD / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", HTTP_HEAD, "/", "", "", "", true},
    {"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", HTTP_POST, "/a", "", "a",
     "hello", true},
    {"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", HTTP_POST, "/a", "", "a", "",
     true},
    {"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 0005\r\nExpect: 100-Continue\r\n\r\nhello",
     HTTP_POST, "/a", "", "a", "hello", true},
    {"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: "
     "Chunked\r\n\r\n3\r\nhel\r\n02\r\nlo\r\n0\r\n\r\n",
     HTTP_POST, "/a", "", "a", "hello", true},
    {"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: "
     "chunked\r\n\r\nA\r\n0123456789\r\n0\r\nX-T: 1\r\nY:\r\n\r\n",
     HTTP_POST, "/a", "", "a", "0123456789", true},
    {"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", HTTP_POST, "/a",
     "", "a", "", true},
};

static enum http_result parse(const char *text, size_t size, uint8_t **copy,
                              struct http_request *request, struct http_fault *fault)
{
    *copy = tight_copy(text, size);
    return http_parse(*copy, size, BODY_MAX, request, fault);
}

static void requests_are_taken_apart(void **state)
{
    (void)state;
    for (size_t i = 0; i < array_count(requests); i++) {
        const struct taken *want = &requests[i];
        struct http_request request;
        struct http_fault fault;
        uint8_t *copy;
        enum http_result result = parse(want->text, strlen(want->text), &copy, &request, &fault);
        if (result != HTTP_WHOLE)
            fail_msg("%d %u %s: %s", result, fault.status, fault.reason, want->text);
        assert_int_equal(request.method, want->method);
        assert_bytes(request.path, want->path);
        assert_bytes(request.query, want->query);
        assert_bytes(request.host, want->host);
        assert_bytes(request.body, want->body);
        assert_int_equal(request.keep_alive, want->keep_alive);
        assert_int_equal(request.size, strlen(want->text));
        free(copy);
    }
}

static void a_cut_request_waits_at_every_byte(void **state)
{
    (void)state;
    for (size_t i = 0; i < array_count(requests); i++) {
        const char *text = requests[i].text;
        const char *blank = strstr(text + 2, "\r\n\r\n");
        for (size_t cut = 0; cut < strlen(text); cut++) {
            struct http_request request;
            struct http_fault fault;
            uint8_t *copy;
            enum http_result result = parse(text, cut, &copy, &request, &fault);
            bool head_is_whole = cut >= (size_t)(blank - text) + 4;
            if (result != (head_is_whole ? HTTP_MORE_BODY : HTTP_MORE))
                fail_msg("cut at %zu gives %d (%s): %s", cut, result, fault.reason, text);
            /* What is not whole stays as it came. */
            assert_memory_equal(copy, text, cut);
            free(copy);
        }
    }
}

static void a_pipelined_request_stays_untouched(void **state)
{
    (void)state;
    static const char second[] = "GET /second HTTP/1.1\r\nHost: b\r\n\r\n";
    for (size_t i = 0; i < array_count(requests); i++) {
        char text[1024];
        size_t first = strlen(requests[i].text);
        snprintf(text, sizeof(text), "%s%s", requests[i].text, second);
        struct http_request request;
        struct http_fault fault;
        uint8_t *copy;
        assert_int_equal(parse(text, strlen(text), &copy, &request, &fault), HTTP_WHOLE);
        assert_int_equal(request.size, first);
        assert_bytes(request.body, requests[i].body);
        assert_memory_equal(copy + first, second, sizeof(second) - 1);
        assert_int_equal(http_parse(copy + first, strlen(text) - first, BODY_MAX, &request, &fault),
                         HTTP_WHOLE);
        assert_bytes(request.path, "/second");
        free(copy);
    }
}

struct refused {
    uint16_t status;
    const char *text;
};

#define HEAD  "POST / HTTP/1.1\r\nHost: a\r\n"
#define CHUNK HEAD "Transfer-Encoding: chunked\r\n\r\n"

static const struct refused faults[] = {
    /* lines */
    {400, "GET / HTTP/1.1\nHost: a\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: a\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: a\r\n\n"},
    {400, "GET / HTTP/1.1\rHost: a\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: a\rb\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\r\nHost: a\r\n\r\n"},
    {400, "\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"},
    {400, "\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"},
    /* the request line */
    {400, "GET  / HTTP/1.1\r\nHost: a\r\n\r\n"},
    {400, "GET /  HTTP/1.1\r\nHost: a\r\n\r\n"},
    {400, " GET / HTTP/1.1\r\nHost: a\r\n\r\n"},
    {400, "GET / HTTP/1.1 \r\nHost: a\r\n\r\n"},
    {400, "GET /\r\nHost: a\r\n\r\n"},
    {400, "GET\r\n\r\n"},
    {400, "GET / http/1.1\r\nHost: a\r\n\r\n"},
    {400, "G@T / HTTP/1.1\r\nHost: a\r\n\r\n"},
    {400, "GET / HTTP/11\r\nHost: a\r\n\r\n"},
    {505, "GET / HTTP/1.2\r\nHost: a\r\n\r\n"},
    {505, "GET / HTTP/0.9\r\n\r\n"},
    {505, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"},
    {400, "GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n"},
    {400, "GET /\x80 HTTP/1.1\r\nHost: a\r\n\r\n"},
    {400, "GET /\x7F HTTP/1.1\r\nHost: a\r\n\r\n"},
    {400, "GET /\x01 HTTP/1.1\r\nHost: a\r\n\r\n"},
    {400, "GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n"},
    {400, "GET x HTTP/1.1\r\nHost: a\r\n\r\n"},
    {400, "GET * HTTP/1.1\r\nHost: a\r\n\r\n"},
    {501, "BREW / HTTP/1.1\r\nHost: a\r\n\r\n"},
    {501, "get / HTTP/1.1\r\nHost: a\r\n\r\n"},
    {400, "CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n"},
    {400, "OPTIONS *x HTTP/1.1\r\nHost: a\r\n\r\n"},
    {400, "GET http:///p HTTP/1.1\r\nHost: a\r\n\r\n"},
    {400, "GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n"},
    {400, "GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n"},
    {400, "GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n"},
    /* headers */
    {400, "GET / HTTP/1.1\r\nHost : a\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost\t: a\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n folded\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\n Host: a\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: a\r\nNoColon\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: a\r\n: x\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: a\r\nX(: 1\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: a\r\nX: \x01\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: a\r\nX: \x7F\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: a\r\nX\xC3: 1\r\n\r\n"},
    /* Host */
    {400, "GET / HTTP/1.1\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"},
    {400, "GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost:\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: a b\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n"},
    /* framing */
    {400, HEAD "Content-Length: 1\r\nContent-Length: 1\r\n\r\nx"},
    {400, HEAD "Content-Length: 1, 1\r\n\r\nx"},
    {400, HEAD "Content-Length: +1\r\n\r\nx"},
    {400, HEAD "Content-Length: -1\r\n\r\nx"},
    {400, HEAD "Content-Length: 0x1\r\n\r\nx"},
    {400, HEAD "Content-Length: 1 1\r\n\r\nx"},
    {400, HEAD "Content-Length:\r\n\r\n"},
    {413, HEAD "Content-Length: 65\r\n\r\n"},
    {413, HEAD "Content-Length: 18446744073709551616\r\n\r\n"},
    {413, HEAD "Content-Length: 99999999999999999999999999999999999999999\r\n\r\n"},
    {400, HEAD "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"},
    {400, "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
    {400, HEAD "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"},
    {501, HEAD "Transfer-Encoding: chunked, chunked\r\n\r\n"},
    {501, HEAD "Transfer-Encoding: identity\r\n\r\n"},
    {501, HEAD "Transfer-Encoding: gzip, chunked\r\n\r\n"},
    {501, HEAD "Transfer-Encoding: chunked;q=1\r\n\r\n"},
    {501, HEAD "Transfer-Encoding: \x0B"
               "chunked\r\n\r\n"},
    {501, HEAD "Transfer-Encoding:\r\n\r\n"},
    {501, HEAD "Transfer-Encoding: xchunked\r\n\r\n"},
    {417, HEAD "Expect: more\r\n\r\n"},
    /* chunks */
    {400, CHUNK "\r\n"},
    {400, CHUNK "g\r\n"},
    {400, CHUNK "0x1\r\nx\r\n"},
    {400, CHUNK "+1\r\nx\r\n"},
    {400, CHUNK "-1\r\nx\r\n"},
    {400, CHUNK " 1\r\nx\r\n"},
    {400, CHUNK "1 \r\nx\r\n"},
    {400, CHUNK "1;a=b\r\nx\r\n"},
    {400, CHUNK "1;\r\nx\r\n"},
    {400, CHUNK "1\nx\r\n"},
    {400, CHUNK "1\r\nxy\r\n"},
    {400, CHUNK "1\r\nx\n"},
    {400, CHUNK "1\r\nx\r\r"},
    {400, CHUNK "000000001\r\nx"},
    {400, CHUNK "10000000000000001\r\nx"},
    {413, CHUNK "41\r\n"},
    {413, CHUNK "40\r\n0123456789012345678901234567890123456789012345678901234567890123\r\n1\r\n"},
    {413, CHUNK "ffffffff\r\n"},
    {400, CHUNK "0\r\nX : 1\r\n\r\n"},
    {400, CHUNK "0\r\nContent-Length: 1\r\n\r\n"},
    {400, CHUNK "0\r\nX: 1\r\ntransfer-encoding: chunked\r\n\r\n"},
    {400, CHUNK "0\r\nhost: a\r\n\r\n"},
    {400, CHUNK "0\r\n\n"},
    {400, CHUNK "0\r\n X\r\n\r\n"},
};

static void doubtful_requests_are_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < array_count(faults); i++) {
        struct http_request request;
        struct http_fault fault;
        uint8_t *copy;
        uint16_t status = faults[i].status;
        /* A vertical tab is a control byte before it is a coding. */
        if (strchr(faults[i].text, '\x0B') != NULL) status = 400;
        enum http_result result =
            parse(faults[i].text, strlen(faults[i].text), &copy, &request, &fault);
        if (result != HTTP_REFUSED || fault.status != status || fault.reason == NULL)
            fail_msg("expected %u, found %d %u (%s): %s", status, result, fault.status,
                     fault.reason, faults[i].text);
        assert_string_not_equal(http_status_text(fault.status), "");
        free(copy);
    }
}

static void a_nul_is_refused_everywhere(void **state)
{
    (void)state;
    static const char text[] = "GET /x HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n";
    for (size_t i = 0; i < sizeof(text) - 1; i++) {
        uint8_t copy[sizeof(text)];
        struct http_request request;
        struct http_fault fault;
        memcpy(copy, text, sizeof(text));
        copy[i] = 0;
        enum http_result result = http_parse(copy, sizeof(text) - 1, BODY_MAX, &request, &fault);
        /* In the last line end it is the beginning of a line that goes on. */
        if (result == HTTP_WHOLE || (result == HTTP_MORE && i < sizeof(text) - 3))
            fail_msg("taken at %zu", i);
    }
}

/* A flipped bit may give another valid request, but never one that takes more
 * than is there or answers without a status. */
static void flipped_bits_are_survived(void **state)
{
    (void)state;
    for (size_t i = 0; i < array_count(requests); i++) {
        size_t size = strlen(requests[i].text);
        for (size_t bit = 0; bit < 8 * size; bit++) {
            struct http_request request;
            struct http_fault fault;
            uint8_t *copy = tight_copy(requests[i].text, size);
            copy[bit / 8] ^= (uint8_t)(1u << bit % 8);
            enum http_result result = http_parse(copy, size, BODY_MAX, &request, &fault);
            if (result == HTTP_WHOLE) assert_true(request.size <= size);
            assert_int_equal(result == HTTP_REFUSED, fault.status != 0);
            free(copy);
        }
    }
}

/* A request whose line, header or count of headers has a given size. */
static uint16_t status_of(size_t target_size, size_t value_size, size_t headers)
{
    static char text[64 << 10];
    size_t used = 0;
    text[used++] = 'G';
    used += (size_t)sprintf(text + used, "ET /");
    memset(text + used, 'a', target_size);
    used += target_size;
    used += (size_t)sprintf(text + used, " HTTP/1.1\r\nHost: a\r\nX:");
    memset(text + used, 'v', value_size);
    used += value_size;
    used += (size_t)sprintf(text + used, "\r\n");
    for (size_t i = 2; i < headers; i++) used += (size_t)sprintf(text + used, "h:%zu\r\n", i);
    used += (size_t)sprintf(text + used, "\r\n");
    struct http_request request;
    struct http_fault fault;
    uint8_t *copy;
    enum http_result result = parse(text, used, &copy, &request, &fault);
    free(copy);
    assert_true(result == HTTP_WHOLE || result == HTTP_REFUSED);
    return fault.status;
}

static void limits_hold_at_below_and_above(void **state)
{
    (void)state;
    size_t line = HTTP_LINE_MAX - strlen("GET / HTTP/1.1");
    assert_int_equal(status_of(line, 0, 2), 0);
    assert_int_equal(status_of(line + 1, 0, 2), 414);
    assert_int_equal(status_of(1, HTTP_LINE_MAX - 2, 2), 0);
    assert_int_equal(status_of(1, HTTP_LINE_MAX - 1, 2), 431);
    assert_int_equal(status_of(1, 1, HTTP_HEADERS_MAX), 0);
    assert_int_equal(status_of(1, 1, HTTP_HEADERS_MAX + 1), 431);
    size_t rest = HTTP_HEAD_MAX - (size_t)strlen("GET / HTTP/1.1\r\nHost: a\r\nX:\r\n\r\n");
    assert_int_equal(status_of(line, rest - line, 2), 0);
    assert_int_equal(status_of(line, rest - line + 1, 2), 431);
}

static void tiny_chunks_are_bounded(void **state)
{
    (void)state;
    size_t head = strlen(CHUNK), chunks = 64 << 10, size = head + 6 * chunks + 5;
    uint8_t *text = malloc(size + 1), *at = text + head;
    memcpy(text, CHUNK, head);
    for (size_t i = 0; i < chunks; i++, at += 6) memcpy(at, "1\r\nx\r\n", 6);
    memcpy(at, "0\r\n\r\n", 5);
    struct http_request request;
    struct http_fault fault;
    assert_int_equal(http_parse(text, size, 8 << 20, &request, &fault), HTTP_REFUSED);
    assert_int_equal(fault.status, 400);
    free(text);
}

/* Every split of each request, one byte more a call, going on from the last. */
static void progress_tells_what_a_fresh_look_tells(void **state)
{
    (void)state;
    for (size_t i = 0; i < array_count(requests); i++) {
        struct http_progress progress = {0};
        size_t size = strlen(requests[i].text);
        for (size_t left = 0; left <= size; left++) {
            struct http_request fresh, on;
            struct http_fault fault;
            uint8_t *copy, *again;
            enum http_result wanted = parse(requests[i].text, left, &copy, &fresh, &fault);
            free(copy);
            if (left < progress.need) {
                assert_int_equal(wanted, HTTP_MORE_BODY);
                continue;
            }
            again = malloc(left + 1);
            memcpy(again, requests[i].text, left);
            assert_int_equal(http_parse_on(again, left, BODY_MAX, &on, &fault, &progress), wanted);
            if (wanted == HTTP_WHOLE) {
                assert_int_equal(on.size, fresh.size);
                assert_bytes(on.body, requests[i].body);
            }
            free(again);
            if (wanted == HTTP_WHOLE) break;
            assert_true(wanted != HTTP_MORE_BODY || progress.need > left);
        }
    }
}

static void headers_are_looked_up(void **state)
{
    (void)state;
    uint8_t text[] = "GET /?a=1&b=%41+%2b&c&d=%4&e=%00&a=2&long=0123456789&f=%zz HTTP/1.1\r\nHost: "
                     "a\r\nConnection: keep-alive, Upgrade\r\n"
                     "connection:\tx\r\nX: first\r\nx: second\r\nEmpty:\r\n\r\n";
    struct http_request request;
    struct http_fault fault;
    assert_int_equal(http_parse(text, sizeof(text) - 1, 0, &request, &fault), HTTP_WHOLE);
    assert_bytes(http_header(&request, "X"), "first");
    assert_int_equal(http_header(&request, "Empty").size, 0);
    assert_non_null(http_header(&request, "Empty").at);
    assert_null(http_header(&request, "Absent").at);
    assert_true(http_header_has(&request, "Connection", "upgrade"));
    assert_true(http_header_has(&request, "Connection", "X"));
    assert_false(http_header_has(&request, "Connection", "keep"));
    char value[8];
    assert_true(http_query(&request, "a", value, sizeof(value)));
    assert_string_equal(value, "1");
    assert_true(http_query(&request, "b", value, sizeof(value)));
    assert_string_equal(value, "A +");
    assert_true(http_query(&request, "c", value, sizeof(value)));
    assert_string_equal(value, "");
    assert_false(http_query(&request, "d", value, sizeof(value)));
    assert_false(http_query(&request, "e", value, sizeof(value)));
    assert_false(http_query(&request, "f", value, sizeof(value)));
    assert_false(http_query(&request, "long", value, sizeof(value)));
    assert_false(http_query(&request, "none", value, sizeof(value)));
    assert_string_equal(value, "");
    static const char *const there[] = {"a", "b", "c", "d", "e", "f", "long"};
    for (size_t i = 0; i < array_count(there); i++) assert_true(http_query_has(&request, there[i]));
    assert_false(http_query_has(&request, "none"));
    assert_false(http_query_has(&request, "lon"));
}

static void heads_are_written(void **state)
{
    (void)state;
    uint8_t room[HTTP_RESPONSE_HEAD_MAX];
    struct writer writer = writer_of(room, sizeof(room));
    http_write_head(&writer, 200, "application/json", 12, true, "X: y\r\n");
    assert_bytes(writer_bytes(&writer),
                 "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: "
                 "12\r\nConnection: keep-alive\r\nX: y\r\n\r\n");
    writer = writer_of(room, sizeof(room));
    http_write_head(&writer, 204, NULL, 0, false, NULL);
    assert_bytes(writer_bytes(&writer), "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
    writer = writer_of(room, sizeof(room));
    http_write_head(&writer, 426, NULL, 0, false, NULL);
    assert_bytes(writer_bytes(&writer),
                 "HTTP/1.1 426 Upgrade Required\r\nContent-Length: 0\r\nConnection: close\r\n"
                 "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\r\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_are_taken_apart),
        cmocka_unit_test(a_cut_request_waits_at_every_byte),
        cmocka_unit_test(a_pipelined_request_stays_untouched),
        cmocka_unit_test(doubtful_requests_are_refused),
        cmocka_unit_test(a_nul_is_refused_everywhere),
        cmocka_unit_test(flipped_bits_are_survived),
        cmocka_unit_test(limits_hold_at_below_and_above),
        cmocka_unit_test(tiny_chunks_are_bounded),
        cmocka_unit_test(progress_tells_what_a_fresh_look_tells),
        cmocka_unit_test(headers_are_looked_up),
        cmocka_unit_test(heads_are_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
