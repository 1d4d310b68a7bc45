/*
 * http_write: looking things up in a request, and response heads.
 */
#include "core/check.h"
#include "proto/http.h"

struct bytes http_header(const struct http_request *request, const char *name)
{
    struct bytes wanted = bytes_of_text(name);
    for (uint32_t i = 0; i < request->headers_count; i++) {
        if (bytes_equal_nocase(request->headers[i].name, wanted)) return request->headers[i].value;
    }
    return BYTES_NONE;
}

static bool is_blank(uint8_t c)
{
    return c == ' ' || c == '\t';
}

/* One comma-separated list. */
static bool list_has(struct bytes list, struct bytes token)
{
    size_t from = 0;
    while (from < list.size) {
        const uint8_t *comma = memchr(list.at + from, ',', list.size - from);
        size_t to = comma != NULL ? (size_t)(comma - list.at) : list.size, next = to + 1;
        while (from < to && is_blank(list.at[from])) from++;
        while (to > from && is_blank(list.at[to - 1])) to--;
        if (bytes_equal_nocase(bytes_of(list.at + from, to - from), token)) return true;
        from = next;
    }
    return false;
}

bool http_header_has(const struct http_request *request, const char *name, const char *token)
{
    struct bytes wanted = bytes_of_text(name);
    check(token[0] != '\0');
    for (uint32_t i = 0; i < request->headers_count; i++) {
        if (bytes_equal_nocase(request->headers[i].name, wanted) &&
            list_has(request->headers[i].value, bytes_of_text(token)))
            return true;
    }
    return false;
}

/* Percent-decoding with '+' for a space, as forms send it.  A NUL is refused: it
 * would end the value early for its reader. */
static bool decode(struct bytes value, char *out, size_t size)
{
    size_t used = 0;
    for (size_t i = 0; i < value.size; i++) {
        uint8_t c = value.at[i], high, low;
        if (c == '+')
            c = ' ';
        else if (c == '%') {
            if (value.size - i < 3) return false;
            if (!bytes_hex_digit(value.at[i + 1], &high) || !bytes_hex_digit(value.at[i + 2], &low))
                return false;
            c = (uint8_t)(high << 4 | low);
            i += 2;
        }
        if (c == 0 || used + 1 >= size) return false;
        out[used++] = (char)c;
    }
    out[used] = '\0';
    return true;
}

/* The first parameter of that name: its value as sent. */
static bool query_find(const struct http_request *request, const char *name, struct bytes *value)
{
    struct bytes query = request->query, wanted = bytes_of_text(name);
    check(wanted.size > 0);
    size_t from = 0;
    while (from < query.size) {
        const uint8_t *amp = memchr(query.at + from, '&', query.size - from);
        size_t to = amp != NULL ? (size_t)(amp - query.at) : query.size;
        struct bytes pair = bytes_of(query.at + from, to - from);
        const uint8_t *sign = pair.size > 0 ? memchr(pair.at, '=', pair.size) : NULL;
        size_t key = sign != NULL ? (size_t)(sign - pair.at) : pair.size;
        if (bytes_equal(bytes_of(pair.at, key), wanted)) {
            size_t skip = key + (sign != NULL);
            *value = bytes_of(pair.at + skip, pair.size - skip);
            return true;
        }
        from = to + 1;
    }
    return false;
}

bool http_query_has(const struct http_request *request, const char *name)
{
    struct bytes value;
    return query_find(request, name, &value);
}

bool http_query(const struct http_request *request, const char *name, char *out, size_t size)
{
    struct bytes value;
    check(size > 0);
    out[0] = '\0';
    if (!query_find(request, name, &value)) return false;
    if (decode(value, out, size)) return true;
    out[0] = '\0';
    return false;
}

const char *http_status_text(uint16_t status)
{
    switch (status) {
    case 100: return "Continue";
    case 101: return "Switching Protocols";
    case 200: return "OK";
    case 204: return "No Content";
    case 400: return "Bad Request";
    case 401: return "Unauthorized";
    case 403: return "Forbidden";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 408: return "Request Timeout";
    case 409: return "Conflict";
    case 411: return "Length Required";
    case 413: return "Content Too Large";
    case 414: return "URI Too Long";
    case 415: return "Unsupported Media Type";
    case 416: return "Range Not Satisfiable";
    case 417: return "Expectation Failed";
    case 426: return "Upgrade Required";
    case 429: return "Too Many Requests";
    case 431: return "Request Header Fields Too Large";
    case 500: return "Internal Server Error";
    case 501: return "Not Implemented";
    case 503: return "Service Unavailable";
    case 505: return "HTTP Version Not Supported";
    default: return "";
    }
}

void http_write_head(struct writer *writer, uint16_t status, const char *content_type,
                     size_t body_size, bool keep_alive, const char *extra)
{
    check(status >= 100 && status < 600);
    write_text(writer, "HTTP/1.1 ");
    write_decimal(writer, status);
    write_text(writer, " ");
    write_text(writer, http_status_text(status));
    write_text(writer, "\r\n");
    if (content_type != NULL) {
        write_text(writer, "Content-Type: ");
        write_text(writer, content_type);
        write_text(writer, "\r\n");
    }
    if (status >= 200 && status != 204) { /* RFC 9110 section 8.6: these carry none */
        write_text(writer, "Content-Length: ");
        write_decimal(writer, body_size);
        write_text(writer, "\r\n");
    }
    write_text(writer, keep_alive ? "Connection: keep-alive\r\n" : "Connection: close\r\n");
    /* A client that asked for another version learns which one is spoken. */
    if (status == 426) write_text(writer, "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n");
    if (extra != NULL) write_text(writer, extra);
    write_text(writer, "\r\n");
}
