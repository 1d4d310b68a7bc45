/*
 * json_unescape: what a string with escapes says.
 *
 * The raw string was scanned, so every escape is whole; it never grows, because
 * \uXXXX is six bytes for at most three.
 */
#include "core/check.h"
#include "proto/json_parts.h"

static uint32_t hex4(const uint8_t *at)
{
    uint32_t value = 0;
    for (uint32_t i = 0; i < 4; i++) {
        uint32_t c = at[i];
        uint32_t digit = c <= '9' ? c - '0' : (c | 0x20u) - 'a' + 10;
        value = value << 4 | digit;
    }
    return value;
}

static uint8_t *put_utf8(uint8_t *out, uint32_t rune)
{
    check(rune <= 0x10FFFF);
    if (rune < 0x80) {
        *out++ = (uint8_t)rune;
    } else if (rune < 0x800) {
        *out++ = (uint8_t)(0xC0 | rune >> 6);
        *out++ = (uint8_t)(0x80 | (rune & 0x3F));
    } else if (rune < 0x10000) {
        *out++ = (uint8_t)(0xE0 | rune >> 12);
        *out++ = (uint8_t)(0x80 | (rune >> 6 & 0x3F));
        *out++ = (uint8_t)(0x80 | (rune & 0x3F));
    } else {
        *out++ = (uint8_t)(0xF0 | rune >> 18);
        *out++ = (uint8_t)(0x80 | (rune >> 12 & 0x3F));
        *out++ = (uint8_t)(0x80 | (rune >> 6 & 0x3F));
        *out++ = (uint8_t)(0x80 | (rune & 0x3F));
    }
    return out;
}

/* `in` is the first hex digit of a \u escape; takes a second escape when both make
 * a pair (RFC 8259 section 7).  Half a pair becomes U+FFFD. */
static const uint8_t *take_rune(const uint8_t *in, const uint8_t *end, uint32_t *rune)
{
    *rune = hex4(in);
    in += 4;
    if (*rune < 0xD800 || *rune > 0xDFFF) return in;
    if (*rune < 0xDC00 && end - in >= 6 && in[0] == '\\' && in[1] == 'u') {
        uint32_t second = hex4(in + 2);
        if (second >= 0xDC00 && second <= 0xDFFF) {
            *rune = 0x10000 + ((*rune - 0xD800) << 10) + (second - 0xDC00);
            return in + 6;
        }
    }
    *rune = 0xFFFD;
    return in;
}

struct bytes json_unescape(struct bytes raw, struct arena *arena)
{
    uint8_t *start = arena_get(arena, raw.size), *out = start;
    const uint8_t *in = raw.at, *end = raw.at + raw.size;
    while (in < end) {
        if (*in != '\\') {
            *out++ = *in++;
            continue;
        }
        uint8_t c = in[1];
        in += 2;
        switch (c) {
        case 'b': *out++ = '\b'; break;
        case 'f': *out++ = '\f'; break;
        case 'n': *out++ = '\n'; break;
        case 'r': *out++ = '\r'; break;
        case 't': *out++ = '\t'; break;
        case 'u': {
            uint32_t rune;
            in = take_rune(in, end, &rune);
            out = put_utf8(out, rune);
            break;
        }
        default: *out++ = c; break; /* a quote, a slash, a backslash: themselves */
        }
    }
    check((size_t)(out - start) <= raw.size);
    return bytes_of(start, (size_t)(out - start));
}
