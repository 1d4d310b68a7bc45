/*
 * The read index: ns per count, move and post, and bytes per channel, for
 * channels of 10 to 100,000 members.
 *
 * "hot" asks one channel again and again; "cold" asks a random one of enough
 * channels to fill 64 MiB, as a gateway with many channels does.  A third of the
 * members is below the window, a third at the head, the rest between.
 */
#include <stdio.h>

#include "core/check.h"
#include "core/clock.h"
#include "core/mem.h"
#include "core/rng.h"
#include "storage/cursor.h"

#define CALLS 200000u
#define HEAD  50000u

static struct rng rng;
static volatile uint32_t sink;

static struct bytes name(char *text, uint64_t i)
{
    return bytes_of(text, (size_t)snprintf(text, 24, "user-%08u", (unsigned)i));
}

static struct cursor_index *channel(uint32_t members)
{
    struct cursor_index *index = cursor_create(HEAD);
    char text[24];
    for (uint32_t i = 0; i < members; i++) {
        uint64_t read = i % 3 == 0   ? HEAD - 3000 + rng_below(&rng, 1900)
                        : i % 3 == 1 ? HEAD
                                     : HEAD - rng_below(&rng, 1000);
        if (cursor_join(index, name(text, i), i % 50 == 0 ? HEAD - 500 : 1, read) != ERR_OK)
            impossible("the names differ");
    }
    return index;
}

static double count_ns(struct cursor_index **channels, uint32_t channels_count)
{
    uint64_t before_ns = clock_mono_ns();
    for (uint32_t i = 0; i < CALLS; i++) {
        uint32_t readers = 0, eligible = 0;
        struct cursor_index *index = channels[rng_below(&rng, channels_count)];
        uint64_t offset = HEAD - rng_below(&rng, 1000);
        if (cursor_counts(index, offset, BYTES_NONE, &readers, &eligible) == ERR_OK)
            sink += readers;
    }
    return (double)(clock_mono_ns() - before_ns) / CALLS;
}

static double move_ns(struct cursor_index *index, uint32_t members)
{
    static char texts[1000][24];
    struct bytes users[1000];
    uint64_t before, after, head = cursor_head(index), spent_ns = 0;
    for (uint32_t i = 0; i < CALLS; i += 1000) {
        cursor_post(index, head += 100);
        for (uint32_t k = 0; k < 1000; k++) users[k] = name(texts[k], rng_below(&rng, members));
        uint64_t before_ns = clock_mono_ns();
        for (uint32_t k = 0; k < 1000; k++)
            if (cursor_move(index, users[k], head - k / 10, &before, &after) == ERR_OK)
                sink += (uint32_t)after;
        spent_ns += clock_mono_ns() - before_ns;
    }
    return (double)spent_ns / CALLS;
}

/* Rebases included: 200,000 posts are four. */
static double post_ns(struct cursor_index *index)
{
    uint64_t head = cursor_head(index), before_ns = clock_mono_ns();
    for (uint32_t i = 0; i < CALLS; i++) cursor_post(index, ++head);
    return (double)(clock_mono_ns() - before_ns) / CALLS;
}

int main(void)
{
    static const uint32_t sizes[] = {2, 10, 256, 2000, 10000, 100000};
    rng_seed(&rng, 1);
    printf("%8s %9s %10s %10s %9s %9s %9s %11s\n", "members", "channels", "count hot", "count cold",
           "move", "post", "join", "bytes/chan");
    for (uint32_t s = 0; s < array_count(sizes); s++) {
        uint32_t members = sizes[s];
        struct cursor_index *first = channel(members);
        size_t bytes = cursor_bytes(first);
        uint32_t channels_count = (uint32_t)(((size_t)64 << 20) / bytes) + 1;
        struct cursor_index **channels = mem_alloc(channels_count * sizeof *channels);
        channels[0] = first;
        uint64_t before_ns = clock_mono_ns();
        for (uint32_t i = 1; i < channels_count; i++) channels[i] = channel(members);
        double join_ns = (double)(clock_mono_ns() - before_ns) / channels_count / members;
        double hot_ns = count_ns(channels, 1), cold_ns = count_ns(channels, channels_count);
        double moved_ns = move_ns(first, members), posted_ns = post_ns(first);
        printf("%8u %9u %7.0f ns %7.0f ns %6.0f ns %6.1f ns %6.0f ns %11zu\n", members,
               channels_count, hot_ns, cold_ns, moved_ns, posted_ns, join_ns, bytes);
        for (uint32_t i = 0; i < channels_count; i++) cursor_destroy(channels[i]);
        mem_free(channels);
    }
    return 0;
}
