/*
 * world: virtual time, seeded chance and the trace of one simulated run.
 *
 * Everything the simulator decides comes from three generators seeded from
 * the run's seed, so a seed is the whole story of a run.  Time stands still
 * while code runs and moves when the driver says so.  Each event of the run
 * is noted: the notes are hashed (two runs of a seed must agree) and the
 * newest stay in a ring that a failing run prints.
 *
 * Memory:  the world lives outside of core/mem.h, which belongs to the life
 *          of the simulated process and is forgotten when that is killed.
 * Thread:  one; the simulator has a single thread.
 */
#pragma once

#include "core/base.h"
#include "core/rng.h"

#define TRACE_LINES   48
#define WALL_START_MS 1800000000000u

/* What can happen, with the sentence that prints it; three numbers each. */
#define TRACE_EVENTS(X)                                                                            \
    X(BOOT, "boot life=%" PRIu64 " shards=%" PRIu64 " boots=%" PRIu64)                             \
    X(KILL, "kill life=%" PRIu64 " machine=%" PRIu64 " in_recovery=%" PRIu64)                      \
    X(TURN, "turn fiber=%" PRIu64 " loop=%" PRIu64 " wake_ms=%" PRIu64)                            \
    X(FIBER, "run fiber=%" PRIu64)                                                                 \
    X(ACCEPT, "accept loop=%" PRIu64 " sock=%" PRIu64 " client=%" PRIu64)                          \
    X(RECV, "recv loop=%" PRIu64 " sock=%" PRIu64 " bytes=%" PRIu64)                               \
    X(SEND, "send loop=%" PRIu64 " sock=%" PRIu64 " bytes=%" PRIu64)                               \
    X(SEND_SHORT, "send short loop=%" PRIu64 " sock=%" PRIu64 " bytes=%" PRIu64)                   \
    X(END, "end loop=%" PRIu64 " sock=%" PRIu64 " error=%" PRIu64)                                 \
    X(CLOSED, "closed loop=%" PRIu64 " sock=%" PRIu64 " abort=%" PRIu64)                           \
    X(RESET, "network resets link=%" PRIu64)                                                       \
    X(WRITE, "write_sync loop=%" PRIu64 " offset=%" PRIu64 " bytes=%" PRIu64)                      \
    X(WRITTEN, "write_sync done loop=%" PRIu64 " error=%" PRIu64)                                  \
    X(DISK, "disk call=%" PRIu64 " file=%" PRIu64 " bytes=%" PRIu64)                               \
    X(JOB, "job runs kind=%" PRIu64 " thread=%" PRIu64)                                            \
    X(CONNECT, "client %" PRIu64 " connects, try %" PRIu64)                                        \
    X(CONNECTED, "client %" PRIu64 " is connected")                                                \
    X(GONE, "client %" PRIu64 " lost its connection, code %" PRIu64)                               \
    X(SUBSCRIBE, "client %" PRIu64 " subscribes channel=%" PRIu64 " since=%" PRIu64)               \
    X(SUBSCRIBED, "client %" PRIu64 " subscribed channel=%" PRIu64 " offset=%" PRIu64)             \
    X(UNSUBSCRIBE, "client %" PRIu64 " unsubscribes channel=%" PRIu64)                             \
    X(PUBLISH, "client %" PRIu64 " publishes channel=%" PRIu64 " message=%" PRIu64)                \
    X(PUBLISHED, "client %" PRIu64 " has the ack of message=%" PRIu64 " offset=%" PRIu64)          \
    X(PUBLISH_FAILED, "client %" PRIu64 " message=%" PRIu64 " error=%" PRIu64)                     \
    X(DELIVERED, "client %" PRIu64 " gets channel=%" PRIu64 " offset=%" PRIu64)                    \
    X(JOIN, "client %" PRIu64 " hears of another channel=%" PRIu64 " join=%" PRIu64)               \
    X(ANSWER, "client %" PRIu64 " command=%" PRIu64 " error=%" PRIu64)                             \
    X(TROUBLE, "the disk is in trouble kind=%" PRIu64 " permille=%" PRIu64)                        \
    X(STRUCK, "disk call=%" PRIu64 " fails errno=%" PRIu64)                                        \
    X(FAULT, "planted fault strikes, time %" PRIu64)                                               \
    X(JUMP, "wall clock jumps, was %" PRIu64 " ms at the start")                                   \
    X(PHASE, "phase %" PRIu64)

enum trace_event {
#define X(name, text) TRACE_##name,
    TRACE_EVENTS(X)
#undef X
        TRACE_EVENT_COUNT,
};

struct trace_line {
    uint64_t step, now_ns, a, b, c;
    enum trace_event event;
};

/* Planted faults, by name on the command line: each must be found.  fault.c has all
 * but early-ack and unheard-error, which are in loop_sim_write.c. */
#define SIM_FAULTS(X)                                                                              \
    X(DROP_LETTER, "drop-letter")   /* a frame vanishes between two shards */                      \
    X(EARLY_ACK, "early-ack")       /* acknowledged before it is written */                        \
    X(UNHEARD, "unheard-error")     /* a write that failed is taken for done */                    \
    X(FORGET_KEY, "forget-key")     /* an idempotency key is remembered under another name */      \
    X(DEAF, "deaf")                 /* one listener is passed over */                              \
    X(TWICE, "twice")               /* one listener gets a publication twice */                    \
    X(STALE_PAST, "stale-past")     /* the window keeps a publication as the one before it */      \
    X(GHOST, "ghost")               /* who left stays listed */                                    \
    X(STILL_CURSOR, "still-cursor") /* a cursor that is said to have moved stands still */

enum sim_fault {
    FAULT_NONE,
#define X(name, text) FAULT_##name,
    SIM_FAULTS(X)
#undef X
        FAULT_COUNT,
};
const char *fault_name(enum sim_fault fault);
/* FAULT_NONE when there is none of that name. */
enum sim_fault fault_of(const char *name);

struct event;
typedef void (*event_fn)(void *context, uint64_t number);

struct event {
    uint64_t due_ns;
    uint64_t order; /* of two events due together the older goes first */
    event_fn run;
    void *context;
    uint64_t number;
};

struct world {
    uint64_t seed;
    struct rng rng;         /* the schedule, the network, the clients */
    struct rng rng_disk;    /* what the disk does */
    struct rng rng_entropy; /* what the gateway takes for entropy */
    uint64_t now_ns;
    uint64_t wall_start_ms;
    uint64_t steps;
    uint64_t trace_hash;
    uint64_t trace_count;
    struct trace_line lines[TRACE_LINES];
    bool is_printing; /* --trace */
    bool is_quiet;    /* --fault searches: a finding is one line */
    bool is_memory;   /* --memory: the memory engine */
    bool is_fuzzing;  /* a finding aborts, so that the fuzzer keeps its input */
    enum sim_fault fault;
    uint64_t fault_strikes;
    const char *replay;   /* the command that runs this seed again */
    struct event *events; /* binary heap */
    uint32_t events_count, events_room;
    uint64_t events_order;
};

extern struct world world;

void world_init(uint64_t seed);
void world_fini(void);

/* Notes an event of the run. */
void world_note(enum trace_event event, uint64_t a, uint64_t b, uint64_t c);
/* A property does not hold: prints the story and the command, ends the program. */
_Noreturn void world_fail(const char *property, const char *format, ...) printf_like(2, 3);
/* The story so far, for crash handlers. */
void world_print_story(const char *title);

/* Runs `run(context, number)` at `due_ns`, never before now. */
void world_at(uint64_t due_ns, event_fn run, void *context, uint64_t number);
/* When the next event is due; UINT64_MAX when there is none. */
uint64_t world_next_ns(void);
/* Runs every event due by now; returns the count. */
uint32_t world_run_due(void);

/* Seeded choices of the schedule. */
static inline uint64_t chance_below(uint64_t bound)
{
    return rng_below(&world.rng, bound);
}
static inline bool chance(uint32_t percent)
{
    return rng_chance(&world.rng, percent);
}
/* Uniform in [low, high]. */
static inline uint64_t chance_between(uint64_t low, uint64_t high)
{
    return low + rng_below(&world.rng, high - low + 1);
}
/* Mostly near `low`, now and then near `high`: latencies. */
uint64_t chance_skewed(struct rng *rng, uint64_t low, uint64_t high);
