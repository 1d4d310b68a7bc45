/*
 * people_hear: what devices are told.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "people_parts.h"
#include "sim/wire_pb.h"

static void hear_publication(struct device *device, uint32_t room, struct bytes publication,
                             bool is_backlog)
{
    struct bytes data;
    struct seat *seat = &device->seats[room];
    if (!peek_get(publication, "data", &data))
        world_fail("a publication has data", "device %u", device->number);
    uint32_t text = text_of(room, data);
    uint64_t offset = peek_number(publication, "offset", 0);
    world_note(TRACE_DELIVERED, device->number, room, offset);
    if (people_calls->on_shown != NULL)
        people_calls->on_shown(device, room, offset, text, is_backlog);
    seat->offset = offset;
    people_told(room, offset);
}

static void hear_seated(struct device *device, const struct ask *ask, struct bytes result)
{
    struct seat *seat = &device->seats[ask->room];
    struct bytes list, publication;
    check(seat->state == SEAT_ASKED);
    seat->state = SEAT_LIVE;
    peek_text(result, "epoch", seat->epoch, sizeof(seat->epoch));
    uint64_t offset = peek_number(result, "offset", 0);
    bool is_recovered = peek_true(result, "recovered");
    world_note(TRACE_SUBSCRIBED, device->number, ask->room, offset);
    if (ask->offset == UINT64_MAX) seat->begun = offset;
    if (people_calls->on_seated != NULL)
        people_calls->on_seated(device, ask->room, ask->offset, is_recovered, offset);
    seat->has_position = true;
    seat->offset = is_recovered ? ask->offset : offset;
    people_told(ask->room, seat->offset);
    if (is_recovered && peek_get(result, "publications", &list))
        for (size_t at = 0; peek_each(list, &at, &publication);)
            hear_publication(device, ask->room, publication, true);
    if (seat->offset < ask->head)
        world_fail("a subscription brings everything that was told before it was asked for",
                   "device %u %s: %" PRIu64 " of %" PRIu64, device->number, room_name(ask->room),
                   seat->offset, ask->head);
    if (!seat->is_wanted) device_leave(device, ask->room);
}

static void hear_said(struct device *device, const struct ask *ask, struct bytes result)
{
    struct bytes data;
    struct text *text = &people.texts[ask->text];
    if (!peek_get(result, "data", &data))
        world_fail("a sent message is answered", "device %u", device->number);
    uint64_t offset = peek_number(data, "offset", 0);
    world_note(TRACE_PUBLISHED, device->number, ask->text, offset);
    if (people_calls->on_acked != NULL) people_calls->on_acked(device, ask->text, offset);
    people_told(ask->room, offset);
    text->answers++;
    text->is_acked = true;
    text->offset = offset;
}

static void hear_connected(struct device *device, struct bytes result)
{
    device->state = DEVICE_ON;
    device->tries = 0;
    peek_text(result, "client", device->client, sizeof(device->client));
    world_note(TRACE_CONNECTED, device->number, 0, 0);
    for (uint32_t room = 0; room < people.scene.rooms; room++)
        if (device->seats[room].is_wanted) device_sit(device, room);
    for (uint32_t i = 0; i < people.texts_count; i++)
        if (people.texts[i].device == device->number && !people.texts[i].is_acked)
            text_send(device, i);
}

static void hear_result(struct device *device, const struct ask *ask, struct bytes reply)
{
    static const char *const names[] = {"connect", "subscribe", "unsubscribe", "rpc", "rpc"};
    struct bytes result, data;
    if (!peek_get(reply, names[ask->kind], &result))
        world_fail("a reply holds the result of its command", "device %u: %s", device->number,
                   names[ask->kind]);
    struct seat *seat = &device->seats[ask->room];
    switch (ask->kind) {
    case ASK_CONNECT: hear_connected(device, result); break;
    case ASK_SIT: hear_seated(device, ask, result); break;
    case ASK_RISE:
        if (seat->state != SEAT_LEAVING) break; /* a push was faster */
        seat->state = SEAT_OFF;
        if (seat->is_wanted) device_sit(device, ask->room);
        break;
    case ASK_SAY: hear_said(device, ask, result); break;
    case ASK_READ:
        if (!peek_get(result, "data", &data))
            world_fail("a receipt is answered", "device %u", device->number);
        if (people_calls->on_read != NULL)
            people_calls->on_read(device, ask->room, ask->offset, peek_number(data, "offset", 0));
        break;
    }
}

/* What could not be done for a while is done again by the same connection. */
struct later {
    struct device *device;
    uint64_t session;
    struct ask ask;
};

static void ask_again(void *context, uint64_t number)
{
    struct later *later = context;
    struct device *device = later->device;
    (void)number;
    if (device->session == later->session && device->state == DEVICE_ON && !people.is_over) {
        struct seat *seat = &device->seats[later->ask.room];
        if (later->ask.kind == ASK_SIT && seat->is_wanted && seat->state == SEAT_OFF)
            device_sit(device, later->ask.room);
        if (later->ask.kind == ASK_SAY) text_send(device, later->ask.text);
    }
    free(later);
}

static void ask_later(struct device *device, const struct ask *ask)
{
    struct later *later = malloc(sizeof(*later));
    check(later != NULL);
    *later = (struct later){device, device->session, *ask};
    world_at(world.now_ns + chance_between(5, 200) * MS, ask_again, later, 0);
}

static void hear_error(struct device *device, const struct ask *ask, struct bytes error)
{
    uint32_t code = (uint32_t)peek_number(error, "code", 0);
    world_note(TRACE_ANSWER, device->number, ask->kind, code);
    bool is_refused = ask->kind == ASK_CONNECT && people.scene.user_limit > 0;
    if (!peek_true(error, "temporary") && !is_refused)
        world_fail("what is allowed is not refused", "device %u command %d room %u: code %u",
                   device->number, ask->kind, ask->room, code);
    if (ask->kind == ASK_CONNECT) {
        device_cut(device, CUT_CLOSE);
        return;
    }
    if (ask->kind == ASK_SIT) device->seats[ask->room].state = SEAT_OFF;
    if (ask->kind == ASK_RISE) device->seats[ask->room].state = SEAT_LIVE;
    if (ask->kind == ASK_SIT || ask->kind == ASK_SAY) ask_later(device, ask);
}

static uint32_t room_named(const char *name)
{
    uint32_t room = 0;
    while (room < people.scene.rooms && strcmp(name, room_name(room)) != 0) room++;
    return room;
}

/* Another device of the user has moved its cursor. */
static void hear_message(const struct device *device, struct bytes body)
{
    struct bytes data, state;
    char name[64];
    if (!peek_get(body, "data", &data) || !peek_get(data, "receipt", &state))
        world_fail("a message is a receipt", "device %u", device->number);
    peek_text(state, "channel", name, sizeof(name));
    uint64_t head = peek_number(state, "head", 0), read = peek_number(state, "read", UINT64_MAX);
    if (room_named(name) == people.scene.rooms || read > head)
        world_fail("receipts are of rooms, below their heads", "device %u: %s %" PRIu64,
                   device->number, name, read);
}

static void hear_push(struct device *device, struct bytes push)
{
    struct bytes body;
    char name[64];
    if (peek_get(push, "message", &body)) {
        hear_message(device, body);
        return;
    }
    peek_text(push, "channel", name, sizeof(name));
    uint32_t room = room_named(name);
    if (room == people.scene.rooms) {
        if (name[0] == '#') return; /* the personal channel */
        world_fail("pushes are of channels that exist", "device %u: %s", device->number, name);
    }
    struct seat *seat = &device->seats[room];
    if (seat->state == SEAT_OFF || seat->state == SEAT_ASKED)
        world_fail("nobody outside receives", "device %u is not in %s", device->number, name);
    if (peek_get(push, "pub", &body)) {
        hear_publication(device, room, body, false);
    } else if (peek_get(push, "unsubscribe", &body)) {
        seat->state = SEAT_OFF;
        ask_later(device, &(struct ask){.kind = ASK_SIT, .room = room});
    }
}

static void pong_later(void *context, uint64_t session)
{
    struct device *device = context;
    if (device->session == session && device->state == DEVICE_ON)
        device_put(device, WS_TEXT, BYTES_LITERAL("{}"));
}

static void hear_reply(struct device *device, struct bytes reply)
{
    struct bytes body;
    uint64_t id = peek_number(reply, "id", 0);
    if (id != 0) {
        struct ask ask = ask_take(device, (uint32_t)id);
        if (peek_get(reply, "error", &body))
            hear_error(device, &ask, body);
        else
            hear_result(device, &ask, reply);
    } else if (peek_get(reply, "push", &body)) {
        hear_push(device, body);
    } else {
        world_at(world.now_ns + chance_below(100) * MS, pong_later, device, device->session);
    }
}

void device_hear(struct device *device, const struct ws_message *message)
{
    struct bytes rest = message->payload;
    struct intake json = {NULL, 0, 0};
    uint64_t session = device->session;
    switch (message->opcode) {
    case WS_TEXT:
        while (rest.size > 0 && device->session == session) {
            const uint8_t *end = memchr(rest.at, '\n', rest.size);
            size_t size = end == NULL ? rest.size : (size_t)(end - rest.at);
            hear_reply(device, bytes_of(rest.at, size));
            size_t skip = end == NULL ? size : size + 1;
            rest = bytes_of(rest.at + skip, rest.size - skip);
        }
        break;
    case WS_BINARY:
        while (rest.size > 0 && device->session == session) {
            pb_take_reply(&rest, &json);
            hear_reply(device, bytes_of(json.bytes, json.size));
        }
        intake_free(&json);
        break;
    case WS_CLOSE:
        device->close_code = rest.size < 2 ? 1005 : (uint32_t)rest.at[0] << 8 | rest.at[1];
        device_put(device, WS_CLOSE, bytes_of(rest.at, rest.size < 2 ? 0 : 2));
        break;
    case WS_PING: device_put(device, WS_PONG, rest); break;
    default: break;
    }
}
