/*
 * run: one seed from its first start to its last check.
 *
 *   ACTIVE   everyone acts; kills and restarts as planned
 *   CALM     nobody publishes; everyone comes back and must get everything
 *   READ     every channel's history is read whole and checked
 *   DRAIN    SIGTERM; everything must come home
 *   AGAIN    some seeds: a last start, and history is read once more
 */
#include "run.h"

#include <stdio.h>
#include <string.h>

#include "client_sim.h"
#include "core/check.h"
#include "fiber.h"
#include "host.h"
#include "mem_sim.h"
#include "world.h"

/* A link that carries 512 bytes at a time takes minutes for what its client missed. */
#define CALM_NS_MAX 600000000000u
#define JUMP_MS_MAX (20u * 86400000u)
#define CHECK_NS    5000000u /* how often an end is looked for */

static struct {
    struct plan plan;
    uint32_t kills_done;
    bool is_active;
    bool is_start_wanted; /* a start that fails for the disk's trouble is made again */
    bool is_boot_due;     /* it starts again after the drain under way */
    bool is_boot_planned; /* an event will start the next life */
    uint64_t steps_max;
    char why[256];
} run;

static void boot_now(void *context, uint64_t shards);

static void kill_now(void *context, uint64_t life)
{
    (void)context;
    const struct plan_kill *kill = &run.plan.kills[run.kills_done];
    if (!run.is_active || host_lives() != life || host_state() == HOST_DRAINING ||
        host_state() == HOST_DOWN)
        return;
    run.kills_done++;
    if (kill->kind == KILL_DRAIN && host_state() == HOST_UP) {
        host_drain();
        run.is_boot_due = true; /* once it is down */
        return;
    }
    host_kill(kill->kind == KILL_MACHINE);
    run.is_boot_planned = true;
    world_at(world.now_ns + kill->down_ns, boot_now, NULL, kill->shards);
}

static void boot_now(void *context, uint64_t shards)
{
    (void)context;
    run.is_boot_planned = run.is_boot_due = false;
    host_boot((uint32_t)shards);
    if (run.kills_done < run.plan.kills_count)
        world_at(world.now_ns + run.plan.kills[run.kills_done].at_ns, kill_now, NULL, host_lives());
}

/* The wall clock is set, to anything within twenty days: what has an age of weeks,
 * history and keys, must not notice. */
static void jump_now(void *context, uint64_t number)
{
    (void)context, (void)number;
    world.wall_start_ms = WALL_START_MS - JUMP_MS_MAX + chance_below(2 * JUMP_MS_MAX);
    world_note(TRACE_JUMP, world.wall_start_ms, 0, 0);
    world_at(world.now_ns + 1 + chance_below(2 * run.plan.jump_ns), jump_now, NULL, 0);
}

static void trouble_begins(void *context, uint64_t number)
{
    const struct plan_trouble *trouble = &run.plan.troubles[number];
    (void)context;
    if (run.is_active) disk_sim_trouble(trouble->kind, trouble->permille);
}

static void trouble_ends(void *context, uint64_t number)
{
    (void)context;
    (void)number;
    disk_sim_trouble(TROUBLE_NONE, 0);
}

static void disk_turns_bad(void)
{
    for (uint32_t i = 0; i < run.plan.troubles_count; i++) {
        uint64_t at_ns = world.now_ns + run.plan.troubles[i].at_ns;
        world_at(at_ns, trouble_begins, NULL, i);
        world_at(at_ns + run.plan.troubles[i].span_ns, trouble_ends, NULL, i);
    }
}

/* One step: what is due, then one thread of the gateway. */
static void step_world(void)
{
    const struct plan *plan = &run.plan;
    world.steps++;
    if (run.steps_max != 0 && world.steps > run.steps_max)
        world_fail("the run ends", "steps limit");
    world_run_due();
    if (fibers_step()) {
        world.now_ns += 500 + chance_below(plan->turn_ns_max);
        if (plan->stall_permille > 0 && chance_below(1000) < plan->stall_permille)
            world.now_ns += chance_below(plan->stall_ns_max);
        return;
    }
    uint64_t next = min_u64(world_next_ns(), fibers_next_ns());
    if (next == UINT64_MAX) world_fail("something is always to come", "phase stuck: %s", run.why);
    world.now_ns = max_u64(world.now_ns, next);
}

static bool time_is_over(void)
{
    return false;
}
static bool host_is_up(void)
{
    return host_state() == HOST_UP;
}
static bool host_is_down(void)
{
    return host_state() == HOST_DOWN;
}
static bool all_is_complete(void)
{
    return apis_are_idle(run.why, sizeof(run.why)) &&
           clients_are_complete(run.why, sizeof(run.why)) &&
           check_presence(run.why, sizeof(run.why));
}

/* Steps until `is_done`, looked at now and then; false when time is up. */
static bool step_until(bool (*is_done)(void), uint64_t span_ns)
{
    uint64_t end_ns = world.now_ns + span_ns, look_ns = 0;
    while (world.now_ns < end_ns) {
        if (world.now_ns >= look_ns) {
            if (is_done()) return true;
            look_ns = world.now_ns + CHECK_NS;
            if (run.is_boot_due && host_state() == HOST_DOWN)
                boot_now(NULL, run.plan.kills[run.kills_done - 1].shards);
            /* A start that the disk refused is tried again. */
            if (run.is_start_wanted && host_state() == HOST_DOWN && !run.is_boot_planned) {
                run.is_boot_planned = true;
                world_at(world.now_ns + 200000000, boot_now, NULL, chance_between(1, 4));
            }
        }
        step_world();
    }
    return is_done();
}

static void phase(uint32_t number)
{
    world_note(TRACE_PHASE, number, 0, 0);
}

static void run_active(void)
{
    phase(1);
    run.is_active = run.is_start_wanted = true;
    if (run.plan.jump_ns > 0) jump_now(NULL, 0);
    boot_now(NULL, run.plan.shards);
    disk_turns_bad();
    clients_init(&run.plan);
    apis_init(&run.plan);
    step_until(time_is_over, run.plan.active_ns);
    run.is_active = false;
    disk_sim_trouble(TROUBLE_NONE, 0);
}

static void run_calm(void)
{
    phase(2);
    if (host_state() == HOST_DRAINING && !step_until(host_is_down, CALM_NS_MAX))
        world_fail("a drain ends", "life %u", host_lives());
    if (loop_sim_sync_errors(true) > 0 && host_state() != HOST_DOWN) host_kill(false);
    if (host_state() == HOST_DOWN && !run.is_boot_planned && !run.is_boot_due)
        host_boot(run.plan.shards);
    if (!step_until(host_is_up, CALM_NS_MAX)) world_fail("a start ends", "life %u", host_lives());
    run.is_start_wanted = false;
    clients_calm();
    apis_calm();
    if (!step_until(all_is_complete, CALM_NS_MAX))
        world_fail("in calm everyone gets everything", "%s", run.why);
}

static void run_read(void)
{
    phase(3);
    clients_ask_counts();
    apis_read_all();
    if (!step_until(all_is_complete, CALM_NS_MAX))
        world_fail("in calm everything can be read and is counted", "%s", run.why);
}

static void run_drain(void)
{
    phase(4);
    host_drain();
    if (!step_until(host_is_down, CALM_NS_MAX)) world_fail("a drain ends", "life %u", host_lives());
}

void run_seed(uint64_t seed, uint64_t steps_max, struct run_result *result)
{
    memset(&run, 0, sizeof(run));
    run.steps_max = steps_max;
    world_init(seed);
    plan_draw(&run.plan);
    book_init(&run.plan);
    host_init(&run.plan);
    run_active();
    run_calm();
    run_read();
    run_drain();
    if (!run.plan.is_memory && chance(30)) {
        host_boot((uint32_t)chance_between(1, 4));
        if (!step_until(host_is_up, CALM_NS_MAX))
            world_fail("a start ends", "life %u", host_lives());
        run_read();
        clients_stop();
        run_drain();
    }
    clients_stop();
    apis_stop();
    *result = (struct run_result){
        seed,       world.steps,         world.now_ns,   world.trace_hash, book.delivered,
        book.acked, book.messages_count, book.recovered, book.unrecovered, host_lives()};
    host_fini();
    clients_fini();
    apis_fini();
    book_fini();
    fibers_drop();
    world_fini();
}
