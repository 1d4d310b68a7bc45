/*
 * One shard, its store and its read indexes: durable moves of read cursors a second, and
 * how long each took.
 *
 * Members of a channel read each message once: a publication, then a move of everybody,
 * channels in random turns.  A move is asked of the store, becomes durable, comes back
 * through the feed and moves the index, as at a gateway's home shard.  Open loop: move n is
 * due at start + n / rate, and its time counts from then.  At rate 0 `UNDER_WAY` moves are
 * under way at all times: the most that goes.
 *
 *   sluice-moves [seconds [directory [members of a channel [channels]]]]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/mem.h"
#include "perf/store/rig.h"
#include "perf/store/run.h"
#include "storage/change.h"
#include "storage/cursor.h"

#define FLIGHTS   (1u << 17)
#define UNDER_WAY 8192u
#define NAME_SIZE 16

struct flight {
    struct store_append op; /* first */
    uint64_t due_ns;
    struct flight *next;
};

static struct rig rig;

static struct room {
    struct store_channel channel;
    struct store_open open;
    struct cursor_index *index;
    uint32_t next; /* who reads next; 0: a message comes first */
    char name[NAME_SIZE];
} * rooms;
static uint32_t rooms_count = 200, members_count = 500, opened;
static char (*users)[NAME_SIZE];

static struct flight *flights, *idle;
static uint32_t under_way;
static uint64_t moved;
static bool is_measuring;
static struct spread spread;

/* ── the feed ── */

static struct room *room_of(struct store_channel *channel)
{
    return container_of(channel, struct room, channel);
}

static void on_publication(void *context, struct store_channel *channel,
                           const struct publication *publication)
{
    (void)context;
    cursor_post(room_of(channel)->index, publication->offset);
}
static void on_members(void *context, struct store_channel *channel,
                       const struct members_change *change)
{
    (void)context;
    for (uint32_t i = 0; i < change->count; i++)
        if (cursor_join(room_of(channel)->index, change->list[i].user, 1, 0) != ERR_OK) abort();
}
static void on_cursor(void *context, struct store_channel *channel,
                      const struct store_cursor *cursor)
{
    (void)context;
    uint64_t before, after;
    if (cursor_move(room_of(channel)->index, cursor->user, cursor->offset, &before, &after) !=
        ERR_OK)
        abort();
    if (is_measuring) moved += after > before;
}
static void on_lost(void *context, struct store_channel *channel)
{
    (void)context, (void)channel;
    abort();
}
static void on_opened(struct store_open *op, enum err err, const struct store_snapshot *snapshot)
{
    (void)op, (void)snapshot;
    if (err != ERR_OK) abort();
    opened++;
}
static void on_changed(struct store_change *op, enum err err)
{
    (void)op;
    if (err != ERR_OK) abort();
    opened++;
}

static void on_appended(struct store_append *op, enum err err, uint64_t offset, bool is_repeat)
{
    (void)offset, (void)is_repeat;
    struct flight *flight = (struct flight *)op;
    if (err != ERR_OK && err != ERR_STORE_LAG) abort();
    flight->next = idle;
    idle = flight;
    under_way--;
    if (!is_measuring || err != ERR_OK || op->type != RECORD_CURSOR) return;
    uint64_t at = clock_mono_ns();
    spread_add(&spread, at > flight->due_ns ? at - flight->due_ns : 0);
}

/* ── the shard ── */

/* Opens the rooms and makes everybody a member of each. */
static void rooms_begin(void)
{
    struct bytes *names = mem_alloc(members_count * sizeof *names);
    struct store_change *changes = mem_alloc(rooms_count * sizeof *changes);
    rooms = mem_alloc(rooms_count * sizeof *rooms);
    users = mem_alloc(members_count * sizeof *users);
    for (uint32_t i = 0; i < members_count; i++) {
        snprintf(users[i], sizeof users[i], "user-%06u", i);
        names[i] = bytes_of_text(users[i]);
    }
    for (uint32_t i = 0; i < rooms_count; i++) {
        struct room *room = &rooms[i];
        snprintf(room->name, sizeof room->name, "room:%u", i);
        room->channel = (struct store_channel){.name = bytes_of_text(room->name),
                                               .history = {1000, 7 * 86400000ull}};
        room->open = (struct store_open){
            .channel = &room->channel, .window_max = 100, .on_opened = on_opened};
        room->index = cursor_create(0);
        cursor_reserve(room->index, members_count);
        store_open(rig.store, &room->open);
    }
    while (opened < rooms_count) rig_turn(&rig);
    opened = 0;
    for (uint32_t i = 0; i < rooms_count; i++) {
        changes[i] = (struct store_change){
            .channel = &rooms[i].channel,
            .ask = {.kind = MEMBERS_SET, .users = names, .count = members_count},
            .on_changed = on_changed};
        store_change(rig.store, &changes[i]);
    }
    while (opened < rooms_count) rig_turn(&rig);
    mem_free(changes);
    mem_free(names);
}

static void ask(uint64_t due_ns)
{
    struct room *room = &rooms[rng_below(&rig.rng, rooms_count)];
    struct flight *flight = idle;
    idle = flight->next;
    under_way++;
    flight->due_ns = due_ns;
    flight->op = (struct store_append){.channel = &room->channel, .on_appended = on_appended};
    if (room->next == 0) {
        static const uint8_t data[200];
        flight->op.type = RECORD_PUBLICATION;
        flight->op.publication.data = bytes_of(data, sizeof data);
    } else {
        flight->op.type = RECORD_CURSOR;
        flight->op.mark = CURSOR_READ;
        flight->op.user = bytes_of_text(users[room->next - 1]);
        flight->op.offset = UINT64_MAX; /* the head */
    }
    room->next = (room->next + 1) % (members_count + 1);
    store_append(rig.store, &flight->op);
}

static void rest(uint64_t due_ns)
{
    uint64_t at = clock_mono_ns();
    if (store_pending(rig.store) == 0 && due_ns > at) {
        struct timespec time = {(time_t)(due_ns / 1000000000u), (long)(due_ns % 1000000000u)};
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &time, NULL);
    }
    rig_hear(&rig, due_ns > at || idle == NULL ? clock_turn_ms(&rig.clock) + 1 : 0);
    rig_submit(&rig);
}

static void measure(double rate, double seconds)
{
    rig_settle(&rig);
    memset(&spread, 0, sizeof spread);
    moved = 0;
    uint64_t asked = 0, start = clock_mono_ns(), stop = start + (uint64_t)(seconds * 1e9);
    uint64_t thread_ns = run_thread_ns(), process_ns = run_process_ns(), lag = 0;
    uint64_t commits = rig.metrics.values[METRIC_STORE_COMMITS];
    double gap_ns = rate > 0 ? 1e9 / rate : 0;
    is_measuring = true;
    for (uint64_t at = start; at < stop; at = clock_mono_ns()) {
        uint64_t due = asked + UNDER_WAY - min_u64(under_way, UNDER_WAY);
        if (rate > 0) due = (uint64_t)((double)(at - start) / gap_ns) + 1;
        for (; asked < due && idle != NULL; asked++)
            ask(rate > 0 ? start + (uint64_t)((double)asked * gap_ns) : at);
        store_submit(rig.store);
        lag = max_u64(lag, rig.metrics.values[METRIC_STORE_LAG_BYTES]);
        rest(start + (uint64_t)((double)asked * gap_ns) + 1);
    }
    is_measuring = false;
    double took = (double)(clock_mono_ns() - start) / 1e9, count = (double)spread.total + 1;
    commits = rig.metrics.values[METRIC_STORE_COMMITS] - commits;
    printf("%8.0f %9.0f %9.0f %8.0f %8.0f %8.0f %8.1f %9.0f %9.0f %9.1f\n", rate,
           (double)spread.total / took, (double)moved / took, spread_us(&spread, 0.5),
           spread_us(&spread, 0.99), spread_us(&spread, 0.999), count / (double)(commits + 1),
           (double)(run_thread_ns() - thread_ns) / count,
           (double)(run_process_ns() - process_ns) / count, (double)lag / 1e6);
    fflush(stdout);
}

static void end(void)
{
    rig_settle(&rig);
    for (uint32_t i = 0; i < rooms_count; i++) {
        store_close(rig.store, &rooms[i].channel);
        cursor_destroy(rooms[i].index);
    }
    rig_end(&rig);
    mem_free(rooms);
    mem_free(users);
    mem_unreserve(flights, FLIGHTS * sizeof *flights);
}

int main(int argc, char **argv)
{
    static const double rates[] = {20000, 100000, 200000, 300000, 0};
    double seconds = argc > 1 ? atof(argv[1]) : 3;
    const char *path = argc > 2 ? argv[2] : "/var/tmp/sluice-moves";
    if (argc > 3) members_count = (uint32_t)atoi(argv[3]);
    if (argc > 4) rooms_count = (uint32_t)atoi(argv[4]);
    rig_empty(path);
    rig_config_embedded(&rig, path);
    rng_seed(&rig.rng, 1);
    flights = mem_reserve(FLIGHTS * sizeof *flights);
    for (uint32_t i = 0; i < FLIGHTS; i++) {
        flights[i].next = idle;
        idle = &flights[i];
    }
    rig_begin(&rig, &(struct store_sink){.on_publication = on_publication,
                                         .on_members = on_members,
                                         .on_cursor = on_cursor,
                                         .on_lost = on_lost});
    rooms_begin();
    printf("%u channels of %u members\n%8s %9s %9s %8s %8s %8s %8s %9s %9s %9s\n", rooms_count,
           members_count, "rate", "durable/s", "moved/s", "p50 us", "p99 us", "p99.9 us",
           "a commit", "shard ns", "all ns", "MB behind");
    for (uint32_t i = 0; i < array_count(rates); i++) measure(rates[i], seconds);
    end();
    rig_empty(path);
    return 0;
}
