/*
 * fiber: the simulated threads.
 *
 * Shards, workers and the start-up of the simulated process each run on a
 * stack of their own and give way where a thread would block: in loop_enter,
 * in a file call, waiting for work.  So a sleeping shard really is inside
 * loop_enter while another runs, doorbells included, and a kill can strike in
 * the middle of a worker's transaction or of the recovery: the stack is
 * simply never resumed.
 *
 * Thread:  one.
 */
#pragma once

#include "core/base.h"

struct fiber;
typedef void (*fiber_fn)(void *argument);

/* A new fiber, ready to run.  `name` is kept. */
struct fiber *fiber_spawn(const char *name, fiber_fn run, void *argument);
/* The running fiber, or NULL in the driver. */
struct fiber *fiber_self(void);
/* Gives way until `wake_ns` or fiber_wake.  In the driver: a no-op. */
void fiber_wait(uint64_t wake_ns);
/* Makes a waiting fiber ready. */
void fiber_wake(struct fiber *fiber);
bool fiber_is_done(const struct fiber *fiber);
uint32_t fiber_number(const struct fiber *fiber);

/* Runs one ready fiber, chosen by the seed; false when none is ready. */
bool fibers_step(void);
/* The earliest wake time of a waiting fiber. */
uint64_t fibers_next_ns(void);
/* The end of a life: every fiber is abandoned where it stands.  Not from a fiber. */
void fibers_drop(void);
/* Frees the stacks. */
void fibers_fini(void);
