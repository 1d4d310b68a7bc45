/*
 * bytes: bounded readers and writers.
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
