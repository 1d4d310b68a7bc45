/*
 * worker, simulated: each worker thread is a fiber.  A job starts at a seeded
 * later time and gives way in its file calls; the answer goes through the
 * inbox as in worker_os.c.
 */
#include "core/worker.h"

#include "core/check.h"
#include "core/mem.h"
#include "fiber.h"
#include "world.h"

#define THREADS_MAX      8
#define JOB_DELAY_NS_MAX 3000000u

struct thread_sim {
    struct workers *workers;
    enum worker_kind kind;
    uint32_t number;
    struct fiber *fiber;
};

struct queue {
    struct job *first, **last;
    uint32_t waiting, running, waiting_max;
    uint32_t threads_count;
    struct thread_sim threads[THREADS_MAX];
};

struct workers {
    struct queue queues[WORKER_KIND_COUNT];
    bool is_ending;
};

static void job_note(struct note *note, void *shard)
{
    struct job *job = container_of(note, struct job, note);
    job->done(job, shard);
}

static void thread_main(void *argument)
{
    struct thread_sim *thread = argument;
    struct queue *queue = &thread->workers->queues[thread->kind];
    for (;;) {
        while (queue->first == NULL && !thread->workers->is_ending) fiber_wait(UINT64_MAX);
        if (queue->first == NULL) return;
        fiber_wait(world.now_ns + chance_skewed(&world.rng, 0, JOB_DELAY_NS_MAX));
        struct job *job = queue->first;
        if (job == NULL) continue; /* another thread of this kind was faster */
        queue->first = job->next;
        if (queue->first == NULL) queue->last = &queue->first;
        queue->waiting--;
        queue->running++;
        world_note(TRACE_JOB, thread->kind, thread->number, 0);
        struct inbox *home = job->home;
        job->run(job, thread->number);
        queue->running--;
        /* Without a home the job may be gone already. */
        if (home != NULL) inbox_post(home, &job->note);
    }
}

/* SQLite waits for another connection with this: the fiber does.  Linked in by
 * --wrap=usleep. */
int __wrap_usleep(unsigned useconds);
int __wrap_usleep(unsigned useconds)
{
    fiber_wait(world.now_ns + 1000u * (uint64_t)useconds);
    return 0;
}

struct workers *workers_create(void)
{
    static const struct {
        const char *name;
        uint32_t threads, waiting_max;
    } rows[WORKER_KIND_COUNT] = {
#define WORKER(name, threads, queue_max, text) [WORKER_##name] = {#name, threads, queue_max},
#include "core/worker.def"
#undef WORKER
    };
    struct workers *workers = mem_alloc(sizeof(*workers));
    for (uint32_t kind = 0; kind < WORKER_KIND_COUNT; kind++) {
        struct queue *queue = &workers->queues[kind];
        queue->last = &queue->first;
        queue->waiting_max = rows[kind].waiting_max;
        queue->threads_count = rows[kind].threads;
        check(queue->threads_count <= THREADS_MAX);
        for (uint32_t i = 0; i < queue->threads_count; i++) {
            struct thread_sim *thread = &queue->threads[i];
            *thread = (struct thread_sim){workers, (enum worker_kind)kind, i, NULL};
            thread->fiber = fiber_spawn(rows[kind].name, thread_main, thread);
        }
    }
    return workers;
}

static void threads_wake(struct queue *queue)
{
    for (uint32_t i = 0; i < queue->threads_count; i++)
        if (!fiber_is_done(queue->threads[i].fiber)) fiber_wake(queue->threads[i].fiber);
}

static bool workers_are_done(const struct workers *workers)
{
    for (uint32_t kind = 0; kind < WORKER_KIND_COUNT; kind++)
        for (uint32_t i = 0; i < workers->queues[kind].threads_count; i++)
            if (!fiber_is_done(workers->queues[kind].threads[i].fiber)) return false;
    return true;
}

void workers_destroy(struct workers *workers)
{
    if (workers == NULL) return;
    check(fiber_self() != NULL);
    workers->is_ending = true;
    for (uint32_t kind = 0; kind < WORKER_KIND_COUNT; kind++) threads_wake(&workers->queues[kind]);
    while (!workers_are_done(workers)) fiber_wait(world.now_ns + 100000);
    mem_free(workers);
}

enum err workers_submit(struct workers *workers, struct job *job)
{
    struct queue *queue = &workers->queues[job->kind];
    check((job->done == NULL) == (job->home == NULL));
    if (queue->waiting >= queue->waiting_max) return ERR_WORKER_BUSY;
    if (job->waiting_max != 0 && queue->waiting >= job->waiting_max) return ERR_WORKER_BUSY;
    check(!job->is_begun); /* only handshakes are, and TLS is not simulated */
    job->note.on_note = job_note;
    job->next = NULL;
    *queue->last = job;
    queue->last = &job->next;
    queue->waiting++;
    threads_wake(queue);
    return ERR_OK;
}

uint32_t workers_pending(struct workers *workers, enum worker_kind kind)
{
    return workers->queues[kind].waiting + workers->queues[kind].running;
}
