/*
 * worker: jobs that run elsewhere and answer by note.
 *
 * Each kind of worker (core/worker.def) has its own threads, its own bounded
 * queue and runs jobs of one queue in order, but for those that end what was
 * begun.  A job's answer arrives through the inbox of the shard that asked.  The
 * simulator runs the job inline at a seeded later time.
 *
 * Memory:  a job is a field of the object it serves; the owner keeps it alive
 *          until `done` has run.
 * Thread:  submit from any; `run` on a worker thread; `done` on the owner shard.
 * Source:  worker_os.c; tests/sim/worker_sim.c
 */
#pragma once

#include "core/err.h"
#include "core/inbox.h"

enum worker_kind {
#define WORKER(name, threads, queue_max, text) WORKER_##name,
#include "core/worker.def"
#undef WORKER
    WORKER_KIND_COUNT,
};

struct job;
struct workers;

/* `thread` counts 0 .. threads-1 within the kind: the key to a connection that
 * only this thread uses. */
typedef void (*job_run_fn)(struct job *job, uint32_t thread);
typedef void (*job_done_fn)(struct job *job, void *shard);

struct job {
    struct note note; /* private: carries the answer home */
    struct job *next; /* private: the worker's queue */
    enum worker_kind kind;
    uint32_t waiting_max; /* refused when so many wait; 0: the kind's limit */
    bool is_begun;        /* ends what was begun: goes before all that waits */
    job_run_fn run;
    job_done_fn done; /* may be NULL when nobody waits; then home is NULL too */
    struct inbox *home;
};

struct workers *workers_create(void);
/* Runs what is queued to the end, then joins the threads.  Accepts NULL. */
void workers_destroy(struct workers *workers);
/* ERR_WORKER_BUSY when that kind's queue is full, or full for this job; the job is
 * then untouched. */
must_use enum err workers_submit(struct workers *workers, struct job *job);
/* Jobs waiting or running. */
uint32_t workers_pending(struct workers *workers, enum worker_kind kind);
