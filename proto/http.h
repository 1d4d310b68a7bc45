/*
 * http: HTTP/1.1 requests in, responses out.
 *
 * Strict RFC 9112: what is doubtful is refused, with its status and a sentence.
 * http_parse looks at everything received so far and is called again with more;
 * the request's views point into that buffer.  One framing header rule
 * (section 6.3); a chunked body is decoded in place once it is whole.
 *
 * Thread:  any; pure.
 * Bound:   linear; HTTP_HEAD_MAX, HTTP_LINE_MAX, HTTP_HEADERS_MAX, body_max.
 * Tests:   tests/unit/proto/test_http.c; fuzzed against http-parser (tests/fuzz/fuzz_http.c)
 */
#pragma once

#include "core/bytes.h"
#include "core/err.h"
#include "core/limits.h"

/* OTHER: known to RFC 9110 and RFC 5789, served nowhere here. */
enum http_method {
    HTTP_GET,
    HTTP_HEAD,
    HTTP_POST,
    HTTP_PUT,
    HTTP_DELETE,
    HTTP_OPTIONS,
    HTTP_OTHER,
    HTTP_UNKNOWN,
};

struct http_header {
    struct bytes name, value;
};

struct http_request {
    enum http_method method;
    struct bytes method_text, target, path, query; /* path: up to '?', as sent */
    uint8_t minor;                                 /* HTTP/1.minor */
    bool keep_alive;
    bool expects_continue;
    bool is_chunked;
    bool has_length; /* a Content-Length stood there, be it 0 */
    uint64_t length; /* its value */
    struct bytes host;
    struct http_header headers[HTTP_HEADERS_MAX];
    uint32_t headers_count;
    struct bytes body;
    size_t size; /* bytes of the buffer that this request took */
};

/* Why a request was refused; `reason` is a short sentence, sent as the body. */
struct http_fault {
    uint16_t status;
    const char *reason;
};

enum http_result {
    HTTP_MORE,      /* the head is not whole */
    HTTP_MORE_BODY, /* the head is whole and valid (in `request`), the body is not */
    HTTP_WHOLE,
    HTTP_REFUSED, /* answer `fault` and close */
};

enum http_result http_parse(uint8_t *at, size_t size, size_t body_max, struct http_request *request,
                            struct http_fault *fault);

/* The largest body_max: offsets of a whole request fit 32 bits. */
#define HTTP_BODY_LIMIT (1u << 30)

/* What a request whose body is not whole has shown so far, so that a body in
 * many pieces is walked once.  Zeroed for each request; offsets are from its
 * first byte. */
struct http_progress {
    uint32_t need;         /* a call with fewer bytes than this can tell nothing new */
    uint32_t walked, data; /* chunked: framing that is known good, data within it */
};
/* The same, going on from `progress`; body_max <= HTTP_BODY_LIMIT. */
enum http_result http_parse_on(uint8_t *at, size_t size, size_t body_max,
                               struct http_request *request, struct http_fault *fault,
                               struct http_progress *progress);

/* The value of the first header of that name, case-insensitive; BYTES_NONE when absent. */
struct bytes http_header(const struct http_request *request, const char *name);
/* True when a comma-separated header field holds `token`, case-insensitive. */
bool http_header_has(const struct http_request *request, const char *name, const char *token);
/* A percent-decoded query parameter into out[size], NUL-terminated; false when
 * absent, malformed or too long. */
bool http_query(const struct http_request *request, const char *name, char *out, size_t size);
/* True when there is a parameter of that name, whatever its value. */
bool http_query_has(const struct http_request *request, const char *name);

/* "OK", "Bad Request", …: "" for statuses we do not send. */
const char *http_status_text(uint16_t status);
/* Status line, Content-Type (when not NULL), Content-Length, Connection, `extra`
 * (whole header lines with CRLF, or NULL), blank line.  The body is the caller's.
 * At most HTTP_RESPONSE_HEAD_MAX bytes plus extra. */
#define HTTP_RESPONSE_HEAD_MAX 512
void http_write_head(struct writer *writer, uint16_t status, const char *content_type,
                     size_t body_size, bool keep_alive, const char *extra);
