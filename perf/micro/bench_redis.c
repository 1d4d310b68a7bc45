/*
 * Appends through the Redis engine: publications a second with so many under
 * way, and what the shard's own thread pays for one.
 *
 *   bench_redis host:port                  a Redis that may be written to; prefix "bench"
 *   bench_redis host:port N [keys]         only with N under way (perf/redis)
 *   bench_redis host:port RATE/s [keys]    so many a second, each due whatever became of
 *                                          those before: how long an answer takes
 *   bench_redis host:port N keys R         waiting for R replicas
 *   bench_redis host:port N keys R PID     with the CPU of the server, which is that process
 *
 * One shard, 100 channels of 1,000 publications, 200 bytes each, listening to
 * its own channels as a gateway does.  Server and client share the machine, so
 * the CPU time of this thread is the figure to compare.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "core/check.h"
#include "core/mem.h"
#include "perf/store/rig.h"

#define CHANNELS  100
#define ASKS_MAX  4096
#define BODY_SIZE 200
#define ROUND_MS  2000

#define LATENCIES_MAX 400000

struct shard {
    struct rig rig;
    struct store_channel channels[CHANNELS];
    char names[CHANNELS][32];
    struct store_open opens[CHANNELS];
    struct store_append asks[ASKS_MAX];
    uint32_t opened, under_way, failed;
    uint64_t answered, heard, keys;
    uint64_t due_ns[ASKS_MAX]; /* of a rate: when each was due; 0: it is free */
    uint32_t us[LATENCIES_MAX], us_count;
    char texts[ASKS_MAX][24];
    bool has_keys;
};

static struct shard shard;
static uint8_t body[BODY_SIZE];

static void on_publication(void *context, struct store_channel *channel,
                           const struct publication *publication)
{
    (void)context, (void)channel, (void)publication;
    shard.heard++;
}
static void on_opened(struct store_open *op, enum err err, const struct store_snapshot *snapshot)
{
    (void)op, (void)snapshot;
    check(err == ERR_OK);
    shard.opened++;
}

static void on_appended(struct store_append *op, enum err err, uint64_t offset, bool is_repeat)
{
    (void)op, (void)offset, (void)is_repeat;
    shard.under_way--;
    shard.failed += err != ERR_OK;
    shard.answered++;
    uint64_t *due_ns = &shard.due_ns[op - shard.asks];
    if (*due_ns == 0) return;
    if (shard.us_count < LATENCIES_MAX)
        shard.us[shard.us_count++] = (uint32_t)((clock_mono_ns() - *due_ns) / 1000);
    *due_ns = 0;
}

static void begin(const char *address, uint32_t wait_replicas)
{
    shard.rig.config = (struct config){.storage_engine = CONFIG_ENGINE_REDIS,
                                       .storage_dedup_horizon_ms = 60000,
                                       .redis_address = address,
                                       .redis_prefix = "bench",
                                       .redis_partitions = 16,
                                       .redis_user = "",
                                       .redis_password = "",
                                       .redis_connect_timeout_ms = 1000,
                                       .redis_io_timeout_ms = 4000,
                                       .redis_wait_replicas = wait_replicas,
                                       .redis_wait_timeout_ms = 3000};
    rng_seed(&shard.rig.rng, 1);
    rig_begin(&shard.rig, &(struct store_sink){.on_publication = on_publication});
    for (uint32_t i = 0; i < CHANNELS; i++) {
        struct store_channel *channel = &shard.channels[i];
        snprintf(shard.names[i], sizeof shard.names[i], "chat:%u", i);
        channel->name = bytes_of_text(shard.names[i]);
        channel->history = (struct history_rule){1000, 3600000};
        shard.opens[i] =
            (struct store_open){.channel = channel, .window_max = 10, .on_opened = on_opened};
        store_open(shard.rig.store, &shard.opens[i]);
    }
    while (shard.opened < CHANNELS) rig_turn(&shard.rig);
}

static void ask(struct store_append *op)
{
    uint64_t number = ++shard.keys;
    char *text = shard.texts[op - shard.asks];
    int size = snprintf(text, sizeof shard.texts[0], "k%llu-%llu", (unsigned long long)number,
                        (unsigned long long)clock_wall_ms() % 100000);
    *op = (struct store_append){.channel = &shard.channels[number % CHANNELS],
                                .type = RECORD_PUBLICATION,
                                .publication = {.data = bytes_of(body, sizeof body)},
                                .key = bytes_of(text, shard.has_keys ? (size_t)size : 0),
                                .on_appended = on_appended};
    shard.under_way++;
    store_append(shard.rig.store, op);
}

static uint64_t cpu_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

/* CPU of the server, or 0. */
static uint64_t server_ns(const char *pid)
{
    char path[64];
    unsigned long long ns = 0;
    snprintf(path, sizeof path, "/proc/%s/schedstat", pid);
    FILE *file = pid[0] == 0 ? NULL : fopen(path, "r");
    if (file == NULL || fscanf(file, "%llu", &ns) != 1) ns = 0;
    if (file != NULL) fclose(file);
    return ns;
}

static void round_of(uint32_t asks, const char *pid)
{
    uint64_t server = server_ns(pid);
    uint64_t cpu = cpu_ns(), started = clock_mono_ns(), answered = shard.answered;
    uint64_t heard = shard.heard, commits = shard.rig.metrics.values[METRIC_STORE_COMMITS];
    while (clock_mono_ns() - started < ROUND_MS * 1000000ull) {
        /* A slot is free when its op was answered: then `engine` is NULL. */
        for (uint32_t i = 0; i < asks; i++)
            if (shard.asks[i].engine == NULL) ask(&shard.asks[i]);
        rig_turn(&shard.rig);
    }
    while (shard.under_way > 0) rig_turn(&shard.rig);
    server = server_ns(pid) - server;
    double seconds = (double)(clock_mono_ns() - started) / 1e9;
    double count = (double)(shard.answered - answered);
    commits = shard.rig.metrics.values[METRIC_STORE_COMMITS] - commits;
    printf("%6u under way, %s: %8.0f /s, %6.2f a call, %6.0f ns of CPU each, %5.0f us waiting, "
           "%u failed, %.3f heard each, %6.0f ns of the server\n",
           asks, shard.has_keys ? "keys   " : "no keys", count / seconds, count / (double)commits,
           (double)(cpu_ns() - cpu) / count, asks * seconds * 1e6 / count, shard.failed,
           (double)(shard.heard - heard) / count, (double)server / count);
}

static int compare(const void *a, const void *b)
{
    uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;
    return left < right ? -1 : left > right;
}

static void rate_of(double rate)
{
    uint64_t started = clock_mono_ns(), asked = 0, count = (uint64_t)(rate * ROUND_MS / 1000);
    uint64_t commits = shard.rig.metrics.values[METRIC_STORE_COMMITS];
    uint32_t at = 0;
    while (asked < count || shard.under_way > 0) {
        uint64_t due = (uint64_t)((double)(clock_mono_ns() - started) * rate / 1e9) + 1;
        while (asked < min_u64(due, count) && shard.under_way < ASKS_MAX) {
            while (shard.due_ns[at] != 0) at = (at + 1) % ASKS_MAX;
            shard.due_ns[at] = started + (uint64_t)((double)asked++ * 1e9 / rate);
            ask(&shard.asks[at]);
        }
        rig_turn(&shard.rig);
    }
    commits = shard.rig.metrics.values[METRIC_STORE_COMMITS] - commits;
    qsort(shard.us, shard.us_count, sizeof shard.us[0], compare);
    check(shard.us_count > 0);
    printf("%8.0f /s: %6.2f a call, p50 %6u us, p99 %6u us, p99.9 %6u us, %u failed\n", rate,
           (double)count / (double)commits, shard.us[shard.us_count / 2],
           shard.us[shard.us_count * 99ull / 100], shard.us[shard.us_count * 999ull / 1000],
           shard.failed);
}

int main(int argc, char **argv)
{
    static const uint32_t sizes[] = {1, 16, 64, 256, 1024, 4096};
    if (argc < 2 || argc > 6) {
        fprintf(stderr, "usage: bench_redis host:port [under-way [keys [replicas [pid]]]]\n");
        return 2;
    }
    begin(argv[1], argc > 4 ? (uint32_t)atoi(argv[4]) : 0);
    if (argc > 2) {
        shard.has_keys = argc > 3 && strcmp(argv[3], "keys") == 0;
        if (strchr(argv[2], '/') != NULL) {
            rate_of(atof(argv[2]));
            return 0;
        }
        round_of(min_u32((uint32_t)atoi(argv[2]), ASKS_MAX), argc > 5 ? argv[5] : "");
        return 0;
    }
    for (uint32_t keys = 0; keys < 2; keys++) {
        shard.has_keys = keys == 1;
        for (uint32_t i = 0; i < array_count(sizes); i++) round_of(sizes[i], "");
    }
    return 0;
}
