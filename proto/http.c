/*
 * http: a request head line by line, then its body.
 *
 * Every call begins at the first byte: a head is at most HTTP_HEAD_MAX, so
 * starting over costs less than a state that must be kept per connection and
 * could be wrong.  A body may be 512 times that and arrive in 4,096 pieces, so
 * its walk goes on where it stood (struct http_progress).
 *
 * Lines end in CRLF and nothing else; a bare CR or LF, a space before the colon
 * and a folded line are how one request becomes two behind a proxy, and are
 * refused (RFC 9112 sections 2.2, 5.1, 5.2, 11.2).
 *
 * Framing (section 6.3): a request has a Content-Length, or exactly one
 * Transfer-Encoding that is `chunked`, or no body.  Both together are refused.
 */
#include "proto/http.h"

#include "core/check.h"
#include "proto/http_body.h"

/* One parse: what is left of the buffer, and the first fault. */
struct parse {
    const uint8_t *at, *end;
    struct http_request *request;
    struct http_fault *fault;
};

static enum http_result refuse(struct http_fault *fault, uint16_t status, const char *reason)
{
    check(status >= 400 && reason != NULL);
    *fault = (struct http_fault){status, reason};
    return HTTP_REFUSED;
}

/* RFC 9110 section 5.6.2: what names and methods are made of. */
static bool is_token_byte(uint8_t c)
{
    if ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')) return true;
    return c != 0 && strchr("!#$%&'*+-.^_`|~", c) != NULL;
}

static bool is_token(struct bytes text)
{
    for (size_t i = 0; i < text.size; i++) {
        if (!is_token_byte(text.at[i])) return false;
    }
    return text.size > 0;
}

enum http_line http_line(const uint8_t *at, const uint8_t *end, size_t max, struct bytes *line)
{
    size_t size = (size_t)(end - at);
    if (size == 0) return HTTP_LINE_MORE;
    size_t window = min_u64(size, max + 2);
    const uint8_t *newline = memchr(at, '\n', window);
    const uint8_t *stop = newline != NULL ? newline : at + window;
    const uint8_t *cr = memchr(at, '\r', (size_t)(stop - at));
    if (newline != NULL) {
        if (cr == NULL || cr + 1 != newline) return HTTP_LINE_BAD;
        *line = bytes_of(at, (size_t)(cr - at));
        return HTTP_LINE_WHOLE;
    }
    if (cr != NULL && cr + 1 < stop) return HTTP_LINE_BAD; /* a CR that no LF follows */
    return size >= max + 2 ? HTTP_LINE_LONG : HTTP_LINE_MORE;
}

static enum http_method method_of(struct bytes text)
{
    if (bytes_equal_text(text, "GET")) return HTTP_GET;
    if (bytes_equal_text(text, "HEAD")) return HTTP_HEAD;
    if (bytes_equal_text(text, "POST")) return HTTP_POST;
    if (bytes_equal_text(text, "PUT")) return HTTP_PUT;
    if (bytes_equal_text(text, "DELETE")) return HTTP_DELETE;
    if (bytes_equal_text(text, "OPTIONS")) return HTTP_OPTIONS;
    static const char *const others[] = {"PATCH", "TRACE", "CONNECT"};
    for (size_t i = 0; i < array_count(others); i++) {
        if (bytes_equal_text(text, others[i])) return HTTP_OTHER;
    }
    return HTTP_UNKNOWN;
}

/* "HTTP/1.0" and "HTTP/1.1".  Any other well-formed version is told apart from
 * noise, so that an HTTP/2 preface gets 505. */
static enum http_result parse_version(struct parse *parse, struct bytes text)
{
    if (text.size != 8 || memcmp(text.at, "HTTP/", 5) != 0 || text.at[6] != '.' ||
        text.at[5] < '0' || text.at[5] > '9' || text.at[7] < '0' || text.at[7] > '9')
        return refuse(parse->fault, 400, "malformed HTTP version");
    if (text.at[5] != '1' || text.at[7] > '1')
        return refuse(parse->fault, 505, "only HTTP/1.0 and HTTP/1.1 are spoken here");
    parse->request->minor = (uint8_t)(text.at[7] - '0');
    return HTTP_MORE;
}

/* Letters, digits and marks of RFC 3986's host and port; no user information. */
static bool is_authority(struct bytes text)
{
    for (size_t i = 0; i < text.size; i++) {
        uint8_t c = text.at[i];
        bool alnum = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (!alnum && (c == 0 || strchr("-._~!$&'()*+,;=:[]%", c) == NULL)) return false;
    }
    return text.size > 0;
}

static bool starts_nocase(struct bytes text, const char *prefix)
{
    size_t size = strlen(prefix);
    return text.size >= size && bytes_equal_nocase(bytes_of(text.at, size), bytes_of_text(prefix));
}

/* The part of `text` from `from` on. */
static struct bytes tail(struct bytes text, size_t from)
{
    check(from <= text.size);
    return bytes_of(text.at + from, text.size - from);
}

static size_t find_byte(struct bytes text, uint8_t c)
{
    const uint8_t *at = text.size > 0 ? memchr(text.at, c, text.size) : NULL;
    return at != NULL ? (size_t)(at - text.at) : text.size;
}

/* RFC 9112 section 3.2: origin form; absolute form, whose authority must then be
 * the Host; "*" for OPTIONS.  A fragment has no place in a request. */
static enum http_result parse_target(struct parse *parse, struct bytes target)
{
    struct http_request *request = parse->request;
    for (size_t i = 0; i < target.size; i++) {
        uint8_t c = target.at[i];
        if (c <= 0x20 || c >= 0x7F || c == '#')
            return refuse(parse->fault, 400, "a byte that has no place in a request target");
    }
    request->target = target;
    struct bytes rest = target;
    if (starts_nocase(target, "http://") || starts_nocase(target, "https://")) {
        rest = tail(target, find_byte(target, ':') + 3);
        size_t size = min_u64(find_byte(rest, '/'), find_byte(rest, '?'));
        request->host = bytes_of(rest.at, size);
        if (!is_authority(request->host)) return refuse(parse->fault, 400, "malformed authority");
        rest = tail(rest, size);
    } else if (target.size == 0 || (target.at[0] != '/' && !bytes_equal_text(target, "*"))) {
        return refuse(parse->fault, 400, "the request target is neither a path nor a URL");
    } else if (target.at[0] == '*' && request->method != HTTP_OPTIONS) {
        return refuse(parse->fault, 400, "the target * is for OPTIONS");
    }
    size_t mark = find_byte(rest, '?');
    request->path = mark > 0 ? bytes_of(rest.at, mark) : BYTES_LITERAL("/");
    request->query = mark < rest.size ? tail(rest, mark + 1) : BYTES_NONE;
    return HTTP_MORE;
}

static enum http_result parse_request_line(struct parse *parse)
{
    struct bytes line;
    switch (http_line(parse->at, parse->end, HTTP_LINE_MAX, &line)) {
    case HTTP_LINE_MORE: return HTTP_MORE;
    case HTTP_LINE_BAD: return refuse(parse->fault, 400, "lines end in CRLF");
    case HTTP_LINE_LONG: return refuse(parse->fault, 414, "the request line is too long");
    case HTTP_LINE_WHOLE: break;
    }
    /* Exactly two single spaces (section 3). */
    size_t first = find_byte(line, ' ');
    struct bytes rest = first < line.size ? tail(line, first + 1) : BYTES_NONE;
    size_t second = find_byte(rest, ' ');
    if (second >= rest.size) return refuse(parse->fault, 400, "malformed request line");

    struct http_request *request = parse->request;
    request->method_text = bytes_of(line.at, first);
    if (!is_token(request->method_text)) return refuse(parse->fault, 400, "malformed method");
    request->method = method_of(request->method_text);
    if (parse_version(parse, tail(rest, second + 1)) == HTTP_REFUSED) return HTTP_REFUSED;
    if (parse_target(parse, bytes_of(rest.at, second)) == HTTP_REFUSED) return HTTP_REFUSED;
    if (request->method == HTTP_UNKNOWN) /* RFC 9110 section 9.1 */
        return refuse(parse->fault, 501, "no such method");
    parse->at = line.at + line.size + 2;
    return HTTP_WHOLE;
}

const char *http_header_parse(struct bytes line, struct http_header *header)
{
    check(line.size > 0);
    if (line.at[0] == ' ' || line.at[0] == '\t') return "folded header lines are refused";
    size_t colon = find_byte(line, ':');
    if (colon == line.size) return "a header line without a colon";
    header->name = bytes_of(line.at, colon);
    if (!is_token(header->name)) return "malformed header name";
    size_t from = colon + 1, to = line.size;
    while (from < to && (line.at[from] == ' ' || line.at[from] == '\t')) from++;
    while (to > from && (line.at[to - 1] == ' ' || line.at[to - 1] == '\t')) to--;
    header->value = bytes_of(line.at + from, to - from);
    for (size_t i = from; i < to; i++) {
        uint8_t c = line.at[i];
        if ((c < 0x20 && c != '\t') || c == 0x7F) return "a control byte in a header value";
    }
    return NULL;
}

/* Header lines up to the blank one; HTTP_WHOLE when it was reached. */
static enum http_result parse_headers(struct parse *parse)
{
    struct http_request *request = parse->request;
    for (;;) {
        struct bytes line;
        switch (http_line(parse->at, parse->end, HTTP_LINE_MAX, &line)) {
        case HTTP_LINE_MORE: return HTTP_MORE;
        case HTTP_LINE_BAD: return refuse(parse->fault, 400, "lines end in CRLF");
        case HTTP_LINE_LONG: return refuse(parse->fault, 431, "a header line is too long");
        case HTTP_LINE_WHOLE: break;
        }
        parse->at = line.at + line.size + 2;
        if (line.size == 0) return HTTP_WHOLE;
        if (request->headers_count == HTTP_HEADERS_MAX)
            return refuse(parse->fault, 431, "too many headers");
        const char *reason = http_header_parse(line, &request->headers[request->headers_count]);
        if (reason != NULL) return refuse(parse->fault, 400, reason);
        request->headers_count++;
    }
}

/* How many headers have that name; the last one's value. */
static uint32_t header_count(const struct http_request *request, const char *name,
                             struct bytes *value)
{
    uint32_t count = 0;
    struct bytes wanted = bytes_of_text(name);
    for (uint32_t i = 0; i < request->headers_count; i++) {
        if (!bytes_equal_nocase(request->headers[i].name, wanted)) continue;
        *value = request->headers[i].value;
        count++;
    }
    return count;
}

/* RFC 9112 section 3.2: exactly one Host in 1.1, at most one in 1.0; and it agrees
 * with an absolute target, because a proxy may have looked at either. */
static enum http_result settle_host(struct parse *parse)
{
    struct http_request *request = parse->request;
    struct bytes value = BYTES_NONE;
    uint32_t count = header_count(request, "Host", &value);
    if (count > 1) return refuse(parse->fault, 400, "more than one Host header");
    if (count == 0) {
        if (request->minor > 0) return refuse(parse->fault, 400, "no Host header");
        return HTTP_MORE;
    }
    if (!is_authority(value)) return refuse(parse->fault, 400, "malformed Host header");
    if (request->host.size > 0 && !bytes_equal_nocase(request->host, value))
        return refuse(parse->fault, 400, "the target and the Host header name different hosts");
    request->host = value;
    return HTTP_MORE;
}

/* Digits only; saturates, so that an absurd length is too large and not small. */
static bool parse_length(struct bytes text, uint64_t *length)
{
    *length = 0;
    for (size_t i = 0; i < text.size; i++) {
        uint32_t digit = (uint32_t)text.at[i] - '0';
        if (digit > 9) return false;
        bool over = __builtin_mul_overflow(*length, 10u, length);
        if (over || __builtin_add_overflow(*length, digit, length)) *length = UINT64_MAX / 16;
    }
    return text.size > 0;
}

/* RFC 9112 sections 6.1 to 6.3, stricter where two readers could disagree. */
static enum http_result settle_framing(struct parse *parse, size_t body_max, uint64_t *length)
{
    struct http_request *request = parse->request;
    struct bytes encoding = BYTES_NONE, size = BYTES_NONE;
    uint32_t encodings = header_count(request, "Transfer-Encoding", &encoding);
    uint32_t lengths = header_count(request, "Content-Length", &size);
    *length = 0;
    if (encodings > 0 && lengths > 0)
        return refuse(parse->fault, 400, "Content-Length together with Transfer-Encoding");
    if (encodings > 0) {
        if (request->minor == 0) return refuse(parse->fault, 400, "Transfer-Encoding in HTTP/1.0");
        if (encodings > 1) return refuse(parse->fault, 400, "more than one Transfer-Encoding");
        if (!bytes_equal_nocase(encoding, BYTES_LITERAL("chunked")))
            return refuse(parse->fault, 501, "the only transfer coding spoken here is chunked");
        request->is_chunked = true;
        return HTTP_MORE;
    }
    if (lengths > 1) return refuse(parse->fault, 400, "more than one Content-Length");
    if (lengths == 1 && !parse_length(size, length))
        return refuse(parse->fault, 400, "malformed Content-Length");
    request->has_length = lengths == 1;
    request->length = *length;
    if (*length > body_max) return refuse(parse->fault, 413, "the body is too large");
    return HTTP_MORE;
}

/* Connection and Expect (RFC 9110 sections 7.6.1, 10.1.1). */
static enum http_result settle_rest(struct parse *parse)
{
    struct http_request *request = parse->request;
    bool closes = http_header_has(request, "Connection", "close");
    bool keeps = http_header_has(request, "Connection", "keep-alive");
    request->keep_alive = !closes && (request->minor > 0 || keeps);
    struct bytes expect = BYTES_NONE;
    uint32_t expects = header_count(request, "Expect", &expect);
    if (expects == 0 || request->minor == 0) return HTTP_MORE;
    if (expects > 1 || !bytes_equal_nocase(expect, BYTES_LITERAL("100-continue")))
        return refuse(parse->fault, 417, "the only expectation met here is 100-continue");
    request->expects_continue = true;
    return HTTP_MORE;
}

static enum http_result parse_head(struct parse *parse, size_t body_max, uint64_t *length)
{
    enum http_result result = parse_request_line(parse);
    if (result == HTTP_WHOLE) result = parse_headers(parse);
    if (result != HTTP_WHOLE) return result;
    if (settle_host(parse) == HTTP_REFUSED) return HTTP_REFUSED;
    if (settle_framing(parse, body_max, length) == HTTP_REFUSED) return HTTP_REFUSED;
    if (settle_rest(parse) == HTTP_REFUSED) return HTTP_REFUSED;
    return HTTP_WHOLE;
}

enum http_result http_parse(uint8_t *at, size_t size, size_t body_max, struct http_request *request,
                            struct http_fault *fault)
{
    struct http_progress progress = {0};
    return http_parse_on(at, size, body_max, request, fault, &progress);
}

enum http_result http_parse_on(uint8_t *at, size_t size, size_t body_max,
                               struct http_request *request, struct http_fault *fault,
                               struct http_progress *progress)
{
    check(at != NULL || size == 0);
    check(body_max <= HTTP_BODY_LIMIT);
    *request = (struct http_request){0};
    *fault = (struct http_fault){0};
    /* One empty line before a request is noise of old clients (section 2.2). */
    size_t skipped = size >= 2 && at[0] == '\r' && at[1] == '\n' ? 2 : 0;
    size_t window = min_u64(size, skipped + HTTP_HEAD_MAX);
    struct parse parse = {at + skipped, at + window, request, fault};
    uint64_t length;
    enum http_result result = parse_head(&parse, body_max, &length);
    if (result == HTTP_MORE && window < size)
        return refuse(fault, 431, "the request head is too large");
    if (result != HTTP_WHOLE) return result;

    uint8_t *body = at + (parse.at - at);
    size_t left = size - (size_t)(body - at);
    if (request->is_chunked) {
        size_t taken;
        result = http_chunked(body, left, body_max, progress, &request->body, &taken, fault);
        if (result == HTTP_WHOLE) request->size = (size_t)(body - at) + taken;
        progress->need += (uint32_t)(body - at);
        return result;
    }
    if (left < length) {
        progress->need = (uint32_t)((size_t)(body - at) + length);
        return HTTP_MORE_BODY;
    }
    request->body = bytes_of(body, (size_t)length);
    request->size = (size_t)(body - at) + (size_t)length;
    check(request->size <= size);
    return HTTP_WHOLE;
}
