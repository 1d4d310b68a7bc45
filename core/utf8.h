/*
 * utf8: is this text UTF-8?
 *
 * RFC 3629: no overlong forms, no surrogates, nothing above U+10FFFF.  ASCII is
 * read a word at a time.  Text that arrives in pieces keeps a few bytes of
 * state between them and fails at the first byte that cannot continue.
 *
 * Thread:  any; pure.
 * Source:  RFC 3629 section 4 (the grammar that the byte ranges come from).
 * Tests:   tests/unit/core/test_utf8.c, tests/fuzz/fuzz_utf8.c
 */
#pragma once

#include "core/bytes.h"

/* True when all of `text` is whole, well-formed UTF-8. */
bool utf8_is_valid(struct bytes text);

/* Zeroed is the beginning of a text. */
struct utf8 {
    uint8_t left;      /* continuation bytes still to come */
    uint8_t low, high; /* what the next one may be, while left > 0 */
    bool failed;       /* true exactly when some byte could not be; stays so */
};

/* Takes the next piece; false once the text cannot be UTF-8. */
bool utf8_feed(struct utf8 *utf8, struct bytes piece);
/* The text may end here. */
static inline bool utf8_is_whole(const struct utf8 *utf8)
{
    return !utf8->failed && utf8->left == 0;
}
