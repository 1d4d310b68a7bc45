/*
 * tally: what the processes of a run tell each other, in memory that they share.
 *
 * The parent says the phase; each process writes its own part and the counts of
 * its own column, so that no word has two writers.
 *
 *   WAIT ─▶ (AWAY: return) ─▶ OPEN ─▶ WARM ─▶ MEASURE ─▶ DRAIN ─▶ OVER
 *
 * Memory:  one mapping, made before the processes.
 * Thread:  one per process.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "scenario.h"
#include "stats.h"
#include "words.h"

#define PROCESSES_MAX 64

enum phase {
    PHASE_WAIT,    /* nobody does anything */
    PHASE_AWAY,    /* return: positions are learnt, and messages published, before anybody comes */
    PHASE_OPEN,    /* everybody comes in; the measured part of connect and return */
    PHASE_WARM,    /* as MEASURE, not counted */
    PHASE_MEASURE, /* messages flow, times count */
    PHASE_DRAIN,   /* nothing new; what is under way is waited for */
    PHASE_OVER,
};

/* Written by its process only. */
struct tally_part {
    _Alignas(64) volatile uint32_t opened; /* begun to connect */
    volatile uint32_t ready;               /* connected, and subscribed to all that it wants */
    volatile uint32_t closed;              /* by the server, when it may */
    volatile uint32_t resumed;             /* TLS sessions by a ticket */
    volatile uint64_t published, delivered, acked, told, bytes, pings, wakes, late;
    volatile uint32_t ended; /* 1 + the phase whose work is all done here */
    volatile bool is_failed;
    volatile bool is_unchecked; /* send: channels keep no history to count in */
    char failure[256];
    struct histogram latency; /* microseconds from the intended moment, measured ones */
    struct histogram opening; /* from the beginning of a connection to being ready */
};

struct tally_channel {
    struct position before; /* return: where everybody was; send: where it stood */
    uint64_t grown;         /* send: offsets that came in the run */
    uint32_t listeners;     /* that must get every message */
};

struct tally {
    volatile enum phase phase;
    volatile uint64_t began_ns; /* of the phase */
    uint32_t processes, channels;
    uint64_t run;                 /* drawn anew for each run: no key is ever asked for twice */
    struct tally_channel *at;     /* [channels] */
    volatile uint64_t *delivered; /* [channels * processes] */
    struct tally_part part[PROCESSES_MAX];
};

struct tally *tally_create(const struct scenario *scenario);
/* Messages of channel `c` that its listeners got, all together. */
uint64_t tally_delivered(const struct tally *tally, uint32_t channel);

/* A sum over the parts. */
#define tally_sum(tally, field)                                                                    \
    ({                                                                                             \
        uint64_t sum_ = 0;                                                                         \
        for (uint32_t i_ = 0; i_ < (tally)->processes; i_++) sum_ += (tally)->part[i_].field;      \
        sum_;                                                                                      \
    })

uint64_t now_ns(void);
