/*
 * scan: questions to short arrays of 16-bit numbers, 16 at a time.
 *
 * Each question exists twice: with AVX2, and plainly for machines without it.
 * scan_best() says once, when an index is made, which of them this machine
 * runs; nothing else of an index knows the difference.
 *
 * Measured, 100,000 numbers in cache: count 3.9 µs against 32 µs plainly.
 *
 * Thread:  any; pure.
 * Source:  masks and their expansion as in SIMD set intersections; Intel's
 *          intrinsics guide for PACKSSWB's order of lanes.
 * Tests:   tests/unit/storage/test_scan.c, tests/prop/prop_cursor.c (both twins)
 */
#pragma once

#include "core/base.h"

#define SCAN_WORD 64u /* numbers per mask */

struct scan {
    /* How many of values[count] lie in low .. high, both included. */
    uint32_t (*count)(const uint16_t *values, uint32_t count, uint16_t low, uint16_t high);
    /* Bit i is set exactly when values[i] lies in low .. high; count <= SCAN_WORD. */
    uint64_t (*mask)(const uint16_t *values, uint32_t count, uint16_t low, uint16_t high);
    /* How many values at the beginning, a multiple of SCAN_WORD or all, have none in
     * low .. high: what a list may pass over. */
    uint32_t (*pass)(const uint16_t *values, uint32_t count, uint16_t low, uint16_t high);
    /* The n-th lowest bit of `bits` moves to the place of the n-th lowest bit that is
     * set in `mask`; other places are 0. */
    uint64_t (*expand)(uint64_t bits, uint64_t mask);
    /* Bits set. */
    uint32_t (*ones)(uint64_t bits);
};

extern const struct scan scan_plain;
/* The fastest that this machine runs. */
const struct scan *scan_best(void);
