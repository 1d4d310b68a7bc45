/*
 * people_main: the seeds of a property program.
 *
 *   p0N_x               seeds 1 to 100
 *   p0N_x 42            that one, here, with the story when it fails
 *   p0N_x 1..25         those
 *   p0N_x --fault       each fault that it is meant to find, planted: succeeds when all are found
 */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/check.h"
#include "core/log.h"
#include "people.h"

#define SEED_SECONDS_MAX 120 /* of real time: then a round hangs */
#define CRASHED          3

/* A killed life leaves behind what libraries had from the C library's heap; the
 * gateway's own memory is counted by mem_sim.c. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "detect_leaks=0";
}

static void on_signal(int number)
{
    world_print_story(number == SIGALRM ? "the round hangs" : "the gateway crashed");
    fflush(NULL);
    _exit(CRASHED);
}

static void run_seed(const char *program, uint64_t seed, void (*round)(void))
{
    static char replay[256];
    snprintf(replay, sizeof(replay), "%s %" PRIu64, program, seed);
    world.replay = replay;
    log_set_level(LOG_NONE);
    signal(SIGABRT, on_signal);
    signal(SIGSEGV, on_signal);
    signal(SIGBUS, on_signal);
    signal(SIGALRM, on_signal);
    alarm(SEED_SECONDS_MAX);
    world_init(seed);
    round();
    alarm(0);
}

/* 0: the round held; 1: a property did not; else it crashed. */
static int run_child(const char *program, uint64_t seed, void (*round)(void))
{
    int status;
    fflush(NULL);
    pid_t process = fork();
    check(process >= 0);
    if (process == 0) {
        run_seed(program, seed, round);
        _exit(0);
    }
    while (waitpid(process, &status, 0) < 0) check(errno == EINTR);
    return WIFEXITED(status) ? WEXITSTATUS(status) : CRASHED;
}

static int find_faults(const char *program, uint64_t last, void (*round)(void),
                       const enum sim_fault *faults, uint32_t faults_count)
{
    for (uint32_t i = 0; i < faults_count; i++) {
        uint64_t seed = 1;
        int result = 0;
        world.fault = faults[i];
        world.is_quiet = true;
        while (seed <= last && (result = run_child(program, seed, round)) == 0) seed++;
        if (result != 1) {
            printf("planted fault %s was NOT found%s\n", fault_name(faults[i]),
                   result == 0 ? "" : ": the gateway crashed");
            return 1;
        }
        printf("planted fault %s found by seed %" PRIu64 "\n", fault_name(faults[i]), seed);
    }
    return 0;
}

int people_main(int count, char **words, void (*round)(void), const enum sim_fault *faults,
                uint32_t faults_count)
{
    uint64_t first = 1, last = 100, failed = 0;
    bool has_faults = count > 1 && strcmp(words[1], "--fault") == 0;
    if (count > 1 && !has_faults) {
        char *end;
        first = last = strtoull(words[1], &end, 10);
        if (strncmp(end, "..", 2) == 0) last = strtoull(end + 2, NULL, 10);
        if (first == last) {
            run_seed(words[0], first, round);
            printf("seed %" PRIu64 " holds: %" PRIu64 " steps, %u texts, %u kills\n", first,
                   world.steps, people.texts_count, people.kills);
            return 0;
        }
    }
    if (has_faults) return find_faults(words[0], last, round, faults, faults_count);
    for (uint64_t seed = first; seed <= last; seed++)
        failed += run_child(words[0], seed, round) != 0;
    printf("%" PRIu64 " seeds, %" PRIu64 " failed\n", last - first + 1, failed);
    return failed == 0 ? 0 : 1;
}
