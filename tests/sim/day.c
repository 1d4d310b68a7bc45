/*
 * day: from six in the morning to eleven at night, and what it cost.
 *
 *   sluice_day 200 2500            days of so many people, one seed; a JSON line each
 *   sluice_day --seed 7 200        another day
 *   sluice_day --memory 100000     on the memory engine
 *   sluice_day --until 11 200      only the morning
 *   sluice_day --fault still-cursor 40     a fault of world.h: succeeds when it is found
 *
 * tests/sim/day_figure.py draws such lines.
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
#include "day.h"
#include "fiber.h"
#include "host.h"
#include "office.h"

#define MINUTE       (60 * DAY_SECOND)
#define HOUR         (60 * MINUTE)
#define AT(hour)     (((hour)-6) * HOUR) /* the clock begins at six */
#define STORM_SAID   20
#define STORM_EACH   (15 * DAY_SECOND)
#define QUIET_SAID   8
#define TEAM_SAID    3
#define TURN_NS_MAX  400000u
#define WAIT_NS_MAX  (60 * MINUTE)
#define MEMBERS_MOST 100000u
#define SEED_SECONDS 3600 /* of real time: then a day hangs */

struct day day;

static struct {
    struct plan plan;
    uint64_t begun_ns;
    uint32_t until; /* the hour at which the day ends */
    bool is_memory;
} stage;

/* --- the gateway --------------------------------------------------------------------- */

/* host.c asks for it. */
uint32_t plan_config(const struct plan *plan, uint32_t shards, char *text, uint32_t size)
{
    int used = snprintf(
        text, size,
        "{\"client\":{\"token\":{\"hmac_secret_key\":\"" DAY_SECRET "\"},"
        "\"ping_interval\":\"1h\",\"pong_timeout\":\"1m\"},"
        "\"http_api\":{\"key\":\"simulated key\"},\"log\":{\"level\":\"none\"},"
        "\"storage\":{\"engine\":\"%s\",\"path\":\"/data\"},\"shards\":{\"count\":%u,"
        "\"connections_max\":131072},\"shutdown\":{\"timeout\":\"5s\"},"
        "\"node\":{\"name\":\"sim\"},\"channel\":{\"without_namespace\":{\"history_size\":200,"
        "\"history_ttl\":\"48h\",\"allow_subscribe_for_client\":true,"
        "\"allow_publish_for_client\":true,\"force_recovery\":true}}}",
        plan->is_memory ? "memory" : "embedded", shards);
    check(used > 0 && (uint32_t)used < size);
    return (uint32_t)used;
}

static void plan_make(struct plan *plan)
{
    *plan = (struct plan){
        .is_memory = stage.is_memory,
        .is_large = day.members > 100,
        .disk = {.sync_ns_min = 200000, .sync_ns_max = 5000000},
        .net = {.delay_ns_min = 200000,
                .delay_ns_max = 100 * DAY_MS,
                .window_min = 65536,
                .window_max = 262144,
                .split_percent = 2},
        .loop = {.closed_ns_max = 1000000},
    };
}

/* One step: what is due, then one thread of the gateway. */
static void day_step(void)
{
    world.steps++;
    world_run_due();
    if (fibers_step()) {
        world.now_ns += 500 + chance_below(TURN_NS_MAX);
        return;
    }
    uint64_t next = min_u64(world_next_ns(), fibers_next_ns());
    /* After the drain nothing is to come. */
    world.now_ns = next == UINT64_MAX ? world.now_ns + DAY_MS : max_u64(world.now_ns, next);
}

static void day_pass(uint64_t until_ns)
{
    while (world.now_ns < until_ns) day_step();
}

static void day_until(bool (*is_so)(void), const char *what)
{
    uint64_t end_ns = world.now_ns + WAIT_NS_MAX, look_ns = 0;
    for (;;) {
        if (world.now_ns >= look_ns) {
            if (is_so()) return;
            look_ns = world.now_ns + (day.members > 1000 ? 20 : 1) * DAY_MS;
        }
        if (world.now_ns >= end_ns) world_fail(what, "%u of %u are on", day.on, day.devices_count);
        day_step();
    }
}

static bool host_is_up(void)
{
    return host_state() == HOST_UP;
}
static bool host_is_down(void)
{
    return host_state() == HOST_DOWN;
}
static bool all_are_calm(void)
{
    for (uint32_t i = 0; i < day.devices_count; i++)
        if (!device_is_calm(&day.devices[i])) return false;
    return true;
}

/* --- the day ------------------------------------------------------------------------- */

static uint64_t clock_ns(void)
{
    return world.now_ns - stage.begun_ns;
}

bool day_is_storm(void)
{
    return clock_ns() >= AT(9) && clock_ns() < AT(9) + STORM_SAID * STORM_EACH + MINUTE;
}

/* Somebody who is there says something. */
static void say_now(void *context, uint64_t number)
{
    (void)context;
    const struct room *room = &day.rooms[number];
    uint32_t at = (uint32_t)chance_below(room->members);
    for (uint32_t i = 0; i < room->members; i++)
        if (device_say(&day.devices[room->first + (at + i) % room->members], room->kind)) return;
}

static void go_now(void *context, uint64_t away_ns)
{
    device_go(context, away_ns);
}

static void say_at(uint64_t clock, uint32_t room)
{
    world_at(stage.begun_ns + clock, say_now, NULL, room);
}

static void day_plan(void)
{
    static const uint64_t quiet[QUIET_SAID] = {AT(7),  AT(8),  AT(10), AT(12),
                                               AT(14), AT(16), AT(18), AT(20)};
    uint64_t last = AT(stage.until - 1) - 10 * MINUTE; /* an hour later everybody has looked */
    for (uint32_t i = 0; i < QUIET_SAID && quiet[i] < last; i++) say_at(quiet[i], 0);
    for (uint32_t i = 0; i < STORM_SAID; i++) say_at(AT(9) + i * STORM_EACH, 0);
    for (uint32_t team = 0; team < day.teams_count; team++)
        for (uint32_t i = 0; i < TEAM_SAID; i++)
            say_at(AT(8) + chance_below(last - AT(8)), 1 + team);
    for (uint32_t i = 0; i < day.devices_count; i++) {
        device_come(&day.devices[i], chance_below(AT(8) + 50 * MINUTE));
        if (!chance(30)) continue;
        world_at(stage.begun_ns + AT(8) + chance_below(last - AT(8)), go_now, &day.devices[i],
                 chance_between(1, 60) * MINUTE);
    }
}

/* Everybody holds, and is told when asked, what the model says. */
static void day_settle(void)
{
    day_pass(stage.begun_ns + AT(stage.until));
    day.is_night = true; /* who came back last would still look within an hour */
    day_until(all_are_calm, "everybody comes back");
    day_pass(world.now_ns + 5 * DAY_SECOND);
    rooms_settle();
    for (uint32_t i = 0; i < day.devices_count; i++) {
        const struct device *device = &day.devices[i];
        for (uint32_t kind = 0; kind < ROOM_KINDS; kind++)
            room_check(room_of(device->person, (enum room_kind)kind), device, &device->seats[kind]);
    }
    for (uint32_t i = 0; i < day.devices_count; i++) {
        device_ask_last(&day.devices[i]);
        if (i % 1000 == 999) day_pass(world.now_ns + 200 * DAY_MS);
    }
    day_until(all_are_calm, "everybody has the last counts");
    if (day.lasts < (uint64_t)day.devices_count)
        world_fail("counts are answered", "%u of %u", day.lasts, day.devices_count);
}

static void tally_print(const char *name, const struct tally *tally)
{
    printf(", \"%s\": {\"messages\": %" PRIu64 ", \"moves\": %" PRIu64 ", \"frames\": %" PRIu64
           ", \"bytes\": %" PRIu64 ", \"answers\": %" PRIu64 ", \"answer_bytes\": %" PRIu64
           ", \"own\": %" PRIu64 ", \"own_bytes\": %" PRIu64 "}",
           name, tally->messages, tally->moves, tally->frames, tally->bytes, tally->answers,
           tally->answer_bytes, tally->own, tally->own_bytes);
}

static void day_live(void)
{
    plan_make(&stage.plan);
    host_init(&stage.plan);
    host_boot((uint32_t)chance_between(1, 4));
    day_until(host_is_up, "a start ends");
    rooms_init();
    people_init();
    for (uint32_t i = 0; i <= day.teams_count; i++) {
        rooms_call(i);
        day_until(office_is_done, "members are named");
    }
    stage.begun_ns = world.now_ns;
    day_plan();
    day_settle();
    printf("{\"members\": %u, \"seed\": %" PRIu64 ", \"devices\": %u", day.members, world.seed,
           day.devices_count);
    tally_print("town", &day.tallies[ROOM_TOWN]);
    tally_print("team", &day.tallies[ROOM_TEAM]);
    day.is_over = true;
    host_drain();
    day_until(host_is_down, "a drain ends");
    printf(", \"steps\": %" PRIu64 ", \"trace\": \"%016" PRIx64 "\"}\n", world.steps,
           world.trace_hash);
    people_fini();
    rooms_fini();
    office_fini();
    host_fini();
    fibers_fini();
    world_fini();
}

/* --- the programme ------------------------------------------------------------------- */

/* The gateway's own memory is counted by mem_sim.c. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "detect_leaks=0";
}

static void on_signal(int number)
{
    world_print_story(number == SIGALRM ? "the day hangs" : "the gateway crashed");
    fflush(NULL);
    _exit(3);
}

/* In a process of its own: 0 when the day held, 1 when a property did not. */
static int day_run(const char *program, uint32_t members, uint64_t seed)
{
    static char replay[256];
    int status;
    fflush(NULL);
    pid_t process = fork();
    check(process >= 0);
    if (process > 0) {
        while (waitpid(process, &status, 0) < 0) check(errno == EINTR);
        return WIFEXITED(status) ? WEXITSTATUS(status) : 3;
    }
    snprintf(replay, sizeof(replay), "%s --seed %" PRIu64 " %u", program, seed, members);
    world.replay = replay;
    log_set_level(LOG_NONE);
    signal(SIGABRT, on_signal);
    signal(SIGSEGV, on_signal);
    signal(SIGBUS, on_signal);
    signal(SIGALRM, on_signal);
    alarm(SEED_SECONDS);
    world_init(seed);
    day.members = members;
    day_live();
    fflush(NULL);
    _exit(0);
}

int main(int count, char **words)
{
    uint64_t seed = 1, failed = 0;
    const char *fault = NULL;
    stage.until = 23;
    for (int i = 1; i < count; i++) {
        if (strcmp(words[i], "--memory") == 0) {
            stage.is_memory = true;
        } else if (strcmp(words[i], "--until") == 0 && i + 1 < count) {
            stage.until = (uint32_t)strtoul(words[++i], NULL, 10);
            check(stage.until >= 11 && stage.until <= 24);
        } else if (strcmp(words[i], "--seed") == 0 && i + 1 < count) {
            seed = strtoull(words[++i], NULL, 10);
        } else if (strcmp(words[i], "--fault") == 0 && i + 1 < count) {
            fault = words[++i];
            world.fault = fault_of(fault);
            world.is_quiet = true;
            check(world.fault != FAULT_NONE);
        } else {
            uint32_t members = (uint32_t)strtoul(words[i], NULL, 10);
            if (members < 2 || members > MEMBERS_MOST) {
                fprintf(
                    stderr,
                    "usage: sluice_day [--memory] [--until HOUR] [--seed N] [--fault NAME] MEMBERS "
                    "(2 to %u)...\n",
                    MEMBERS_MOST);
                return 2;
            }
            failed += day_run(words[0], members, seed) != 0;
        }
    }
    if (fault == NULL) return failed == 0 ? 0 : 1;
    /* Also by a check of the gateway's own. */
    printf("planted fault %s was %sfound\n", fault, failed > 0 ? "" : "NOT ");
    return failed > 0 ? 0 : 1;
}
