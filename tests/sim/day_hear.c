/*
 * day_hear: what devices are told, and what must hold of it at once.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "day.h"
#include "wire_pb.h"

/* --- receipts ------------------------------------------------------------------------ */

/* At most so often, with the network's jitter: what is told is bounded by time. */
static void check_rate(const struct device *device, struct seat *seat, const struct room *room)
{
    uint64_t pause = room->rung == RUNG_COUNTS ? 1000 * DAY_MS : 200 * DAY_MS;
    if (room->rung == RUNG_MOVES_AT_ONCE) return;
    if (room->rung == RUNG_SILENT)
        world_fail("where many are members nothing is told", "device %u", device->number);
    seat->told_ns = max_u64(seat->told_ns, world.now_ns) + pause;
    if (seat->told_ns > world.now_ns + 2 * pause + 500 * DAY_MS)
        world_fail("what is told is bounded by time", "device %u: %" PRIu64 " ms ahead",
                   device->number, (seat->told_ns - world.now_ns) / DAY_MS);
}

static void hear_moves(const struct device *device, struct seat *seat, const struct room *room,
                       struct bytes moves)
{
    struct bytes move, user;
    for (size_t at = 0; peek_each(moves, &at, &move);) {
        if (!peek_get(move, "user", &user) || user.size < 2)
            world_fail("a move has a user", "device %u", device->number);
        uint32_t person = person_of(bytes_of(user.at + 1, user.size - 2)) - room->first;
        uint64_t from = peek_number(move, "from", UINT64_MAX), to = peek_number(move, "to", 0);
        if (person >= room->members || to <= from || to >= MOST_SAID)
            world_fail("moves are of members, and forward", "device %u: %" PRIu64 " to %" PRIu64,
                       device->number, from, to);
        if (seat->cursors[person] >= to)
            world_fail("a move is told once", "device %u: user %u to %" PRIu64 " after %u",
                       device->number, person + room->first, to, seat->cursors[person]);
        seat->cursors[person] = (uint16_t)to;
    }
}

static void hold_count(struct seat *seat, struct held held)
{
    struct held *old = &seat->counts[held.offset % NEWEST];
    if (old->offset == held.offset && old->readers > held.readers)
        world_fail("counts only grow while nobody leaves", "message %u: %u after %u", held.offset,
                   held.readers, old->readers);
    if (old->offset <= held.offset) *old = held;
}

static void hear_counts(struct seat *seat, struct bytes counts)
{
    struct bytes count;
    for (size_t at = 0; peek_each(counts, &at, &count);)
        hold_count(seat, (struct held){(uint32_t)peek_number(count, "offset", 0),
                                       (uint32_t)peek_number(count, "readers", 0),
                                       (uint32_t)peek_number(count, "eligible", 0)});
}

/* A publication of receipts:room. */
static void hear_receipts(struct device *device, const struct room *room, struct bytes publication,
                          size_t size)
{
    struct seat *seat = &device->seats[room->kind];
    struct bytes data, part;
    if (seat->state == SEAT_OFF || !peek_get(publication, "data", &data))
        world_fail("receipts are told who listens", "device %u", device->number);
    day.tallies[room->kind].frames++;
    day.tallies[room->kind].bytes += size;
    check_rate(device, seat, room);
    if (peek_get(data, "moves", &part)) {
        if (seat->cursors == NULL) world_fail("moves are told in small rooms", "%u", room->members);
        hear_moves(device, seat, room, part);
    }
    if (peek_get(data, "counts", &part)) {
        if (seat->counts == NULL) world_fail("counts are told in large rooms", "%u", room->members);
        hear_counts(seat, part);
    }
}

static void hear_answered_counts(struct device *device, const struct ask *ask, struct bytes data,
                                 size_t size)
{
    struct room *room = seat_room(device, ask->room);
    struct seat *seat = &device->seats[ask->room];
    struct bytes counts, eligibles, readers, eligible;
    if (!peek_get(data, "counts", &counts) || !peek_get(data, "eligible", &eligibles))
        world_fail("counts are answered", "device %u", device->number);
    uint32_t offset = ask->offset >= NEWEST ? ask->offset - NEWEST + 1 : 1;
    size_t at = 0, at_eligible = 0;
    for (; peek_each(counts, &at, &readers); offset++) {
        uint64_t n = 0, of = 0;
        if (!peek_each(eligibles, &at_eligible, &eligible) || !bytes_to_u64(readers, &n) ||
            !bytes_to_u64(eligible, &of))
            world_fail("counts are numbers", "device %u", device->number);
        struct held held = {offset, (uint32_t)n, (uint32_t)of};
        if (ask->is_last)
            room_check_last(room, device, &held);
        else if (seat->counts != NULL)
            hold_count(seat, held);
    }
    if (offset != ask->offset + 1)
        world_fail("each count is answered", "device %u: up to %u of %u", device->number, offset,
                   ask->offset);
    day.lasts += ask->is_last;
    if (ask->is_last) return;
    day.tallies[room->kind].answers++;
    day.tallies[room->kind].answer_bytes += size;
}

/* The user's other device has read, or sent. */
static void hear_own(struct device *device, struct bytes message, size_t size)
{
    struct bytes data, state, name;
    if (!peek_get(message, "data", &data) || !peek_get(data, "receipt", &state) ||
        !peek_get(state, "channel", &name) || name.size < 2)
        world_fail("a message is a receipt", "device %u", device->number);
    const struct room *room = room_named(bytes_of(name.at + 1, name.size - 2));
    if (room == NULL || room != seat_room(device, room->kind))
        world_fail("a user is told of the rooms it is in", "device %u", device->number);
    struct seat *seat = &device->seats[room->kind];
    uint64_t read = peek_number(state, "read", UINT64_MAX);
    if (read > peek_number(state, "head", 0))
        world_fail("cursors stand below the head", "device %u", device->number);
    seat->read = max_u32(seat->read, (uint32_t)read);
    day.tallies[room->kind].own++;
    day.tallies[room->kind].own_bytes += size;
}

/* --- what else it is told ------------------------------------------------------------ */

static void hear_message(struct device *device, struct room *room, struct bytes publication)
{
    struct seat *seat = &device->seats[room->kind];
    uint64_t offset = peek_number(publication, "offset", 0);
    if (seat->state != SEAT_LIVE || offset != seat->offset + 1)
        world_fail("each device gets a room in order, without gaps or doubles",
                   "device %u: %" PRIu64 " after %u", device->number, offset, seat->offset);
    seat->offset = (uint32_t)offset;
    if (seat->read < offset) seat_look(device, room->kind);
}

static void hear_push(struct device *device, struct bytes push, size_t size)
{
    static const char prefix[] = "receipts:";
    struct bytes body, name;
    if (peek_get(push, "message", &body)) {
        hear_own(device, body, size);
        return;
    }
    if (!peek_get(push, "channel", &name) || name.size < 2 || !peek_get(push, "pub", &body))
        world_fail("nobody is sent out of a room", "device %u: %.*s", device->number,
                   (int)min_u64(push.size, 120), (const char *)push.at);
    name = bytes_of(name.at + 1, name.size - 2);
    size_t skip = sizeof(prefix) - 1;
    bool is_receipts = name.size > skip && memcmp(name.at, prefix, skip) == 0;
    if (is_receipts) name = bytes_of(name.at + skip, name.size - skip);
    struct room *room = room_named(name);
    if (room == NULL || room != seat_room(device, room->kind))
        world_fail("nobody outside receives", "device %u: %.*s", device->number, (int)name.size,
                   (const char *)name.at);
    if (is_receipts)
        hear_receipts(device, room, body, size);
    else
        hear_message(device, room, body);
}

static void hear_seated(struct device *device, uint32_t kind, struct bytes result)
{
    struct seat *seat = &device->seats[kind];
    const struct room *room = seat_room(device, kind);
    check(seat->state == SEAT_HEARING);
    seat->state = SEAT_LIVE;
    seat->offset = seat->begun = (uint32_t)peek_number(result, "offset", 0);
    if (seat->offset == 0) return;
    if (room->rung == RUNG_COUNTS)
        device_must_ask(
            device,
            (struct ask){.kind = ASK_COUNTS, .room = (uint8_t)kind, .offset = seat->offset});
    seat->read = room->cursors[device->person - room->first];
    if (seat->read < seat->offset) seat_look(device, kind);
}

/* No other device reads, and nothing that was sent waits for its answer. */
static bool is_alone(const struct device *device)
{
    for (uint32_t i = 0; i < device->asks_count; i++)
        if (device->asks[i].kind == ASK_SAY) return false;
    return device->person % 10 != 0 || device->person / 10 >= day.members / 10;
}

static void hear_result(struct device *device, const struct ask *ask, struct bytes reply,
                        size_t size)
{
    static const char *const names[] = {"connect", "subscribe", "subscribe", "rpc", "rpc", "rpc"};
    struct bytes result, data = BYTES_NONE;
    struct room *room = seat_room(device, ask->room);
    if (!peek_get(reply, names[ask->kind], &result) ||
        (ask->kind >= ASK_SAY && !peek_get(result, "data", &data)))
        world_fail("a reply holds the result of its command", "device %u: %s", device->number,
                   names[ask->kind]);
    switch ((enum ask_kind)ask->kind) {
    case ASK_CONNECT:
        device->state = DEVICE_ON;
        day.on++;
        for (uint32_t kind = 0; kind < ROOM_KINDS; kind++) seat_sit(device, kind);
        break;
    case ASK_HEAR: device_must_ask(device, (struct ask){.kind = ASK_SIT, .room = ask->room}); break;
    case ASK_SIT: hear_seated(device, ask->room, result); break;
    case ASK_SAY:
        room_said(room, device->person, (uint32_t)peek_number(data, "offset", 0));
        device->seats[ask->room].read = room->cursors[device->person - room->first];
        break;
    case ASK_READ:
        room_read(room, device->person, ask->offset, (uint32_t)peek_number(data, "offset", 0),
                  is_alone(device));
        break;
    case ASK_COUNTS: hear_answered_counts(device, ask, data, size); break;
    }
}

/* A temporary error: the same again. */
struct later {
    struct device *device;
    struct ask ask;
};

static void ask_again(void *context, uint64_t session)
{
    struct later *later = context;
    struct device *device = later->device;
    if (device->session == session) device_must_ask(device, later->ask);
    free(later);
}

static void hear_error(struct device *device, const struct ask *ask, struct bytes error)
{
    if (!peek_true(error, "temporary"))
        world_fail("what is allowed is not refused", "device %u command %d: %.*s", device->number,
                   ask->kind, (int)min_u64(error.size, 120), (const char *)error.at);
    struct later *later = malloc(sizeof(*later));
    check(later != NULL);
    *later = (struct later){device, *ask};
    world_at(world.now_ns + chance_between(50, 500) * DAY_MS, ask_again, later, device->session);
}

static void hear_reply(struct device *device, struct bytes reply, size_t size)
{
    struct bytes body;
    uint64_t id = peek_number(reply, "id", 0);
    if (id == 0) {
        if (peek_get(reply, "push", &body))
            hear_push(device, body, size);
        else
            device_pong(device);
        return;
    }
    uint32_t i = 0;
    while (i < device->asks_count && device->asks[i].id != id) i++;
    if (i == device->asks_count)
        world_fail("each command has one reply", "device %u: %" PRIu64, device->number, id);
    struct ask ask = device->asks[i];
    device->asks[i] = device->asks[--device->asks_count];
    if (peek_get(reply, "error", &body))
        hear_error(device, &ask, body);
    else
        hear_result(device, &ask, reply, size);
}

static void hear_text(struct device *device, struct bytes rest)
{
    while (rest.size > 0) {
        const uint8_t *end = memchr(rest.at, '\n', rest.size);
        size_t size = end == NULL ? rest.size : (size_t)(end - rest.at);
        hear_reply(device, bytes_of(rest.at, size), size);
        size_t skip = end == NULL ? size : size + 1;
        rest = bytes_of(rest.at + skip, rest.size - skip);
    }
}

static void hear_binary(struct device *device, struct bytes rest)
{
    struct intake json = {NULL, 0, 0};
    while (rest.size > 0) {
        size_t before = rest.size;
        pb_take_reply(&rest, &json);
        hear_reply(device, bytes_of(json.bytes, json.size), before - rest.size);
    }
    intake_free(&json);
}

void device_hear(struct device *device, const struct ws_message *message)
{
    if (message->opcode == WS_TEXT)
        hear_text(device, message->payload);
    else if (message->opcode == WS_BINARY)
        hear_binary(device, message->payload);
    else if (!day.is_over)
        world_fail("nobody is sent away", "device %u: frame of kind %d", device->number,
                   message->opcode);
}
