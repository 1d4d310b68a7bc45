/*
 * sm: state tables.
 *
 * A machine is a table: for each state its name and the set of states it may
 * become.  A move not in the table is a bug and stops the process; the
 * machine's invariant runs after each move.
 *
 * Thread:  the owner of the object.
 * Source:  the idea of dqlite's lib/sm.
 * Tests:   tests/unit/core/test_sm.c
 */
#pragma once

#include "core/base.h"

#define SM_TO(state) (1u << (state))

struct sm_state {
    const char *name;
    uint32_t may_become; /* bits SM_TO(...) */
};

struct sm {
    const char *name;
    const struct sm_state *states;
    uint32_t states_count;
    void (*invariant)(const void *object); /* may be NULL */
};

/* Moves *state to `next`, then asserts the invariant of `object`. */
void sm_move(const struct sm *sm, uint8_t *state, uint8_t next, const void *object);
