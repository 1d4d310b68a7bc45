/*
 * check: facts that hold, said out loud.
 *
 * `check` stays on in release and costs one predictable branch; `verify` runs
 * only in VERIFY builds; `impossible` marks the branch that cannot be and says
 * why; `sometimes` documents that both answers are fine and, in the simulator,
 * counts them.  A failure writes out the pending log lines, prints file, line,
 * function, the fact, the shard and the turn, then aborts.
 *
 * Bytes from outside are never checked here, they are parsed: a peer cannot
 * stop the process.  Side effects stay outside a check.
 *
 * Thread:  any.
 * Tests:   tests/unit/core/test_check.c
 */
#pragma once

#include "core/base.h"

/* Prints the story and aborts. */
_Noreturn void check_failed(const char *file, int line, const char *function, const char *fact);

#define check(fact)                                                                                \
    do {                                                                                           \
        if (unlikely(!(fact))) check_failed(__FILE__, __LINE__, __func__, #fact);                  \
    } while (0)

#define impossible(why) check_failed(__FILE__, __LINE__, __func__, "impossible: " why)

#if VERIFY
#define verify(fact) check(fact)
#else
#define verify(fact) ((void)0)
#endif

/* Counts that `fact` was seen both ways, in builds with the simulator. */
void check_sometimes(const char *file, int line, const char *fact, bool value);
struct check_sometimes_row {
    const char *file, *fact;
    int line;
    uint64_t true_count, false_count;
};
/* Copies the row of the `index`-th place seen; false past the last. */
bool check_sometimes_row(uint32_t index, struct check_sometimes_row *row);
#ifdef SLUICE_SOMETIMES
#define sometimes(fact) check_sometimes(__FILE__, __LINE__, #fact, (fact))
#else
#define sometimes(fact) ((void)0)
#endif

/* Names the shard and turn that this thread works on, for the crash report.
 * `shard` is UINT32_MAX on threads that are no shard. */
void check_context(uint32_t shard, uint64_t turn);
uint32_t check_context_shard(void);
