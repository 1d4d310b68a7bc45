/*
 * rng: seeded numbers for jitter and tests; never for secrets.
 *
 * Thread:  one owner.
 * Source:  Blackman & Vigna, xoshiro256**, seeded by splitmix64.
 * Tests:   tests/unit/core/test_rng.c
 */
#pragma once

#include "core/base.h"

struct rng {
    uint64_t s[4];
};

void rng_seed(struct rng *rng, uint64_t seed);
uint64_t rng_next(struct rng *rng);
/* Uniform in [0, bound); bound > 0. */
uint64_t rng_below(struct rng *rng, uint64_t bound);
/* True `percent` times out of 100. */
bool rng_chance(struct rng *rng, uint32_t percent);
