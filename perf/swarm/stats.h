/*
 * stats: what a run cost the server and how long deliveries took.
 *
 * CPU is the scheduler's own count in nanoseconds (schedstat) of every thread
 * of the server, io_uring's kernel workers included, and of the kernel's
 * softirq thread of one CPU.  Clock ticks (stat) only split it into user and
 * system.
 *
 * Thread:  one.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct cpu_time {
    uint64_t ns;         /* all threads of the server */
    uint64_t softirq_ns; /* ksoftirqd of the server's CPU */
    uint64_t user_ticks, system_ticks;
};

/* Reads the CPU time of `pid` and of ksoftirqd/`cpu` (cpu < 0: none); false when
 * the process is not there. */
bool cpu_time_read(pid_t pid, int cpu, struct cpu_time *time);
/* CPU nanoseconds of the threads of `pid` whose name begins like this; 0 when none. */
uint64_t thread_cpu_ns(pid_t pid, const char *name);
/* Resident anonymous bytes of `pid`, and of its kernel-side ring memory too
 * where it is mapped; 0 when unknown. */
uint64_t resident_bytes(pid_t pid);

/* Microseconds to buckets that grow by an eighth or less. */
#define HISTOGRAM_BUCKETS 256

struct histogram {
    uint64_t counts[HISTOGRAM_BUCKETS];
    uint64_t total, most;
};

void histogram_add(struct histogram *histogram, uint64_t us);
/* The upper bound of the bucket that holds this share (0.99) of all values. */
uint64_t histogram_at(const struct histogram *histogram, double share);
