/*
 * run: one measured stretch of durable records, open loop.
 *
 * Record n is due at start + n / rate, whatever became of those before, and its
 * latency counts from then: who falls behind pays for it (no coordinated
 * omission).  rate 0: always `flights` under way, for the most that goes.
 *
 *   bare     copies 232 bytes a record into a buffer, writes all that is due at
 *            once to blocks that were written before, fdatasync, again
 *   bed      asks the store (storage/store.h) on a shard's own loop, with an
 *            idempotency key each
 *
 * Both rest until the next record is due when nothing is under way, else until
 * the disk answers.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "perf/store/spread.h"

struct run_plan {
    const char *directory;
    double rate; /* a second; 0: as much as goes */
    double seconds, warm_up;
    uint32_t flights;    /* at rate 0 */
    uint32_t payload;    /* bytes of a publication */
    uint32_t channels;   /* bed */
    uint32_t history;    /* bed: publications kept in each channel */
    uint64_t lag_max;    /* bed: storage.index_lag_max */
    bool has_keys;       /* bed */
    bool is_primed;      /* bed: histories are full before anything is measured */
    double report_every; /* bed: seconds between lines while it runs; 0: none */
};

struct run_result {
    struct spread spread;
    uint64_t acks, refused, commits;
    double seconds;
    uint64_t thread_ns; /* CPU of the thread that asks: the shard's */
    uint64_t lag_bytes; /* the most seen */
    /* A record, over the whole run until the index has everything of it: CPU of all
     * threads, the kernel's workers for us included, and bytes sent to the disk. */
    double process_ns_each, disk_bytes_each;
};

void bare_run(const struct run_plan *plan, struct run_result *result);

/* The directory is emptied first.  One bed at a time. */
void bed_open(const struct run_plan *plan);
/* Waits before until the index has everything. */
void bed_run(const struct run_plan *plan, struct run_result *result);
void bed_close(void);

uint64_t run_thread_ns(void);
uint64_t run_process_ns(void);
/* What the disk below `directory` was given to write, by all programs. */
uint64_t run_disk_bytes(const char *directory);
