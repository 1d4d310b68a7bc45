/*
 * P7: what was said to somebody offline comes in its order.
 *
 * Readers go away, much or little is said, they come back while others go on, and are
 * cut off in the middle of it up to twenty times.  Each is shown the row that one who was
 * never away was shown: first the backlog, then what is new, no gap, no repeat.  More than
 * the history keeps, or than a recovery may bring, is never a silent hole: the subscription
 * says that it could not recover, and only then.
 */
#include <inttypes.h>
#include <string.h>

#include "people.h"

#define READERS 4
#define PEOPLE  10 /* the others say; the last is never away */
#define ROOMS   2

static struct {
    uint32_t row[ROOMS_MAX][TEXTS_MAX + 2]; /* text + 1 by offset */
    uint64_t recovered, refused;
    bool is_live[PEOPLE][ROOMS_MAX]; /* something live was shown since it was seated */
} model;

static uint64_t kept_of(uint32_t room)
{
    uint64_t kept = people.scene.kinds[room] == ROOM_TAIL ? people.scene.tail_size : UINT64_MAX;
    return kept < people.scene.recovery_max ? kept : people.scene.recovery_max;
}

static void on_seated(struct device *device, uint32_t room, uint64_t since, bool is_recovered,
                      uint64_t offset)
{
    model.is_live[device->number][room] = false;
    if (since == UINT64_MAX) return;
    model.recovered += is_recovered;
    model.refused += !is_recovered;
    if (!is_recovered && offset - since <= kept_of(room))
        world_fail("P7: what is kept is recovered", "device %u %s: %" PRIu64 " to %" PRIu64,
                   device->number, room_name(room), since, offset);
}

static void on_shown(struct device *device, uint32_t room, uint64_t offset, uint32_t text,
                     bool is_backlog)
{
    if (offset != device->seats[room].offset + 1)
        world_fail("P7: there is no silent hole and no repeat",
                   "device %u %s: %" PRIu64 " after %" PRIu64, device->number, room_name(room),
                   offset, device->seats[room].offset);
    if (is_backlog && model.is_live[device->number][room])
        world_fail("P7: the backlog comes before what is new", "device %u %s %" PRIu64,
                   device->number, room_name(room), offset);
    model.is_live[device->number][room] |= !is_backlog;
    uint32_t *known = &model.row[room][offset];
    if (offset > people.texts_count || (*known != 0 && *known != text + 1))
        world_fail("P7: who was away is shown what others were shown",
                   "device %u %s %" PRIu64 ": text %u, others %u", device->number, room_name(room),
                   offset, text, *known - 1);
    *known = text + 1;
}

static void say_some(uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        uint32_t who = READERS + (uint32_t)chance_below(PEOPLE - READERS - 1);
        if (device_say(&people.devices[who], (uint32_t)chance_below(ROOMS)) == UINT32_MAX) return;
        if (chance(20)) people_pass(chance_skewed(&world.rng, 0, 20 * MS));
    }
}

static void play(void)
{
    static const struct people_calls calls = {.on_shown = on_shown, .on_seated = on_seated};
    memset(&model, 0, sizeof(model));
    people_begin(&(struct scene){.users = PEOPLE,
                                 .devices = PEOPLE,
                                 .rooms = ROOMS,
                                 .kinds = {ROOM_WHOLE, ROOM_TAIL},
                                 .tail_size = (uint32_t)chance_between(1, 40),
                                 .recovery_max = (uint32_t)chance_between(1, 150)},
                 &calls);
    for (uint32_t i = 0; i < PEOPLE; i++)
        for (uint32_t room = 0; room < ROOMS && (i < READERS || i == PEOPLE - 1); room++)
            device_join(&people.devices[i], room, false);
    uint32_t kills = (uint32_t)chance_below(30);
    for (uint32_t absence = 0; absence < 4; absence++) {
        for (uint32_t i = 0; i < READERS; i++)
            if (chance(70)) device_go(&people.devices[i], (enum cut)chance_below(3));
        say_some((uint32_t)chance_skewed(&world.rng, 0, 300));
        people_kill_maybe(kills);
        for (uint32_t i = 0; i < READERS; i++) device_come(&people.devices[i]);
        /* They are cut again and again while they are brought up to date. */
        for (uint64_t cuts = chance_below(20); cuts > 0; cuts--) {
            people_pass(chance_skewed(&world.rng, 0, 60 * MS));
            device_cut(&people.devices[chance_below(READERS)], (enum cut)chance_below(3));
            say_some((uint32_t)chance_below(6));
        }
        if (chance(50)) people_calm();
    }
    people_calm();
    people_end();
}

int main(int count, char **words)
{
    static const enum sim_fault faults[] = {FAULT_STALE_PAST, FAULT_DEAF};
    return people_main(count, words, play, faults, 2);
}
