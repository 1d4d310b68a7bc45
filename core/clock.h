/*
 * clock: one reading a turn.
 *
 * A shard reads the time once per turn; everything in the turn sees the same
 * values.  Monotonic time never goes back; wall time may jump and is used for
 * what people see (times of publications, expiry of tokens), never for order.
 *
 * Thread:  each shard has its own struct.
 * Source:  clock_os.c; tests/sim/clock_sim.c
 */
#pragma once

#include "core/base.h"

struct clock {
    uint64_t mono_ns;
    uint64_t wall_ms; /* Unix milliseconds */
};

/* Reads the time into `clock`. */
void clock_turn(struct clock *clock);
static inline uint64_t clock_turn_ms(const struct clock *clock)
{
    return clock->mono_ns / 1000000u;
}

/* Readings outside a turn: start-up, workers, logs; and where a moment of this shard is held
 * against one of another. */
uint64_t clock_mono_ns(void);
uint64_t clock_wall_ms(void);
/* Since the machine was started, its sleep included: goes on from one life of the process to
 * the next, and nobody can set it.  Of one boot only (disk_boot_id). */
uint64_t clock_boot_ms(void);
