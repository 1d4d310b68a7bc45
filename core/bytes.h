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

#include <endian.h>
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
/* Numbers are read and written inline: a publication is some twenty of them, each
 * time it is packed or unpacked. */

/* The next `size` bytes, or NULL and latched. */
static inline const uint8_t *reader_take(struct reader *reader, size_t size)
{
    if (unlikely(reader->failed || size > reader->left)) {
        reader->failed = true;
        reader->left = 0;
        return NULL;
    }
    const uint8_t *at = reader->at;
    if (size > 0) reader->at += size; /* `at` may be NULL when nothing is left */
    reader->left -= size;
    return at;
}
static inline uint8_t read_u8(struct reader *reader)
{
    const uint8_t *at = reader_take(reader, 1);
    return at == NULL ? 0 : *at;
}
static inline uint16_t read_u16(struct reader *reader)
{
    uint16_t value = 0;
    const uint8_t *at = reader_take(reader, sizeof value);
    if (at != NULL) memcpy(&value, at, sizeof value);
    return le16toh(value);
}
static inline uint32_t read_u32(struct reader *reader)
{
    uint32_t value = 0;
    const uint8_t *at = reader_take(reader, sizeof value);
    if (at != NULL) memcpy(&value, at, sizeof value);
    return le32toh(value);
}
static inline uint64_t read_u64(struct reader *reader)
{
    uint64_t value = 0;
    const uint8_t *at = reader_take(reader, sizeof value);
    if (at != NULL) memcpy(&value, at, sizeof value);
    return le64toh(value);
}
/* `size` bytes as a view; BYTES_NONE and latched when they are not there. */
static inline struct bytes read_bytes(struct reader *reader, size_t size)
{
    const uint8_t *at = reader_take(reader, size);
    return reader->failed ? BYTES_NONE : bytes_of(at, size);
}
/* A u32 length and that many bytes. */
static inline struct bytes read_sized(struct reader *reader)
{
    uint32_t size = read_u32(reader);
    return read_bytes(reader, size);
}

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
/* Room for `size` more bytes, or NULL and latched. */
static inline uint8_t *writer_take(struct writer *writer, size_t size)
{
    if (unlikely(writer->failed || size > writer->size || writer->used > writer->size - size)) {
        writer->failed = true;
        return NULL;
    }
    uint8_t *at = writer->start == NULL ? NULL : writer->start + writer->used;
    writer->used += size;
    return at;
}
static inline void write_u8(struct writer *writer, uint8_t value)
{
    uint8_t *at = writer_take(writer, 1);
    if (at != NULL) *at = value;
}
static inline void write_u16(struct writer *writer, uint16_t value)
{
    uint8_t *at = writer_take(writer, sizeof value);
    value = htole16(value);
    if (at != NULL) memcpy(at, &value, sizeof value);
}
static inline void write_u32(struct writer *writer, uint32_t value)
{
    uint8_t *at = writer_take(writer, sizeof value);
    value = htole32(value);
    if (at != NULL) memcpy(at, &value, sizeof value);
}
static inline void write_u64(struct writer *writer, uint64_t value)
{
    uint8_t *at = writer_take(writer, sizeof value);
    value = htole64(value);
    if (at != NULL) memcpy(at, &value, sizeof value);
}
static inline void write_bytes(struct writer *writer, struct bytes bytes)
{
    uint8_t *at = writer_take(writer, bytes.size);
    if (at != NULL && bytes.size > 0) memcpy(at, bytes.at, bytes.size);
}
void write_sized(struct writer *writer, struct bytes bytes);
static inline void write_text(struct writer *writer, const char *text)
{
    write_bytes(writer, bytes_of_text(text));
}
/* Decimal digits. */
void write_decimal(struct writer *writer, uint64_t value);
