/*
 * The wheel against a sorted list: arm, arm again, disarm, from outside and
 * from callbacks, runs that are cut and runs over hours.  Each timer fires
 * exactly once, in the first run whose clock reached it, in order of deadline.
 */
#include <string.h>

#include "core/wheel.h"
#include "prop.h"

#define TIMERS 200

static struct alarm {
    struct timer timer;
    bool is_armed;
    bool is_fresh; /* armed by a callback of this run for a time that has come */
    uint64_t due_ms;
} alarms[TIMERS];
static struct wheel wheel;
static struct rng *dice;
static uint64_t now_ms, last_due_ms, overdue_left;

static void on_due(struct timer *timer);

static uint64_t draw_due(void)
{
    static const uint64_t spans[] = {2, 64, 70, 4096, 5000, 262144, 300000, 16777216, 40000000};
    if (rng_chance(dice, 10)) return now_ms - rng_below(dice, min_u64(now_ms, 100) + 1);
    return now_ms + rng_below(dice, spans[rng_below(dice, array_count(spans))]);
}

static void arm(struct alarm *alarm, bool is_in_run)
{
    alarm->due_ms = draw_due();
    alarm->is_armed = true;
    alarm->is_fresh = is_in_run && alarm->due_ms <= now_ms;
    wheel_arm(&wheel, &alarm->timer, alarm->due_ms, on_due);
}

static void disarm(struct alarm *alarm)
{
    wheel_disarm(&wheel, &alarm->timer);
    alarm->is_armed = false;
}

static void on_due(struct timer *timer)
{
    struct alarm *alarm = container_of(timer, struct alarm, timer);
    expect(alarm->is_armed);
    expect(!alarm->is_fresh); /* for the next run */
    expect(alarm->due_ms <= now_ms);
    /* What was overdue before the run comes first, in any order. */
    if (overdue_left > 0)
        overdue_left--;
    else {
        expect(alarm->due_ms >= last_due_ms);
        last_due_ms = alarm->due_ms;
    }
    alarm->is_armed = false;
    if (rng_chance(dice, 20)) arm(alarm, true);
    struct alarm *other = &alarms[rng_below(dice, TIMERS)];
    if (rng_chance(dice, 10) && other != alarm) {
        /* One that was overdue may go: then the count of them is not known. */
        if (other->is_armed && other->due_ms <= now_ms && overdue_left > 0) return;
        disarm(other);
    }
}

static void run(uint32_t fire_max)
{
    uint32_t due = 0;
    overdue_left = 0;
    for (uint32_t i = 0; i < TIMERS; i++) {
        alarms[i].is_fresh = false;
        if (!alarms[i].is_armed) continue;
        due += alarms[i].due_ms <= now_ms;
        overdue_left += alarms[i].due_ms <= wheel.now_ms;
    }
    last_due_ms = 0;
    uint32_t fired = wheel_run(&wheel, now_ms, fire_max);
    expect(fired <= fire_max);
    expect(fired <= due);
    if (fired == fire_max) return;
    for (uint32_t i = 0; i < TIMERS; i++)
        if (alarms[i].is_armed && !alarms[i].is_fresh) expect(alarms[i].due_ms > now_ms);
}

static void model_compare(void)
{
    wheel_verify(&wheel);
    uint64_t next_ms = UINT64_MAX;
    uint32_t count = 0;
    for (uint32_t i = 0; i < TIMERS; i++) {
        expect(timer_is_armed(&alarms[i].timer) == alarms[i].is_armed);
        if (!alarms[i].is_armed) continue;
        count++;
        next_ms = min_u64(next_ms, alarms[i].due_ms);
    }
    expect(wheel.count == count);
    uint64_t wake_ms = wheel_next_due_ms(&wheel);
    expect((wake_ms == UINT64_MAX) == (count == 0));
    if (count == 0) return;
    expect(wake_ms <= max_u64(next_ms, now_ms));
    if (next_ms > now_ms) expect(wake_ms > now_ms || wheel.tick_ms < now_ms);
    if (next_ms / 64 == now_ms / 64 && wheel.tick_ms == now_ms && next_ms > now_ms)
        expect(wake_ms == next_ms);
}

static void round_wheel(struct rng *rng)
{
    static const uint64_t starts[] = {0,      1,        63,        4095,
                                      262143, 16777215, 123456789, UINT64_C(1) << 40};
    dice = rng;
    memset(alarms, 0, sizeof alarms);
    now_ms = starts[rng_below(rng, array_count(starts))];
    wheel_init(&wheel, now_ms);
    uint64_t stride = rng_chance(rng, 30) ? 3 : rng_chance(rng, 50) ? 500 : 10000000;
    for (uint32_t step = 0; step < 3000; step++) {
        struct alarm *alarm = &alarms[rng_below(rng, TIMERS)];
        uint64_t draw = rng_below(rng, 100);
        if (draw < 50) {
            arm(alarm, false);
        } else if (draw < 65) {
            disarm(alarm);
        } else {
            uint64_t wake_ms = wheel_next_due_ms(&wheel);
            if (rng_chance(rng, 50) || wake_ms == UINT64_MAX)
                now_ms += rng_below(rng, stride);
            else
                now_ms = max_u64(now_ms, wake_ms);
            run(rng_chance(rng, 80) ? UINT32_MAX : (uint32_t)rng_below(rng, 4) + 1);
        }
        model_compare();
    }
}

int main(int argc, char **argv)
{
    return prop_main(argc, argv, 100, round_wheel);
}
