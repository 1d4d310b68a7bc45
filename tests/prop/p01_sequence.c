/*
 * P1: the sequence of a channel is strictly monotone.
 *
 * Per room one row: offset 1, 2, 3 … each with one text, the same for everyone who is
 * told of it and over every end of the process and of the machine; and what is said
 * after somebody was answered stands after what the answer told.
 */
#include <inttypes.h>
#include <string.h>

#include "people.h"

static struct {
    uint32_t row[ROOMS_MAX][TEXTS_MAX + 2]; /* text + 1 by offset */
    uint64_t place[TEXTS_MAX];              /* offset by text */
    uint64_t floor[TEXTS_MAX];              /* newest answer in its room when it was said */
    uint64_t answered[ROOMS_MAX], next;
} model;

static void stands(uint32_t room, uint64_t offset, uint32_t text)
{
    if (offset == 0 || offset > people.texts_count)
        world_fail("P1: offsets are 1, 2, 3 …", "%s: %" PRIu64, room_name(room), offset);
    uint32_t *known = &model.row[room][offset];
    if (*known != 0 && *known != text + 1)
        world_fail("P1: an offset keeps its text", "%s %" PRIu64 ": was %u, is %u", room_name(room),
                   offset, *known - 1, text);
    if (model.place[text] != 0 && model.place[text] != offset)
        world_fail("P1: a text has one offset", "text %u: %" PRIu64 " and %" PRIu64, text,
                   model.place[text], offset);
    *known = text + 1;
    model.place[text] = offset;
}

static void on_shown(struct device *device, uint32_t room, uint64_t offset, uint32_t text,
                     bool is_backlog)
{
    (void)is_backlog;
    stands(room, offset, text);
    if (offset != device->seats[room].offset + 1)
        world_fail("P1: nobody sees a step back or a gap",
                   "device %u %s: %" PRIu64 " after %" PRIu64, device->number, room_name(room),
                   offset, device->seats[room].offset);
}

static void on_acked(struct device *device, uint32_t text, uint64_t offset)
{
    uint32_t room = people.texts[text].room;
    (void)device;
    stands(room, offset, text);
    if (offset <= model.floor[text])
        world_fail("P1: what is said after an answer stands after it",
                   "text %u: %" PRIu64 ", %" PRIu64 " was answered before it was said", text,
                   offset, model.floor[text]);
    if (offset > model.answered[room]) model.answered[room] = offset;
}

static void on_history(uint32_t room, uint64_t offset, uint32_t text)
{
    stands(room, offset, text);
    if (offset != model.next)
        world_fail("P1: history has no gap", "%s: %" PRIu64 " not %" PRIu64, room_name(room),
                   offset, model.next);
    model.next++;
}

static void play(void)
{
    static const struct people_calls calls = {.on_shown = on_shown, .on_acked = on_acked};
    memset(&model, 0, sizeof(model));
    people_begin(
        &(struct scene){
            .users = 7, .devices = 7, .rooms = 3, .kinds = {ROOM_WHOLE, ROOM_WHOLE, ROOM_TAIL}},
        &calls);
    for (uint32_t i = 0; i < 7; i++)
        for (uint32_t room = 0; room < 3; room++)
            if (chance(60)) device_join(&people.devices[i], room, false);
    uint32_t acts = (uint32_t)chance_between(50, 300), kills = (uint32_t)chance_below(6);
    for (uint32_t i = 0; i < acts; i++) {
        struct device *device = &people.devices[chance_below(7)];
        uint32_t room = (uint32_t)chance_below(3);
        uint32_t text = device_say(device, room);
        model.floor[text] = model.answered[room];
        if (chance(4)) device_cut(device, (enum cut)chance_below(3));
        if (chance(60)) people_pass(chance_skewed(&world.rng, 0, 200 * MS));
        people_kill_maybe(kills);
    }
    people_calm();
    for (uint32_t room = 0; room < 2; room++) {
        model.next = 1;
        uint64_t head = people_history(room, on_history);
        if (model.next != head + 1 || head < room_head(room))
            world_fail("P1: history reaches what was told",
                       "%s: %" PRIu64 " of %" PRIu64 " and %" PRIu64, room_name(room),
                       model.next - 1, head, room_head(room));
    }
    people_end();
}

int main(int count, char **words)
{
    static const enum sim_fault faults[] = {FAULT_EARLY_ACK, FAULT_STALE_PAST, FAULT_FORGET_KEY};
    return people_main(count, words, play, faults, 3);
}
