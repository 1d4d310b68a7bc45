/*
 * base: the words that every file uses.
 *
 * Attributes, sizes and small pure helpers; no state, no I/O.
 *
 * Thread:  any.
 */
#pragma once

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define must_use               __attribute__((warn_unused_result))
#define cold                   __attribute__((cold, noinline))
#define printf_like(at, first) __attribute__((format(printf, at, first)))
#define likely(x)              __builtin_expect(!!(x), 1)
#define unlikely(x)            __builtin_expect(!!(x), 0)

#define CACHE_LINE 64

/* 1 in builds that verify whole structures each turn and shrink limits. */
#ifndef VERIFY
#define VERIFY 0
#endif

#define array_count(a) (sizeof(a) / sizeof((a)[0]))

/* The object that holds `member` at `pointer`. */
#define container_of(pointer, type, member)                                                        \
    ((type *)(void *)((char *)(pointer)-offsetof(type, member)))

static inline uint64_t min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}
static inline uint64_t max_u64(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}
static inline uint32_t min_u32(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}
static inline uint32_t max_u32(uint32_t a, uint32_t b)
{
    return a > b ? a : b;
}

/* `n` rounded up to a multiple of `step`, a power of two. */
static inline size_t round_up(size_t n, size_t step)
{
    return (n + step - 1) & ~(step - 1);
}
