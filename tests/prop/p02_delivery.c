/*
 * P2: at-least-once delivery.
 *
 * Whoever is in a room is shown every text that was acknowledged after the place
 * where he began, however often his connection, the network, the process or the machine
 * fails in between; and what was acknowledged is in the history.
 */
#include <inttypes.h>
#include <string.h>

#include "people.h"

#define PEOPLE 10
#define ROOMS  3

static struct {
    bool is_shown[PEOPLE][TEXTS_MAX];
    bool has_begun[PEOPLE][ROOMS_MAX];
    uint64_t begun[PEOPLE][ROOMS_MAX];
    bool is_kept[TEXTS_MAX];
} model;

static void on_shown(struct device *device, uint32_t room, uint64_t offset, uint32_t text,
                     bool is_backlog)
{
    (void)room;
    (void)offset;
    (void)is_backlog;
    model.is_shown[device->number][text] = true;
}

static void on_seated(struct device *device, uint32_t room, uint64_t since, bool is_recovered,
                      uint64_t offset)
{
    (void)since;
    (void)is_recovered;
    if (model.has_begun[device->number][room]) return;
    model.has_begun[device->number][room] = true;
    model.begun[device->number][room] = offset;
}

static void on_history(uint32_t room, uint64_t offset, uint32_t text)
{
    (void)room;
    (void)offset;
    model.is_kept[text] = true;
}

static void must_be_shown(uint32_t text)
{
    const struct text *said = &people.texts[text];
    if (!said->is_acked) world_fail("P2: what is said is answered in the end", "text %u", text);
    if (!model.is_kept[text])
        world_fail("P2: what is acknowledged is in the history", "text %u at %" PRIu64, text,
                   said->offset);
    for (uint32_t i = 0; i < PEOPLE; i++) {
        if (!model.has_begun[i][said->room] || said->offset <= model.begun[i][said->room]) continue;
        if (!model.is_shown[i][text])
            world_fail("P2: what is acknowledged is delivered to everyone who is there",
                       "text %u, %s %" PRIu64 ": device %u, there since %" PRIu64, text,
                       room_name(said->room), said->offset, i, model.begun[i][said->room]);
    }
}

static void act(struct device *device)
{
    uint32_t dice = (uint32_t)chance_below(100);
    if (dice < 70)
        (void)device_say(device, (uint32_t)chance_below(ROOMS));
    else if (dice < 85)
        device_cut(device, (enum cut)chance_below(3));
    else if (dice < 92)
        device_go(device, (enum cut)chance_below(3));
    else
        device_pause(device, chance(60));
    if (chance(20)) device_come(&people.devices[chance_below(PEOPLE)]);
}

static void play(void)
{
    static const struct people_calls calls = {.on_shown = on_shown, .on_seated = on_seated};
    memset(&model, 0, sizeof(model));
    people_begin(&(struct scene){.users = 6, .devices = PEOPLE, .rooms = ROOMS}, &calls);
    for (uint32_t i = 0; i < PEOPLE; i++)
        for (uint32_t room = 0; room < ROOMS; room++)
            if (chance(60)) device_join(&people.devices[i], room, false);
    uint32_t acts = (uint32_t)chance_between(50, 250), kills = (uint32_t)chance_below(6);
    for (uint32_t i = 0; i < acts; i++) {
        act(&people.devices[chance_below(PEOPLE)]);
        if (chance(60)) people_pass(chance_skewed(&world.rng, 0, 300 * MS));
        people_kill_maybe(kills);
    }
    for (uint32_t i = 0; i < PEOPLE; i++) device_come(&people.devices[i]);
    people_calm();
    for (uint32_t room = 0; room < ROOMS; room++) (void)people_history(room, on_history);
    for (uint32_t text = 0; text < people.texts_count; text++) must_be_shown(text);
    people_end();
}

int main(int count, char **words)
{
    static const enum sim_fault faults[] = {FAULT_DEAF, FAULT_EARLY_ACK};
    return people_main(count, words, play, faults, 2);
}
