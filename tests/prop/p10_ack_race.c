/*
 * P10: an acknowledgement races with going offline.
 *
 * A user's three devices read up to n, say so, and in the same moment their connection, the
 * process or the machine ends while others say n+1 and more.  Whatever of it got through:
 * a cursor that was told stays, and never stands beyond what somebody said that he had read;
 * a late one of an older connection moves nothing back; and each device goes on with exactly
 * the text after the last one that it was shown.
 */
#include <inttypes.h>
#include <string.h>

#include "people.h"

#define READERS 3
#define PEOPLE  5 /* of two users in turn: who reads, and who says something */
#define ASKED   64

/* Devices 0, 2 and 4 read, the others speak. */
static uint32_t screen_of(const struct device *device)
{
    return device->user == 0 ? device->number / 2 : UINT32_MAX;
}
static struct device *reader(uint64_t index)
{
    return &people.devices[index * 2];
}

static struct {
    uint64_t told, asked; /* the highest told, and ever asked for */
    struct {
        uint64_t offset, floor; /* asked for, and the highest told by then */
    } asks[READERS][ASKED];     /* of the connection, oldest first */
    uint32_t asks_count[READERS];
    uint64_t next[READERS]; /* the offset that this screen shows next */
    uint64_t last;
    bool is_answered;
} model;

static void on_seated(struct device *device, uint32_t room, uint64_t since, bool is_recovered,
                      uint64_t offset)
{
    (void)room;
    if (screen_of(device) == UINT32_MAX) return;
    if (since == UINT64_MAX) model.next[screen_of(device)] = offset + 1;
    if (since != UINT64_MAX && !is_recovered)
        world_fail("P10: what was not shown is not lost", "device %u: %" PRIu64 " to %" PRIu64,
                   device->number, since, offset);
}

static void on_shown(struct device *device, uint32_t room, uint64_t offset, uint32_t text,
                     bool is_backlog)
{
    (void)room;
    (void)text;
    (void)is_backlog;
    if (screen_of(device) == UINT32_MAX) return;
    if (offset != model.next[screen_of(device)])
        world_fail("P10: nothing is shown twice and nothing is passed over",
                   "device %u: %" PRIu64 " not %" PRIu64, device->number, offset,
                   model.next[screen_of(device)]);
    model.next[screen_of(device)]++;
}

/* The oldest that waits for this answer. */
static uint64_t floor_take(uint32_t device, uint64_t asked)
{
    for (uint32_t i = 0; i < model.asks_count[device]; i++) {
        if (model.asks[device][i].offset != asked) continue;
        uint64_t floor = model.asks[device][i].floor;
        model.asks_count[device]--;
        memmove(&model.asks[device][i], &model.asks[device][i + 1],
                (model.asks_count[device] - i) * sizeof(model.asks[0][0]));
        return floor;
    }
    return 0;
}

static void on_gone(struct device *device)
{
    if (screen_of(device) != UINT32_MAX) model.asks_count[screen_of(device)] = 0;
}

static void on_read(struct device *device, uint32_t room, uint64_t asked, uint64_t told)
{
    uint64_t floor = floor_take(screen_of(device), asked);
    (void)room;
    if (told < floor)
        world_fail("P10: a cursor that was told stays", "%" PRIu64 " after %" PRIu64, told, floor);
    if (told < asked)
        world_fail("P10: a cursor is where it was asked for, or beyond", "%" PRIu64 " of %" PRIu64,
                   told, asked);
    if (told > model.asked)
        world_fail("P10: nothing counts as read that nobody read", "%" PRIu64 ", asked %" PRIu64,
                   told, model.asked);
    model.told = max_u64(model.told, told);
    model.last = told;
    model.is_answered = true;
}

static void read_up_to(struct device *device, uint64_t offset)
{
    uint32_t *count = &model.asks_count[screen_of(device)];
    if (offset == 0 || *count == ASKED || !device_read(device, 0, offset)) return;
    model.asks[screen_of(device)][*count].offset = offset;
    model.asks[screen_of(device)][(*count)++].floor = model.told;
    model.asked = max_u64(model.asked, offset);
}

/* Reads, and at once something ends. */
static void race(struct device *device)
{
    uint64_t shown = device->seats[0].offset;
    read_up_to(device, chance(50) ? (shown > 0 ? 1 + chance_below(shown) : 0) : shown);
    if (chance(40)) people_pass(chance_skewed(&world.rng, 0, 30 * MS));
    switch (chance_below(6)) {
    case 0: device_cut(device, CUT_CLOSE); break;
    case 1: device_cut(device, CUT_RESET); break;
    case 2: device_cut(device, CUT_NETWORK); break;
    case 3: device_go(device, (enum cut)chance_below(3)); break;
    case 4: people_kill_maybe(30); break;
    default: break;
    }
}

static struct device *asker;

/* It asks for the least, and again when its connection still had to end. */
static bool is_answered(void)
{
    if (!model.is_answered && asker->state == DEVICE_ON && model.asks_count[screen_of(asker)] == 0)
        read_up_to(asker, 1);
    return model.is_answered;
}

static void cursor_must_stand(struct device *device)
{
    uint64_t told = model.told;
    if (room_head(0) == 0) return;
    model.is_answered = false;
    asker = device;
    people_until(is_answered, "P10: a receipt is answered");
    if (model.last < told)
        world_fail("P10: a cursor that was told stays", "device %u: %" PRIu64 " after %" PRIu64,
                   device->number, model.last, told);
}

static void play(void)
{
    static const struct people_calls calls = {
        .on_shown = on_shown, .on_seated = on_seated, .on_read = on_read, .on_gone = on_gone};
    memset(&model, 0, sizeof(model));
    people_begin(&(struct scene){.users = 2, .devices = PEOPLE, .rooms = 1, .recovery_max = 5000},
                 &calls);
    room_members(0);
    for (uint32_t i = 0; i < READERS; i++) device_join(reader(i), 0, false);
    uint32_t races = (uint32_t)chance_between(10, 60);
    for (uint32_t i = 0; i < races; i++) {
        for (uint64_t said = chance_below(6); said > 0; said--)
            (void)device_say(&people.devices[1 + 2 * chance_below(PEOPLE - READERS)], 0);
        people_pass(chance_skewed(&world.rng, 0, 80 * MS));
        race(reader(chance_below(READERS)));
        for (uint32_t k = 0; k < READERS; k++)
            if (chance(50)) device_come(reader(k));
    }
    for (uint32_t i = 0; i < READERS; i++) device_come(reader(i));
    people_calm();
    for (uint32_t i = 0; i < READERS; i++) cursor_must_stand(reader(i));
    people_end();
}

int main(int count, char **words)
{
    static const enum sim_fault faults[] = {FAULT_STILL_CURSOR, FAULT_EARLY_ACK};
    return people_main(count, words, play, faults, 2);
}
