/*
 * bytes: views, bounded readers and bounded writers.
 *
 * A view never owns.  A reader or writer never passes its end: it latches a
 * failure that the caller checks once, at the end.  Numbers are little-endian.
 *
 * Thread:  any; pure.
 * Tests:   tests/unit/core/test_bytes.c
 */
#pragma once

#include <string.h>

#include "core/base.h"

struct bytes {
    const uint8_t *at; /* may be NULL when size is 0 */
    size_t size;
};

#define BYTES_NONE          ((struct bytes){NULL, 0})
/* A view of a string literal. */
#define BYTES_LITERAL(text) ((struct bytes){(const uint8_t *)(text), sizeof(text) - 1})

static inline struct bytes bytes_of(const void *at, size_t size)
{
    return (struct bytes){(const uint8_t *)at, size};
}
static inline struct bytes bytes_of_text(const char *text)
{
    return (struct bytes){(const uint8_t *)text, text == NULL ? 0 : strlen(text)};
}
static inline bool bytes_equal(struct bytes a, struct bytes b)
{
    return a.size == b.size && (a.size == 0 || memcmp(a.at, b.at, a.size) == 0);
}
static inline bool bytes_equal_text(struct bytes a, const char *text)
{
    return bytes_equal(a, bytes_of_text(text));
}
/* ASCII letters compare without regard to case. */
bool bytes_equal_nocase(struct bytes a, struct bytes b);
/* Parses a decimal u64 that is the whole view; false on anything else. */
bool bytes_to_u64(struct bytes text, uint64_t *value);
/* The value of a hexadecimal digit of either case; false for any other byte. */
bool bytes_hex_digit(uint8_t c, uint8_t *value);
/* memcmp order, shorter first. */
int bytes_compare(struct bytes a, struct bytes b);

struct reader {
    const uint8_t *at;
    size_t left;
    bool failed; /* true exactly when a read asked for more than was left */
};

static inline struct reader reader_of(struct bytes b)
{
    return (struct reader){b.at, b.size, false};
}
uint8_t read_u8(struct reader *reader);
uint16_t read_u16(struct reader *reader);
uint32_t read_u32(struct reader *reader);
uint64_t read_u64(struct reader *reader);
/* `size` bytes as a view; BYTES_NONE and latched when they are not there. */
struct bytes read_bytes(struct reader *reader, size_t size);
/* A u32 length and that many bytes. */
struct bytes read_sized(struct reader *reader);

struct writer {
    uint8_t *start;
    size_t used;
    size_t size;
    bool failed; /* true exactly when a write did not fit; nothing after it is written */
};

static inline struct writer writer_of(void *start, size_t size)
{
    return (struct writer){(uint8_t *)start, 0, size, false};
}
static inline struct bytes writer_bytes(const struct writer *w)
{
    return bytes_of(w->start, w->used);
}
void write_u8(struct writer *writer, uint8_t value);
void write_u16(struct writer *writer, uint16_t value);
void write_u32(struct writer *writer, uint32_t value);
void write_u64(struct writer *writer, uint64_t value);
void write_bytes(struct writer *writer, struct bytes bytes);
void write_sized(struct writer *writer, struct bytes bytes);
void write_text(struct writer *writer, const char *text);
/* Decimal digits. */
void write_decimal(struct writer *writer, uint64_t value);
