/*
 * clock: the kernel's clocks, through the vDSO.
 */
#include "core/clock.h"

#include <time.h>

#include "core/check.h"

static uint64_t clock_ns(clockid_t id)
{
    struct timespec now;
    int failed = clock_gettime(id, &now);
    check(failed == 0);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void clock_turn(struct clock *clock)
{
    uint64_t mono_ns = clock_mono_ns();
    check(mono_ns >= clock->mono_ns);
    clock->mono_ns = mono_ns;
    clock->wall_ms = clock_wall_ms();
}

uint64_t clock_mono_ns(void)
{
    return clock_ns(CLOCK_MONOTONIC);
}
uint64_t clock_wall_ms(void)
{
    return clock_ns(CLOCK_REALTIME) / 1000000u;
}
uint64_t clock_boot_ms(void)
{
    return clock_ns(CLOCK_BOOTTIME) / 1000000u;
}
