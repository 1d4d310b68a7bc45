/* bed: publications asked of a store. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/mem.h"
#include "perf/store/rig.h"
#include "perf/store/run.h"

#define FLIGHTS_MAX  (1u << 18)
#define CHANNELS_MAX 100000
#define KEY_SIZE     22 /* 128 bits in base64 */

struct flight {
    struct store_append op; /* first */
    uint64_t due_ns;
    struct flight *next;
    char key[KEY_SIZE];
};

static struct {
    struct rig rig;
    struct store_channel *channels;
    struct store_open *opens;
    char (*names)[16];
    uint32_t channels_count, opened;
    struct flight *flights, *idle;
    uint32_t under_way;
    uint64_t acks; /* of all runs, warm-ups included */
    uint8_t payload[4096];
    struct run_result *result; /* NULL: not measuring */
} bed;

static void on_opened(struct store_open *op, enum err err, const struct store_snapshot *snapshot)
{
    (void)op, (void)snapshot;
    if (err != ERR_OK) abort();
    bed.opened++;
}

static void on_appended(struct store_append *op, enum err err, uint64_t offset, bool is_repeat)
{
    (void)offset;
    struct flight *flight = (struct flight *)op;
    if (is_repeat || (err != ERR_OK && err != ERR_STORE_LAG)) abort();
    flight->next = bed.idle;
    bed.idle = flight;
    bed.under_way--;
    if (err == ERR_OK) bed.acks++;
    if (bed.result == NULL) return;
    if (err != ERR_OK) {
        bed.result->refused++;
        return;
    }
    uint64_t now = clock_mono_ns();
    bed.result->acks++;
    spread_add(&bed.result->spread, now > flight->due_ns ? now - flight->due_ns : 0);
}

static void channels_open(const struct run_plan *plan)
{
    bed.channels_count = plan->channels;
    bed.channels = mem_alloc(plan->channels * sizeof *bed.channels);
    bed.opens = mem_alloc(plan->channels * sizeof *bed.opens);
    bed.names = mem_alloc(plan->channels * sizeof *bed.names);
    for (uint32_t i = 0; i < plan->channels; i++) {
        snprintf(bed.names[i], sizeof bed.names[i], "room:%u", i);
        bed.channels[i] = (struct store_channel){.name = bytes_of_text(bed.names[i]),
                                                 .history = {plan->history, 7 * 86400000ull}};
        bed.opens[i] = (struct store_open){
            .channel = &bed.channels[i], .window_max = 1000, .on_opened = on_opened};
        store_open(bed.rig.store, &bed.opens[i]);
    }
    while (bed.opened < plan->channels) rig_turn(&bed.rig);
}

static void bed_config(const struct run_plan *plan)
{
    static char path[512];
    snprintf(path, sizeof path, "%s/data", plan->directory);
    char command[600];
    snprintf(command, sizeof command, "rm -rf '%s' && mkdir -p '%s'", path, plan->directory);
    if (system(command) != 0) abort();
    rig_config_embedded(&bed.rig, path);
    bed.rig.config.storage_index_lag_max_bytes = plan->lag_max;
}

static void ask(const struct run_plan *plan, uint64_t due_ns)
{
    static const char letters[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    struct flight *flight = bed.idle;
    bed.idle = flight->next;
    bed.under_way++;
    flight->due_ns = due_ns;
    flight->op = (struct store_append){
        .channel = &bed.channels[rng_below(&bed.rig.rng, bed.channels_count)],
        .type = RECORD_PUBLICATION,
        .publication = {.data = bytes_of(bed.payload, plan->payload)},
        .on_appended = on_appended,
    };
    if (plan->has_keys) {
        uint64_t bits = 0;
        for (uint32_t i = 0; i < KEY_SIZE; i++, bits >>= 6) {
            if (i % 10 == 0) bits = rng_next(&bed.rig.rng);
            flight->key[i] = letters[bits & 63];
        }
        flight->op.scope = BYTES_LITERAL("user1");
        flight->op.key = bytes_of(flight->key, KEY_SIZE);
    }
    store_append(bed.rig.store, &flight->op);
}

static uint64_t lag_bytes(void)
{
    return bed.rig.metrics.values[METRIC_STORE_LAG_BYTES];
}

/* Fills every channel's history, so that what is measured deletes as much as it
 * writes and finds the log's files made. */
static void prime(const struct run_plan *plan)
{
    uint64_t left = plan->is_primed ? (uint64_t)plan->channels * plan->history : 0;
    while (left > 0) {
        for (; left > 0 && bed.under_way < 8192; left--) ask(plan, clock_mono_ns());
        rig_submit(&bed.rig);
        rig_hear(&bed.rig, clock_turn_ms(&bed.rig.clock) + 1);
    }
    rig_settle(&bed.rig);
}

void bed_open(const struct run_plan *plan)
{
    if (plan->channels > CHANNELS_MAX || plan->payload > sizeof bed.payload) abort();
    bed_config(plan);
    rng_seed(&bed.rig.rng, clock_mono_ns());
    rig_begin(&bed.rig, &(struct store_sink){0});
    bed.flights = mem_reserve(FLIGHTS_MAX * sizeof *bed.flights);
    for (uint32_t i = FLIGHTS_MAX; i-- > 0;) {
        bed.flights[i].next = bed.idle;
        bed.idle = &bed.flights[i];
    }
    channels_open(plan);
    prime(plan);
}

/* Waits like a shard would: for the disk, else for the next arrival. */
static void rest(uint64_t due_ns)
{
    if (bed.under_way > 0) {
        rig_hear(&bed.rig, clock_turn_ms(&bed.rig.clock) + 1);
        return;
    }
    struct timespec time = {(time_t)(due_ns / 1000000000u), (long)(due_ns % 1000000000u)};
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &time, NULL);
    rig_hear(&bed.rig, 0);
}

/* What came since the line before. */
static void line_while(const struct run_result *result, double at, double seconds)
{
    static struct spread before, since;
    static uint64_t refused;
    since = result->spread;
    for (uint32_t i = 0; i < SPREAD_BUCKETS; i++) since.counts[i] -= before.counts[i];
    since.total -= before.total;
    printf("  %6.0f s  %9.0f acks/s  p50 %8.0f  p99 %8.0f  p99.9 %8.0f us  %6.1f MB behind  "
           "%llu refused\n",
           at, (double)since.total / seconds, spread_us(&since, 0.5), spread_us(&since, 0.99),
           spread_us(&since, 0.999), (double)lag_bytes() / 1e6,
           (unsigned long long)(result->refused - refused));
    fflush(stdout);
    before = result->spread;
    refused = result->refused;
}

struct marks {
    uint64_t start, measured, stop, reported;
    uint64_t thread_ns, commits;
};

static void measure(struct marks *marks, struct run_result *result, uint64_t now)
{
    marks->measured = marks->reported = now;
    marks->thread_ns = run_thread_ns();
    marks->commits = bed.rig.metrics.values[METRIC_STORE_COMMITS];
    bed.result = result;
}

void bed_run(const struct run_plan *plan, struct run_result *result)
{
    rig_settle(&bed.rig);
    *result = (struct run_result){0};
    uint64_t acks = bed.acks, process_ns = run_process_ns();
    uint64_t disk_bytes = run_disk_bytes(plan->directory);
    double gap_ns = plan->rate > 0 ? 1e9 / plan->rate : 0;
    uint64_t asked = 0;
    struct marks marks = {.start = clock_mono_ns()};
    marks.measured = marks.start + (uint64_t)(plan->warm_up * 1e9);
    marks.stop = marks.measured + (uint64_t)(plan->seconds * 1e9);
    for (uint64_t now = marks.start; now < marks.stop; now = clock_mono_ns()) {
        if (bed.result == NULL && now >= marks.measured) measure(&marks, result, now);
        if (plan->rate > 0) {
            uint64_t due = (uint64_t)((double)(now - marks.start) / gap_ns) + 1;
            while (asked < due && bed.idle != NULL)
                ask(plan, marks.start + (uint64_t)((double)asked++ * gap_ns));
        } else {
            while (bed.under_way < plan->flights) ask(plan, now);
        }
        rig_submit(&bed.rig);
        if (lag_bytes() > result->lag_bytes) result->lag_bytes = lag_bytes();
        rest(marks.start + (uint64_t)((double)asked * gap_ns) + 1);
        if (plan->report_every > 0 && bed.result != NULL &&
            (double)(now - marks.reported) >= plan->report_every * 1e9) {
            line_while(result, (double)(now - marks.measured) / 1e9,
                       (double)(now - marks.reported) / 1e9);
            marks.reported = now;
        }
    }
    bed.result = NULL;
    result->seconds = (double)(clock_mono_ns() - marks.measured) / 1e9;
    result->thread_ns = run_thread_ns() - marks.thread_ns;
    result->commits = bed.rig.metrics.values[METRIC_STORE_COMMITS] - marks.commits;
    rig_settle(&bed.rig);
    double each = bed.acks > acks ? (double)(bed.acks - acks) : 1;
    result->process_ns_each = (double)(run_process_ns() - process_ns) / each;
    result->disk_bytes_each = (double)(run_disk_bytes(plan->directory) - disk_bytes) / each;
}

void bed_close(void)
{
    rig_settle(&bed.rig);
    for (uint32_t i = 0; i < bed.channels_count; i++) store_close(bed.rig.store, &bed.channels[i]);
    rig_end(&bed.rig);
    mem_unreserve(bed.flights, FLIGHTS_MAX * sizeof *bed.flights);
    mem_free(bed.channels);
    mem_free(bed.opens);
    mem_free(bed.names);
}
