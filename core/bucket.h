/*
 * bucket: a token bucket in eight bytes.
 *
 * Keeps the one instant at which the bucket would be full again (the "virtual
 * scheduling" form of the leaky bucket), so nothing refills and an idle bucket
 * costs nothing.  Rates are shared by class and passed in.
 *
 * Thread:  the owner.
 * Clock:   `now_ms` is clock_turn_ms() of the owner, never read here.
 * Source:  ITU-T I.371, generic cell rate algorithm.
 * Tests:   tests/unit/core/test_bucket.c
 */
#pragma once

#include "core/base.h"

/* At most 10^9 tokens a second; `burst` is what a full bucket holds. */
struct bucket_rate {
    uint32_t per_second; /* 0: no limit */
    uint32_t burst;
};

/* Zeroed is full. */
struct bucket {
    uint64_t full_ns; /* monotonic; when it would be full if nothing more is taken */
};

/* Takes `tokens` when they are there; takes nothing otherwise. */
must_use bool bucket_take(struct bucket *bucket, const struct bucket_rate *rate, uint64_t now_ms,
                          uint32_t tokens);
/* Milliseconds until `tokens` are there: 0 now, UINT64_MAX never (above the burst). */
uint64_t bucket_wait_ms(const struct bucket *bucket, const struct bucket_rate *rate,
                        uint64_t now_ms, uint32_t tokens);
