/*
 * worker_os: threads, each kind with its queue.
 *
 * One mutex and one condition per kind.  Jobs of a kind with one thread run in
 * the order they came; with more threads they begin in it.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "core/check.h"
#include "core/log.h"
#include "core/mem.h"
#include "core/worker.h"

/* A tenth of a shard's weight. */
#define HANDSHAKE_NICE 10
#define YIELD_SLICE_NS 100000

static const struct {
    const char *name;
    uint32_t threads, queue_max;
} kinds[] = {
#define WORKER(name, threads, queue_max, text) {#name, threads, queue_max},
#include "core/worker.def"
#undef WORKER
};

struct queue {
    pthread_mutex_t mutex;
    pthread_cond_t has_job;
    struct job *first, **last;
    uint32_t waiting, running;
    bool is_stopping;
};

struct worker {
    struct workers *workers;
    enum worker_kind kind;
    uint32_t number; /* within the kind */
    pthread_t thread;
};

struct workers {
    struct queue queues[WORKER_KIND_COUNT];
    struct worker *threads;
    uint32_t threads_count;
};

static void queue_put(struct queue *queue, struct job *job)
{
    if (job->is_begun) {
        job->next = queue->first;
        if (queue->first == NULL) queue->last = &job->next;
        queue->first = job;
        return;
    }
    job->next = NULL;
    *queue->last = job;
    queue->last = &job->next;
}

/* The next job, or NULL when the queue is empty and stopping. */
static struct job *queue_take(struct queue *queue)
{
    pthread_mutex_lock(&queue->mutex);
    while (queue->first == NULL && !queue->is_stopping)
        pthread_cond_wait(&queue->has_job, &queue->mutex);
    struct job *job = queue->first;
    if (job != NULL) {
        queue->first = job->next;
        if (queue->first == NULL) queue->last = &queue->first;
        queue->waiting--;
        queue->running++;
    }
    pthread_mutex_unlock(&queue->mutex);
    return job;
}

static void queue_done(struct queue *queue)
{
    pthread_mutex_lock(&queue->mutex);
    check(queue->running > 0);
    queue->running--;
    pthread_mutex_unlock(&queue->mutex);
}

static void job_on_note(struct note *note, void *shard)
{
    struct job *job = container_of(note, struct job, note);
    job->done(job, shard);
}

/* Handshakes burn a processor for as long as clients come, so their thread yields to
 * the shards: less weight, and where the kernel lets a thread choose (6.12), short
 * slices, so that a shard that wakes beside it waits for 0.1 ms instead of 3.  The index
 * writer takes the slices only: with less weight it would fall behind busy shards, and
 * they wait for it in the end. */
static void worker_yield(const struct worker *worker)
{
    /* The kernel's struct sched_attr: its header and glibc's do not go together. */
    struct {
        uint32_t size, policy;
        uint64_t flags;
        int32_t nice;
        uint32_t priority;
        uint64_t runtime_ns, deadline_ns, period_ns;
    } attributes = {.size = sizeof attributes, .runtime_ns = YIELD_SLICE_NS};
    /* Whoever started the gateway may have chosen one. */
    attributes.nice = getpriority(PRIO_PROCESS, 0);
    if (worker->kind == WORKER_HANDSHAKE) attributes.nice = HANDSHAKE_NICE;
    if (syscall(SYS_sched_setattr, 0, &attributes, 0) != 0)
        log_warn("worker runs at the shards' priority kind=%s errno=%d", kinds[worker->kind].name,
                 errno);
}

static void *worker_main(void *argument)
{
    struct worker *worker = argument;
    if (worker->kind == WORKER_HANDSHAKE || worker->kind == WORKER_INDEX_WRITER)
        worker_yield(worker);
    struct queue *queue = &worker->workers->queues[worker->kind];
    check_context(UINT32_MAX, 0);
    for (struct job *job; (job = queue_take(queue)) != NULL;) {
        struct inbox *home = job->home;
        bool is_awaited = job->done != NULL;
        job->run(job, worker->number);
        /* Once posted, the job is its owner's again; without an owner who
         * waits, run may have freed it. */
        queue_done(queue);
        if (is_awaited) inbox_post(home, &job->note);
    }
    return NULL;
}

static void worker_start(struct worker *worker)
{
    int error = pthread_create(&worker->thread, NULL, worker_main, worker);
    if (error != 0) {
        log_error("worker thread cannot start kind=%s errno=%d", kinds[worker->kind].name, error);
        impossible("a gateway without its workers cannot keep its promises");
    }
    char name[16];
    snprintf(name, sizeof name, "%.13s%u", kinds[worker->kind].name, worker->number);
    pthread_setname_np(worker->thread, name);
}

struct workers *workers_create(void)
{
    struct workers *workers = mem_alloc(sizeof *workers);
    for (uint32_t kind = 0; kind < WORKER_KIND_COUNT; kind++) {
        struct queue *queue = &workers->queues[kind];
        queue->last = &queue->first;
        pthread_mutex_init(&queue->mutex, NULL);
        pthread_cond_init(&queue->has_job, NULL);
        workers->threads_count += kinds[kind].threads;
    }
    workers->threads = mem_alloc(workers->threads_count * sizeof *workers->threads);

    /* Signals are for the main thread; a new thread inherits the mask. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    struct worker *worker = workers->threads;
    for (uint32_t kind = 0; kind < WORKER_KIND_COUNT; kind++) {
        for (uint32_t i = 0; i < kinds[kind].threads; i++, worker++) {
            worker->workers = workers;
            worker->kind = (enum worker_kind)kind;
            worker->number = i;
            worker_start(worker);
        }
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return workers;
}

void workers_destroy(struct workers *workers)
{
    if (workers == NULL) return;
    for (uint32_t kind = 0; kind < WORKER_KIND_COUNT; kind++) {
        struct queue *queue = &workers->queues[kind];
        pthread_mutex_lock(&queue->mutex);
        queue->is_stopping = true;
        pthread_cond_broadcast(&queue->has_job);
        pthread_mutex_unlock(&queue->mutex);
    }
    for (uint32_t i = 0; i < workers->threads_count; i++)
        pthread_join(workers->threads[i].thread, NULL);
    for (uint32_t kind = 0; kind < WORKER_KIND_COUNT; kind++) {
        check(workers->queues[kind].first == NULL);
        pthread_cond_destroy(&workers->queues[kind].has_job);
        pthread_mutex_destroy(&workers->queues[kind].mutex);
    }
    mem_free(workers->threads);
    mem_free(workers);
}

enum err workers_submit(struct workers *workers, struct job *job)
{
    check(job->kind < WORKER_KIND_COUNT);
    check(job->run != NULL);
    check((job->done == NULL) == (job->home == NULL));

    struct queue *queue = &workers->queues[job->kind];
    pthread_mutex_lock(&queue->mutex);
    check(!queue->is_stopping);
    uint32_t waiting_max = kinds[job->kind].queue_max;
    if (job->waiting_max != 0) waiting_max = min_u32(waiting_max, job->waiting_max);
    bool has_room = queue->waiting < waiting_max;
    if (has_room) {
        job->note.on_note = job_on_note;
        queue_put(queue, job);
        queue->waiting++;
        pthread_cond_signal(&queue->has_job);
    }
    pthread_mutex_unlock(&queue->mutex);
    return has_room ? ERR_OK : ERR_WORKER_BUSY;
}

uint32_t workers_pending(struct workers *workers, enum worker_kind kind)
{
    check(kind < WORKER_KIND_COUNT);
    struct queue *queue = &workers->queues[kind];
    pthread_mutex_lock(&queue->mutex);
    uint32_t pending = queue->waiting + queue->running;
    pthread_mutex_unlock(&queue->mutex);
    return pending;
}
