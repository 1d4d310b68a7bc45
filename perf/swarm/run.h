/*
 * run: one scenario from its first connection to its figures.
 *
 * Forks the processes, leads them through the phases, reads the server's CPU time and
 * memory where phases meet, and shows how far it is.
 *
 * Thread:  the parent's only one.
 */
#pragma once

#include "tally.h"

struct run_options {
    pid_t pid;        /* of the server; 0: nothing is known of it */
    int server_cpu;   /* whose softirq thread counts as the server's; -1: none */
    const char *cpus; /* "1" or "1,3": where the processes run; NULL: anywhere */
    bool is_quiet;    /* no progress */
};

/* What was counted between two borders. */
struct figures {
    double seconds;
    uint64_t published, delivered, acked, told, bytes, wakes, pings;
    struct cpu_time cpu; /* of the server */
    uint64_t shard_ns;   /* of its threads called "shard..." */
    uint64_t swarm_ns;   /* of our processes */
};

#define RATES_MAX 3600

struct outcome {
    char failure[320]; /* empty: all is well */
    struct figures opening, measured;
    double connect_ns; /* server CPU a connection, while they came */
    double idle_bytes; /* resident, a connection */
    uint64_t resumed, closed, pings;
    bool is_unchecked;
    struct histogram latency, took; /* of messages or answers; of being let in */
    /* Once a second, for a picture: messages delivered or acknowledged, server CPU share. */
    uint32_t rates_count;
    double rates[RATES_MAX], cpu_shares[RATES_MAX];
};

void run(const struct scenario *scenario, const struct run_options *options,
         struct outcome *outcome);
