/*
 * wire: what the tests of proto/ share.
 *
 * Thread:  one.
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/arena.h"
#include "core/bytes.h"

/* Views print as text, so that a failure shows both sides. */
static inline void same_text(struct bytes found, const char *expected, const char *file, int line)
{
    size_t size = strlen(expected);
    if (found.size == size && (size == 0 || memcmp(found.at, expected, size) == 0)) return;
    print_error("%s:%d: found    %.*s\n%s:%d: expected %s\n", file, line, (int)found.size,
                found.size > 0 ? (const char *)found.at : "", file, line, expected);
    fail();
}
#define assert_bytes(found, expected) same_text((found), (expected), __FILE__, __LINE__)

/* A copy with nothing readable behind it, so that ASan sees an overrun of one byte. */
static inline uint8_t *tight_copy(const void *at, size_t size)
{
    uint8_t *copy = malloc(size > 0 ? size : 1);
    assert_non_null(copy);
    if (size > 0) memcpy(copy, at, size);
    return copy;
}
