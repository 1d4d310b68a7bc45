/*
 * http_chunked: RFC 9112 section 7.1, without extensions.
 *
 *     <hex size> CRLF  <data> CRLF  …  0 CRLF  <trailer lines> CRLF
 *
 * Two passes: the first only looks, because a body that is not whole yet must
 * stay as it came; the second moves the data together.  Extensions are refused:
 * nobody sends them but who hopes that two parsers read them differently.
 * Trailers are read by the rules of headers and dropped.
 *
 * A call goes on at the first chunk that was not whole, so a body is walked once
 * however many pieces it comes in.  framing_max bounds what may be spent on sizes
 * and line ends.
 */
#include "core/check.h"
#include "proto/http_body.h"

/* "ffffffff": far above any body_max, far below an overflow. */
#define CHUNK_DIGITS_MAX 8

/* Framing that a body of `data` bytes may carry: chunks of 48 bytes and more in
 * the long run, and any size for small bodies. */
static size_t framing_max(size_t data)
{
    return HTTP_HEAD_MAX + data / 8;
}

struct walk {
    const uint8_t *at, *end;
    size_t data; /* of the chunks passed so far */
    struct http_fault *fault;
};

static enum http_result refuse(struct walk *walk, uint16_t status, const char *reason)
{
    *walk->fault = (struct http_fault){status, reason};
    return HTTP_REFUSED;
}

/* HTTP_WHOLE with the size of the chunk whose data begin at walk->at then. */
static enum http_result take_size(struct walk *walk, size_t *size)
{
    struct bytes line;
    switch (http_line(walk->at, walk->end, CHUNK_DIGITS_MAX, &line)) {
    case HTTP_LINE_MORE: return HTTP_MORE_BODY;
    case HTTP_LINE_BAD:
    case HTTP_LINE_LONG: return refuse(walk, 400, "malformed chunk size");
    case HTTP_LINE_WHOLE: break;
    }
    *size = 0;
    if (line.size == 0) return refuse(walk, 400, "malformed chunk size");
    for (size_t i = 0; i < line.size; i++) {
        uint8_t digit;
        if (!bytes_hex_digit(line.at[i], &digit)) return refuse(walk, 400, "malformed chunk size");
        *size = *size << 4 | digit;
    }
    walk->at += line.size + 2;
    return HTTP_WHOLE;
}

/* RFC 9110 section 6.5.1: what frames or routes a message must stand before it. */
static bool is_forbidden(struct bytes name)
{
    return bytes_equal_nocase(name, BYTES_LITERAL("Content-Length")) ||
           bytes_equal_nocase(name, BYTES_LITERAL("Transfer-Encoding")) ||
           bytes_equal_nocase(name, BYTES_LITERAL("Host"));
}

/* The lines after the last chunk, up to the blank one. */
static enum http_result pass_trailers(struct walk *walk)
{
    const uint8_t *start = walk->at;
    for (;;) {
        struct bytes line;
        struct http_header trailer;
        switch (http_line(walk->at, walk->end, HTTP_LINE_MAX, &line)) {
        case HTTP_LINE_MORE:
            if (walk->end - start > HTTP_HEAD_MAX) return refuse(walk, 431, "trailers too large");
            return HTTP_MORE_BODY;
        case HTTP_LINE_BAD: return refuse(walk, 400, "lines end in CRLF");
        case HTTP_LINE_LONG: return refuse(walk, 431, "a trailer line is too long");
        case HTTP_LINE_WHOLE: break;
        }
        walk->at += line.size + 2;
        if (walk->at - start > HTTP_HEAD_MAX) return refuse(walk, 431, "trailers too large");
        if (line.size == 0) return HTTP_WHOLE;
        const char *reason = http_header_parse(line, &trailer);
        if (reason != NULL) return refuse(walk, 400, reason);
        if (is_forbidden(trailer.name)) return refuse(walk, 400, "a trailer that frames or routes");
    }
}

/* The CRLF behind a chunk's data, as much of it as is there. */
static enum http_result pass_line_end(struct walk *walk)
{
    for (uint32_t i = 0; i < 2; i++) {
        if (walk->at == walk->end) return HTTP_MORE_BODY;
        if (*walk->at++ != "\r\n"[i]) return refuse(walk, 400, "a chunk is longer than its size");
    }
    return HTTP_WHOLE;
}

/* `progress` follows; what a refusal leaves in it means nothing. */
static enum http_result look(struct walk *walk, size_t body_max, struct http_progress *progress)
{
    const uint8_t *start = walk->at;
    check(progress->walked <= (size_t)(walk->end - start));
    walk->at += progress->walked;
    walk->data = progress->data;
    progress->need = (uint32_t)(walk->end - start) + 1;
    for (;;) {
        size_t size;
        progress->walked = (uint32_t)(walk->at - start);
        progress->data = (uint32_t)walk->data;
        enum http_result result = take_size(walk, &size);
        if (result != HTTP_WHOLE) return result;
        if (size == 0) return pass_trailers(walk);
        if (size > body_max - walk->data) return refuse(walk, 413, "the body is too large");
        size_t left = (size_t)(walk->end - walk->at);
        if (left < size) {
            progress->need = (uint32_t)((size_t)(walk->at - start) + size + 2);
            return HTTP_MORE_BODY;
        }
        walk->at += size;
        walk->data += size;
        result = pass_line_end(walk);
        if (result != HTTP_WHOLE) return result;
        if ((size_t)(walk->at - start) - walk->data > framing_max(walk->data))
            return refuse(walk, 400, "the chunks are too small");
    }
}

/* Moves the data of a body that `look` found whole to its front. */
static void gather(uint8_t *body, size_t size, size_t data)
{
    struct http_fault fault;
    struct walk walk = {body, body + size, 0, &fault};
    uint8_t *out = body;
    size_t chunk;
    while (take_size(&walk, &chunk) == HTTP_WHOLE && chunk > 0) {
        memmove(out, walk.at, chunk);
        out += chunk;
        walk.at += chunk + 2;
    }
    check((size_t)(out - body) == data);
}

enum http_result http_chunked(uint8_t *body, size_t size, size_t body_max,
                              struct http_progress *progress, struct bytes *data, size_t *taken,
                              struct http_fault *fault)
{
    check(body_max <= HTTP_BODY_LIMIT);
    struct walk walk = {body, body + size, 0, fault};
    enum http_result result = look(&walk, body_max, progress);
    if (result != HTTP_WHOLE) return result;
    *taken = (size_t)(walk.at - body);
    gather(body, *taken, walk.data);
    *data = bytes_of(body, walk.data);
    return HTTP_WHOLE;
}
