/*
 * The read index, in process: what each question and each change costs, and bytes per
 * channel, for channels of 2 to 100,000 members, beside the goals.
 *
 * "hot" asks one channel again and again; "cold" asks a random one of enough channels to
 * leave the caches, as a gateway with many channels does.  A third of the members is below
 * the window, a third at the head, the rest between; one of fifty joined in the middle of
 * the window.  Moves and senders go by name, so the directory is in what they cost;
 * "find" is its part.
 *
 * list      50 readers, or 50 others, of a random message (all there are, below 100)
 * worst     a list that looks at every slot and finds nobody
 * bytes     of an index without late joiners
 * twins     the worst list and a count by scan, plainly and with what the machine has
 */
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "core/check.h"
#include "core/mem.h"
#include "core/rng.h"
#include "storage/cursor_parts.h"

#define CALLS       200000u
#define HEAD        50000u
#define MEMBERS_ALL 3000000u /* of all channels of one size */
#define COLD_BYTES  ((size_t)64 << 20)

static struct rng rng;
static volatile uint64_t sink;

static struct cursor_index **channels;
static uint32_t channels_count, members;

/* CPU time: what other programs take meanwhile is none of the index's. */
static uint64_t cpu_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static struct bytes name(char *text, uint64_t i)
{
    return bytes_of(text, (size_t)snprintf(text, 24, "user-%08u", (unsigned)i));
}

static struct cursor_index *channel(bool has_late)
{
    struct cursor_index *index = cursor_create(HEAD);
    struct cursor_rules rules = {1000, UINT32_MAX, 0, false, false};
    char text[24];
    cursor_configure(index, &rules);
    cursor_reserve(index, members);
    for (uint32_t i = 0; i < members; i++) {
        uint64_t read = i % 3 == 0   ? HEAD - 3000 + rng_below(&rng, 1900)
                        : i % 3 == 1 ? HEAD
                                     : HEAD - rng_below(&rng, 1000);
        uint64_t joined = has_late && i % 50 == 0 ? HEAD - 500 : 1;
        if (cursor_join(index, name(text, i), joined, read) != ERR_OK)
            impossible("the names differ");
    }
    return index;
}

static struct cursor_index *any(bool is_hot)
{
    return channels[is_hot ? 0 : rng_below(&rng, channels_count)];
}

static uint64_t any_offset(const struct cursor_index *index)
{
    return cursor_head(index) - rng_below(&rng, 1000);
}

static void count_one(const struct cursor_index *index, uint64_t offset, struct bytes sender)
{
    uint32_t readers, eligible;
    if (cursor_counts(index, offset, sender, &readers, &eligible) == ERR_OK) sink += readers;
}

static double count_ns(bool is_hot)
{
    uint64_t before_ns = cpu_ns();
    for (uint32_t i = 0; i < CALLS; i++) {
        struct cursor_index *index = any(is_hot);
        count_one(index, any_offset(index), BYTES_NONE);
    }
    return (double)(cpu_ns() - before_ns) / CALLS;
}

/* The newest hundred of a cold channel, each with its sender, one of twenty. */
static double batch_us(void)
{
    uint32_t rounds = CALLS / 100;
    uint64_t spent_ns = 0;
    for (uint32_t i = 0; i < rounds; i++) {
        struct cursor_index *index = any(false);
        char texts[100][24];
        struct bytes senders[100];
        for (uint32_t k = 0; k < 100; k++)
            senders[k] = name(texts[k], rng_below(&rng, min_u64(members, 20)));
        uint64_t before_ns = cpu_ns();
        for (uint32_t k = 0; k < 100; k++) count_one(index, HEAD - k, senders[k]);
        spent_ns += cpu_ns() - before_ns;
    }
    return (double)spent_ns / rounds / 1000;
}

static uint64_t list_one(const struct cursor_index *index, enum cursor_side side, uint64_t offset)
{
    uint32_t slots[50];
    struct cursor_list list = {.side = side, .offset = offset, .limit = 50, .slots = slots};
    if (cursor_list(index, &list) != ERR_OK) impossible("the offset is in the window");
    return list.count + list.next;
}

static double list_ns(enum cursor_side side)
{
    uint64_t before_ns = cpu_ns();
    for (uint32_t i = 0; i < CALLS; i++) {
        struct cursor_index *index = any(false);
        sink += list_one(index, side, any_offset(index));
    }
    return (double)(cpu_ns() - before_ns) / CALLS;
}

/* Everybody has read everything, and others are asked for.  Cold: after a walk over other
 * channels; the clock's own 0.3 us are in it. */
static double worst_us(const struct cursor_index *index, bool is_hot)
{
    uint32_t calls = (uint32_t)min_u64(is_hot ? CALLS : 300, UINT64_C(40000000) / members);
    uint64_t spent_ns = 0, before_ns = cpu_ns();
    for (uint32_t i = 0; i < calls; i++) {
        for (uint32_t k = 0; !is_hot && k < 4000000 / members && k < channels_count; k++)
            sink += scan_best()->count(channels[k]->reads.values, members, 1, 7);
        if (!is_hot) before_ns = cpu_ns();
        sink += list_one(index, CURSOR_NONREADERS, HEAD);
        if (!is_hot) spent_ns += cpu_ns() - before_ns;
    }
    return (double)(is_hot ? cpu_ns() - before_ns : spent_ns) / calls / 1000;
}

/* Random members of random channels: moved, or only found by name. */
static double move_ns(bool is_hot, bool is_found_only)
{
    static char texts[1000][24];
    struct bytes users[1000];
    struct cursor_index *whose[1000];
    uint64_t before, after, spent_ns = 0;
    for (uint32_t i = 0; i < CALLS; i += 1000) {
        for (uint32_t k = 0; k < 1000; k++) {
            users[k] = name(texts[k], rng_below(&rng, members));
            whose[k] = any(is_hot);
            cursor_post(whose[k], cursor_head(whose[k]) + 1);
        }
        if (!is_hot) sink += count_ns(false) > 0; /* others had the caches meanwhile */
        uint64_t before_ns = cpu_ns();
        for (uint32_t k = 0; k < 1000; k++)
            if (is_found_only)
                sink += cursor_is_member(whose[k], users[k]);
            else if (cursor_move(whose[k], users[k], UINT64_MAX, &before, &after) == ERR_OK)
                sink += after;
        spent_ns += cpu_ns() - before_ns;
        if (!is_hot && i >= 20000) return (double)spent_ns / (i + 1000);
    }
    return (double)spent_ns / CALLS;
}

/* A walk through COLD_BYTES in which each line says where the next one is: what a miss costs
 * that another one waits for, on pages of 4 KiB as the heap has them, and on large ones. */
static double chain_ns(bool is_large)
{
    enum { LINE = 64 };
    uint32_t lines = COLD_BYTES / LINE, at = 0, steps = 1000000;
    char *memory = mem_reserve(COLD_BYTES);
    madvise(memory, COLD_BYTES, is_large ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
    for (uint32_t i = 0; i < lines; i++) memcpy(memory + (size_t)i * LINE, &i, sizeof i);
    /* One cycle through all of them (Sattolo). */
    for (uint32_t i = lines - 1; i > 0; i--) {
        char *a = memory + (size_t)i * LINE, *b = memory + rng_below(&rng, i) * LINE;
        uint32_t kept;
        memcpy(&kept, a, sizeof kept);
        memcpy(a, b, sizeof kept);
        memcpy(b, &kept, sizeof kept);
    }
    uint64_t before_ns = cpu_ns();
    for (uint32_t i = 0; i < steps; i++) memcpy(&at, memory + (size_t)at * LINE, sizeof at);
    double ns = (double)(cpu_ns() - before_ns) / steps;
    sink += at;
    mem_unreserve(memory, COLD_BYTES);
    return ns;
}

/* Rebases included: 200,000 posts are six. */
static double post_ns(struct cursor_index *index)
{
    uint64_t head = cursor_head(index), before_ns = cpu_ns();
    for (uint32_t i = 0; i < CALLS; i++) cursor_post(index, ++head);
    return (double)(cpu_ns() - before_ns) / CALLS;
}

static double scan_us(struct cursor_index *index, const struct scan *scan)
{
    uint32_t calls = min_u64(CALLS, UINT64_C(20000000) / members);
    uint64_t before_ns = cpu_ns();
    for (uint32_t i = 0; i < calls; i++)
        sink += scan->count(index->reads.values, members, (uint16_t)(i % 1000), LANE_MAX);
    return (double)(cpu_ns() - before_ns) / calls / 1000;
}

static void one_size(void)
{
    struct cursor_index *first = channel(true);
    size_t bytes = cursor_bytes(first), directory = cursor_directory_bytes(first);
    channels_count = (uint32_t)min_u64(COLD_BYTES / bytes, MEMBERS_ALL / members) + 1;
    channels = mem_alloc(channels_count * sizeof(struct cursor_index *));
    channels[0] = first;
    uint64_t before_ns = cpu_ns();
    for (uint32_t i = 1; i < channels_count; i++) channels[i] = channel(true);
    double join_ns = (double)(cpu_ns() - before_ns) / (channels_count - 1) / members;

    printf("%7u %7u", members, channels_count);
    printf("%6.0f %6.0f", count_ns(true), count_ns(false));
    printf("%7.1f", batch_us());
    printf("%6.0f %6.0f", list_ns(CURSOR_READERS), list_ns(CURSOR_NONREADERS));
    struct cursor_index *plain = channel(false);
    bytes = cursor_bytes(plain);
    uint64_t before, after;
    char text[24];
    for (uint32_t i = 0; i < members; i++)
        if (cursor_move(plain, name(text, i), HEAD, &before, &after) != ERR_OK)
            impossible("members");
    printf("%8.2f %6.2f", worst_us(plain, true), worst_us(plain, false));
    double with = scan_us(plain, plain->scan), without = scan_us(plain, &scan_plain);
    plain->scan = &scan_plain;
    double worst_plain = worst_us(plain, true);
    printf("%6.0f %6.0f %6.0f", move_ns(true, false), move_ns(false, false), move_ns(false, true));
    printf("%6.1f %6.0f", post_ns(plain), join_ns);
    printf("%8zu %8zu", bytes, directory);
    printf("%8.2f %8.2f/%.2f\n", worst_plain, without, with);
    cursor_destroy(plain);
    for (uint32_t i = 0; i < channels_count; i++) cursor_destroy(channels[i]);
    mem_free(channels);
}

int main(void)
{
    static const uint32_t sizes[] = {2, 10, 256, 2000, 10000, 100000};
    rng_seed(&rng, 1);
    printf(
        "                 count, ns    100    50 readers,   worst, us    move, ns  find  post  join"
        "     bytes, of     plainly: worst,\n"
        "members channels  hot   cold     us  others, ns    hot   cold   hot   cold   cold    ns   "
        " ns"
        "     index directory   scan/AVX2, us\n");
    for (uint32_t s = 0; s < array_count(sizes); s++) {
        members = sizes[s];
        one_size();
        fflush(stdout);
    }
    printf(
        "goal               500    500   10.0  1000   1000   25.00  25.00   250    250      -   100"
        "      -   22500        -\n");
    double small = chain_ns(false), large = chain_ns(true);
    printf(
        "a miss that another waits for: %.0f ns (%.0f on large pages); a cold move waits for four, "
        "%.0f ns: the index,\nthe cell of the name, the cursor, the count of the cursors there; "
        "the name comes beside them\n",
        small, large, 4 * small);
    return 0;
}
