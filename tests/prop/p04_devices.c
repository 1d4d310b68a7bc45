/*
 * P4: the devices of a user agree.
 *
 * Three users with five devices each, which flap, stall and die: in the end the five logs
 * of a user are the same list, each in the order of the offsets; what one device says
 * the other four are shown once; and each of them is told the same read cursor, the highest
 * one that any of them was told.
 */
#include <inttypes.h>
#include <string.h>

#include "people.h"

#define USERS   3
#define DEVICES 15
#define ROOMS   2
#define LOG_MAX 1024

static struct {
    /* What a screen shows, from the top. */
    struct {
        uint32_t texts[LOG_MAX];
        uint32_t count;
        uint64_t first; /* the offset of texts[0] */
    } logs[DEVICES][ROOMS_MAX];
    uint64_t told[USERS], asked[USERS], last[DEVICES];
    bool is_answered[DEVICES];
} model;

static void on_seated(struct device *device, uint32_t room, uint64_t since, bool is_recovered,
                      uint64_t offset)
{
    if (since == UINT64_MAX)
        model.logs[device->number][room].first = offset + 1;
    else if (!is_recovered)
        world_fail("P4: a device is told what it missed", "device %u %s: %" PRIu64 " to %" PRIu64,
                   device->number, room_name(room), since, offset);
}

static void on_shown(struct device *device, uint32_t room, uint64_t offset, uint32_t text,
                     bool is_backlog)
{
    uint32_t *count = &model.logs[device->number][room].count;
    (void)is_backlog;
    if (offset != model.logs[device->number][room].first + *count || *count == LOG_MAX)
        world_fail("P4: a screen shows a room in order, each text once",
                   "device %u %s: %" PRIu64 " after %u from %" PRIu64, device->number,
                   room_name(room), offset, *count, model.logs[device->number][room].first);
    model.logs[device->number][room].texts[(*count)++] = text;
}

static void on_read(struct device *device, uint32_t room, uint64_t asked, uint64_t told)
{
    (void)room;
    (void)asked;
    if (told > model.told[device->user]) model.told[device->user] = told;
    model.last[device->number] = told;
    model.is_answered[device->number] = true;
}

/* From where both have something, to the end. */
static void must_agree(uint32_t a, uint32_t b, uint32_t room)
{
    uint64_t first_a = model.logs[a][room].first, first_b = model.logs[b][room].first;
    uint64_t first = first_a > first_b ? first_a : first_b;
    uint64_t end_a = first_a + model.logs[a][room].count,
             end_b = first_b + model.logs[b][room].count;
    if (end_a != end_b || end_a <= room_head(room))
        world_fail("P4: the devices of a user show the same",
                   "%s: %u ends before %" PRIu64 ", %u before %" PRIu64 ", the room has %" PRIu64,
                   room_name(room), a, end_a, b, end_b, room_head(room));
    for (uint64_t offset = first; offset < end_a; offset++) {
        uint32_t text_a = model.logs[a][room].texts[offset - first_a];
        uint32_t text_b = model.logs[b][room].texts[offset - first_b];
        if (text_a != text_b)
            world_fail("P4: the devices of a user show the same",
                       "%s %" PRIu64 ": %u shows %u, %u shows %u", room_name(room), offset, a,
                       text_a, b, text_b);
    }
}

/* Each asks for the least, and again when its connection still had to end. */
static bool all_have_answered(void)
{
    bool is_all = true;
    for (uint32_t i = 0; i < DEVICES; i++) {
        struct device *device = &people.devices[i];
        if (model.is_answered[i]) continue;
        is_all = false;
        if (device->asks_count == 0) (void)device_read(device, 0, 1);
    }
    return is_all;
}

/* The newest of `room` that the user said itself. */
static uint64_t newest_said(uint32_t user, uint32_t room)
{
    uint64_t newest = 0;
    for (uint32_t i = 0; i < DEVICES; i++)
        for (uint32_t at = 0; at < model.logs[i][room].count; at++) {
            const struct text *text = &people.texts[model.logs[i][room].texts[at]];
            if (people.devices[text->device].user == user)
                newest = max_u64(newest, model.logs[i][room].first + at);
        }
    return newest;
}

/* The answer is where the user's cursor stands.  Somebody's last words may have got through
 * without an answer, so it may stand higher than told.  Who says something has read what
 * came before. */
static void cursors_must_agree(void)
{
    uint64_t told[USERS];
    if (room_head(0) == 0) return;
    memcpy(told, model.told, sizeof(told));
    memset(model.is_answered, 0, sizeof(model.is_answered));
    people_until(all_have_answered, "P4: receipts are answered");
    for (uint32_t i = 0; i < DEVICES; i++) {
        uint32_t user = i % USERS;
        uint64_t said = newest_said(user, 0);
        if (model.last[i] != model.last[user] || model.last[i] < max_u64(told[user], said) ||
            model.last[i] > max_u64(max_u64(model.asked[user], said), 1))
            world_fail("P4: the devices of a user have one cursor",
                       "device %u: %" PRIu64 ", device %u: %" PRIu64 ", told %" PRIu64
                       ", asked %" PRIu64 ", said %" PRIu64,
                       i, model.last[i], user, model.last[user], told[user], model.asked[user],
                       said);
    }
}

/* Who says something has read what came before, which hides a cursor that stood still:
 * so one says something that all the others read. */
static void say_and_read(uint32_t user)
{
    (void)device_say(&people.devices[user], 0);
    people_calm();
    for (uint32_t i = 0; i < USERS; i++) {
        struct device *device = &people.devices[i];
        uint64_t shown = device->seats[0].offset;
        if (i == user || shown == 0 || !device_read(device, 0, shown)) continue;
        model.asked[i] = max_u64(model.asked[i], shown);
    }
    people_calm();
    cursors_must_agree();
}

static void read_some(struct device *device)
{
    uint64_t shown = device->seats[0].offset;
    if (shown == 0) return;
    uint64_t offset = 1 + chance_below(shown);
    if (device_read(device, 0, offset))
        model.asked[device->user] = max_u64(model.asked[device->user], offset);
}

static void act(struct device *device)
{
    uint32_t dice = (uint32_t)chance_below(100), room = (uint32_t)chance_below(ROOMS);
    if (dice < 50)
        (void)device_say(device, room);
    else if (dice < 70)
        read_some(device);
    else if (dice < 85)
        device_cut(device, (enum cut)chance_below(3));
    else if (dice < 93)
        device_go(device, (enum cut)chance_below(3));
    else
        device_pause(device, chance(60));
    if (chance(30)) device_come(&people.devices[chance_below(DEVICES)]);
}

static void play(void)
{
    static const struct people_calls calls = {
        .on_shown = on_shown, .on_seated = on_seated, .on_read = on_read};
    memset(&model, 0, sizeof(model));
    people_begin(&(struct scene){.users = USERS, .devices = DEVICES, .rooms = ROOMS}, &calls);
    room_members(0);
    for (uint32_t i = 0; i < DEVICES; i++)
        for (uint32_t room = 0; room < ROOMS; room++) device_join(&people.devices[i], room, false);
    uint32_t acts = (uint32_t)chance_between(50, 250), kills = (uint32_t)chance_below(5);
    for (uint32_t i = 0; i < acts; i++) {
        act(&people.devices[chance_below(DEVICES)]);
        if (chance(60)) people_pass(chance_skewed(&world.rng, 0, 200 * MS));
        people_kill_maybe(kills);
    }
    for (uint32_t i = 0; i < DEVICES; i++) device_come(&people.devices[i]);
    people_calm();
    for (uint32_t i = USERS; i < DEVICES; i++)
        for (uint32_t room = 0; room < ROOMS; room++) must_agree(i % USERS, i, room);
    cursors_must_agree();
    for (uint32_t i = 0; i < USERS; i++) say_and_read(i);
    people_end();
}

int main(int count, char **words)
{
    static const enum sim_fault faults[] = {FAULT_DEAF, FAULT_TWICE, FAULT_STILL_CURSOR};
    return people_main(count, words, play, faults, 3);
}
