/*
 * The wheel: order, bounds of a run, changes from inside callbacks, the far
 * horizon.  prop_wheel holds it against a sorted list.
 */
#include "death.h"

#include <cmocka.h>

#include "core/wheel.h"

struct alarm {
    struct timer timer;
    uint32_t fired;
    uint64_t again_ms; /* armed again for this when it fires; 0: not */
};

static struct wheel wheel;
static struct alarm *order[64];
static uint32_t order_count;

static void on_due(struct timer *timer)
{
    struct alarm *alarm = container_of(timer, struct alarm, timer);
    assert_false(timer_is_armed(timer));
    alarm->fired++;
    if (order_count < array_count(order)) order[order_count++] = alarm;
    if (alarm->again_ms != 0) wheel_arm(&wheel, timer, alarm->again_ms, on_due);
}

static int setup(void **state)
{
    (void)state;
    wheel_init(&wheel, 1000000);
    order_count = 0;
    return 0;
}

/* Runs as a shard does, from wake to wake, until `now_ms`; returns the wakes. */
static uint32_t run_until(uint64_t now_ms)
{
    uint32_t wakes = 0;
    for (uint64_t next; (next = wheel_next_due_ms(&wheel)) <= now_ms; wakes++) {
        wheel_run(&wheel, next, 1000);
        wheel_verify(&wheel);
    }
    wheel_run(&wheel, now_ms, 1000);
    wheel_verify(&wheel);
    return wakes;
}

static void timer_fires_at_its_deadline_and_not_before(void **state)
{
    (void)state;
    static const uint64_t after[] = {1,        2,        63,       64,       65,     4095,
                                     4096,     4097,     262143,   262144,   262145, 16777215,
                                     16777216, 16777217, 40000000, 100000000};
    for (size_t i = 0; i < array_count(after); i++) {
        for (uint64_t start = 1000000; start < 1000000 + 3 * 64; start += 37) {
            struct alarm alarm = {0};
            wheel_init(&wheel, start);
            wheel_arm(&wheel, &alarm.timer, start + after[i], on_due);
            wheel_verify(&wheel);
            uint32_t wakes = run_until(start + after[i] - 1);
            assert_int_equal(alarm.fired, 0);
            assert_int_equal(wheel_next_due_ms(&wheel), start + after[i]);
            assert_true(wakes <= 3 + after[i] / 16000000); /* a wake per level, or per horizon */
            run_until(start + after[i]);
            assert_int_equal(alarm.fired, 1);
            assert_int_equal(wheel_next_due_ms(&wheel), UINT64_MAX);
        }
    }
}

static void one_run_over_hours_fires_in_order_of_deadline(void **state)
{
    (void)state;
    static const uint64_t after[] = {90000000, 5, 300000, 64, 4096, 20000000, 70, 6};
    struct alarm alarms[array_count(after)] = {0};
    for (size_t i = 0; i < array_count(after); i++)
        wheel_arm(&wheel, &alarms[i].timer, 1000000 + after[i], on_due);
    assert_int_equal(wheel_run(&wheel, 1000000 + 90000000, 1000), array_count(after));
    for (uint32_t i = 1; i < order_count; i++)
        assert_true(order[i - 1]->timer.due_ms < order[i]->timer.due_ms);
    wheel_verify(&wheel);
}

static void past_deadline_fires_in_the_next_run_only(void **state)
{
    (void)state;
    struct alarm alarm = {.again_ms = 1};
    wheel_arm(&wheel, &alarm.timer, 5, on_due);
    assert_int_equal(wheel_next_due_ms(&wheel), 1000000);
    assert_int_equal(wheel_run(&wheel, 1000000, 100), 1);
    assert_int_equal(wheel_run(&wheel, 1000000, 100), 1);
    assert_int_equal(wheel_run(&wheel, 1000500, 100), 1);
    alarm.again_ms = 1000600; /* between the last run and the next: also past then */
    assert_int_equal(wheel_run(&wheel, 1000700, 100), 1);
    alarm.again_ms = 0;
    assert_int_equal(wheel_run(&wheel, 1000700, 100), 1);
    assert_int_equal(wheel.count, 0);
    wheel_verify(&wheel);
}

static void run_is_cut_at_its_bound(void **state)
{
    (void)state;
    struct alarm alarms[10] = {0};
    for (uint64_t i = 0; i < 10; i++) wheel_arm(&wheel, &alarms[i].timer, 1000010 + i / 5, on_due);
    assert_int_equal(wheel_run(&wheel, 1000100, 3), 3);
    wheel_verify(&wheel);
    assert_true(wheel_next_due_ms(&wheel) <= 1000100);
    struct alarm late = {0};
    wheel_arm(&wheel, &late.timer, 1000101, on_due);
    wheel_verify(&wheel);
    assert_int_equal(wheel_run(&wheel, 1000100, 3), 3);
    assert_int_equal(wheel_run(&wheel, 1000100, 3), 3);
    assert_int_equal(wheel_run(&wheel, 1000100, 3), 1);
    assert_int_equal(wheel_run(&wheel, 1000100, 3), 0);
    assert_int_equal(wheel_run(&wheel, 1000101, 3), 1);
    for (uint32_t i = 0; i < 10; i++) assert_int_equal(alarms[i].fired, 1);
    assert_int_equal(late.fired, 1);
}

static void arming_again_moves_the_timer(void **state)
{
    (void)state;
    struct alarm alarm = {0};
    wheel_arm(&wheel, &alarm.timer, 1000010, on_due);
    wheel_arm(&wheel, &alarm.timer, 1500000, on_due);
    assert_int_equal(wheel.count, 1);
    wheel_run(&wheel, 1400000, 10);
    assert_int_equal(alarm.fired, 0);
    wheel_disarm(&wheel, &alarm.timer);
    wheel_disarm(&wheel, &alarm.timer);
    assert_false(timer_is_armed(&alarm.timer));
    wheel_run(&wheel, 2000000, 10);
    assert_int_equal(alarm.fired, 0);
    wheel_verify(&wheel);
}

static struct alarm twins[2];
static void on_due_disarm(struct timer *timer)
{
    on_due(timer);
    wheel_disarm(&wheel, &twins[timer == &twins[0].timer].timer);
}

static void callback_may_disarm_one_due_at_the_same_time(void **state)
{
    (void)state;
    /* Whichever fires first disarms the other. */
    memset(twins, 0, sizeof twins);
    wheel_arm(&wheel, &twins[0].timer, 1000005, on_due_disarm);
    wheel_arm(&wheel, &twins[1].timer, 1000005, on_due_disarm);
    assert_int_equal(wheel_run(&wheel, 1000005, 10), 1);
    assert_int_equal(twins[0].fired + twins[1].fired, 1);
    assert_int_equal(wheel.count, 0);
    wheel_verify(&wheel);
}

static void go_back(void)
{
    wheel_run(&wheel, 1, 1);
}
static void arm_nothing(void)
{
    struct timer timer = {0};
    wheel_arm(&wheel, &timer, 1, NULL);
}

static void misuse_stops_the_process(void **state)
{
    (void)state;
    assert_true(dies(go_back));
    assert_true(dies(arm_nothing));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(timer_fires_at_its_deadline_and_not_before, setup),
        cmocka_unit_test_setup(one_run_over_hours_fires_in_order_of_deadline, setup),
        cmocka_unit_test_setup(past_deadline_fires_in_the_next_run_only, setup),
        cmocka_unit_test_setup(run_is_cut_at_its_bound, setup),
        cmocka_unit_test_setup(arming_again_moves_the_timer, setup),
        cmocka_unit_test_setup(callback_may_disarm_one_due_at_the_same_time, setup),
        cmocka_unit_test_setup(misuse_stops_the_process, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
