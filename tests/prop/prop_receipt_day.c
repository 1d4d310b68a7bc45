/*
 * A day of a chat, in virtual time, at the channel's home (tests/unit/shards/small_node.h):
 * what its members are told about readers is bounded to the frame.  tests/sim/day.c is such
 * a day over connections, whose delays blur that.
 *
 * Everybody has the channel open.  Messages come all day and densely for ten minutes from
 * nine, and everybody reads each one: within a minute in the storm, within half an hour
 * else.  Told one by one to all, each message would cost members² frames.  Here each
 * publication of receipts:room is one frame for each listener, and in any second there
 * are at most so many of them as the ladder of live.c allows, however many members read.
 *
 *   prop_receipt_day        200 and 2,000 members
 *   prop_receipt_day --all  200 to 100,000 members
 */
#include <inttypes.h>

#include "tests/unit/shards/small_node.h"

#define CHANNEL BYTES_LITERAL("room")
#define LIVE    BYTES_LITERAL("receipts:room")

#define STORM_S      (9 * 3600)
#define STORM_END_S  (STORM_S + 600)
#define STORM_EACH_S 15 /* a message each */
#define QUIET_EACH_S 1200
#define STORM_READ_S 60 /* within that everybody has read it */
#define QUIET_READ_S 1800
#define STEP_MS      50 /* of the storm; else a second */
#define FLYING_MAX   64

/* A message that not everybody has read. */
struct flying {
    uint64_t offset;
    uint32_t at_s, within_s;
    uint32_t read; /* how many have */
};

struct day {
    struct small small;
    uint32_t members;
    struct flying flying[FLYING_MAX];
    uint32_t flying_count;
    uint64_t messages, moves, told;
    uint64_t told_second, told_in_second, told_in_second_max;
};

static struct day *today;
static char (*names)[12];

static void on_frame(struct small *small, const struct heard *heard)
{
    uint64_t second = small->mono_ms / 1000;
    if (strstr(heard->text, "receipts:room") == NULL) return;
    today->told++;
    if (today->told_second != second) today->told_in_second = 0;
    today->told_second = second;
    today->told_in_second++;
    today->told_in_second_max = max_u64(today->told_in_second_max, today->told_in_second);
}

static void turns(struct small *small)
{
    for (int i = 0; i < 6; i++) small_turn(small);
}

static void on_answer(struct shard *shard, struct call *call, struct conn *conn,
                      const struct answer *answer)
{
    (void)shard, (void)call, (void)conn;
    check(answer->err == ERR_OK);
}

/* From shard 0, which has nothing else to ask. */
static struct handle begin(struct small *small)
{
    struct call *call;
    return small_begin(small, 0, CHANNEL, on_answer, &call);
}

static void members_join(struct day *day)
{
    struct bytes *users = malloc(day->members * sizeof *users);
    for (uint32_t i = 0; i < day->members; i++) users[i] = bytes_of_text(names[i]);
    struct told told;
    ask_members(&day->small, CHANNEL, users, day->members, &told);
    while (!told.is_here) small_turn(&day->small);
    check(told.is_here && told.err == ERR_OK);
    struct letter_subscribe in = {.hub = {.index = 1, .generation = 1},
                                  .channel = LIVE,
                                  .is_as_member = true,
                                  .user = users[0]};
    ask_subscribe(&day->small, 0, in, &told);
    turns(&day->small);
    check(told.is_here && told.err == ERR_OK);
    free(users);
}

static void say(struct day *day, uint32_t second, uint32_t within_s)
{
    struct shard *shard = day->small.shards[0];
    struct letter_publish in = {.call = begin(&day->small),
                                .channel = CHANNEL,
                                .publication = {.data = BYTES_LITERAL("1"),
                                                .has_info = true,
                                                .user = bytes_of_text(names[0])}};
    call_post(shard, letter_pack_publish(shard->post, small_home(CHANNEL), &in));
    turns(&day->small);
    check(day->flying_count < FLYING_MAX);
    day->flying[day->flying_count++] =
        (struct flying){.offset = ++day->messages, .at_s = second, .within_s = within_s};
}

static void read_some(struct day *day, struct flying *flying, uint64_t passed_ms)
{
    struct shard *shard = day->small.shards[0];
    uint64_t due = passed_ms * day->members / (flying->within_s * 1000u);
    uint32_t until = (uint32_t)min_u64(due, day->members);
    for (; flying->read < until; flying->read++) {
        /* Another order for each message. */
        uint64_t who = (flying->read * (uint64_t)7919 + flying->offset * 104729) % day->members;
        struct letter_receipt in = {.call = begin(&day->small),
                                    .verb = RECEIPT_READ,
                                    .channel = CHANNEL,
                                    .user = bytes_of_text(names[who]),
                                    .offset = flying->offset};
        call_post(shard, letter_pack_receipt(shard->post, small_home(CHANNEL), &in));
        day->moves++;
    }
}

static bool is_storm(uint32_t second)
{
    return second >= STORM_S && second < STORM_END_S + STORM_READ_S;
}

static void pass(struct day *day, uint32_t second, uint32_t step_ms)
{
    for (uint32_t ms = 0; ms < 1000; ms += step_ms) {
        for (uint32_t i = day->flying_count; i-- > 0;) {
            struct flying *flying = &day->flying[i];
            read_some(day, flying, (second - flying->at_s) * (uint64_t)1000 + ms);
            if (flying->read == day->members) *flying = day->flying[--day->flying_count];
        }
        day->small.mono_ms += step_ms;
        day->small.wall_ms += step_ms;
        small_clock(&day->small);
        turns(&day->small);
    }
}

static void live_through(struct day *day)
{
    for (uint32_t second = 0; second < 24 * 3600; second++) {
        bool is_dense = second >= STORM_S && second < STORM_END_S;
        uint32_t each = is_dense ? STORM_EACH_S : QUIET_EACH_S;
        bool is_quiet_hour = second < 7 * 3600 && !is_dense;
        if (second % each == 0 && !is_quiet_hour)
            say(day, second, is_dense ? STORM_READ_S : QUIET_READ_S);
        if (day->flying_count == 0) {
            day->small.mono_ms += 1000;
            day->small.wall_ms += 1000;
            continue;
        }
        small_clock(&day->small);
        pass(day, second, is_storm(second) ? STEP_MS : 1000);
    }
}

static void run(uint32_t members, uint64_t told_in_second_max)
{
    struct day *day = today = calloc(1, sizeof *day);
    day->members = members;
    small_init(&day->small,
               "channel: {without_namespace: {history_size: 1000, history_ttl: 30h}}\n");
    day->small.on_heard = on_frame;
    day->small.is_large = true;
    members_join(day);
    live_through(day);
    uint64_t frames = day->told * members, squared = day->moves * members;
    printf("| %" PRIu32 " | %" PRIu64 " | %" PRIu64 " | %" PRIu64 " | %" PRIu64 " | %.2g |\n",
           members, day->messages, day->moves, frames, day->told, (double)squared);
    fflush(stdout);
    check(day->told_in_second_max <= told_in_second_max);
    check(told_in_second_max == 0 || day->told > day->messages);
    tell_leave(&day->small, 0, LIVE, (struct handle){.index = 1, .generation = 1});
    turns(&day->small);
    small_fini(&day->small);
    free(day);
}

int main(int argc, char **argv)
{
    bool is_all = argc > 1 && strcmp(argv[1], "--all") == 0;
    static const struct {
        uint32_t members;
        uint64_t told_in_second_max; /* 200 ms up to 256 members, a second up to 2,000 */
        bool is_long;
    } rows[] = {
        {200, 6, false}, {1000, 2, true}, {2000, 2, false}, {10000, 0, true}, {100000, 0, true}};
    names = calloc(100000, sizeof *names);
    for (uint32_t i = 0; i < 100000; i++) snprintf(names[i], sizeof names[i], "user%u", i);
    printf("| members | messages | read cursors moved | frames of receipts | each member got | "
           "told one by one |\n|---|---|---|---|---|---|\n");
    for (size_t i = 0; i < array_count(rows); i++)
        if (is_all || !rows[i].is_long) run(rows[i].members, rows[i].told_in_second_max);
    free(names);
    return 0;
}
