/*
 * The wheel with the timers of many connections: ns to arm, to move (a ping put
 * off), to fire, and what a turn costs that fires nothing.
 */
#include <stdio.h>

#include "core/clock.h"
#include "core/mem.h"
#include "core/rng.h"
#include "core/wheel.h"

static struct wheel wheel;
static uint64_t fired;

static void on_due(struct timer *timer)
{
    (void)timer;
    fired++;
}

int main(void)
{
    static const uint32_t sizes[] = {1000, 100000, 1000000};
    struct rng rng;
    rng_seed(&rng, 1);
    printf("%9s %8s %8s %8s %12s\n", "timers", "arm", "move", "fire", "empty turn");
    for (uint32_t s = 0; s < array_count(sizes); s++) {
        uint32_t count = sizes[s];
        struct timer *timers = mem_alloc(count * sizeof *timers);
        uint64_t now_ms = 1000000;
        wheel_init(&wheel, now_ms);

        uint64_t start_ns = clock_mono_ns();
        for (uint32_t i = 0; i < count; i++)
            wheel_arm(&wheel, &timers[i], now_ms + rng_below(&rng, 25000), on_due);
        uint64_t armed_ns = clock_mono_ns();
        for (uint32_t i = 0; i < count; i++)
            wheel_arm(&wheel, &timers[rng_below(&rng, count)], now_ms + 25000, on_due);
        uint64_t moved_ns = clock_mono_ns();
        for (uint32_t i = 0; i < 1000000; i++) wheel_run(&wheel, now_ms, 1000);
        uint64_t turned_ns = clock_mono_ns();
        fired = 0;
        for (; wheel.count > 0; now_ms++)
            while (wheel_run(&wheel, now_ms, 1000) == 1000) continue;
        uint64_t end_ns = clock_mono_ns();

        printf("%9u %5.1f ns %5.1f ns %5.1f ns %9.1f ns\n", count,
               (double)(armed_ns - start_ns) / count, (double)(moved_ns - armed_ns) / count,
               (double)(end_ns - turned_ns) / (double)fired,
               (double)(turned_ns - moved_ns) / 1000000);
        mem_free(timers);
    }
    return 0;
}
