/*
 * wheel: every timer of one shard.
 *
 * A hierarchical timer wheel with 1 ms ticks: four levels of 64 slots, so
 * arming and cancelling are O(1) and a turn pays only for the slots it passes.
 * Timers live inside the objects they time (intrusive), so arming one can
 * never fail and never allocates.  Deadlines past the horizon (64^4 ms, about
 * 4 h 40 min) park in the last slot and are re-armed when it comes round.
 *
 * Thread:  the owner shard only.
 * Clock:   `now_ms` is clock_turn_ms() of that shard, never read here.
 * Source:  Varghese & Lauck 1987, scheme 7.
 * Tests:   tests/unit/core/test_wheel.c, tests/prop/prop_wheel.c (model: a
 *          sorted list), perf/micro/bench_wheel.c.
 */
#pragma once

#include "core/base.h"

struct timer;

/* Runs on the owner shard, during wheel_run.  The timer is already disarmed,
 * so the callback may arm it again or free the object that holds it. */
typedef void (*timer_fn)(struct timer *timer);

/* Zeroed memory is a valid, disarmed timer.  Fields are private to wheel.c. */
struct timer {
    struct timer *next;
    struct timer **prev_next;
    uint64_t due_ms;
    timer_fn on_due;
};

/* Fields are private to wheel.c. */
struct wheel {
    uint64_t now_ms;       /* of the last run */
    uint64_t tick_ms;      /* how far the slots are done; now_ms unless a run was cut short */
    struct timer *due;     /* what a cut run left */
    struct timer *overdue; /* what was armed for a time that had come */
    struct timer *slots[4][64];
    uint64_t occupied[4]; /* a bit per slot, set exactly when it holds a timer */
    uint32_t count;
};

void wheel_init(struct wheel *wheel, uint64_t now_ms);

/* Arms `timer` to fire once, at the first turn whose clock is >= `due_ms`.
 *
 *   due_ms   absolute, monotonic milliseconds; a past value fires next turn
 *   on_due   must be non-NULL
 *
 * Owns nothing: the caller keeps `timer` alive until it fires or is disarmed.
 * Re-arming an armed timer moves it.  Cannot fail. */
void wheel_arm(struct wheel *wheel, struct timer *timer, uint64_t due_ms, timer_fn on_due);

/* Disarms `timer`; a no-op when it is not armed. */
void wheel_disarm(struct wheel *wheel, struct timer *timer);

bool timer_is_armed(const struct timer *timer);

/* Fires everything due at `now_ms`, at most `fire_max` timers per call so that
 * one turn stays bounded.  Returns the count fired; when it equals `fire_max`
 * the caller runs another turn without sleeping. */
uint32_t wheel_run(struct wheel *wheel, uint64_t now_ms, uint32_t fire_max);

/* When to run next, or UINT64_MAX when no timer is armed.  Never later than the
 * next deadline, and exactly it when that lies in the same 64 ms; for a farther
 * one it is the moment at which its slot wants placing nearer, so a run then may
 * fire nothing (at most three times for a timer).  O(1). */
uint64_t wheel_next_due_ms(const struct wheel *wheel);

/* Walks every slot and checks that each timer sits where its deadline says.
 * For tests and VERIFY builds: O(armed timers). */
void wheel_verify(const struct wheel *wheel);
