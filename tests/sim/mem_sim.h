/*
 * mem_sim: the heap of the simulated process.
 *
 * Every allocation of a life is linked, so that a kill forgets the whole life
 * at once, whatever held it.
 */
#pragma once

#include "core/base.h"

/* Frees everything the current life allocated or reserved. */
void mem_sim_forget(void);
/* Allocations now held. */
uint64_t mem_sim_count(void);
