/*
 * P3: exactly-once display.
 *
 * Each text is sent one to five times with its key, by the device that said it and by
 * another one of the same user, while the first attempt is under way and long after, over
 * new connections and new lives: every answer names one offset, every screen shows it
 * once, and the room has as many offsets as texts.
 */
#include <inttypes.h>
#include <string.h>

#include "people.h"

#define PEOPLE 8 /* of four users */
#define ROOMS  2

static struct {
    uint8_t shown[PEOPLE][TEXTS_MAX];
    uint64_t offset[TEXTS_MAX]; /* as first answered */
    uint32_t said[ROOMS_MAX], kept[ROOMS_MAX];
} model;

static void on_shown(struct device *device, uint32_t room, uint64_t offset, uint32_t text,
                     bool is_backlog)
{
    (void)is_backlog;
    if (model.shown[device->number][text]++ > 0)
        world_fail("P3: what is said is shown once", "device %u: text %u again, %s %" PRIu64,
                   device->number, text, room_name(room), offset);
}

static void on_acked(struct device *device, uint32_t text, uint64_t offset)
{
    if (model.offset[text] != 0 && model.offset[text] != offset)
        world_fail("P3: a key has one answer", "text %u: %" PRIu64 ", and to device %u %" PRIu64,
                   text, model.offset[text], device->number, offset);
    model.offset[text] = offset;
}

static void on_history(uint32_t room, uint64_t offset, uint32_t text)
{
    (void)offset;
    (void)text;
    model.kept[room]++;
}

static void play(void)
{
    static const struct people_calls calls = {.on_shown = on_shown, .on_acked = on_acked};
    memset(&model, 0, sizeof(model));
    people_begin(&(struct scene){.users = PEOPLE / 2, .devices = PEOPLE, .rooms = ROOMS}, &calls);
    for (uint32_t i = 0; i < PEOPLE; i++)
        for (uint32_t room = 0; room < ROOMS; room++) device_join(&people.devices[i], room, false);
    people_pass(300 * MS);
    uint32_t acts = (uint32_t)chance_between(50, 200), kills = (uint32_t)chance_below(6);
    for (uint32_t i = 0; i < acts; i++) {
        struct device *device = &people.devices[chance_below(PEOPLE)];
        uint32_t room = (uint32_t)chance_below(ROOMS), text = device_say(device, room);
        model.said[room]++;
        /* Repeats of this one, and of an old one. */
        struct device *other = &people.devices[(device->number + PEOPLE / 2) % PEOPLE];
        for (uint64_t again = chance_below(5); again > 0; again--) {
            if (chance(50)) people_pass(chance_skewed(&world.rng, 0, 30 * MS));
            device_repeat(chance(50) ? device : other, text);
        }
        uint32_t old = (uint32_t)chance_below(text + 1);
        device_repeat(&people.devices[people.texts[old].device], old);
        if (chance(10)) device_cut(device, (enum cut)chance_below(3));
        people_pass(chance_skewed(&world.rng, 0, 200 * MS));
        people_kill_maybe(kills);
    }
    people_calm();
    for (uint32_t room = 0; room < ROOMS; room++) {
        uint64_t head = people_history(room, on_history);
        if (head != model.said[room] || model.kept[room] != model.said[room])
            world_fail("P3: a room holds what was said, once each",
                       "%s: %u said, %u kept, head %" PRIu64, room_name(room), model.said[room],
                       model.kept[room], head);
    }
    people_end();
}

int main(int count, char **words)
{
    static const enum sim_fault faults[] = {FAULT_FORGET_KEY, FAULT_TWICE};
    return people_main(count, words, play, faults, 2);
}
