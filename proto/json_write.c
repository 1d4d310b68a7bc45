/*
 * json_write: text and raw values out.
 *
 * Plain runs are copied whole; only what JSON demands is escaped (RFC 8259
 * section 7), so a name in any script stays readable.
 */
#include "core/check.h"
#include "core/utf8.h"
#include "proto/json.h"

static bool is_plain(uint8_t c)
{
    return c >= 0x20 && c != '"' && c != '\\' && c < 0x80;
}

static void write_escape(struct writer *writer, uint8_t c)
{
    static const char digits[] = "0123456789abcdef";
    uint8_t text[6] = {'\\', 'u', '0', '0', (uint8_t)digits[c >> 4], (uint8_t)digits[c & 15]};
    size_t size = 2;
    check(c < 0x20 || c == '"' || c == '\\');
    switch (c) {
    case '"':
    case '\\': text[1] = c; break;
    case '\b': text[1] = 'b'; break;
    case '\f': text[1] = 'f'; break;
    case '\n': text[1] = 'n'; break;
    case '\r': text[1] = 'r'; break;
    case '\t': text[1] = 't'; break;
    default: size = sizeof(text); break;
    }
    write_bytes(writer, bytes_of(text, size));
}

/* The size of the character at `at`, a byte >= 0x80; 0 when it is malformed. */
static size_t rune_size(const uint8_t *at, const uint8_t *end)
{
    size_t left = (size_t)(end - at);
    for (size_t size = 2; size <= 4 && size <= left; size++) {
        if (utf8_is_valid(bytes_of(at, size))) return size;
    }
    return 0;
}

void json_write_text(struct writer *writer, struct bytes text)
{
    const uint8_t *at = text.at, *end = text.size > 0 ? text.at + text.size : text.at;
    write_u8(writer, '"');
    while (at < end) {
        const uint8_t *run = at;
        while (at < end && is_plain(*at)) at++;
        if (at > run) write_bytes(writer, bytes_of(run, (size_t)(at - run)));
        if (at == end) break;
        if (*at < 0x80) {
            write_escape(writer, *at++);
            continue;
        }
        size_t size = rune_size(at, end);
        write_bytes(writer, size > 0 ? bytes_of(at, size) : BYTES_LITERAL("\xEF\xBF\xBD"));
        at += size > 0 ? size : 1;
    }
    write_u8(writer, '"');
}

/* A string of valid JSON holds no raw newline, so every one stands between tokens. */
void json_write_raw(struct writer *writer, struct bytes raw)
{
    const uint8_t *at = raw.at, *end = raw.size > 0 ? raw.at + raw.size : raw.at;
    while (at < end) {
        const uint8_t *newline = memchr(at, '\n', (size_t)(end - at));
        const uint8_t *stop = newline != NULL ? newline : end;
        if (stop > at) write_bytes(writer, bytes_of(at, (size_t)(stop - at)));
        at = stop + (newline != NULL);
    }
}
