/*
 * day_rooms: who has read what, kept as naively as can be.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "day.h"
#include "office.h"

/* README, Read receipts. */
static enum rung rung_of(uint32_t members)
{
    return members <= 8      ? RUNG_MOVES_AT_ONCE
           : members <= 256  ? RUNG_MOVES
           : members <= 2000 ? RUNG_COUNTS
                             : RUNG_SILENT;
}

struct room *room_of(uint32_t person, enum room_kind kind)
{
    return &day.rooms[kind == ROOM_TOWN ? 0 : 1 + person / TEAM_SIZE];
}

int room_write(const struct room *room, char *text, size_t size)
{
    if (room->kind == ROOM_TOWN) return snprintf(text, size, "town");
    return snprintf(text, size, "team%u", room->number);
}

struct room *room_named(struct bytes name)
{
    uint64_t number;
    if (bytes_equal_text(name, "town")) return &day.rooms[0];
    if (name.size < 5 || memcmp(name.at, "team", 4) != 0 ||
        !bytes_to_u64(bytes_of(name.at + 4, name.size - 4), &number) || number >= day.teams_count)
        return NULL;
    return &day.rooms[1 + number];
}

uint32_t person_of(struct bytes name)
{
    uint64_t number;
    if (name.size < 2 || name.at[0] != 'u' ||
        !bytes_to_u64(bytes_of(name.at + 1, name.size - 1), &number) || number >= day.members)
        world_fail("who is told of is a member", "%.*s", (int)min_u64(name.size, 40),
                   (const char *)name.at);
    return (uint32_t)number;
}

static void room_init(struct room *room, enum room_kind kind, uint32_t number)
{
    room->kind = kind;
    room->number = number;
    room->first = kind == ROOM_TOWN ? 0 : number * TEAM_SIZE;
    room->members = kind == ROOM_TOWN ? day.members : min_u32(TEAM_SIZE, day.members - room->first);
    room->rung = rung_of(room->members);
    room->cursors = day.cursors[kind] + room->first;
}

void rooms_init(void)
{
    day.teams_count = (day.members + TEAM_SIZE - 1) / TEAM_SIZE;
    day.rooms = calloc(1 + day.teams_count, sizeof(struct room));
    check(day.rooms != NULL);
    for (uint32_t kind = 0; kind < ROOM_KINDS; kind++) {
        day.cursors[kind] = calloc(day.members, sizeof(uint32_t));
        check(day.cursors[kind] != NULL);
    }
    room_init(&day.rooms[0], ROOM_TOWN, 0);
    for (uint32_t i = 0; i < day.teams_count; i++) room_init(&day.rooms[1 + i], ROOM_TEAM, i);
}

void rooms_fini(void)
{
    for (uint32_t kind = 0; kind < ROOM_KINDS; kind++) free(day.cursors[kind]);
    free(day.rooms);
}

void rooms_call(uint32_t number)
{
    const struct room *room = &day.rooms[number];
    size_t size = 64 + (size_t)room->members * 12, used = 0;
    char *body = malloc(size), name[24];
    check(body != NULL);
    room_write(room, name, sizeof(name));
    used += (size_t)snprintf(body, size, "{\"channel\":\"%s\",\"users\":[", name);
    for (uint32_t i = 0; i < room->members; i++)
        used += (size_t)snprintf(body + used, size - used, "%s\"u%u\"", i == 0 ? "" : ",",
                                 room->first + i);
    used += (size_t)snprintf(body + used, size - used, "]}");
    check(used < size);
    office_begin("members_set", bytes_of(body, used));
    free(body);
}

static void cursor_raise(struct room *room, uint32_t person, uint32_t offset)
{
    uint32_t *cursor = &room->cursors[person - room->first];
    check(person >= room->first && person - room->first < room->members);
    if (offset <= *cursor) return;
    *cursor = offset;
    day.tallies[room->kind].moves++;
}

void room_said(struct room *room, uint32_t person, uint32_t offset)
{
    if (offset >= MOST_SAID) world_fail("not so much is said", "offset %u", offset);
    if (room->senders[offset] != 0)
        world_fail("an offset has one message", "room %u: %u", room->number, offset);
    room->senders[offset] = person + 1;
    room->head = max_u32(room->head, offset);
    day.tallies[room->kind].messages++;
    cursor_raise(room, person, offset);
}

void room_read(struct room *room, uint32_t person, uint32_t offset, uint32_t told, bool is_sure)
{
    cursor_raise(room, person, max_u32(offset, told));
    uint32_t stands = room->cursors[person - room->first];
    if (told < offset || (is_sure && told != stands))
        world_fail("a cursor stands at the highest that was read",
                   "user %u: read up to %u, told %u of %u", person, offset, told, stands);
}

/* Nothing moves any more: who has read each of the newest messages? */
void rooms_settle(void)
{
    for (uint32_t r = 0; r <= day.teams_count; r++) {
        struct room *room = &day.rooms[r];
        uint32_t first = room->head >= NEWEST ? room->head - NEWEST + 1 : 1;
        for (uint32_t offset = first; offset <= room->head; offset++) {
            struct held *truth = &room->truth[offset % NEWEST];
            *truth = (struct held){.offset = offset, .eligible = room->members - 1};
            for (uint32_t i = 0; i < room->members; i++)
                truth->readers +=
                    room->cursors[i] >= offset && room->senders[offset] != room->first + i + 1;
        }
    }
}

static void count_compare(const struct room *room, const struct device *device, const char *how,
                          const struct held *held)
{
    const struct held *truth = &room->truth[held->offset % NEWEST];
    if (held->offset == truth->offset && held->readers == truth->readers &&
        held->eligible == truth->eligible)
        return;
    char name[24];
    room_write(room, name, sizeof(name));
    world_fail("every count is what the model says",
               "device %u, %s, message %u of %u, %s: %u of %u, truly %u of %u", device->number,
               name, held->offset, room->head, how, held->readers, held->eligible, truth->readers,
               truth->eligible);
}

/* What it would show by the moves that it heard. */
static struct held held_by_moves(const struct room *room, const struct seat *seat, uint32_t offset)
{
    struct held held = {.offset = offset, .eligible = room->members - 1};
    for (uint32_t i = 0; i < room->members; i++)
        held.readers += seat->cursors[i] >= offset && room->senders[offset] != room->first + i + 1;
    return held;
}

void room_check(struct room *room, const struct device *device, const struct seat *seat)
{
    uint32_t first = room->head >= NEWEST ? room->head - NEWEST + 1 : 1;
    if (seat->offset != room->head)
        world_fail("everybody is shown everything", "device %u: %u of %u", device->number,
                   seat->offset, room->head);
    for (uint32_t offset = first; offset <= room->head; offset++) {
        struct held held = {0};
        if (room->rung <= RUNG_MOVES && offset > seat->begun)
            held = held_by_moves(room, seat, offset);
        else if (room->rung == RUNG_COUNTS)
            held = seat->counts[offset % NEWEST];
        else
            continue;
        count_compare(room, device, "told live", &held);
    }
}

void room_check_last(struct room *room, const struct device *device, const struct held *held)
{
    count_compare(room, device, "on request", held);
}
