/*
 * spread: latencies in nanoseconds, counted in buckets of 3 % or less.
 *
 * Thread:  one.
 */
#pragma once

#include <stdint.h>

#define SPREAD_BUCKETS (32 * 60)

struct spread {
    uint64_t counts[SPREAD_BUCKETS];
    uint64_t total, most;
};

void spread_add(struct spread *spread, uint64_t ns);
/* The upper bound of the bucket that holds this share (0.99) of all values, in us. */
double spread_us(const struct spread *spread, double share);
