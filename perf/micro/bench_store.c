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

#include "core/mem.h"
#include "perf/store/rig.h"

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

static struct rig rig;
static struct store_channel channels[CHANNELS];
static struct store_open opens[CHANNELS];
static char names[CHANNELS][16];
static struct flight flights[UNDER_WAY_MAX], *idle;
static uint32_t opened;
static uint64_t done;
static unsigned long long asked;
static uint32_t samples_us[SAMPLES], samples;

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

static double begin(void)
{
    uint64_t start_ns = clock_mono_ns();
    rig_begin(&rig, &(struct store_sink){0});
    double ms = (double)(clock_mono_ns() - start_ns) / 1e6;
    opened = 0;
    for (uint32_t i = 0; i < CHANNELS; i++) {
        snprintf(names[i], sizeof names[i], "room:%u", i);
        channels[i] = (struct store_channel){.name = bytes_of_text(names[i])};
        if (load->is_kept) channels[i].history = (struct history_rule){100000, 86400000};
        opens[i] =
            (struct store_open){.channel = &channels[i], .window_max = 100, .on_opened = on_opened};
        store_open(rig.store, &opens[i]);
    }
    while (opened < CHANNELS) rig_turn(&rig);
    return ms;
}

static double end(void)
{
    while (store_pending(rig.store) > 0) rig_turn(&rig);
    for (uint32_t i = 0; i < CHANNELS; i++) store_close(rig.store, &channels[i]);
    uint64_t start_ns = clock_mono_ns();
    rig_end(&rig);
    return (double)(clock_mono_ns() - start_ns) / 1e6;
}

static void ask(struct bytes data)
{
    struct flight *flight = idle;
    idle = flight->next;
    memset(&flight->op, 0, sizeof flight->op);
    flight->op.channel = &channels[rng_below(&rig.rng, CHANNELS)];
    flight->op.type = RECORD_PUBLICATION;
    flight->op.publication.data = data;
    if (load->has_key) {
        flight->op.scope = BYTES_LITERAL("api");
        flight->op.key = bytes_of(
            flight->key, (size_t)snprintf(flight->key, sizeof flight->key, "key-%016llx", asked++));
    }
    flight->op.on_appended = on_appended;
    flight->asked_ns = clock_mono_ns();
    store_append(rig.store, &flight->op);
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
        rig_submit(&rig);
        rig_hear(&rig, is_waiting ? clock_turn_ms(&rig.clock) + 1 : 0);
    }
}

static void run(uint32_t engine, uint32_t batch, double seconds)
{
    rig.config.storage_engine = engine;
    rig_empty(rig.config.storage_path);
    begin();
    uint64_t commits = rig.metrics.values[METRIC_STORE_COMMITS];
    double cpu = cpu_s();
    fill(batch, seconds, engine != CONFIG_ENGINE_MEMORY);
    commits = rig.metrics.values[METRIC_STORE_COMMITS] - commits;
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
    const char *path = argc > 2 ? argv[2] : "/var/tmp/bench_store";
    rig_config_embedded(&rig, path);
    rig.config.storage_dedup_keys_max = 100000;
    rng_seed(&rig.rng, 1);
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
    rig_empty(path);
    return 0;
}
