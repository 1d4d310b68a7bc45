/*
 * run: one seed from its first start to its last check.
 */
#pragma once

#include "core/base.h"

struct run_result {
    uint64_t seed, steps, virtual_ns, trace_hash;
    uint64_t delivered, acked, messages, recovered, unrecovered;
    uint32_t lives;
};

/* Ends the program when a property does not hold.  `steps_max` 0: no limit. */
void run_seed(uint64_t seed, uint64_t steps_max, struct run_result *result);
