/*
 * worker: jobs run in order, answer through the inbox, are refused beyond the
 * queue's limit, and are finished before the workers end.
 */
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/inbox.h"
#include "core/worker.h"

struct task {
    struct job job;
    uint32_t number, ran, thread;
    uint32_t *order;       /* counts runs */
    pthread_mutex_t *gate; /* closed: the thread is held up here */
    sem_t *at_gate;        /* posted before */
};

static void task_run(struct job *job, uint32_t thread)
{
    struct task *task = container_of(job, struct task, job);
    if (task->at_gate != NULL) sem_post(task->at_gate);
    if (task->gate != NULL) {
        pthread_mutex_lock(task->gate);
        pthread_mutex_unlock(task->gate);
    }
    if (task->order != NULL) task->ran = ++*task->order;
    task->thread = thread;
}
static void task_done(struct job *job, void *shard)
{
    struct task *task = container_of(job, struct task, job);
    uint32_t *done = shard;
    assert_true(task->ran != 0 || task->order == NULL);
    ++*done;
}

static void read_until(struct inbox *inbox, uint32_t *done, uint32_t count)
{
    for (int i = 0; i < 240000 && *done < count; i++) {
        inbox_read(inbox, done);
        usleep(500);
    }
    assert_int_equal(*done, count);
}

static void jobs_of_one_thread_run_in_order_and_answer(void **state)
{
    (void)state;
    enum { TASKS = 500 };
    static struct task tasks[TASKS];
    struct inbox inbox;
    inbox_init(&inbox, NULL);
    struct workers *workers = workers_create();
    uint32_t order = 0, done = 0;
    for (uint32_t i = 0; i < TASKS; i++) {
        tasks[i] = (struct task){.number = i, .order = &order};
        tasks[i].job = (struct job){
            .kind = WORKER_INDEX_WRITER, .run = task_run, .done = task_done, .home = &inbox};
        assert_int_equal(workers_submit(workers, &tasks[i].job), ERR_OK);
    }
    read_until(&inbox, &done, TASKS);
    for (uint32_t i = 0; i < TASKS; i++) {
        assert_int_equal(tasks[i].ran, i + 1);
        assert_int_equal(tasks[i].thread, 0);
    }
    assert_int_equal(workers_pending(workers, WORKER_INDEX_WRITER), 0);
    workers_destroy(workers);
    inbox_fini(&inbox);
}

static void full_queue_refuses_and_goes_on(void **state)
{
    (void)state;
    enum { QUEUE_MAX = 1024 }; /* INDEX_WRITER's, core/worker.def */
    static struct task tasks[QUEUE_MAX + 2];
    pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
    sem_t at_gate;
    sem_init(&at_gate, 0, 0);
    struct inbox inbox;
    inbox_init(&inbox, NULL);
    struct workers *workers = workers_create();
    pthread_mutex_lock(&gate);
    uint32_t accepted = 0, done = 0;
    for (uint32_t i = 0; i < QUEUE_MAX + 2; i++) {
        tasks[i] = (struct task){.gate = &gate, .at_gate = i == 0 ? &at_gate : NULL};
        tasks[i].job = (struct job){
            .kind = WORKER_INDEX_WRITER, .run = task_run, .done = task_done, .home = &inbox};
        enum err err = workers_submit(workers, &tasks[i].job);
        /* The first leaves the queue for the thread, sooner or later. */
        if (i == 0) sem_wait(&at_gate);
        assert_int_equal(err, i < QUEUE_MAX + 1 ? ERR_OK : ERR_WORKER_BUSY);
        if (err == ERR_OK) accepted++;
    }
    assert_int_equal(workers_pending(workers, WORKER_INDEX_WRITER), QUEUE_MAX + 1);
    /* The others do not wait for it. */
    struct task reader = {.number = 0};
    reader.job = (struct job){
        .kind = WORKER_INDEX_READER, .run = task_run, .done = task_done, .home = &inbox};
    assert_int_equal(workers_submit(workers, &reader.job), ERR_OK);
    read_until(&inbox, &done, 1);
    pthread_mutex_unlock(&gate);
    read_until(&inbox, &done, accepted + 1);
    assert_int_equal(workers_submit(workers, &tasks[QUEUE_MAX + 1].job), ERR_OK);
    read_until(&inbox, &done, accepted + 2);
    workers_destroy(workers);
    inbox_fini(&inbox);
}

static void queued_jobs_run_before_the_end(void **state)
{
    (void)state;
    enum { TASKS = 200 };
    static struct task tasks[TASKS];
    struct workers *workers = workers_create();
    uint32_t order = 0;
    for (uint32_t i = 0; i < TASKS; i++) {
        tasks[i] = (struct task){.number = i, .order = &order};
        tasks[i].job = (struct job){.kind = WORKER_INDEX_WRITER, .run = task_run};
        assert_int_equal(workers_submit(workers, &tasks[i].job), ERR_OK);
    }
    workers_destroy(workers);
    assert_int_equal(order, TASKS);
    workers_destroy(NULL);
}

/* A job with a limit of its own: refused at it, taken one below.  What ends
 * something that was begun is never refused, and comes first. */
static void limits_are_a_jobs_own_and_what_was_begun_goes_first(void **state)
{
    (void)state;
    enum { LIMIT = 3 };
    static struct task first, waiting[LIMIT + 1], begun[2];
    pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
    sem_t at_gate;
    sem_init(&at_gate, 0, 0);
    struct inbox inbox;
    inbox_init(&inbox, NULL);
    struct workers *workers = workers_create();
    uint32_t order = 0, done = 0;
    struct job job = {.kind = WORKER_HANDSHAKE,
                      .waiting_max = LIMIT,
                      .run = task_run,
                      .done = task_done,
                      .home = &inbox};
    pthread_mutex_lock(&gate);
    first = (struct task){.job = job, .gate = &gate, .at_gate = &at_gate, .order = &order};
    assert_int_equal(workers_submit(workers, &first.job), ERR_OK);
    sem_wait(&at_gate);
    for (uint32_t i = 0; i < LIMIT + 1; i++) {
        waiting[i] = (struct task){.job = job, .order = &order};
        enum err err = workers_submit(workers, &waiting[i].job);
        assert_int_equal(err, i < LIMIT ? ERR_OK : ERR_WORKER_BUSY);
    }
    job.waiting_max = 0;
    job.is_begun = true;
    for (uint32_t i = 0; i < 2; i++) {
        begun[i] = (struct task){.job = job, .order = &order};
        assert_int_equal(workers_submit(workers, &begun[i].job), ERR_OK);
    }
    pthread_mutex_unlock(&gate);
    read_until(&inbox, &done, LIMIT + 3);
    assert_int_equal(first.ran, 1);
    assert_int_equal(begun[1].ran + begun[0].ran, 2 + 3);
    for (uint32_t i = 0; i < LIMIT; i++) assert_int_equal(waiting[i].ran, i + 4);
    assert_int_equal(workers_submit(workers, &waiting[LIMIT].job), ERR_OK);
    read_until(&inbox, &done, LIMIT + 4);
    workers_destroy(workers);
    inbox_fini(&inbox);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(jobs_of_one_thread_run_in_order_and_answer),
        cmocka_unit_test(full_queue_refuses_and_goes_on),
        cmocka_unit_test(queued_jobs_run_before_the_end),
        cmocka_unit_test(limits_are_a_jobs_own_and_what_was_begun_goes_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
