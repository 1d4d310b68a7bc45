/*
 * One shard and its store: appends of 200 bytes to 1,000 channels, `batch` more
 * asked for whenever that many are free of 2 x batch under way.
 *
 *   rows/s, commits/s, rows a commit, latency from ask to durable, CPU a row (all
 *   threads: shard, index writer, kernel workers), how long the end and the next
 *   start take, and the start after a kill with the log still to apply; the same for
 *   what has idempotency keys, and for what is kept nowhere, with a key and without.
 *
 *   bench_store [seconds [directory]]
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/loop.h"
#include "core/mem.h"
#include "storage/store.h"

#define CHANNELS      1000
#define UNDER_WAY_MAX 4096
#define SAMPLES       2000000

struct flight {
    struct store_append op; /* first */
    uint64_t asked_ns;
    struct flight *next;
    char key[32];
};

/* What is asked for. */
static const struct load {
    const char *name;
    bool is_kept, has_key;
} loads[] = {
    {"kept", true, false}, {"keyed", true, true}, {"live", false, false}, {"livekey", false, true}};
static const struct load *load = &loads[0];

static struct config config;
static struct loop *loop;
static struct inbox inbox;
static struct wheel wheel;
static struct clock now;
static struct rng rng;
static struct metrics metrics;
static struct workers *workers;
static struct store_node *node;
static struct store *store;
static struct store_channel channels[CHANNELS];
static struct store_open opens[CHANNELS];
static char names[CHANNELS][16];
static struct flight flights[UNDER_WAY_MAX], *idle;
static uint32_t opened;
static uint64_t done;
static unsigned long long asked;
static uint32_t samples_us[SAMPLES], samples;

static void on_publication(void *context, struct store_channel *channel,
                           const struct publication *publication)
{
    (void)context, (void)channel, (void)publication;
}
static void on_members(void *context, struct store_channel *channel,
                       const struct members_change *change)
{
    (void)context, (void)channel, (void)change;
}
static void on_cursor(void *context, struct store_channel *channel,
                      const struct store_cursor *cursor)
{
    (void)context, (void)channel, (void)cursor;
}
static void on_removed(void *context, struct store_channel *channel, uint64_t offset)
{
    (void)context, (void)channel, (void)offset;
}
static void on_lost(void *context, struct store_channel *channel)
{
    (void)context, (void)channel;
}
static void on_opened(struct store_open *op, enum err err, const struct store_snapshot *snapshot)
{
    (void)op, (void)snapshot;
    if (err != ERR_OK) abort();
    opened++;
}
static void on_appended(struct store_append *op, enum err err, uint64_t offset, bool is_repeat)
{
    (void)offset, (void)is_repeat;
    struct flight *flight = (struct flight *)op;
    if (err != ERR_OK && err != ERR_STORE_LAG) abort();
    if (samples < SAMPLES) {
        samples_us[samples++] = (uint32_t)((clock_mono_ns() - flight->asked_ns) / 1000);
    }
    done += err == ERR_OK;
    flight->next = idle;
    idle = flight;
}

static void turn(bool is_waiting)
{
    loop_enter(loop, is_waiting ? clock_turn_ms(&now) + 1 : 0);
    clock_turn(&now);
    loop_run(loop);
    inbox_read(&inbox, NULL);
    wheel_run(&wheel, clock_turn_ms(&now), 1024);
}

static double begin(void)
{
    uint64_t start_ns = clock_mono_ns();
    workers = workers_create();
    if (store_node_open(&config, workers, 1, &node) != ERR_OK) abort();
    struct loop_options options = {.socks_max = 16,
                                   .recv_buffers = 16,
                                   .recv_buffer_size = 4096,
                                   .sq_entries = 64,
                                   .cq_entries = 256};
    if (loop_create(&options, &loop) != ERR_OK) abort();
    loop_start(loop);
    inbox_init(&inbox, loop);
    clock_turn(&now);
    wheel_init(&wheel, clock_turn_ms(&now));
    struct store_env env = {.shards_count = 1,
                            .loop = loop,
                            .inbox = &inbox,
                            .wheel = &wheel,
                            .clock = &now,
                            .rng = &rng,
                            .metrics = &metrics,
                            .workers = workers,
                            .config = &config,
                            .sink = {.on_publication = on_publication,
                                     .on_members = on_members,
                                     .on_cursor = on_cursor,
                                     .on_removed = on_removed,
                                     .on_lost = on_lost}};
    store = store_attach(node, &env);
    if (store == NULL) abort();
    double ms = (double)(clock_mono_ns() - start_ns) / 1e6;
    opened = 0;
    for (uint32_t i = 0; i < CHANNELS; i++) {
        snprintf(names[i], sizeof names[i], "room:%u", i);
        channels[i] = (struct store_channel){.name = bytes_of_text(names[i])};
        if (load->is_kept) channels[i].history = (struct history_rule){100000, 86400000};
        opens[i] =
            (struct store_open){.channel = &channels[i], .window_max = 100, .on_opened = on_opened};
        store_open(store, &opens[i]);
    }
    while (opened < CHANNELS) {
        turn(true);
        store_submit(store);
    }
    return ms;
}

static double end(void)
{
    while (store_pending(store) > 0) {
        turn(true);
        store_submit(store);
    }
    for (uint32_t i = 0; i < CHANNELS; i++) store_close(store, &channels[i]);
    uint64_t start_ns = clock_mono_ns();
    store_detach(store);
    store_node_close(node);
    double ms = (double)(clock_mono_ns() - start_ns) / 1e6;
    workers_destroy(workers);
    inbox_fini(&inbox);
    loop_destroy(loop);
    return ms;
}

static void ask(struct bytes data)
{
    struct flight *flight = idle;
    idle = flight->next;
    memset(&flight->op, 0, sizeof flight->op);
    flight->op.channel = &channels[rng_below(&rng, CHANNELS)];
    flight->op.type = RECORD_PUBLICATION;
    flight->op.publication.data = data;
    if (load->has_key) {
        flight->op.scope = BYTES_LITERAL("api");
        flight->op.key = bytes_of(
            flight->key, (size_t)snprintf(flight->key, sizeof flight->key, "key-%016llx", asked++));
    }
    flight->op.on_appended = on_appended;
    flight->asked_ns = clock_mono_ns();
    store_append(store, &flight->op);
}

static int compare(const void *a, const void *b)
{
    uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;
    return left < right ? -1 : left > right;
}

static double cpu_s(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static void fill(uint32_t batch, double seconds, bool is_waiting)
{
    static uint8_t data[200];
    idle = NULL;
    for (uint32_t i = 0; i < 2 * batch; i++) {
        flights[i].next = idle;
        idle = &flights[i];
    }
    done = samples = 0;
    uint64_t stop_ns = clock_mono_ns() + (uint64_t)(seconds * 1e9);
    while (clock_mono_ns() < stop_ns) {
        for (uint32_t i = 0; i < batch && idle != NULL; i++) ask(bytes_of(data, sizeof data));
        store_submit(store);
        turn(is_waiting);
    }
}

static void run(uint32_t engine, uint32_t batch, double seconds)
{
    char command[512];
    config.storage_engine = engine;
    snprintf(command, sizeof command, "rm -rf %s", config.storage_path);
    if (system(command) != 0) abort();
    begin();
    uint64_t commits = metrics.values[METRIC_STORE_COMMITS];
    double cpu = cpu_s();
    fill(batch, seconds, engine != CONFIG_ENGINE_MEMORY);
    commits = metrics.values[METRIC_STORE_COMMITS] - commits;
    cpu = cpu_s() - cpu;
    uint64_t rows = done;
    double end_ms = end();
    double start_ms = begin();
    end();
    qsort(samples_us, samples, sizeof *samples_us, compare);
    printf("%-8s %6u %9.0f %9.0f %7.1f %7u %7u %7u %7.2f %8.0f %8.0f\n",
           engine == CONFIG_ENGINE_MEMORY ? "memory" : load->name, batch, (double)rows / seconds,
           (double)commits / seconds, (double)rows / (double)(commits + 1), samples_us[samples / 2],
           samples_us[(uint64_t)samples * 99 / 100], samples_us[samples - 1],
           cpu * 1e6 / (double)(rows + 1), end_ms, start_ms);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    double seconds = argc > 1 ? atof(argv[1]) : 3;
    char command[512];
    config.storage_path = argc > 2 ? argv[2] : "/var/tmp/bench_store";
    config.storage_durability = CONFIG_DURABLE;
    config.storage_index_lag_max_bytes = 256u << 20;
    config.storage_dedup_horizon_ms = 86400000;
    config.storage_dedup_keys_max = 100000;
    config.channel_history_meta_ttl_ms = 86400000;
    config.without_namespace.history_meta_ttl_ms = 86400000;
    rng_seed(&rng, 1);
    printf("%-8s %6s %9s %9s %7s %7s %7s %7s %7s %8s %8s\n", "load", "batch", "rows/s", "commits/s",
           "rows/c", "p50 us", "p99 us", "max us", "us CPU", "end ms", "start ms");
    for (uint32_t batch = 1; batch <= 1000; batch *= 10) run(CONFIG_ENGINE_MEMORY, batch, seconds);
    for (uint32_t batch = 1; batch <= 1000; batch *= 10) {
        run(CONFIG_ENGINE_EMBEDDED, batch, seconds);
    }
    for (load = &loads[1]; load < loads + array_count(loads); load++) {
        for (uint32_t batch = 10; batch <= 1000; batch *= 10)
            run(CONFIG_ENGINE_EMBEDDED, batch, seconds);
    }
    load = &loads[0];
    pid_t pid = fork();
    if (pid == 0) {
        begin();
        fill(100, seconds, true);
        kill(getpid(), 9);
    }
    waitpid(pid, NULL, 0);
    printf("start after a kill: %.0f ms\n", begin());
    end();
    snprintf(command, sizeof command, "rm -rf %s", config.storage_path);
    return system(command);
}
