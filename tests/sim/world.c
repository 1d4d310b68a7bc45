/*
 * world: virtual time, seeded chance and the trace of one simulated run.
 */
#include "world.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/check.h"

struct world world;

void world_init(uint64_t seed)
{
    bool is_printing = world.is_printing, is_quiet = world.is_quiet, is_memory = world.is_memory;
    enum sim_fault fault = world.fault;
    const char *replay = world.replay;
    memset(&world, 0, sizeof(world));
    world.is_printing = is_printing;
    world.is_quiet = is_quiet;
    world.is_memory = is_memory;
    world.fault = fault;
    world.replay = replay;
    world.seed = seed;
    rng_seed(&world.rng, seed);
    /* Streams of their own, so that one more disk call does not reorder the
     * network of every later step. */
    rng_seed(&world.rng_disk, seed ^ 0x6469736bu);
    rng_seed(&world.rng_entropy, seed ^ 0x656e7472u);
    world.now_ns = 1000000000u;
    world.wall_start_ms = WALL_START_MS;
    world.trace_hash = seed;
}

void world_fini(void)
{
    free(world.events);
    world.events = NULL;
    world.events_count = world.events_room = 0;
}

static void line_print(const struct trace_line *line)
{
    static const char *const texts[TRACE_EVENT_COUNT] = {
#define X(name, text) [TRACE_##name] = text,
        TRACE_EVENTS(X)
#undef X
    };
    fprintf(stderr, "  %8" PRIu64 " %12.6f  ", line->step, (double)line->now_ns / 1e9);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
#pragma GCC diagnostic ignored "-Wformat-extra-args"
    fprintf(stderr, texts[line->event], line->a, line->b, line->c);
#pragma GCC diagnostic pop
    fputc('\n', stderr);
}

static uint64_t mix(uint64_t hash, uint64_t value)
{
    hash = (hash ^ value) * 0x9e3779b97f4a7c15u;
    return hash ^ (hash >> 29);
}

void world_note(enum trace_event event, uint64_t a, uint64_t b, uint64_t c)
{
    struct trace_line *line = &world.lines[world.trace_count++ % TRACE_LINES];
    *line = (struct trace_line){world.steps, world.now_ns, a, b, c, event};
    uint64_t hash = mix(world.trace_hash, world.now_ns);
    hash = mix(hash, (uint64_t)event + 1);
    hash = mix(hash, a);
    hash = mix(hash, b);
    world.trace_hash = mix(hash, c);
    if (world.is_printing) line_print(line);
}

void world_print_story(const char *title)
{
    fprintf(stderr, "\nseed %" PRIu64 ": %s\n", world.seed, title);
    fprintf(stderr, "step %" PRIu64 ", virtual time %.6f s, trace hash %016" PRIx64 "\n",
            world.steps, (double)world.now_ns / 1e9, world.trace_hash);
    if (!world.is_printing && !world.is_quiet) {
        uint64_t first = world.trace_count > TRACE_LINES ? world.trace_count - TRACE_LINES : 0;
        for (uint64_t i = first; i < world.trace_count; i++)
            line_print(&world.lines[i % TRACE_LINES]);
    }
    if (world.replay != NULL) fprintf(stderr, "replay: %s\n", world.replay);
}

void world_fail(const char *property, const char *format, ...)
{
    char detail[512], title[768];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(detail, sizeof(detail), format, arguments);
    va_end(arguments);
    snprintf(title, sizeof(title), "violated: %s\n%s", property, detail);
    world_print_story(title);
    fflush(NULL);
    if (world.is_fuzzing) abort();
    _exit(1);
}

static bool event_before(const struct event *a, const struct event *b)
{
    return a->due_ns != b->due_ns ? a->due_ns < b->due_ns : a->order < b->order;
}

void world_at(uint64_t due_ns, event_fn run, void *context, uint64_t number)
{
    if (world.events_count == world.events_room) {
        world.events_room = world.events_room == 0 ? 1024 : 2 * world.events_room;
        world.events = realloc(world.events, world.events_room * sizeof(struct event));
        check(world.events != NULL);
    }
    struct event event = {max_u64(due_ns, world.now_ns), world.events_order++, run, context,
                          number};
    uint32_t at = world.events_count++;
    while (at > 0 && event_before(&event, &world.events[(at - 1) / 2])) {
        world.events[at] = world.events[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    world.events[at] = event;
}

uint64_t world_next_ns(void)
{
    return world.events_count == 0 ? UINT64_MAX : world.events[0].due_ns;
}

static struct event event_take(void)
{
    struct event first = world.events[0], last = world.events[--world.events_count];
    uint32_t at = 0;
    for (;;) {
        uint32_t child = 2 * at + 1;
        if (child >= world.events_count) break;
        if (child + 1 < world.events_count &&
            event_before(&world.events[child + 1], &world.events[child]))
            child++;
        if (!event_before(&world.events[child], &last)) break;
        world.events[at] = world.events[child];
        at = child;
    }
    world.events[at] = last;
    return first;
}

uint32_t world_run_due(void)
{
    uint32_t count = 0;
    while (world.events_count > 0 && world.events[0].due_ns <= world.now_ns) {
        struct event event = event_take();
        event.run(event.context, event.number);
        count++;
    }
    return count;
}

uint64_t chance_skewed(struct rng *rng, uint64_t low, uint64_t high)
{
    uint64_t span = high - low;
    for (uint32_t i = 0; i < 4 && span > 0 && rng_chance(rng, 75); i++) span /= 8;
    return low + rng_below(rng, span + 1);
}
