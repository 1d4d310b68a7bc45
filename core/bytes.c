/*
 * bytes: bounded readers and writers.
 *
 * Little-endian is spelled out byte by byte; compilers turn it into one load
 * or store where the machine agrees.
 */
#include "core/bytes.h"

#include "core/check.h"

static uint8_t lower(uint8_t c)
{
    return c >= 'A' && c <= 'Z' ? (uint8_t)(c | 0x20) : c;
}

bool bytes_equal_nocase(struct bytes a, struct bytes b)
{
    if (a.size != b.size) return false;
    for (size_t i = 0; i < a.size; i++)
        if (lower(a.at[i]) != lower(b.at[i])) return false;
    return true;
}

bool bytes_to_u64(struct bytes text, uint64_t *value)
{
    check(value != NULL);
    if (text.size == 0) return false;
    uint64_t sum = 0;
    for (size_t i = 0; i < text.size; i++) {
        uint8_t c = text.at[i];
        if (c < '0' || c > '9') return false;
        if (__builtin_mul_overflow(sum, 10u, &sum)) return false;
        if (__builtin_add_overflow(sum, (uint64_t)(c - '0'), &sum)) return false;
    }
    *value = sum;
    return true;
}

bool bytes_hex_digit(uint8_t c, uint8_t *value)
{
    if (c >= '0' && c <= '9')
        *value = (uint8_t)(c - '0');
    else if (c >= 'a' && c <= 'f')
        *value = (uint8_t)(c - 'a' + 10);
    else if (c >= 'A' && c <= 'F')
        *value = (uint8_t)(c - 'A' + 10);
    else
        return false;
    return true;
}

int bytes_compare(struct bytes a, struct bytes b)
{
    size_t common = a.size < b.size ? a.size : b.size;
    int order = common == 0 ? 0 : memcmp(a.at, b.at, common);
    if (order != 0) return order;
    return a.size < b.size ? -1 : a.size > b.size;
}

/* The next `size` bytes, or NULL and latched. */
static const uint8_t *reader_take(struct reader *reader, size_t size)
{
    if (reader->failed || size > reader->left) {
        reader->failed = true;
        reader->left = 0;
        return NULL;
    }
    const uint8_t *at = reader->at;
    if (size > 0) reader->at += size; /* `at` may be NULL when nothing is left */
    reader->left -= size;
    return at;
}

static uint64_t reader_number(struct reader *reader, size_t size)
{
    check(size <= 8);
    const uint8_t *at = reader_take(reader, size);
    if (at == NULL) return 0;
    uint64_t value = 0;
    for (size_t i = 0; i < size; i++) value |= (uint64_t)at[i] << (8 * i);
    return value;
}

uint8_t read_u8(struct reader *reader)
{
    return (uint8_t)reader_number(reader, 1);
}
uint16_t read_u16(struct reader *reader)
{
    return (uint16_t)reader_number(reader, 2);
}
uint32_t read_u32(struct reader *reader)
{
    return (uint32_t)reader_number(reader, 4);
}
uint64_t read_u64(struct reader *reader)
{
    return reader_number(reader, 8);
}

struct bytes read_bytes(struct reader *reader, size_t size)
{
    const uint8_t *at = reader_take(reader, size);
    return reader->failed ? BYTES_NONE : bytes_of(at, size);
}

struct bytes read_sized(struct reader *reader)
{
    uint32_t size = read_u32(reader);
    return read_bytes(reader, size);
}

/* Room for `size` more bytes, or NULL and latched. */
static uint8_t *writer_take(struct writer *writer, size_t size)
{
    check(writer->used <= writer->size);
    if (writer->failed || size > writer->size - writer->used) {
        writer->failed = true;
        return NULL;
    }
    uint8_t *at = writer->start == NULL ? NULL : writer->start + writer->used;
    writer->used += size;
    return at;
}

static void writer_number(struct writer *writer, uint64_t value, size_t size)
{
    uint8_t *at = writer_take(writer, size);
    if (at == NULL) return;
    for (size_t i = 0; i < size; i++) at[i] = (uint8_t)(value >> (8 * i));
}

void write_u8(struct writer *writer, uint8_t value)
{
    writer_number(writer, value, 1);
}
void write_u16(struct writer *writer, uint16_t value)
{
    writer_number(writer, value, 2);
}
void write_u32(struct writer *writer, uint32_t value)
{
    writer_number(writer, value, 4);
}
void write_u64(struct writer *writer, uint64_t value)
{
    writer_number(writer, value, 8);
}

void write_bytes(struct writer *writer, struct bytes bytes)
{
    uint8_t *at = writer_take(writer, bytes.size);
    if (at != NULL && bytes.size > 0) memcpy(at, bytes.at, bytes.size);
}

void write_sized(struct writer *writer, struct bytes bytes)
{
    /* Whole or not at all: a length without its bytes would mislead a reader. */
    if (bytes.size > UINT32_MAX || writer->failed || writer->size - writer->used < 4 + bytes.size) {
        writer->failed = true;
        return;
    }
    write_u32(writer, (uint32_t)bytes.size);
    write_bytes(writer, bytes);
}

void write_text(struct writer *writer, const char *text)
{
    write_bytes(writer, bytes_of_text(text));
}

void write_decimal(struct writer *writer, uint64_t value)
{
    uint8_t digits[20]; /* 2^64 - 1 has twenty */
    size_t first = sizeof digits;
    do {
        digits[--first] = (uint8_t)('0' + value % 10);
        value /= 10;
    } while (value != 0);
    write_bytes(writer, bytes_of(digits + first, sizeof digits - first));
}
