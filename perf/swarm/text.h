/*
 * text: bytes that grow.
 *
 * Zeroed memory is an empty one.
 *
 * Thread:  one.
 */
#pragma once

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct text {
    char *at;
    uint32_t used, size;
};

/* Room for `more` bytes at the end; they count once `used` is raised. */
static inline char *text_room(struct text *text, uint32_t more)
{
    if (text->size - text->used < more) {
        uint32_t size = text->size == 0 ? 256 : text->size;
        while (size - text->used < more) size *= 2;
        text->at = realloc(text->at, size);
        if (text->at == NULL) abort();
        text->size = size;
    }
    return text->at + text->used;
}

static inline void text_add(struct text *text, const void *bytes, uint32_t size)
{
    if (size == 0) return;
    memcpy(text_room(text, size), bytes, size);
    text->used += size;
}

static inline void text_add_text(struct text *text, const char *more)
{
    text_add(text, more, (uint32_t)strlen(more));
}

/* Decimal digits: a generator that formats with printf costs what it measures. */
static inline void text_add_number(struct text *text, uint64_t value)
{
    char digits[20];
    uint32_t at = sizeof digits;
    do digits[--at] = (char)('0' + value % 10);
    while ((value /= 10) > 0);
    text_add(text, digits + at, (uint32_t)sizeof digits - at);
}

/* Takes the first `size` bytes away. */
static inline void text_drop(struct text *text, uint32_t size)
{
    text->used -= size;
    if (text->used > 0) memmove(text->at, text->at + size, text->used);
}

static inline void text_free(struct text *text)
{
    free(text->at);
    *text = (struct text){0};
}
