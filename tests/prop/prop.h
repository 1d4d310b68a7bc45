/*
 * prop: the frame of a property test.
 *
 * Each round runs with a seed of its own; a failed check prints it, and
 * `prop_x SEED` runs that round alone.
 *
 * Thread:  one.
 */
#pragma once

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/rng.h"

#define expect(fact)                                                                               \
    do {                                                                                           \
        if (!(fact)) {                                                                             \
            fprintf(stderr, "%s:%d: not so: %s (seed %" PRIu64 ")\n", __FILE__, __LINE__, #fact,   \
                    prop_seed);                                                                    \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

static uint64_t prop_seed;

/* Runs `round` with `rounds` seeds, or with the one on the command line. */
static inline int prop_main(int argc, char **argv, uint64_t rounds, void (*round)(struct rng *rng))
{
    uint64_t first = argc > 1 ? strtoull(argv[1], NULL, 10) : 1;
    uint64_t count = argc > 1 ? 1 : rounds;
    for (prop_seed = first; prop_seed < first + count; prop_seed++) {
        struct rng rng;
        rng_seed(&rng, prop_seed);
        round(&rng);
    }
    printf("%" PRIu64 " rounds\n", count);
    return 0;
}
