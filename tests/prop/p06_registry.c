/*
 * P6: the registry of who is there is right.
 *
 * Users' devices come, go, are cut, banned and taken over in storms.  At quiet the
 * presence of a room lists exactly the clients that are seated there, under their own users,
 * and counts them right; a user who may be there once is there once; and a client that was
 * connected when a ban of its user was asked for is gone when the ban is answered.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "people.h"

#define USERS   6
#define DEVICES 18
#define ROOMS   2

static char why[256];

static const struct device *device_of(struct bytes client)
{
    for (uint32_t i = 0; i < DEVICES; i++) {
        const char *known = people.devices[i].client;
        if (people.devices[i].state == DEVICE_ON && client.size == strlen(known) &&
            memcmp(client.at, known, client.size) == 0)
            return &people.devices[i];
    }
    return NULL;
}

/* Whether the lists of the room are what the devices know; says in `why` where not. */
static bool room_is_right(uint32_t room)
{
    struct bytes list, client, entry;
    struct bytes result = people_ask("presence", "{\"channel\":\"%s\"}", room_name(room));
    uint32_t listed = 0, seated = 0, users = 0;
    bool is_user[USERS] = {false};
    if (!peek_get(result, "presence", &list)) world_fail("P6: presence is answered", "none");
    for (size_t at = 0; peek_member(list, &at, &client, &entry); listed++) {
        char user[16], known[16];
        const struct device *device = device_of(client);
        peek_text(entry, "user", user, sizeof(user));
        if (device == NULL || device->seats[room].state != SEAT_LIVE) {
            snprintf(why, sizeof(why), "%s lists %.*s of %s, who is not there", room_name(room),
                     (int)client.size, (const char *)client.at, user);
            return false;
        }
        snprintf(known, sizeof(known), "u%u", device->user);
        if (strcmp(user, known) != 0)
            world_fail("P6: a client is listed under its user", "%s not %s", user, known);
    }
    for (uint32_t i = 0; i < DEVICES; i++) {
        if (people.devices[i].seats[room].state != SEAT_LIVE) continue;
        seated++;
        users += !is_user[people.devices[i].user];
        is_user[people.devices[i].user] = true;
    }
    result = people_ask("presence_stats", "{\"channel\":\"%s\"}", room_name(room));
    uint64_t clients = peek_number(result, "num_clients", UINT64_MAX);
    snprintf(why, sizeof(why),
             "%s: %u seated of %u users, %u listed, %" PRIu64 " counted of %" PRIu64 " users",
             room_name(room), seated, users, listed, clients,
             peek_number(result, "num_users", UINT64_MAX));
    return listed == seated && clients == seated && peek_number(result, "num_users", 99) == users;
}

static bool users_are_single(void)
{
    for (uint32_t user = 0; user < USERS; user++) {
        uint32_t count = 0;
        for (uint32_t i = user; i < DEVICES; i += USERS)
            count += people.devices[i].state == DEVICE_ON;
        snprintf(why, sizeof(why), "user %u: %u connections", user, count);
        if (count > 1) return false;
    }
    return true;
}

/* The end of a connection may be on its way still, in either direction: then its ping
 * or a reset tells within seconds. */
static void all_must_be_right(void)
{
    uint32_t tries = 0;
    for (;;) {
        const char *property = "P6: who is listed is who is there";
        bool is_right = room_is_right(0) && room_is_right(1);
        if (is_right && people.scene.is_single) {
            property = "P6: a user who may be there once is there once";
            is_right = users_are_single();
        }
        if (is_right) return;
        if (++tries > 100) world_fail(property, "%s", why);
        people_pass(200 * MS);
        people_calm();
    }
}

static void ban(uint32_t user)
{
    char clients[DEVICES][40] = {""};
    for (uint32_t i = user; i < DEVICES; i += USERS)
        if (people.devices[i].state == DEVICE_ON)
            memcpy(clients[i], people.devices[i].client, sizeof(clients[i]));
    (void)people_ask("disconnect", "{\"user\":\"u%u\"}", user);
    for (uint32_t room = 0; room < ROOMS; room++) {
        struct bytes list, client, entry;
        struct bytes result = people_ask("presence", "{\"channel\":\"%s\"}", room_name(room));
        if (!peek_get(result, "presence", &list)) world_fail("P6: presence is answered", "none");
        for (size_t at = 0; peek_member(list, &at, &client, &entry);)
            for (uint32_t i = user; i < DEVICES; i += USERS)
                if (clients[i][0] != '\0' && client.size == strlen(clients[i]) &&
                    memcmp(client.at, clients[i], client.size) == 0)
                    world_fail("P6: who was there at a ban is gone after it", "device %u in %s", i,
                               room_name(room));
    }
}

static void act(struct device *device, uint32_t ban_percent)
{
    uint32_t dice = (uint32_t)chance_below(100), room = (uint32_t)chance_below(ROOMS);
    if (dice < 40)
        device_cut(device, (enum cut)chance_below(3));
    else if (dice < 55)
        device_go(device, (enum cut)chance_below(3));
    else if (dice < 75)
        device_join(device, room, false);
    else if (dice < 90)
        device_leave(device, room);
    if (chance(40)) device_come(&people.devices[chance_below(DEVICES)]);
    if (chance(ban_percent)) ban(device->user);
}

static void play(void)
{
    static const struct people_calls calls = {.on_seated = NULL};
    struct scene scene = {.users = USERS, .devices = DEVICES, .rooms = ROOMS};
    scene.is_single = chance(30);
    people_begin(&scene, &calls);
    uint32_t kills = (uint32_t)chance_below(4), bans = (uint32_t)chance_below(6);
    for (uint32_t storm = 0; storm < 4; storm++) {
        uint32_t acts = (uint32_t)chance_between(20, 80);
        for (uint32_t i = 0; i < acts; i++) {
            act(&people.devices[chance_below(DEVICES)], bans);
            if (chance(50)) people_pass(chance_skewed(&world.rng, 0, 100 * MS));
            people_kill_maybe(kills);
        }
        people_calm();
        all_must_be_right();
    }
    people_end();
}

int main(int count, char **words)
{
    static const enum sim_fault faults[] = {FAULT_GHOST};
    return people_main(count, words, play, faults, 1);
}
