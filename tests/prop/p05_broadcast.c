/*
 * P5: a broadcast reaches the whole group, and nobody else.
 *
 * Forty members of one group on up to four shards, some slow, who come and go all the
 * time, each time from the head: a member who began at T and is still there is shown T+1 to the
 * head without a gap, one who left without a gap as far as he got, the same text at an offset
 * as everyone; who is outside, of this group or of the other, is shown nothing (people.c).
 */
#include <inttypes.h>
#include <string.h>

#include "people.h"

#define MEMBERS 40

static struct {
    uint32_t row[ROOMS_MAX][TEXTS_MAX + 2]; /* text + 1 by offset, as first shown */
    uint64_t next[MEMBERS][ROOMS_MAX];      /* the offset that this member is shown next */
    uint64_t shown;
} model;

static void on_seated(struct device *device, uint32_t room, uint64_t since, bool is_recovered,
                      uint64_t offset)
{
    if (since == UINT64_MAX)
        model.next[device->number][room] = offset + 1;
    else if (!is_recovered)
        world_fail("P5: a member who is cut off is told what it missed", "device %u %s",
                   device->number, room_name(room));
}

static void on_shown(struct device *device, uint32_t room, uint64_t offset, uint32_t text,
                     bool is_backlog)
{
    (void)is_backlog;
    if (offset != model.next[device->number][room])
        world_fail("P5: a member is shown everything since it began, once",
                   "device %u %s: %" PRIu64 " not %" PRIu64, device->number, room_name(room),
                   offset, model.next[device->number][room]);
    uint32_t *known = &model.row[room][offset];
    if (offset > people.texts_count || (*known != 0 && *known != text + 1))
        world_fail("P5: a group is shown the same", "device %u %s %" PRIu64 ": text %u, others %u",
                   device->number, room_name(room), offset, text, *known - 1);
    *known = text + 1;
    model.next[device->number][room]++;
    model.shown++;
}

static void act(struct device *device)
{
    uint32_t dice = (uint32_t)chance_below(100), room = (uint32_t)chance_below(2);
    if (dice < 40)
        (void)device_say(device, room);
    else if (dice < 60)
        device_join(device, room, false);
    else if (dice < 80)
        device_leave(device, room);
    else if (dice < 90)
        device_cut(device, (enum cut)chance_below(3));
    else if (device->number % 10 == 0)
        device_pause(device, chance(70));
}

static void play(void)
{
    static const struct people_calls calls = {.on_shown = on_shown, .on_seated = on_seated};
    memset(&model, 0, sizeof(model));
    people_begin(&(struct scene){.users = MEMBERS, .devices = MEMBERS, .rooms = 2}, &calls);
    for (uint32_t i = 0; i < MEMBERS; i++)
        if (chance(80)) device_join(&people.devices[i], i % 8 == 0, false);
    people_pass(chance_between(1, 300) * MS);
    uint32_t acts = (uint32_t)chance_between(100, 300), kills = (uint32_t)chance_below(3);
    for (uint32_t i = 0; i < acts; i++) {
        act(&people.devices[chance_below(MEMBERS)]);
        if (chance(60)) people_pass(chance_skewed(&world.rng, 0, 100 * MS));
        people_kill_maybe(kills);
    }
    people_calm();
    for (uint32_t i = 0; i < MEMBERS; i++)
        for (uint32_t room = 0; room < 2; room++)
            if (people.devices[i].seats[room].is_wanted && model.next[i][room] <= room_head(room))
                world_fail("P5: a broadcast reaches the whole group",
                           "device %u %s: %" PRIu64 " of %" PRIu64, i, room_name(room),
                           model.next[i][room] - 1, room_head(room));
    people_end();
}

int main(int count, char **words)
{
    static const enum sim_fault faults[] = {FAULT_DEAF, FAULT_TWICE};
    return people_main(count, words, play, faults, 2);
}
