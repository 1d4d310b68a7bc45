/* run: the parent's side. */
#include "run.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "backend.h"
#include "traffic.h"

#define STEP_US 2000 /* between two looks at the parts */

struct course {
    const struct scenario *scenario;
    const struct run_options *options;
    struct outcome *outcome;
    struct tally *tally;
    pid_t children[PROCESSES_MAX];
    uint64_t told_ns, told_count, told_cpu_ns;
    uint64_t memory; /* of the server before anybody came */
};

/* --- a process ------------------------------------------------------------------------------ */

static void pin(const char *cpus, uint32_t process)
{
    int list[64], count = 0;
    char text[256];
    if (cpus == NULL) return;
    snprintf(text, sizeof text, "%s", cpus);
    for (char *next, *at = strtok_r(text, ",", &next); at != NULL && count < 64;
         at = strtok_r(NULL, ",", &next))
        list[count++] = atoi(at);
    if (count == 0) return;
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET((size_t)list[process % (uint32_t)count], &set);
    sched_setaffinity(0, sizeof set, &set);
}

/* How long it may sleep: not at all while something is due, and else until someone may have
 * to look at the phase. */
static uint64_t wake_ms(const struct crowd *crowd)
{
    if (crowd->scenario->spin || traffic_is_paced(crowd)) return 0;
    return now_ns() / 1000000 + (crowd->tally->processes > 1 ? 1 : 5);
}

/* Among programs of one real-time priority whoever runs goes on: the parent, which ends
 * the phases, needs a higher one than who spins. */
static void stand_back(void)
{
    struct sched_param param;
    if (sched_getscheduler(0) != SCHED_FIFO || sched_getparam(0, &param) != 0) return;
    if (param.sched_priority < 2) return;
    param.sched_priority--;
    sched_setscheduler(0, SCHED_FIFO, &param);
}

static void process_live(const struct course *course, uint32_t process)
{
    static struct crowd crowd;
    stand_back();
    pin(course->options->cpus, process);
    crowd_create(&crowd, course->scenario, course->tally, process);
    while (course->tally->phase != PHASE_OVER && !crowd.part->is_failed)
        crowd_turn(&crowd, wake_ms(&crowd));
}

static void fork_all(struct course *course)
{
    pid_t parent = getpid();
    for (uint32_t i = 0; i < course->scenario->processes; i++) {
        pid_t child = fork();
        if (child < 0) {
            snprintf(course->outcome->failure, sizeof course->outcome->failure, "no process %u: %s",
                     i, strerror(errno));
            return;
        }
        if (child == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            if (getppid() == parent) process_live(course, i);
            _exit(0);
        }
        course->children[i] = child;
    }
}

/* --- borders -------------------------------------------------------------------------------- */

static void mark(const struct course *course, struct figures *f, uint64_t *at_ns)
{
    struct tally *tally = course->tally;
    *at_ns = now_ns();
    f->published = tally_sum(tally, published);
    f->delivered = tally_sum(tally, delivered);
    f->acked = tally_sum(tally, acked);
    f->told = tally_sum(tally, told);
    f->bytes = tally_sum(tally, bytes);
    f->wakes = tally_sum(tally, wakes);
    f->pings = tally_sum(tally, pings);
    f->swarm_ns = 0;
    for (uint32_t i = 0; i < tally->processes; i++) {
        struct cpu_time time;
        if (cpu_time_read(course->children[i], -1, &time)) f->swarm_ns += time.ns;
    }
    if (course->options->pid == 0) return;
    cpu_time_read(course->options->pid, course->options->server_cpu, &f->cpu);
    f->shard_ns = thread_cpu_ns(course->options->pid, "shard");
}

static void difference(struct figures *f, const struct figures *a, const struct figures *b)
{
    f->published = b->published - a->published;
    f->delivered = b->delivered - a->delivered;
    f->acked = b->acked - a->acked;
    f->told = b->told - a->told;
    f->bytes = b->bytes - a->bytes;
    f->wakes = b->wakes - a->wakes;
    f->pings = b->pings - a->pings;
    f->swarm_ns = b->swarm_ns - a->swarm_ns;
    f->shard_ns = b->shard_ns - a->shard_ns;
    f->cpu.ns = b->cpu.ns - a->cpu.ns;
    f->cpu.softirq_ns = b->cpu.softirq_ns - a->cpu.softirq_ns;
    f->cpu.user_ticks = b->cpu.user_ticks - a->cpu.user_ticks;
    f->cpu.system_ticks = b->cpu.system_ticks - a->cpu.system_ticks;
}

/* --- phases --------------------------------------------------------------------------------- */

static const char *const phase_names[] = {"waiting",    "away",      "opening",
                                          "warming up", "measuring", "draining"};

/* Once a second: a line for who watches, and a point of the picture. */
static void tell(struct course *course)
{
    struct tally *tally = course->tally;
    struct outcome *out = course->outcome;
    uint64_t now = now_ns();
    if (now - course->told_ns < 1000000000u) return;
    double seconds = (double)(now - course->told_ns) * 1e-9;
    uint64_t count = tally_sum(tally, delivered) + tally_sum(tally, acked);
    struct cpu_time cpu = {0};
    if (course->options->pid != 0)
        cpu_time_read(course->options->pid, course->options->server_cpu, &cpu);
    uint64_t cpu_ns = cpu.ns + cpu.softirq_ns;
    double rate = (double)(count - course->told_count) / seconds;
    double share = (double)(cpu_ns - course->told_cpu_ns) * 1e-9 / seconds;
    if (out->rates_count < RATES_MAX && tally->phase >= PHASE_WARM) {
        out->rates[out->rates_count] = rate;
        out->cpu_shares[out->rates_count++] = course->told_cpu_ns > 0 ? share : 0;
    }
    if (!course->options->is_quiet)
        fprintf(stderr,
                "swarm: %-10s %llu of %u in, %llu published, %.0f a second, server %.2f CPUs\n",
                phase_names[tally->phase], (unsigned long long)tally_sum(tally, ready),
                course->scenario->clients, (unsigned long long)tally_sum(tally, published), rate,
                share);
    course->told_ns = now;
    course->told_count = count;
    course->told_cpu_ns = cpu_ns;
}

/* False when a process has failed, or is gone. */
static bool is_alive(struct course *course)
{
    struct tally *tally = course->tally;
    char *failure = course->outcome->failure;
    for (uint32_t i = 0; i < tally->processes && *failure == 0; i++) {
        int status;
        if (tally->part[i].is_failed)
            snprintf(failure, sizeof course->outcome->failure, "%s", tally->part[i].failure);
        else if (waitpid(course->children[i], &status, WNOHANG) == course->children[i])
            snprintf(failure, sizeof course->outcome->failure, "process %u ended by itself (%d)", i,
                     status);
    }
    return *failure == 0;
}

static void enter(struct course *course, enum phase phase)
{
    course->tally->began_ns = now_ns();
    course->tally->phase = phase;
}

/* Waits until every process has ended the phase; false when something failed. */
static bool finish(struct course *course, double patience)
{
    struct tally *tally = course->tally;
    uint64_t give_up = now_ns() + (uint64_t)(patience * 1e9);
    for (;;) {
        uint32_t ended = 0;
        for (uint32_t i = 0; i < tally->processes; i++)
            ended += tally->part[i].ended == tally->phase + 1u;
        if (!is_alive(course)) return false;
        if (ended == tally->processes) return true;
        if (now_ns() > give_up) break;
        usleep(STEP_US);
        tell(course);
    }
    snprintf(course->outcome->failure, sizeof course->outcome->failure,
             "%s did not end within %.0f s: %llu of %u are in, %llu published, %llu delivered, "
             "%llu answered",
             phase_names[tally->phase], patience, (unsigned long long)tally_sum(tally, ready),
             course->scenario->clients, (unsigned long long)tally_sum(tally, published),
             (unsigned long long)tally_sum(tally, delivered),
             (unsigned long long)tally_sum(tally, acked));
    return false;
}

static bool last(struct course *course, double seconds)
{
    uint64_t end = now_ns() + (uint64_t)(seconds * 1e9);
    while (now_ns() < end) {
        usleep(STEP_US);
        tell(course);
        if (!is_alive(course)) return false;
    }
    return true;
}

/* Of the server, a connection; while they come, and again when a fleet has come to rest. */
static void idle_memory(struct course *course)
{
    if (course->options->pid == 0) return;
    double bytes = (double)resident_bytes(course->options->pid) - (double)course->memory;
    course->outcome->idle_bytes = bytes / course->scenario->clients;
}

static bool opening(struct course *course)
{
    const struct scenario *s = course->scenario;
    struct outcome *out = course->outcome;
    struct figures before = {0}, after = {0};
    uint64_t from, to;
    mark(course, &before, &from);
    enter(course, PHASE_OPEN);
    bool is_good = finish(course, s->patience + (s->open_rate > 0 ? s->clients / s->open_rate : 0));
    mark(course, &after, &to);
    difference(&out->opening, &before, &after);
    out->opening.seconds = (double)(to - from) * 1e-9;
    out->connect_ns = (double)(out->opening.cpu.ns + out->opening.cpu.softirq_ns) / s->clients;
    idle_memory(course);
    return is_good;
}

static bool measuring(struct course *course)
{
    const struct scenario *s = course->scenario;
    struct outcome *out = course->outcome;
    struct figures before = {0}, after = {0};
    uint64_t from, to;
    enter(course, PHASE_WARM);
    if (!last(course, s->warm_up)) return false;
    if (s->kind == KIND_IDLE) idle_memory(course);
    mark(course, &before, &from);
    enter(course, PHASE_MEASURE);
    bool is_good = last(course, s->seconds);
    mark(course, &after, &to);
    difference(&out->measured, &before, &after);
    out->measured.seconds = (double)(to - from) * 1e-9;
    if (!is_good) return false;
    enter(course, PHASE_DRAIN);
    return finish(course, s->patience);
}

static void histogram_sum(struct histogram *sum, const struct histogram *more)
{
    for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++) sum->counts[i] += more->counts[i];
    sum->total += more->total;
    if (more->most > sum->most) sum->most = more->most;
}

/* What the parts say at the end; and that the channels grew by what was acknowledged. */
static void collect(struct course *course)
{
    struct tally *tally = course->tally;
    struct outcome *out = course->outcome;
    for (uint32_t i = 0; i < tally->processes; i++) {
        histogram_sum(&out->latency, &tally->part[i].latency);
        histogram_sum(&out->took, &tally->part[i].opening);
        out->is_unchecked |= tally->part[i].is_unchecked;
    }
    out->resumed = tally_sum(tally, resumed);
    out->closed = tally_sum(tally, closed);
    out->pings = tally_sum(tally, pings);
    if (course->scenario->kind != KIND_SEND || out->is_unchecked || *out->failure != 0) return;
    uint64_t grown = 0, acked = tally_sum(tally, acked);
    for (uint32_t i = 0; i < tally->channels; i++) grown += tally->at[i].grown;
    if (grown != acked)
        snprintf(out->failure, sizeof out->failure,
                 "%llu were acknowledged, the channels grew by %llu", (unsigned long long)acked,
                 (unsigned long long)grown);
}

static void end_all(struct course *course)
{
    enter(course, PHASE_OVER);
    for (uint32_t i = 0; i < course->scenario->processes; i++) {
        if (course->children[i] <= 0) continue;
        int status;
        for (uint32_t waited = 0;
             waited < 500 && waitpid(course->children[i], &status, WNOHANG) == 0; waited++)
            usleep(10000);
        kill(course->children[i], SIGKILL);
        (void)waitpid(course->children[i], &status, 0);
    }
}

void run(const struct scenario *scenario, const struct run_options *options,
         struct outcome *outcome)
{
    static struct course course;
    course = (struct course){.scenario = scenario,
                             .options = options,
                             .outcome = outcome,
                             .tally = tally_create(scenario)};
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    if (*scenario->api_key != 0 &&
        !backend_name_members(scenario, outcome->failure, sizeof outcome->failure))
        return;
    traffic_count_listeners(scenario, course.tally);
    if (options->pid != 0) course.memory = resident_bytes(options->pid);
    bool is_return = scenario->kind == KIND_RETURN;
    course.tally->phase = is_return ? PHASE_AWAY : PHASE_WAIT;
    course.told_ns = now_ns();
    fork_all(&course);
    bool is_good = *outcome->failure == 0;
    if (is_return) is_good = is_good && finish(&course, scenario->patience);
    is_good = is_good && opening(&course);
    if (scenario->kind == KIND_CONNECT || is_return)
        outcome->measured = outcome->opening;
    else
        is_good = is_good && measuring(&course);
    if (is_return && is_good) {
        enter(&course, PHASE_DRAIN);
        (void)finish(&course, scenario->patience);
    }
    collect(&course);
    end_all(&course);
}
