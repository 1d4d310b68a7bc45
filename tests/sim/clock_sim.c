/*
 * clock, simulated: virtual time.  Wall time runs along with it.
 */
#include "core/clock.h"

#include "world.h"

void clock_turn(struct clock *clock)
{
    clock->mono_ns = clock_mono_ns();
    clock->wall_ms = clock_wall_ms();
}

uint64_t clock_mono_ns(void)
{
    return world.now_ns;
}
uint64_t clock_wall_ms(void)
{
    return world.wall_start_ms + world.now_ns / 1000000u;
}
uint64_t clock_boot_ms(void)
{
    return world.now_ns / 1000000u;
}
