/*
 * loop_sim_write: durable appends of simulated loops.
 */
#pragma once

#include "core/loop.h"

/* Begins `op`; loop_sim_written follows at a seeded later time of this life. */
void write_sim_start(struct loop *loop, uint32_t number, struct write_op *op,
                     uint32_t error_permille);

/* In loop_sim.c: the completion; which life it is. */
void loop_sim_written(struct loop *loop, struct write_op *op, int error);
uint64_t loop_sim_life(void);
bool loop_sim_is_alive(const struct loop *loop, uint64_t life);
