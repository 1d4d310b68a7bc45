/*
 * people: devices, their lives and their commands.
 */
#include "people.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "core/mem.h"
#include "people_parts.h"
#include "proto/jwt.h"
#include "sim/speak.h"

#define ASKS_MAX 128

struct people people;
const struct people_calls *people_calls;

static void device_dial(void *context, uint64_t session);

/* --- commands ---------------------------------------------------------------------- */

static struct ask *ask_new(struct device *device, enum ask_kind kind, uint32_t room)
{
    check(device->state >= DEVICE_GREETING);
    if (device->asks_count == ASKS_MAX) return NULL;
    struct ask *ask = &device->asks[device->asks_count++];
    *ask = (struct ask){.id = ++device->ids, .kind = kind, .room = room};
    return ask;
}

struct ask ask_take(struct device *device, uint32_t id)
{
    for (uint32_t i = 0; i < device->asks_count; i++) {
        if (device->asks[i].id != id) continue;
        struct ask ask = device->asks[i];
        /* The order stays: what was said first is repeated first. */
        memmove(&device->asks[i], &device->asks[i + 1],
                (--device->asks_count - i) * sizeof(struct ask));
        return ask;
    }
    world_fail("each command has one reply", "device %u: reply %u", device->number, id);
}

void device_put(struct device *device, enum ws_opcode opcode, struct bytes payload)
{
    speak(device->link, device->is_binary, opcode, payload);
}

static void device_command(struct device *device, const char *format, ...) printf_like(2, 3);
static void device_command(struct device *device, const char *format, ...)
{
    char text[1024];
    va_list arguments;
    va_start(arguments, format);
    int size = vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    check(size > 0 && (size_t)size < sizeof(text));
    device_put(device, WS_TEXT, bytes_of(text, (size_t)size));
}

static const char *device_token(struct device *device)
{
    char user[16], *text;
    if (device->token != NULL) return device->token;
    snprintf(user, sizeof(user), "u%u", device->user);
    enum err err = jwt_sign(BYTES_LITERAL(PEOPLE_SECRET), user, NULL, world.wall_start_ms / 1000,
                            86400, &text);
    check(err == ERR_OK);
    device->token = strdup(text);
    mem_free(text);
    return device->token;
}

void device_sit(struct device *device, uint32_t room)
{
    struct seat *seat = &device->seats[room];
    check(seat->state == SEAT_OFF);
    struct ask *ask = ask_new(device, ASK_SIT, room);
    if (ask == NULL) return;
    seat->state = SEAT_ASKED;
    ask->offset = seat->has_position ? seat->offset : UINT64_MAX;
    ask->head = room_head(room);
    if (seat->has_position)
        device_command(device,
                       "{\"id\":%u,\"subscribe\":{\"channel\":\"%s\",\"recover\":true,\"epoch\":"
                       "\"%s\",\"offset\":%" PRIu64 "}}",
                       ask->id, room_name(room), seat->epoch, seat->offset);
    else
        device_command(device, "{\"id\":%u,\"subscribe\":{\"channel\":\"%s\"}}", ask->id,
                       room_name(room));
}

void text_send(struct device *device, uint32_t number)
{
    const struct text *text = &people.texts[number];
    struct ask *ask = ask_new(device, ASK_SAY, text->room);
    if (ask == NULL) return;
    ask->text = number;
    device_command(device,
                   "{\"id\":%u,\"rpc\":{\"method\":\"message.send\",\"data\":{\"channel\":\"%s\","
                   "\"key\":\"k%u\",\"data\":{\"m\":%u,\"p\":\"%.*s\"}}}}",
                   ask->id, room_name(text->room), number, number, (int)(number % 40),
                   "........................................");
}

uint32_t device_say(struct device *device, uint32_t room)
{
    if (people.texts_count == TEXTS_MAX) return UINT32_MAX;
    uint32_t number = people.texts_count++;
    people.texts[number] =
        (struct text){.room = room, .device = device->number, .said_ns = world.now_ns};
    if (device->state == DEVICE_ON) text_send(device, number);
    return number;
}

void device_repeat(struct device *device, uint32_t text)
{
    if (device->state == DEVICE_ON) text_send(device, text);
}

bool device_read(struct device *device, uint32_t room, uint64_t offset)
{
    if (device->state != DEVICE_ON) return false;
    struct ask *ask = ask_new(device, ASK_READ, room);
    if (ask == NULL) return false;
    ask->offset = offset;
    device_command(device,
                   "{\"id\":%u,\"rpc\":{\"method\":\"receipt.read\",\"data\":{\"channel\":\"%s\","
                   "\"offset\":%" PRIu64 "}}}",
                   ask->id, room_name(room), offset);
    return true;
}

void device_join(struct device *device, uint32_t room, bool has_position)
{
    struct seat *seat = &device->seats[room];
    seat->is_wanted = true;
    if (seat->state != SEAT_OFF) return;
    if (!has_position) seat->has_position = false;
    if (device->state == DEVICE_ON) device_sit(device, room);
}

void device_leave(struct device *device, uint32_t room)
{
    struct seat *seat = &device->seats[room];
    seat->is_wanted = false;
    if (seat->state != SEAT_LIVE) return;
    const struct ask *ask = ask_new(device, ASK_RISE, room);
    if (ask == NULL) return;
    seat->state = SEAT_LEAVING;
    device_command(device, "{\"id\":%u,\"unsubscribe\":{\"channel\":\"%s\"}}", ask->id,
                   room_name(room));
}

/* --- its life ---------------------------------------------------------------------- */

static void device_off(struct device *device)
{
    world_note(TRACE_GONE, device->number, device->close_code, 0);
    /* Centrifuge client protocol: such codes say, do not come back. */
    uint32_t code = device->close_code;
    if ((code >= 3500 && code < 4000) || (code >= 4500 && code < 5000)) device->is_away = true;
    device->state = DEVICE_OFF;
    device->link = NULL;
    device->session++;
    device->intake.size = 0;
    device->asks_count = 0;
    device->close_code = 0;
    for (uint32_t room = 0; room < people.scene.rooms; room++) device->seats[room].state = SEAT_OFF;
    if (people_calls->on_gone != NULL) people_calls->on_gone(device);
    if (people.is_over || device->is_away) return;
    uint64_t wait = chance_between(1, device->tries < 5 ? 20ull << device->tries : 600);
    device->tries++;
    world_at(world.now_ns + wait * MS, device_dial, device, device->session);
}

static void on_open(void *owner)
{
    const struct device *device = owner;
    speak_upgrade(device->link, device->is_binary);
}

static bool take_upgrade(struct device *device)
{
    struct http_answer answer;
    if (!http_take(&device->intake, &answer)) return false;
    if (answer.status != 101) { /* starting or draining */
        if (answer.status != 503) world_fail("an upgrade is answered", "status %u", answer.status);
        device_cut(device, CUT_CLOSE);
        return false;
    }
    intake_drop(&device->intake, answer.size);
    device->state = DEVICE_GREETING;
    const struct ask *ask = ask_new(device, ASK_CONNECT, 0);
    device_command(device, "{\"id\":%u,\"connect\":{\"token\":\"%s\"}}", ask->id,
                   device_token(device));
    return true;
}

static void on_data(void *owner, const uint8_t *data, size_t size)
{
    struct device *device = owner;
    struct ws_message message;
    intake_put(&device->intake, data, size);
    if (device->state == DEVICE_DIALING && !take_upgrade(device)) return;
    uint64_t session = device->session;
    while (device->session == session && ws_take(&device->intake, &message)) {
        device_hear(device, &message);
        if (device->session == session) intake_drop(&device->intake, message.size);
    }
}

static void on_end(void *owner, bool is_orderly)
{
    (void)is_orderly;
    device_off(owner);
}

static const struct net_peer peer = {on_open, on_data, on_end};

static void device_dial(void *context, uint64_t session)
{
    struct device *device = context;
    if (device->session != session || device->state != DEVICE_OFF || people.is_over) return;
    if (device->is_away) return;
    world_note(TRACE_CONNECT, device->number, device->tries, 0);
    device->state = DEVICE_DIALING;
    device->link = net_connect(&peer, device);
}

void device_cut(struct device *device, enum cut cut)
{
    if (device->state == DEVICE_OFF) return;
    if (cut == CUT_NETWORK && device->state == DEVICE_ON) {
        net_reset(device->link); /* it learns of it later */
        return;
    }
    net_close(device->link, cut != CUT_CLOSE);
    device_off(device);
}

void device_go(struct device *device, enum cut cut)
{
    device->is_away = true;
    device_cut(device, cut);
}

void device_come(struct device *device)
{
    device->is_away = false;
    device->tries = 0;
    if (device->state != DEVICE_OFF) return;
    device->session++; /* a dial that waits is void */
    world_at(world.now_ns + chance_below(20) * MS, device_dial, device, device->session);
}

void device_pause(struct device *device, bool is_paused)
{
    if (device->state == DEVICE_ON) net_pause(device->link, is_paused);
}

void people_devices_init(const struct people_calls *told)
{
    people_calls = told;
    for (uint32_t i = 0; i < people.scene.devices; i++) {
        struct device *device = &people.devices[i];
        device->number = i;
        device->user = i % people.scene.users;
        device->is_binary = chance(40);
        device->asks = calloc(ASKS_MAX, sizeof(struct ask));
        check(device->asks != NULL);
    }
}

void people_devices_fini(void)
{
    for (uint32_t i = 0; i < people.scene.devices; i++) {
        struct device *device = &people.devices[i];
        device_cut(device, CUT_CLOSE);
        intake_free(&device->intake);
        free(device->asks);
        free(device->token);
    }
}
