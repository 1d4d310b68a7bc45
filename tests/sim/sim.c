/*
 * sluice_sim: real shards, a simulated world, one seed.
 *
 *   sluice_sim --seed 42            one run; --trace prints every event
 *   sluice_sim --seeds 1..1000      many, each in a process of its own
 *   sluice_sim --seeds 1..100 --fault drop-letter
 *                                   a planted fault: succeeds when it is found
 */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "core/check.h"
#include "core/log.h"
#include "run.h"
#include "world.h"

#define SEED_SECONDS_MAX 120 /* of real time: then a run hangs */
#define JOBS_MAX         64

struct options {
    uint64_t first, last, steps_max;
    uint32_t jobs;
    bool is_range, is_logging;
    const char *fault;
};

static const char usage[] =
    "usage: sluice_sim --seed N | --seeds A..B [--jobs N] [--steps N] [--trace] [--log]\n"
    "                  [--memory] [--fault NAME, as in world.h]\n";

/* A killed life leaves behind what libraries had from the C library's heap; the
 * gateway's own memory is counted by mem_sim.c. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "detect_leaks=0";
}

static void on_signal(int number)
{
    char title[64];
    snprintf(title, sizeof(title), "%s",
             number == SIGALRM ? "the run hangs" : "the gateway crashed");
    world_print_story(title);
    fflush(NULL);
    _exit(1);
}

static bool parse_number(const char *text, uint64_t *number)
{
    char *end;
    errno = 0;
    *number = strtoull(text, &end, 10);
    return errno == 0 && end != text && *end == '\0';
}

static bool parse_range(const char *text, struct options *options)
{
    char first[32];
    const char *dots = strstr(text, "..");
    if (dots == NULL || (size_t)(dots - text) >= sizeof(first)) return false;
    memcpy(first, text, (size_t)(dots - text));
    first[dots - text] = '\0';
    options->is_range = true;
    return parse_number(first, &options->first) && parse_number(dots + 2, &options->last) &&
           options->first <= options->last;
}

static bool parse_fault(const char *name)
{
    world.fault = fault_of(name);
    return world.fault != FAULT_NONE;
}

static bool parse(int count, char **words, struct options *options)
{
    bool has_seed = false;
    uint64_t number;
    options->jobs = 1;
    for (int i = 1; i < count; i++) {
        const char *word = words[i], *value = i + 1 < count ? words[i + 1] : "";
        if (strcmp(word, "--trace") == 0) {
            world.is_printing = true;
            continue;
        }
        if (strcmp(word, "--memory") == 0) {
            world.is_memory = true;
            continue;
        }
        if (strcmp(word, "--log") == 0) {
            options->is_logging = true;
            continue;
        }
        i++;
        if (strcmp(word, "--seed") == 0 && parse_number(value, &options->first))
            has_seed = true, options->last = options->first;
        else if (strcmp(word, "--seeds") == 0 && parse_range(value, options))
            has_seed = true;
        else if (strcmp(word, "--steps") == 0 && parse_number(value, &options->steps_max))
            continue;
        else if (strcmp(word, "--jobs") == 0 && parse_number(value, &number) && number >= 1 &&
                 number <= JOBS_MAX)
            options->jobs = (uint32_t)number;
        else if (strcmp(word, "--fault") == 0 && parse_fault(value))
            options->fault = value;
        else
            return false;
    }
    return has_seed;
}

static void run_one(const struct options *options, uint64_t seed, struct run_result *result)
{
    static char replay[128];
    snprintf(replay, sizeof(replay), "sluice_sim --seed %" PRIu64 "%s%s%s", seed,
             world.is_memory ? " --memory" : "", options->fault == NULL ? "" : " --fault ",
             options->fault == NULL ? "" : options->fault);
    world.replay = replay;
    log_set_level(options->is_logging ? LOG_DEBUG : LOG_NONE);
    signal(SIGABRT, on_signal);
    signal(SIGSEGV, on_signal);
    signal(SIGBUS, on_signal);
    signal(SIGALRM, on_signal);
    alarm(SEED_SECONDS_MAX);
    run_seed(seed, options->steps_max, result);
    alarm(0);
}

static void print_result(const struct run_result *result)
{
    printf("seed %" PRIu64 ": %" PRIu64 " steps, %.3f virtual s, %u lives, %" PRIu64
           " messages, %" PRIu64 " acked, %" PRIu64 " delivered, %" PRIu64 " recovered, %" PRIu64
           " not, trace %016" PRIx64 "\n",
           result->seed, result->steps, (double)result->virtual_ns / 1e9, result->lives,
           result->messages, result->acked, result->delivered, result->recovered,
           result->unrecovered, result->trace_hash);
}

/* A run in a child: it may crash, and nothing of one seed reaches the next. */
struct child {
    pid_t process;
    int pipe;
    uint64_t seed;
};

static struct child child_start(const struct options *options, uint64_t seed)
{
    int ends[2];
    check(pipe(ends) == 0);
    fflush(NULL);
    pid_t process = fork();
    check(process >= 0);
    if (process == 0) {
        struct run_result result;
        close(ends[0]);
        world.is_quiet = options->fault != NULL;
        run_one(options, seed, &result);
        ssize_t written = write(ends[1], &result, sizeof(result));
        _exit(written == sizeof(result) ? 0 : 1);
    }
    close(ends[1]);
    return (struct child){process, ends[0], seed};
}

static bool child_end(struct child *child, struct run_result *result)
{
    int status;
    bool is_whole = read(child->pipe, result, sizeof(*result)) == (ssize_t)sizeof(*result);
    close(child->pipe);
    while (waitpid(child->process, &status, 0) < 0) check(errno == EINTR);
    return is_whole && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

struct totals {
    uint64_t seeds, failed, steps, delivered, acked, recovered, unrecovered, lives;
    double virtual_s;
};

static void totals_add(struct totals *totals, const struct run_result *result)
{
    totals->steps += result->steps;
    totals->delivered += result->delivered;
    totals->acked += result->acked;
    totals->recovered += result->recovered;
    totals->unrecovered += result->unrecovered;
    totals->lives += result->lives;
    totals->virtual_s += (double)result->virtual_ns / 1e9;
}

static int run_range(const struct options *options)
{
    struct totals totals = {0};
    struct child children[JOBS_MAX];
    uint32_t running = 0, first = 0;
    double start = seconds(), shown = start;
    uint64_t next = options->first, found = 0;
    while (running > 0 || (next <= options->last && found == 0)) {
        if (running < options->jobs && next <= options->last && found == 0) {
            children[(first + running++) % JOBS_MAX] = child_start(options, next++);
            continue;
        }
        struct run_result result;
        struct child *child = &children[first % JOBS_MAX];
        bool is_good = child_end(child, &result);
        first++;
        running--;
        totals.seeds++;
        if (is_good) totals_add(&totals, &result);
        totals.failed += !is_good;
        if (!is_good && options->fault != NULL && found == 0) found = child->seed;
        if (seconds() - shown < 1) continue;
        shown = seconds();
        printf("seed %" PRIu64 ": %" PRIu64 " clean, %" PRIu64 " failed, %.1f seeds/s\n",
               child->seed, totals.seeds - totals.failed, totals.failed,
               (double)totals.seeds / (shown - start));
    }
    double spent = seconds() - start;
    printf("%" PRIu64 " seeds, %" PRIu64 " failed, %.1f s, %.1f seeds/s: %" PRIu64
           " steps, %.0f virtual s, %" PRIu64 " lives, %" PRIu64 " acked, %" PRIu64
           " delivered, %" PRIu64 " recovered, %" PRIu64 " not\n",
           totals.seeds, totals.failed, spent, (double)totals.seeds / spent, totals.steps,
           totals.virtual_s, totals.lives, totals.acked, totals.delivered, totals.recovered,
           totals.unrecovered);
    if (options->fault == NULL) return totals.failed == 0 ? 0 : 1;
    if (found == 0)
        printf("planted fault %s was NOT found\n", options->fault);
    else
        printf("planted fault %s found by seed %" PRIu64 "\n", options->fault, found);
    return found == 0 ? 1 : 0;
}

int main(int count, char **words)
{
    struct options options = {0};
    if (!parse(count, words, &options)) {
        fputs(usage, stderr);
        return 2;
    }
    if (options.is_range) return run_range(&options);
    struct run_result result;
    run_one(&options, options.first, &result);
    print_result(&result);
    return 0;
}
