/*
 * http_body: the parts of HTTP that http.c and the chunked decoder share.
 *
 * Private to proto/http*.c.
 *
 * Thread:  any; pure.
 * Tests:   tests/unit/proto/test_http.c
 */
#pragma once

#include "proto/http.h"

enum http_line {
    HTTP_LINE_WHOLE, /* `line` without its CRLF */
    HTTP_LINE_MORE,
    HTTP_LINE_BAD,  /* a bare CR or LF */
    HTTP_LINE_LONG, /* more than `max` bytes */
};
/* The line that begins at `at`. */
enum http_line http_line(const uint8_t *at, const uint8_t *end, size_t max, struct bytes *line);

/* Splits a header line that is not empty; NULL, or why it is none. */
const char *http_header_parse(struct bytes line, struct http_header *header);

/* A chunked body that begins at body[size]: once it is whole its data are moved
 * together to the front, `taken` says what it occupied.  HTTP_WHOLE,
 * HTTP_MORE_BODY (nothing was moved) or HTTP_REFUSED.  Offsets in `progress` are
 * from body[0]. */
enum http_result http_chunked(uint8_t *body, size_t size, size_t body_max,
                              struct http_progress *progress, struct bytes *data, size_t *taken,
                              struct http_fault *fault);
