/*
 * wheel: four levels of 64 slots, by the digits of the deadline.
 *
 * Read `tick_ms` and a deadline as numbers in base 64.  A timer sits at the
 * level of the highest digit in which the two differ, in the slot of that
 * digit of its deadline; so a slot of level 0 is one millisecond, and a slot of
 * level 3 is 64^3.  Level 3 is circular: digits above it do not matter as long
 * as the deadline is less than 64 slots ahead, and one further away parks in
 * the slot that comes round last.  When the tick enters a slot of level 1..3,
 * its timers are placed again, nearer.
 *
 *   invariant   due_ms > tick_ms for each timer in a slot, and its slot is the
 *               one that slot_of() names (level 3: that one, or parked)
 *   tick_ms     every slot up to it is empty; below now_ms only after a cut
 *
 * Two lists stand beside the slots, and fire first in the next run: `due`, what
 * fire_max cut off, and `overdue`, what was armed for a time that had come.
 * Both are handed on whole, so that a crowd due in one millisecond, fired over
 * many runs, is not walked again in each of them.
 */
#include "core/wheel.h"

#include <stddef.h>

#include "core/check.h"

#define LEVELS     4
#define DIGIT_BITS 6
#define SLOTS      64u
#define TOP        (LEVELS - 1)

static uint64_t units(uint64_t ms, uint32_t level)
{
    return ms >> (DIGIT_BITS * level);
}
static uint32_t digit(uint64_t ms, uint32_t level)
{
    return units(ms, level) % SLOTS;
}

struct place {
    uint32_t level, slot;
};

static struct place slot_of(const struct wheel *wheel, uint64_t due_ms)
{
    uint64_t tick_ms = wheel->tick_ms;
    check(due_ms > tick_ms);
    for (uint32_t level = 0; level < TOP; level++)
        if (units(due_ms, level + 1) == units(tick_ms, level + 1))
            return (struct place){level, digit(due_ms, level)};
    uint64_t ahead = units(due_ms, TOP) - units(tick_ms, TOP);
    if (ahead >= SLOTS) return (struct place){TOP, (digit(tick_ms, TOP) + SLOTS - 1) % SLOTS};
    return (struct place){TOP, digit(due_ms, TOP)};
}

static void timer_link(struct timer **head, struct timer *timer)
{
    timer->next = *head;
    timer->prev_next = head;
    if (*head != NULL) (*head)->prev_next = &timer->next;
    *head = timer;
}

static void timer_unlink(struct timer *timer)
{
    *timer->prev_next = timer->next;
    if (timer->next != NULL) timer->next->prev_next = timer->prev_next;
    timer->next = NULL;
    timer->prev_next = NULL;
}

/* Moves a whole list to another head, an empty one. */
static void timers_take(struct timer **from, struct timer **to)
{
    check(*to == NULL);
    *to = *from;
    *from = NULL;
    if (*to != NULL) (*to)->prev_next = to;
}

static void slot_link(struct wheel *wheel, struct timer *timer)
{
    struct place place = slot_of(wheel, timer->due_ms);
    timer_link(&wheel->slots[place.level][place.slot], timer);
    wheel->occupied[place.level] |= UINT64_C(1) << place.slot;
}

/* Takes a timer off its list, and the slot's bit when it was the last there. */
static void wheel_unplace(struct wheel *wheel, struct timer *timer)
{
    uintptr_t head = (uintptr_t)timer->prev_next, first = (uintptr_t)wheel->slots;
    timer_unlink(timer);
    if (head < first || head >= first + sizeof wheel->slots) return;
    size_t index = (head - first) / sizeof(struct timer *);
    uint32_t level = (uint32_t)(index / SLOTS), slot = (uint32_t)(index % SLOTS);
    if (wheel->slots[level][slot] == NULL) wheel->occupied[level] &= ~(UINT64_C(1) << slot);
}

void wheel_init(struct wheel *wheel, uint64_t now_ms)
{
    *wheel = (struct wheel){.now_ms = now_ms, .tick_ms = now_ms};
}

void wheel_arm(struct wheel *wheel, struct timer *timer, uint64_t due_ms, timer_fn on_due)
{
    check(on_due != NULL);
    if (timer_is_armed(timer))
        wheel_unplace(wheel, timer);
    else
        wheel->count++;
    timer->due_ms = due_ms;
    timer->on_due = on_due;
    if (due_ms <= wheel->now_ms)
        timer_link(&wheel->overdue, timer);
    else
        slot_link(wheel, timer);
}

void wheel_disarm(struct wheel *wheel, struct timer *timer)
{
    if (!timer_is_armed(timer)) return;
    check(wheel->count > 0);
    wheel_unplace(wheel, timer);
    wheel->count--;
}

bool timer_is_armed(const struct timer *timer)
{
    return timer->prev_next != NULL;
}

/* The first tick after tick_ms at which a slot is due or wants placing again;
 * UINT64_MAX when nothing is in a slot.  Lower levels come first: all their
 * slots lie before the next slot of the level above. */
static uint64_t wheel_next_tick(const struct wheel *wheel)
{
    for (uint32_t level = 0; level < TOP; level++) {
        if (wheel->occupied[level] == 0) continue;
        uint32_t slot = (uint32_t)__builtin_ctzll(wheel->occupied[level]);
        check(slot > digit(wheel->tick_ms, level));
        uint64_t block = units(wheel->tick_ms, level + 1) * SLOTS;
        return (block + slot) << (DIGIT_BITS * level);
    }
    if (wheel->occupied[TOP] == 0) return UINT64_MAX;
    uint32_t here = digit(wheel->tick_ms, TOP);
    uint64_t bits = wheel->occupied[TOP];
    uint64_t turned = here == 0 ? bits : bits >> here | bits << (SLOTS - here);
    uint64_t ahead = (uint64_t)__builtin_ctzll(turned);
    check(ahead > 0); /* the slot that the tick is in was placed again */
    return (units(wheel->tick_ms, TOP) + ahead) << (DIGIT_BITS * TOP);
}

/* Places the timers of a slot that the tick has entered again; those due at the
 * tick itself go to `due`. */
static void wheel_cascade(struct wheel *wheel, uint32_t level)
{
    uint32_t slot = digit(wheel->tick_ms, level);
    struct timer *timers = NULL;
    timers_take(&wheel->slots[level][slot], &timers);
    wheel->occupied[level] &= ~(UINT64_C(1) << slot);
    while (timers != NULL) {
        struct timer *timer = timers;
        timer_unlink(timer);
        if (timer->due_ms <= wheel->tick_ms)
            timer_link(&wheel->due, timer);
        else
            slot_link(wheel, timer);
    }
}

/* Fires from `due` until it is empty or `fire_max` is reached. */
static uint32_t wheel_fire(struct wheel *wheel, uint32_t fire_max)
{
    uint32_t fired = 0;
    while (wheel->due != NULL && fired < fire_max) {
        struct timer *timer = wheel->due;
        timer_unlink(timer);
        wheel->count--;
        fired++;
        timer->on_due(timer); /* may free it, and arm or disarm any other */
    }
    return fired;
}

/* Fires what the last run left and what was overdue before this one; what its
 * callbacks arm for the past waits for the next. */
static uint32_t wheel_fire_late(struct wheel *wheel, uint32_t fire_max)
{
    struct timer *late = NULL;
    timers_take(&wheel->overdue, &late);
    uint32_t fired = wheel_fire(wheel, fire_max);
    if (wheel->due == NULL) {
        timers_take(&late, &wheel->due);
        return fired + wheel_fire(wheel, fire_max - fired);
    }
    while (wheel->overdue != NULL) {
        struct timer *timer = wheel->overdue;
        timer_unlink(timer);
        timer_link(&late, timer);
    }
    timers_take(&late, &wheel->overdue);
    return fired;
}

uint32_t wheel_run(struct wheel *wheel, uint64_t now_ms, uint32_t fire_max)
{
    check(fire_max > 0);
    check(now_ms >= wheel->now_ms);
    /* First: from here on a past deadline goes to `overdue`, for the next run. */
    wheel->now_ms = now_ms;

    uint32_t fired = wheel_fire_late(wheel, fire_max);
    while (fired < fire_max) {
        uint64_t next_ms = wheel_next_tick(wheel);
        if (next_ms > now_ms) {
            wheel->tick_ms = now_ms;
            break;
        }
        wheel->tick_ms = next_ms;
        for (uint32_t level = TOP; level > 0; level--)
            if (next_ms % (UINT64_C(1) << (DIGIT_BITS * level)) == 0) wheel_cascade(wheel, level);
        wheel_cascade(wheel, 0);
        fired += wheel_fire(wheel, fire_max - fired);
    }
    return fired;
}

uint64_t wheel_next_due_ms(const struct wheel *wheel)
{
    if (wheel->due != NULL || wheel->overdue != NULL) return wheel->now_ms;
    return wheel_next_tick(wheel);
}

static void slot_verify(const struct wheel *wheel, uint32_t level, uint32_t slot, uint32_t *count)
{
    struct timer *const *link = &wheel->slots[level][slot];
    bool is_occupied = wheel->occupied[level] >> slot & 1;
    check(is_occupied == (*link != NULL));
    for (; *link != NULL; link = &(*link)->next, ++*count) {
        const struct timer *timer = *link;
        check(timer->prev_next == link);
        check(timer->on_due != NULL);
        struct place place = slot_of(wheel, timer->due_ms);
        check(place.level == level);
        if (place.slot == slot) continue;
        /* Parked: its slot comes round before the deadline does. */
        check(level == TOP);
        uint64_t ahead = (slot - digit(wheel->tick_ms, TOP)) % SLOTS;
        check(units(wheel->tick_ms, TOP) + ahead < units(timer->due_ms, TOP));
    }
}

void wheel_verify(const struct wheel *wheel)
{
    check(wheel->tick_ms <= wheel->now_ms);
    uint32_t count = 0;
    const struct timer *lists[] = {wheel->due, wheel->overdue};
    for (uint32_t i = 0; i < array_count(lists); i++)
        for (const struct timer *timer = lists[i]; timer != NULL; timer = timer->next, count++)
            check(timer->due_ms <= wheel->now_ms);
    for (uint32_t level = 0; level < LEVELS; level++)
        for (uint32_t slot = 0; slot < SLOTS; slot++) slot_verify(wheel, level, slot, &count);
    check(count == wheel->count);
}
