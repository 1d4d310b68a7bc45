/* traffic_receipts: members who read, and what the others are told of it.
 *
 * In each room a message is sent by its first member, and then the others read it, each at
 * a due moment; when all have, the next one is sent.  So it is known at any time how far
 * everybody may be said to have read: what a frame of receipts says beyond that, twice or
 * backwards, ends the run, and in the end everybody holds, and is answered, exactly that. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "traffic_parts.h"

#define NEWEST 20 /* messages whose counts are told */
#define TOLD_MAX                                                                                   \
    2000 /* members up to which they are, where the server's thresholds are the default */

struct count {
    uint64_t offset;
    uint32_t readers;
};

struct room {
    uint32_t members, next; /* next: whose turn it is to read; all have: members */
    uint32_t answered;      /* reads of this message */
    uint32_t heard;         /* members that have the message */
    bool is_waiting;        /* a message is under way */
    uint64_t begun, head;   /* offsets: before our first message, and of the newest */
    uint64_t *cursors;      /* by member: how far it has asked to have read */
    uint64_t *due_ns;       /* by member: when it was due to read that; of the first: to send */
    uint32_t truth[NEWEST]; /* in the end: readers, by offset % NEWEST */
};

/* What one client was told. */
struct view {
    uint64_t *cursors; /* by member, where moves are told */
    struct count counts[NEWEST];
    bool has_counts;
};

enum stage { STAGE_READING, STAGE_TELLING, STAGE_ASKING };

struct receipts {
    struct room *rooms;
    struct view *views;
    uint64_t due_ns; /* of a step for which no room was free */
    enum stage stage;
    uint64_t since_ns, looked_ns;
    uint32_t asked, answered; /* counts, in the end */
};

/* Of client n: room n modulo channels, member n divided by channels. */
static struct room *room_of(const struct crowd *crowd, const struct client *client)
{
    return &crowd->traffic->receipts->rooms[client->number % crowd->scenario->channels];
}

static uint32_t member_of(const struct crowd *crowd, const struct client *client)
{
    return client->number / crowd->scenario->channels;
}

static struct view *view_of(const struct crowd *crowd, const struct client *client)
{
    return &crowd->traffic->receipts->views[client - crowd->clients];
}

void receipts_create(struct crowd *crowd)
{
    const struct scenario *s = crowd->scenario;
    struct receipts *receipts = crowd->traffic->receipts = calloc(1, sizeof *receipts);
    receipts->rooms = calloc(s->channels, sizeof *receipts->rooms);
    receipts->views = calloc(crowd->clients_count, sizeof *receipts->views);
    for (uint32_t i = 0; i < s->channels; i++) {
        struct room *room = &receipts->rooms[i];
        room->members = room->next = (s->clients - i + s->channels - 1) / s->channels;
        room->answered = room->members - 1;
        room->cursors = calloc(room->members, sizeof *room->cursors);
        room->due_ns = calloc(room->members, sizeof *room->due_ns);
    }
}

/* --- reading -------------------------------------------------------------------------------- */

static bool is_free(const struct room *room)
{
    return !room->is_waiting && (room->next < room->members || room->answered + 1 == room->next);
}

static void read_next(struct crowd *crowd, uint32_t number, uint64_t due_ns)
{
    struct room *room = &crowd->traffic->receipts->rooms[number];
    struct client *client = &crowd->clients[room->next * crowd->scenario->channels + number];
    char data[160];
    room->cursors[room->next] = room->head;
    room->due_ns[room->next++] = due_ns;
    int size = snprintf(data, sizeof data, "{\"channel\":\"%s\",\"offset\":%llu}",
                        crowd_channel(crowd, number), (unsigned long long)room->head);
    crowd->words->rpc(&crowd->traffic->message, ++client->ids, "receipt.read",
                      (struct span){data, (uint32_t)size});
    client_say(crowd, client, &crowd->traffic->message);
    crowd->part->published++;
}

static void send_next(struct crowd *crowd, uint32_t number, uint64_t due_ns)
{
    struct room *room = &crowd->traffic->receipts->rooms[number];
    room->is_waiting = true;
    room->next = 1;
    room->answered = room->heard = 0;
    room->due_ns[0] = due_ns;
    traffic_publish(crowd, number, due_ns);
}

/* The next room that is free takes a step; when none is, the server is behind, and the step
 * counts from its moment all the same. */
void receipts_turn(struct crowd *crowd)
{
    struct traffic *traffic = crowd->traffic;
    struct receipts *receipts = traffic->receipts;
    for (uint32_t busy = 0; busy < crowd->scenario->channels;) {
        if (receipts->due_ns == 0) receipts->due_ns = traffic_due(crowd);
        if (receipts->due_ns == 0) return;
        uint32_t number = traffic->next++ % crowd->scenario->channels;
        const struct room *room = &receipts->rooms[number];
        if (!is_free(room)) {
            busy++;
            continue;
        }
        busy = 0;
        if (room->next < room->members)
            read_next(crowd, number, receipts->due_ns);
        else
            send_next(crowd, number, receipts->due_ns);
        receipts->due_ns = 0;
    }
    crowd->part->late++;
}

void receipts_on_message(struct crowd *crowd, const struct client *client, uint64_t offset)
{
    struct room *room = room_of(crowd, client);
    if (!room->is_waiting || offset == 0 || (room->heard > 0 && offset != room->head) ||
        (room->heard == 0 && room->head != 0 && offset != room->head + 1)) {
        crowd_fail(crowd, "client %u: a message at offset %llu, the newest is at %llu",
                   client->number, (unsigned long long)offset, (unsigned long long)room->head);
        return;
    }
    if (room->head == 0) room->begun = offset - 1;
    room->head = room->cursors[0] = offset;
    if (++room->heard == room->members) room->is_waiting = false;
}

/* --- what is told --------------------------------------------------------------------------- */

/* The number behind `name` within the object that begins at *at, which moves behind it. */
static bool take_number(struct span *from, const char *name, uint64_t *number)
{
    size_t size = strlen(name);
    const char *end = from->at + from->size, *at = memmem(from->at, from->size, name, size);
    if (at == NULL) return false;
    *number = 0;
    for (at += size; at < end && *at >= '0' && *at <= '9'; at++)
        *number = *number * 10 + (uint64_t)(*at - '0');
    *from = (struct span){at, (uint32_t)(end - at)};
    return true;
}

/* The list behind `name`, up to its end. */
static struct span list_of(struct span data, const char *name)
{
    const char *at = memmem(data.at, data.size, name, strlen(name));
    if (at == NULL) return (struct span){NULL, 0};
    at += strlen(name);
    const char *end = memchr(at, ']', (size_t)(data.at + data.size - at));
    return (struct span){at, end == NULL ? 0 : (uint32_t)(end - at)};
}

static void hear_move(struct crowd *crowd, const struct client *client, uint64_t user,
                      uint64_t from, uint64_t to)
{
    const struct scenario *s = crowd->scenario;
    const struct room *room = room_of(crowd, client);
    struct view *view = view_of(crowd, client);
    uint64_t number = user - s->first, member = number / s->channels;
    if (user < s->first || number >= s->clients ||
        number % s->channels != client->number % s->channels) {
        crowd_fail(crowd, "client %u is told of user %llu, who is no member", client->number,
                   (unsigned long long)user);
        return;
    }
    if (view->cursors == NULL) view->cursors = calloc(room->members, sizeof *view->cursors);
    uint64_t *told = &view->cursors[member], most = room->cursors[member];
    /* Who sends has read its message before anybody hears of it. */
    if (member == 0 && room->is_waiting) most = room->head == 0 ? UINT64_MAX : room->head + 1;
    if (to > most)
        crowd_fail(crowd, "client %u is told that user %llu read up to %llu, who read up to %llu",
                   client->number, (unsigned long long)user, (unsigned long long)to,
                   (unsigned long long)most);
    else if (from >= to || (*told != 0 && (member == 0 ? from < *told : from != *told)))
        crowd_fail(crowd, "client %u is told of user %llu from %llu to %llu after %llu",
                   client->number, (unsigned long long)user, (unsigned long long)from,
                   (unsigned long long)to, (unsigned long long)*told);
    *told = to;
    if (member != member_of(crowd, client) && to == room->cursors[member])
        traffic_took(crowd, room->due_ns[member]);
}

static void hear_count(struct crowd *crowd, const struct client *client, uint64_t offset,
                       uint64_t readers, uint64_t eligible)
{
    const struct room *room = room_of(crowd, client);
    struct view *view = view_of(crowd, client);
    struct count *told = &view->counts[offset % NEWEST];
    view->has_counts = true;
    if (room->head != 0 && offset <= room->begun) return; /* of an earlier run */
    /* The next message is under way: everybody has read this one, who told it or not. */
    bool is_over = offset < room->head || (room->is_waiting && room->heard == 0);
    uint64_t most = offset > room->head ? 0 : is_over ? room->members - 1 : room->next - 1;
    bool is_back = told->offset == offset && readers < told->readers;
    if (readers > most || is_back || eligible != room->members - 1) {
        crowd_fail(crowd,
                   "client %u is told that %llu of %llu read message %llu, after %u; %llu did",
                   client->number, (unsigned long long)readers, (unsigned long long)eligible,
                   (unsigned long long)offset, told->offset == offset ? told->readers : 0,
                   (unsigned long long)most);
        return;
    }
    *told = (struct count){offset, (uint32_t)readers};
    /* The reader that made it so many is the one that read it then. */
    if (offset == room->head && readers > 0) traffic_took(crowd, room->due_ns[readers]);
}

void receipts_hear(struct crowd *crowd, const struct client *client, struct span data)
{
    struct span moves = list_of(data, "\"moves\":["), counts = list_of(data, "\"counts\":[");
    uint64_t user, from, to, offset, readers, eligible;
    crowd->part->told++;
    while (moves.size > 0 && take_number(&moves, "\"user\":\"u", &user) &&
           take_number(&moves, "\"from\":", &from) && take_number(&moves, "\"to\":", &to))
        hear_move(crowd, client, user, from, to);
    while (counts.size > 0 && take_number(&counts, "\"offset\":", &offset) &&
           take_number(&counts, "\"readers\":", &readers) &&
           take_number(&counts, "\"eligible\":", &eligible))
        hear_count(crowd, client, offset, readers, eligible);
}

/* --- the end -------------------------------------------------------------------------------- */

static uint64_t first_of(const struct room *room)
{
    return room->head > room->begun + NEWEST ? room->head - NEWEST + 1 : room->begun + 1;
}

static void settle_room(struct room *room)
{
    for (uint64_t offset = first_of(room); offset <= room->head; offset++) {
        uint32_t *truth = &room->truth[offset % NEWEST];
        *truth = 0;
        for (uint32_t i = 1; i < room->members; i++) *truth += room->cursors[i] >= offset;
    }
}

/* Whether a client was told all; else `why` says what it lacks. */
static bool is_told(const struct crowd *crowd, const struct client *client, char *why, size_t size)
{
    const struct room *room = room_of(crowd, client);
    const struct view *view = view_of(crowd, client);
    if (room->head == 0 || room->members > TOLD_MAX) return true;
    if (view->has_counts) {
        for (uint64_t offset = first_of(room); offset <= room->head; offset++) {
            const struct count *told = &view->counts[offset % NEWEST];
            if (told->offset == offset && told->readers == room->truth[offset % NEWEST]) continue;
            snprintf(why, size, "client %u was told that %u read message %llu, and %u did",
                     client->number, told->offset == offset ? told->readers : 0,
                     (unsigned long long)offset, room->truth[offset % NEWEST]);
            return false;
        }
        return true;
    }
    /* That who sends has read its own message is no news. */
    for (uint32_t i = 1; i < room->members; i++) {
        uint64_t told = view->cursors == NULL ? 0 : view->cursors[i];
        if (room->cursors[i] <= room->begun || told == room->cursors[i]) continue;
        snprintf(why, size, "client %u was told that member %u read up to %llu, and it read %llu",
                 client->number, i, (unsigned long long)told, (unsigned long long)room->cursors[i]);
        return false;
    }
    return true;
}

/* As long as something may still be told; then who was not told all fails the run. */
static bool telling_is_done(struct crowd *crowd)
{
    struct receipts *receipts = crowd->traffic->receipts;
    char why[200];
    if (crowd->now_ns < receipts->looked_ns + 20000000u) return false;
    receipts->looked_ns = crowd->now_ns;
    for (uint32_t i = 0; i < crowd->clients_count; i++) {
        if (is_told(crowd, &crowd->clients[i], why, sizeof why)) continue;
        if ((double)(crowd->now_ns - receipts->since_ns) * 1e-9 > crowd->scenario->patience / 2)
            crowd_fail(crowd, "%s", why);
        return false;
    }
    return true;
}

static bool reading_is_done(const struct crowd *crowd)
{
    for (uint32_t i = 0; i < crowd->scenario->channels; i++) {
        const struct room *room = &crowd->traffic->receipts->rooms[i];
        if (room->is_waiting || room->answered + 1 != room->next) return false;
    }
    return true;
}

static void ask_counts(struct crowd *crowd, struct client *client)
{
    const struct room *room = room_of(crowd, client);
    char data[64 + NEWEST * 21];
    int used = snprintf(data, sizeof data, "{\"channel\":\"%s\",\"offsets\":[",
                        crowd_channel(crowd, client->number % crowd->scenario->channels));
    for (uint64_t offset = first_of(room); offset <= room->head; offset++)
        used += snprintf(data + used, sizeof data - (size_t)used, "%s%llu",
                         offset == first_of(room) ? "" : ",", (unsigned long long)offset);
    used += snprintf(data + used, sizeof data - (size_t)used, "]}");
    crowd->words->rpc(&crowd->traffic->message, ++client->ids, "receipt.counts",
                      (struct span){data, (uint32_t)used});
    client_say(crowd, client, &crowd->traffic->message);
    crowd->traffic->receipts->asked++;
}

static void hear_counts(struct crowd *crowd, const struct client *client, struct span result)
{
    const struct room *room = room_of(crowd, client);
    struct span readers = list_of(result, "\"counts\":"),
                eligible = list_of(result, "\"eligible\":");
    crowd->traffic->receipts->answered++;
    for (uint64_t offset = first_of(room); offset <= room->head; offset++) {
        uint64_t n = UINT64_MAX, of = UINT64_MAX;
        const char *between = offset == first_of(room) ? "[" : ",";
        if (take_number(&readers, between, &n) && take_number(&eligible, between, &of) &&
            n == room->truth[offset % NEWEST] && of == room->members - 1)
            continue;
        crowd_fail(crowd,
                   "client %u is answered that %llu of %llu read message %llu, and %u of %u did",
                   client->number, (unsigned long long)n, (unsigned long long)of,
                   (unsigned long long)offset, room->truth[offset % NEWEST], room->members - 1);
        return;
    }
}

bool receipts_is_done(struct crowd *crowd)
{
    struct receipts *receipts = crowd->traffic->receipts;
    switch (receipts->stage) {
    case STAGE_READING:
        if (!reading_is_done(crowd)) return false;
        for (uint32_t i = 0; i < crowd->scenario->channels; i++) settle_room(&receipts->rooms[i]);
        receipts->since_ns = crowd->now_ns;
        receipts->stage = STAGE_TELLING;
        return false;
    case STAGE_TELLING:
        if (!telling_is_done(crowd)) return false;
        receipts->stage = STAGE_ASKING;
        for (uint32_t i = 0; i < crowd->clients_count; i++)
            if (room_of(crowd, &crowd->clients[i])->head != 0)
                ask_counts(crowd, &crowd->clients[i]);
        return false;
    case STAGE_ASKING: break;
    }
    return receipts->answered == receipts->asked;
}

void receipts_on_reply(struct crowd *crowd, const struct client *client, const struct heard *heard)
{
    struct room *room = room_of(crowd, client);
    if (crowd->traffic->receipts->stage == STAGE_ASKING) {
        hear_counts(crowd, client, heard->result);
        return;
    }
    if (member_of(crowd, client) == 0) return; /* its message: the others hear it */
    if (heard->offset != room->head)
        crowd_fail(crowd, "client %u read up to %llu and is answered %llu", client->number,
                   (unsigned long long)room->head, (unsigned long long)heard->offset);
    room->answered++;
    crowd->part->acked++;
}
