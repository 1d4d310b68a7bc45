/*
 * utf8: the grammar of RFC 3629 as one table row per kind of first byte.
 *
 *   first      second     more
 *   00..7f
 *   c2..df     80..bf
 *   e0         a0..bf     1      (below: overlong)
 *   e1..ec     80..bf     1
 *   ed         80..9f     1      (above: surrogates)
 *   ee..ef     80..bf     1
 *   f0         90..bf     2      (below: overlong)
 *   f1..f3     80..bf     2
 *   f4         80..8f     2      (above: past U+10FFFF)
 */
#include "core/utf8.h"

#include "core/check.h"

#define HIGH_BITS UINT64_C(0x8080808080808080)

/* Leading ASCII bytes of at[size], counted in whole words only. */
static size_t ascii_words(const uint8_t *at, size_t size)
{
    size_t done = 0;
    for (; size - done >= 32; done += 32) {
        uint64_t w[4];
        memcpy(w, at + done, sizeof w);
        if ((w[0] | w[1] | w[2] | w[3]) & HIGH_BITS) break;
    }
    for (; size - done >= 8; done += 8) {
        uint64_t w;
        memcpy(&w, at + done, sizeof w);
        if (w & HIGH_BITS) break;
    }
    return done;
}

/* Leading whole characters of at[size], while four bytes are there to look at: the
 * same ranges as below by masks, without state.  Text that is mostly beyond
 * ASCII costs a third of what it costs byte by byte (perf/micro/bench_ws.c, Cyrillic). */
static size_t whole_characters(const uint8_t *at, size_t size)
{
    size_t i = 0;
    while (size - i >= 4) {
        uint32_t w = (uint32_t)at[i] | (uint32_t)at[i + 1] << 8 | (uint32_t)at[i + 2] << 16 |
                     (uint32_t)at[i + 3] << 24;
        if ((w & 0x80808080) == 0) {
            i += 4;
        } else if ((w & 0x80) == 0) {
            i += 1;
        } else if ((w & 0xc0e0) == 0x80c0 && (w & 0x1e) != 0) {
            i += 2; /* not c0, c1 */
        } else if ((w & 0xc0c0f0) == 0x8080e0 && (w & 0x200f) != 0 && (w & 0x200f) != 0x200d) {
            i += 3; /* not below U+0800, no surrogate */
        } else if ((w & 0xc0c0c0f8) == 0x808080f0 && (w & 0x3007) != 0 &&
                   ((w & 0x04) == 0 || (w & 0x3003) == 0)) {
            i += 4; /* not below U+10000, not above U+10FFFF */
        } else {
            break;
        }
    }
    return i;
}

/* Begins a character; false when `first` cannot begin one. */
static bool utf8_begin(struct utf8 *utf8, uint8_t first)
{
    utf8->low = 0x80;
    utf8->high = 0xbf;
    if (first >= 0xc2 && first <= 0xdf) {
        utf8->left = 1;
    } else if (first >= 0xe0 && first <= 0xef) {
        utf8->left = 2;
        if (first == 0xe0) utf8->low = 0xa0;
        if (first == 0xed) utf8->high = 0x9f;
    } else if (first >= 0xf0 && first <= 0xf4) {
        utf8->left = 3;
        if (first == 0xf0) utf8->low = 0x90;
        if (first == 0xf4) utf8->high = 0x8f;
    } else {
        return first < 0x80;
    }
    return true;
}

bool utf8_feed(struct utf8 *utf8, struct bytes piece)
{
    check(piece.at != NULL || piece.size == 0);
    check(utf8->left <= 3);
    size_t i = 0;
    while (i < piece.size && !utf8->failed) {
        if (utf8->left == 0) {
            i += ascii_words(piece.at + i, piece.size - i);
            i += whole_characters(piece.at + i, piece.size - i);
            if (i == piece.size) break;
            utf8->failed = !utf8_begin(utf8, piece.at[i++]);
            continue;
        }
        uint8_t c = piece.at[i++];
        if (c < utf8->low || c > utf8->high) utf8->failed = true;
        utf8->left--;
        utf8->low = 0x80;
        utf8->high = 0xbf;
    }
    return !utf8->failed;
}

bool utf8_is_valid(struct bytes text)
{
    struct utf8 utf8 = {0};
    return utf8_feed(&utf8, text) && utf8_is_whole(&utf8);
}
