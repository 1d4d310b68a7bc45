/*
 * fuzz_http: the request parser against http-parser.
 *
 * http-parser is laxer, so it must take whatever we take, and understand it the
 * same way: method, target, version, headers, body, where the request ends.
 * And whatever the bytes: a request that is refused early stays refused when
 * more arrives, and one that is whole was not whole a byte before.
 */
// link: http_parser
#include "proto/http.h"

/* Names that both libraries have. */
#define http_method  oracle_method
#define HTTP_GET     ORACLE_GET
#define HTTP_HEAD    ORACLE_HEAD
#define HTTP_POST    ORACLE_POST
#define HTTP_PUT     ORACLE_PUT
#define HTTP_DELETE  ORACLE_DELETE
#define HTTP_OPTIONS ORACLE_OPTIONS
#include <http_parser.h>
#undef http_method

#include "core/check.h"
#include "core/mem.h"

#define BODY_MAX 4096

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What http-parser understood. */
struct oracle {
    struct bytes target;
    struct http_header headers[HTTP_HEADERS_MAX + 1];
    uint32_t headers_count;
    bool in_value, heads_done, is_done, has_trailers;
    uint8_t body[BODY_MAX];
    size_t body_size;
};

static struct oracle *oracle_of(http_parser *parser)
{
    return parser->data;
}

static void grow(struct bytes *part, const char *at, size_t size)
{
    if (part->at == NULL) *part = bytes_of(at, 0);
    check(part->size == 0 || part->at + part->size == (const uint8_t *)at);
    if (part->size == 0) part->at = (const uint8_t *)at;
    part->size += size;
}

static int on_url(http_parser *parser, const char *at, size_t size)
{
    grow(&oracle_of(parser)->target, at, size);
    return 0;
}

static int on_field(http_parser *parser, const char *at, size_t size)
{
    struct oracle *oracle = oracle_of(parser);
    oracle->has_trailers |= oracle->heads_done;
    if (oracle->heads_done) return 0;
    if (oracle->headers_count == 0 || oracle->in_value) {
        check(oracle->headers_count < HTTP_HEADERS_MAX);
        oracle->headers_count++;
    }
    oracle->in_value = false;
    grow(&oracle->headers[oracle->headers_count - 1].name, at, size);
    return 0;
}

static int on_value(http_parser *parser, const char *at, size_t size)
{
    struct oracle *oracle = oracle_of(parser);
    if (oracle->heads_done) return 0;
    oracle->in_value = true;
    grow(&oracle->headers[oracle->headers_count - 1].value, at, size);
    return 0;
}

static int on_heads(http_parser *parser)
{
    oracle_of(parser)->heads_done = true;
    return 0;
}

static int on_body(http_parser *parser, const char *at, size_t size)
{
    struct oracle *oracle = oracle_of(parser);
    check(size <= BODY_MAX - oracle->body_size);
    memcpy(oracle->body + oracle->body_size, at, size);
    oracle->body_size += size;
    return 0;
}

static int on_done(http_parser *parser)
{
    oracle_of(parser)->is_done = true;
    return 0;
}

static struct bytes trimmed(struct bytes value)
{
    while (value.size > 0 && (value.at[value.size - 1] == ' ' || value.at[value.size - 1] == '\t'))
        value.size--;
    return value;
}

/* Between a value and the end of its line, which is there: spaces, then a tab? */
static bool has_tab_behind(struct bytes value)
{
    const uint8_t *at = value.at + value.size;
    while (*at == ' ') at++;
    return *at == '\t';
}

/* Names that http-parser takes for another: it stops comparing where the known
 * name ends ("Transfer-EncodingX"), reads Proxy-Connection as Connection, and is
 * lost in a list whose first element is empty (RFC 9110 section 5.6.1 allows it)
 * and at a tab behind a value (section 5.6.3 allows that). */
static bool is_misread(const struct http_request *request)
{
    static const char *const names[] = {"Transfer-Encoding", "Content-Length", "Connection",
                                        "Upgrade"};
    for (uint32_t i = 0; i < request->headers_count; i++) {
        struct bytes name = request->headers[i].name;
        if (bytes_equal_nocase(name, BYTES_LITERAL("Proxy-Connection"))) return true;
        struct bytes value = request->headers[i].value;
        bool is_connection = bytes_equal_nocase(name, BYTES_LITERAL("Connection"));
        if (is_connection && value.size > 0 && value.at[0] == ',') return true;
        for (size_t n = 0; n < array_count(names); n++) {
            size_t size = strlen(names[n]);
            if (bytes_equal_nocase(name, bytes_of_text(names[n])) && has_tab_behind(value))
                return true;
            if (name.size > size &&
                bytes_equal_nocase(bytes_of(name.at, size), bytes_of_text(names[n])))
                return true;
        }
    }
    return false;
}

static void compare(const uint8_t *data, const struct http_request *request)
{
    static const http_parser_settings settings = {
        .on_url = on_url,
        .on_header_field = on_field,
        .on_header_value = on_value,
        .on_headers_complete = on_heads,
        .on_body = on_body,
        .on_message_complete = on_done,
    };
    struct oracle *oracle = mem_alloc(sizeof(*oracle));
    http_parser parser;
    http_parser_init(&parser, HTTP_REQUEST);
    parser.data = oracle;
    size_t taken = http_parser_execute(&parser, &settings, (const char *)data, request->size);
    /* Trailers are misread like headers, but their names are not kept here: with
     * any of them neither an error nor the flags say something about the head. */
    enum http_errno error = HTTP_PARSER_ERRNO(&parser);
    bool misread = oracle->has_trailers && error != HPE_OK;
    /* Methods are ours to know or not; the route refuses what it does not serve. */
    if (error != HPE_INVALID_METHOD && !misread) {
        check(error == HPE_OK);
        check(taken == request->size && oracle->is_done);
        check(bytes_equal_text(request->method_text, http_method_str(parser.method)));
        check(bytes_equal(request->target, oracle->target));
        check(parser.http_major == 1 && parser.http_minor == request->minor);
        if (!oracle->has_trailers) {
            check(!request->is_chunked == ((parser.flags & F_CHUNKED) == 0));
            check(!request->keep_alive == (http_should_keep_alive(&parser) == 0));
        }
        check(request->headers_count == oracle->headers_count);
        for (uint32_t i = 0; i < request->headers_count; i++) {
            check(bytes_equal(request->headers[i].name, oracle->headers[i].name));
            check(bytes_equal(request->headers[i].value, trimmed(oracle->headers[i].value)));
        }
        check(bytes_equal(request->body, bytes_of(oracle->body, oracle->body_size)));
    }
    mem_free(oracle);
}

static enum http_result parse(const uint8_t *data, size_t size, struct http_request *request,
                              struct http_fault *fault, uint8_t **copy)
{
    *copy = mem_alloc(size + 1);
    if (size > 0) memcpy(*copy, data, size);
    return http_parse(*copy, size, BODY_MAX, request, fault);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct http_request request, earlier;
    struct http_fault fault;
    uint8_t *copy, *cut_copy;
    char value[64];
    enum http_result result = parse(data, size, &request, &fault, &copy);
    if (result == HTTP_REFUSED) {
        check(fault.status >= 400 && fault.reason != NULL);
        check(http_status_text(fault.status)[0] != '\0');
    } else if (result == HTTP_WHOLE) {
        check(request.size <= size);
        if (!is_misread(&request)) compare(data, &request);
        check(memcmp(copy + request.size, data + request.size, size - request.size) == 0);
        (void)http_query(&request, "a", value, sizeof(value));
        (void)http_header_has(&request, "Connection", "upgrade");
    }

    /* A place to cut that depends on the bytes, so that runs repeat. */
    uint32_t hash = 2166136261u;
    for (size_t i = 0; i < size; i++) hash = (hash ^ data[i]) * 16777619u;
    size_t whole = result == HTTP_WHOLE ? request.size : size;
    size_t cut = whole > 0 ? hash % whole : 0;
    enum http_result before = parse(data, cut, &earlier, &fault, &cut_copy);
    if (before == HTTP_REFUSED) check(result == HTTP_REFUSED);
    if (before == HTTP_WHOLE)
        check(result == HTTP_WHOLE && earlier.size == request.size && whole == 0);
    if (before == HTTP_MORE_BODY) check(result != HTTP_MORE);
    if (before != HTTP_WHOLE && cut > 0) check(memcmp(cut_copy, data, cut) == 0);
    mem_free(cut_copy);
    mem_free(copy);
    return 0;
}
