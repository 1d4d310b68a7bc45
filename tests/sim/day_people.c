/*
 * day_people: devices, what they say, and what they are told.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "core/mem.h"
#include "day.h"
#include "proto/jwt.h"
#include "speak.h"

#define SECONDS(n) ((n)*DAY_SECOND)

static void device_dial(void *context, uint64_t session);

struct room *seat_room(const struct device *device, uint32_t kind)
{
    return room_of(device->person, (enum room_kind)kind);
}

/* --- commands ------------------------------------------------------------------------ */

static void command(struct device *device, const char *format, ...) printf_like(2, 3);
static void command(struct device *device, const char *format, ...)
{
    char text[1000];
    va_list arguments;
    va_start(arguments, format);
    int size = vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    check(size > 0 && (size_t)size < sizeof(text));
    speak(device->link, device->is_binary, WS_TEXT, bytes_of(text, (size_t)size));
}

static void put_connect(struct device *device, uint32_t id)
{
    char user[16], *token;
    snprintf(user, sizeof(user), "u%u", device->person);
    enum err err = jwt_sign(BYTES_LITERAL(DAY_SECRET), user, NULL, world.wall_start_ms / 1000,
                            3 * 86400, &token);
    check(err == ERR_OK);
    command(device, "{\"id\":%u,\"connect\":{\"token\":\"%s\"}}", id, token);
    mem_free(token);
}

static void put_counts(struct device *device, uint32_t id, const char *name, uint32_t head)
{
    char list[NEWEST * 8];
    int used = 0;
    for (uint32_t offset = head >= NEWEST ? head - NEWEST + 1 : 1; offset <= head; offset++)
        used += snprintf(list + used, sizeof(list) - (size_t)used, "%s%u", used == 0 ? "" : ",",
                         offset);
    command(device,
            "{\"id\":%u,\"rpc\":{\"method\":\"receipt.counts\",\"data\":{\"channel\":\"%s\","
            "\"offsets\":[%s]}}}",
            id, name, list);
}

/* False when too many wait for their replies. */
static bool device_ask(struct device *device, struct ask ask)
{
    char name[24];
    if (device->asks_count == ASKS_MAX) return false;
    ask.id = ++device->ids;
    device->asks[device->asks_count++] = ask;
    room_write(seat_room(device, ask.room), name, sizeof(name));
    switch ((enum ask_kind)ask.kind) {
    case ASK_CONNECT: put_connect(device, ask.id); break;
    case ASK_HEAR:
        command(device, "{\"id\":%u,\"subscribe\":{\"channel\":\"receipts:%s\"}}", ask.id, name);
        break;
    case ASK_SIT:
        command(device, "{\"id\":%u,\"subscribe\":{\"channel\":\"%s\"}}", ask.id, name);
        break;
    case ASK_SAY:
        command(device,
                "{\"id\":%u,\"rpc\":{\"method\":\"message.send\",\"data\":{\"channel\":\"%s\","
                "\"key\":\"k%u\",\"data\":{\"m\":%u}}}}",
                ask.id, name, ask.offset, ask.offset);
        break;
    case ASK_READ:
        command(device,
                "{\"id\":%u,\"rpc\":{\"method\":\"receipt.read\",\"data\":{\"channel\":\"%s\","
                "\"offset\":%u}}}",
                ask.id, name, ask.offset);
        break;
    case ASK_COUNTS: put_counts(device, ask.id, name, ask.offset); break;
    }
    return true;
}

void device_must_ask(struct device *device, struct ask ask)
{
    if (!device_ask(device, ask)) impossible("a device asks little at once");
}

void device_pong(struct device *device)
{
    command(device, "{}");
}

bool device_say(struct device *device, enum room_kind kind)
{
    if (device->state != DEVICE_ON || device->seats[kind].state != SEAT_LIVE) return false;
    return device_ask(device,
                      (struct ask){.kind = ASK_SAY, .room = (uint8_t)kind, .offset = day.said++});
}

/* Asked in the end, of both rooms. */
void device_ask_last(struct device *device)
{
    for (uint32_t kind = 0; kind < ROOM_KINDS; kind++) {
        uint32_t head = seat_room(device, kind)->head;
        if (head == 0) continue;
        device_must_ask(device, (struct ask){.kind = ASK_COUNTS,
                                             .room = (uint8_t)kind,
                                             .offset = head,
                                             .is_last = true});
    }
}

bool device_is_calm(const struct device *device)
{
    return device->state == DEVICE_ON && device->asks_count == 0 &&
           device->seats[ROOM_TOWN].state == SEAT_LIVE &&
           device->seats[ROOM_TEAM].state == SEAT_LIVE;
}

/* --- reading ------------------------------------------------------------------------- */

/* An event of a seat carries the device's session, and the room. */
static uint64_t seat_event(const struct device *device, uint32_t kind)
{
    return (uint64_t)device->session << 1 | kind;
}

static void seat_glance(void *context, uint64_t number)
{
    struct device *device = context;
    uint32_t kind = number & 1;
    struct seat *seat = &device->seats[kind];
    if (device->session != number >> 1 || seat->state != SEAT_LIVE) return;
    seat->is_glancing = false;
    if (seat->read >= seat->offset || day.is_night) return;
    if (device->asks_count + 2 > ASKS_MAX) {
        seat_look(device, kind);
        return;
    }
    seat->read = seat->offset;
    device_must_ask(device,
                    (struct ask){.kind = ASK_READ, .room = (uint8_t)kind, .offset = seat->offset});
    /* Where nothing is told some ask. */
    if (seat_room(device, kind)->rung == RUNG_SILENT && chance(15))
        device_must_ask(
            device,
            (struct ask){.kind = ASK_COUNTS, .room = (uint8_t)kind, .offset = seat->offset});
}

/* Looks at the room before long. */
void seat_look(struct device *device, uint32_t kind)
{
    struct seat *seat = &device->seats[kind];
    if (seat->is_glancing || day.is_night) return;
    seat->is_glancing = true;
    uint64_t pace = day_is_storm() ? min_u64(device->pace_ns, SECONDS(60)) : device->pace_ns;
    world_at(world.now_ns + DAY_SECOND / 2 + chance_below(pace), seat_glance, device,
             seat_event(device, kind));
}

void seat_sit(struct device *device, uint32_t kind)
{
    struct seat *seat = &device->seats[kind];
    const struct room *room = seat_room(device, kind);
    seat->state = SEAT_HEARING;
    seat->is_glancing = false;
    seat->told_ns = 0;
    if (room->rung <= RUNG_MOVES) {
        if (seat->cursors == NULL) seat->cursors = malloc(room->members * sizeof(uint16_t));
        check(seat->cursors != NULL);
        memset(seat->cursors, 0, room->members * sizeof(uint16_t));
    } else if (room->rung == RUNG_COUNTS) {
        if (seat->counts == NULL) seat->counts = malloc(NEWEST * sizeof(struct held));
        check(seat->counts != NULL);
        memset(seat->counts, 0, NEWEST * sizeof(struct held));
    }
    device_must_ask(device, (struct ask){.kind = ASK_HEAR, .room = (uint8_t)kind});
}

/* --- its life ------------------------------------------------------------------------ */

static void on_open(void *owner)
{
    const struct device *device = owner;
    speak_upgrade(device->link, device->is_binary);
}

static bool take_upgrade(struct device *device)
{
    struct http_answer answer;
    if (!http_take(&device->intake, &answer)) return false;
    if (answer.status != 101) world_fail("an upgrade is answered", "status %u", answer.status);
    intake_drop(&device->intake, answer.size);
    device->state = DEVICE_GREETING;
    device_must_ask(device, (struct ask){.kind = ASK_CONNECT});
    return true;
}

static void on_data(void *owner, const uint8_t *data, size_t size)
{
    struct device *device = owner;
    struct ws_message message;
    intake_put(&device->intake, data, size);
    if (device->state == DEVICE_DIALING && !take_upgrade(device)) return;
    while (ws_take(&device->intake, &message)) {
        device_hear(device, &message);
        intake_drop(&device->intake, message.size);
    }
    /* There are many, and most have nothing. */
    if (device->intake.size == 0) intake_free(&device->intake);
}

static void device_off(struct device *device)
{
    day.on -= device->state == DEVICE_ON;
    device->state = DEVICE_OFF;
    device->link = NULL;
    device->session++;
    device->asks_count = 0;
    intake_free(&device->intake);
    for (uint32_t kind = 0; kind < ROOM_KINDS; kind++) device->seats[kind].state = SEAT_OFF;
}

static void on_end(void *owner, bool is_orderly)
{
    struct device *device = owner;
    (void)is_orderly;
    bool was_on = device->state == DEVICE_ON;
    device_off(device);
    if (day.is_over) return;
    if (was_on) world_fail("nobody is sent away", "device %u", device->number);
    device_come(device, chance_below(SECONDS(2)));
}

static const struct net_peer peer = {on_open, on_data, on_end};

static void device_dial(void *context, uint64_t session)
{
    struct device *device = context;
    if (device->session != session || device->state != DEVICE_OFF || day.is_over) return;
    device->state = DEVICE_DIALING;
    device->link = net_connect(&peer, device);
}

void device_come(struct device *device, uint64_t after_ns)
{
    world_at(world.now_ns + after_ns, device_dial, device, device->session);
}

static void go_again(void *context, uint64_t away_ns)
{
    device_go(context, away_ns);
}

void device_go(struct device *device, uint64_t away_ns)
{
    if (day.is_over) return;
    if (!device_is_calm(device)) {
        world_at(world.now_ns + DAY_SECOND, go_again, device, away_ns);
        return;
    }
    net_close(device->link, false);
    device_off(device);
    device_come(device, away_ns);
}

/* A fifth reads within seconds, a third within an hour. */
static uint64_t draw_pace(void)
{
    uint64_t kind = chance_below(100);
    return kind < 20   ? SECONDS(chance_between(3, 20))
           : kind < 70 ? SECONDS(chance_between(20, 300))
                       : SECONDS(chance_between(600, 3600));
}

void people_init(void)
{
    day.devices_count = day.members + day.members / 10;
    day.devices = calloc(day.devices_count, sizeof(struct device));
    check(day.devices != NULL);
    for (uint32_t i = 0; i < day.devices_count; i++) {
        struct device *device = &day.devices[i];
        device->number = i;
        device->person = i < day.members ? i : (i - day.members) * 10;
        device->is_binary = chance(25);
        device->pace_ns = draw_pace();
    }
}

void people_fini(void)
{
    for (uint32_t i = 0; i < day.devices_count; i++) {
        struct device *device = &day.devices[i];
        if (device->state != DEVICE_OFF) net_close(device->link, true);
        intake_free(&device->intake);
        for (uint32_t kind = 0; kind < ROOM_KINDS; kind++) {
            free(device->seats[kind].cursors);
            free(device->seats[kind].counts);
        }
    }
    free(day.devices);
}
