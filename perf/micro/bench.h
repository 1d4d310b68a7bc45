/*
 * bench: times a piece of work, and counts its instructions.
 *
 * bench("name", ops, body, context) runs body, which does `ops` operations, in
 * rounds, and prints the least and the median nanoseconds of one: the least is what
 * the work takes when nothing disturbs it, the median tells how much did.  Under
 * callgrind the body runs twice and the second time is counted, apart from all
 * else; perf/micro/instructions runs a program so and prints instructions too.
 *
 * Thread:  one.
 */
#pragma once

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/clock.h"

#if __has_include(<valgrind/callgrind.h>)
#include <valgrind/callgrind.h>
#else
#define RUNNING_ON_VALGRIND           0
#define CALLGRIND_ZERO_STATS          (void)0
#define CALLGRIND_DUMP_STATS_AT(name) (void)(name)
#endif

#define BENCH_ROUNDS 31

static int bench_compare(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
    return left < right ? -1 : left > right;
}

static void bench(const char *name, uint64_t ops, void (*body)(void *context), void *context)
{
    uint64_t times[BENCH_ROUNDS];
    body(context);
    if (RUNNING_ON_VALGRIND) {
        CALLGRIND_ZERO_STATS;
        body(context);
        CALLGRIND_DUMP_STATS_AT(name);
        printf("%-44s %llu\n", name, (unsigned long long)ops);
        return;
    }
    for (uint32_t i = 0; i < BENCH_ROUNDS; i++) {
        uint64_t start = clock_mono_ns();
        body(context);
        times[i] = clock_mono_ns() - start;
    }
    qsort(times, BENCH_ROUNDS, sizeof *times, bench_compare);
    printf("%-44s %8.1f ns  (median %.1f)\n", name, (double)times[0] / (double)ops,
           (double)times[BENCH_ROUNDS / 2] / (double)ops);
}
