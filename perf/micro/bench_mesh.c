/*
 * Letters: ns per letter there and home again, by letters per flush, on one
 * thread (both shards, warm caches) and between two threads on two CPUs; and
 * what it takes to wake a sleeping shard, there and back.
 *
 * The least of many rounds counts on one thread; between threads the mean of a
 * run, because there the other side is part of the cost.
 */
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>

#include "core/clock.h"
#include "core/loop.h"
#include "core/mesh.h"

#define PAYLOAD 64

struct shard {
    struct loop *loop;
    struct post *post;
    uint64_t seen, home, answered;
    uint32_t cpu;
};

enum { KIND_DATA, KIND_ASK, KIND_TELL, KIND_STOP, KIND_COUNT };

static struct shard shards[2];
static uint32_t per_flush;
static uint64_t letters_max;

static void on_data(void *context, struct letter *letter)
{
    ((struct shard *)context)->seen += letter->payload[0];
}
static void on_home(void *context, struct letter *letter)
{
    (void)letter;
    ((struct shard *)context)->home++;
}
static void on_ask(void *context, struct letter *letter)
{
    struct shard *shard = context;
    letter_post_answer(shard->post, letter_new(shard->post, letter->from, KIND_TELL, PAYLOAD));
}
static void on_tell(void *context, struct letter *letter)
{
    (void)letter;
    ((struct shard *)context)->answered++;
}
static const struct letter_handlers kinds[KIND_COUNT] = {[KIND_DATA] = {"data", on_data, on_home},
                                                         [KIND_ASK] = {"ask", on_ask, NULL},
                                                         [KIND_TELL] = {"tell", on_tell, NULL},
                                                         [KIND_STOP] = {"stop", on_data, NULL}};

static void post_some(struct shard *shard)
{
    for (uint32_t i = 0; i < per_flush; i++) {
        struct letter *letter = letter_new(shard->post, 1, KIND_DATA, PAYLOAD);
        letter->payload[0] = 1;
        letter_post(shard->post, letter);
    }
    mesh_flush(shard->post);
}

static double on_one_thread(void)
{
    double least = 1e9;
    for (uint32_t round = 0; round < 2000; round++) {
        uint64_t before = clock_mono_ns();
        uint32_t count = 0;
        for (; count < 4096; count += per_flush) {
            post_some(&shards[0]);
            mesh_read(shards[1].post, 4096);
            mesh_flush(shards[1].post);
            mesh_read(shards[0].post, 4096);
        }
        double each = (double)(clock_mono_ns() - before) / count;
        if (each < least) least = each;
    }
    return least;
}

static void pin(uint32_t cpu)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    if (sched_setaffinity(0, sizeof set, &set) != 0) perror("sched_setaffinity");
}

static void *reader_main(void *argument)
{
    struct shard *shard = argument;
    pin(shard->cpu);
    while (shard->seen < letters_max || mesh_letters_kept(shard->post) > 0) {
        mesh_read(shard->post, 4096);
        mesh_flush(shard->post);
    }
    for (uint32_t i = 0; i < 1000; i++) { /* the last chain home may find a full ring */
        mesh_flush(shard->post);
        sched_yield();
    }
    return NULL;
}

static double between_threads(void)
{
    pthread_t thread;
    shards[0].home = shards[1].seen = 0;
    letters_max = 2000000 / per_flush * per_flush;
    pthread_create(&thread, NULL, reader_main, &shards[1]);
    uint64_t before = clock_mono_ns();
    for (uint64_t posted = 0; shards[0].home < letters_max;) {
        if (posted < letters_max && mesh_letters_out(shards[0].post) < 8192) {
            post_some(&shards[0]);
            posted += per_flush;
        }
        mesh_flush(shards[0].post);
        mesh_read(shards[0].post, 4096);
    }
    double each = (double)(clock_mono_ns() - before) / (double)letters_max;
    pthread_join(thread, NULL);
    return each;
}

static void shard_turn(struct shard *shard)
{
    uint64_t wake_ms = mesh_sleep(shard->post) ? clock_mono_ns() / 1000000u + 1000 : 0;
    loop_enter(shard->loop, wake_ms);
    mesh_awake(shard->post);
    loop_run(shard->loop);
    mesh_read(shard->post, 4096);
    mesh_flush(shard->post);
}

static void *sleeper_main(void *argument)
{
    struct shard *shard = argument;
    pin(shard->cpu);
    loop_start(shard->loop);
    while (shard->seen < letters_max) shard_turn(shard);
    for (uint32_t i = 0; i < 10; i++) mesh_flush(shard->post);
    return NULL;
}

/* One request at a time, both sides asleep between. */
static double there_and_back(void)
{
    enum { ROUNDS = 20000 };
    pthread_t thread;
    shards[1].seen = 0;
    letters_max = 1;
    pthread_create(&thread, NULL, sleeper_main, &shards[1]);
    loop_start(shards[0].loop);
    uint64_t before = clock_mono_ns();
    for (uint64_t i = 1; i <= ROUNDS; i++) {
        if (!letter_credit(shards[0].post, 1)) continue;
        letter_post_request(shards[0].post, letter_new(shards[0].post, 1, KIND_ASK, PAYLOAD));
        mesh_flush(shards[0].post);
        while (shards[0].answered < i) shard_turn(&shards[0]);
    }
    double each = (double)(clock_mono_ns() - before) / ROUNDS;
    struct letter *stop = letter_new(shards[0].post, 1, KIND_STOP, 1);
    stop->payload[0] = 1;
    letter_post(shards[0].post, stop);
    while (mesh_letters_out(shards[0].post) > 0) shard_turn(&shards[0]);
    pthread_join(thread, NULL);
    return each;
}

int main(void)
{
    struct loop_options options = {.socks_max = 16,
                                   .recv_buffers = 4,
                                   .recv_buffer_size = 64,
                                   .sq_entries = 64,
                                   .cq_entries = 256};
    struct mesh *mesh = mesh_create(2, kinds, KIND_COUNT, 64);
    for (uint32_t i = 0; i < 2; i++) {
        shards[i].cpu = i;
        if (loop_create(&options, &shards[i].loop) != ERR_OK) return 1;
        shards[i].post = mesh_open(mesh, i, &shards[i], shards[i].loop);
    }
    pin(0);
    printf("%-18s %12s %16s\n", "letters per flush", "one thread", "two threads");
    static const uint32_t batches[] = {1, 4, 16, 64, 256};
    for (uint32_t i = 0; i < array_count(batches); i++) {
        per_flush = batches[i];
        double one = on_one_thread();
        printf("%-18u %9.1f ns %13.1f ns\n", per_flush, one, between_threads());
    }
    printf("request and answer, both asleep between: %.1f us\n", there_and_back() / 1000.0);
    while (mesh_letters_out(shards[1].post) > 0) {
        mesh_read(shards[0].post, 4096);
        mesh_flush(shards[0].post);
        mesh_read(shards[1].post, 4096);
    }
    mesh_destroy(mesh);
    for (uint32_t i = 0; i < 2; i++) loop_destroy(shards[i].loop);
    return 0;
}
