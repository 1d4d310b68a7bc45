/*
 * entropy: secrets from the kernel.
 *
 * For client ids, salts, epochs, seeds.  For jitter use core/rng.h, seeded
 * from here.
 *
 * Thread:  any.
 * Source:  entropy_os.c (getrandom); tests/sim/entropy_sim.c (from the seed)
 */
#pragma once

#include "core/base.h"

/* Fills `size` unpredictable bytes; stops the process when the kernel cannot. */
void entropy_fill(void *at, size_t size);
