/*
 * day: a day of a town of people who chat, on the simulated world, and what receipts of it
 * cost each of them.
 *
 * Everybody is in the town's own room and in a team of eight, with a phone, one in ten with
 * another device.  They connect between six and nine, listen to their rooms and to the
 * receipts of these, go away and come back, and read at a pace of their own: within
 * seconds, minutes or an hour, in the storm from nine within a minute.
 *
 *   day_people.c   devices: their lives and their commands
 *   day_hear.c     what they are told, and what a small application keeps of it
 *   day_rooms.c    rooms: a naive model of who has read what, and the tally
 *   day.c          the day itself, its end, and the programme
 *
 * Thread:  one.
 */
#pragma once

#include "plan.h"
#include "wire_sim.h"
#include "world.h"

#define DAY_MS     UINT64_C(1000000)
#define DAY_SECOND (1000 * DAY_MS)
#define DAY_SECRET "a simulated secret of 32 bytes.."
#define TEAM_SIZE  8
#define NEWEST     20  /* messages of a room whose counts are held, as many as are told */
#define MOST_SAID  128 /* in one room */

enum room_kind { ROOM_TOWN, ROOM_TEAM, ROOM_KINDS };

/* How members of a room are told of its receipts. */
enum rung { RUNG_MOVES_AT_ONCE, RUNG_MOVES, RUNG_COUNTS, RUNG_SILENT };

struct held {
    uint32_t offset, readers, eligible;
};

struct room {
    enum room_kind kind;
    uint32_t number;
    uint32_t first, members; /* of the people */
    enum rung rung;
    uint32_t head;
    uint32_t senders[MOST_SAID]; /* by offset */
    uint32_t *cursors;           /* by member; the town's and the teams' are one array each */
    struct held truth[NEWEST];   /* in the end, by offset % NEWEST */
};

enum seat_state { SEAT_OFF, SEAT_HEARING, SEAT_LIVE };

/* A device in one of its rooms: first it hears the receipts, then the messages. */
struct seat {
    enum seat_state state;
    bool is_glancing;    /* it will look at the room before long */
    uint32_t offset;     /* the last message shown */
    uint32_t begun;      /* of the messages above it every move was heard */
    uint32_t read;       /* what the user's other device told */
    uint16_t *cursors;   /* by member, heard in moves; where those are told */
    struct held *counts; /* by offset % NEWEST; where counts are told or asked for */
    uint64_t told_ns;    /* when what was told may have been, at the fastest */
};

enum ask_kind { ASK_CONNECT, ASK_HEAR, ASK_SIT, ASK_SAY, ASK_READ, ASK_COUNTS };

struct ask {
    uint32_t id, offset; /* read up to; the number of what is said */
    uint8_t kind, room;
    bool is_last; /* counts asked for in the end */
};
#define ASKS_MAX 12

enum device_state { DEVICE_OFF, DEVICE_DIALING, DEVICE_GREETING, DEVICE_ON };

struct device {
    uint32_t number, person;
    enum device_state state;
    bool is_binary;
    uint32_t session, ids, asks_count;
    uint64_t pace_ns;
    struct link *link;
    struct intake intake;
    struct ask asks[ASKS_MAX];
    struct seat seats[ROOM_KINDS];
};

/* What a kind of room has seen. */
struct tally {
    uint64_t messages, moves;       /* said; cursors moved, senders' too */
    uint64_t frames, bytes;         /* pushes of receipts: */
    uint64_t answers, answer_bytes; /* to receipt.counts */
    uint64_t own, own_bytes;        /* told to a user's other device */
};

struct day {
    uint32_t members, devices_count, teams_count;
    struct device *devices;
    struct room *rooms; /* the town, then the teams */
    uint32_t *cursors[ROOM_KINDS];
    struct tally tallies[ROOM_KINDS];
    uint32_t said; /* numbers of messages, which are their keys */
    uint32_t on, lasts;
    bool is_night; /* nobody reads any more */
    bool is_over;
};
extern struct day day;

struct room *room_of(uint32_t person, enum room_kind kind);
/* "receipts:" is not in `name`; NULL when there is no such room. */
struct room *room_named(struct bytes name);
int room_write(const struct room *room, char *text, size_t size);

/* day_rooms.c */
void rooms_init(void);
void rooms_fini(void);
/* Names everybody to the gateway: a call for each room. */
void rooms_call(uint32_t number);
void room_said(struct room *room, uint32_t person, uint32_t offset);
/* Read up to `offset`, and the gateway says that the cursor stands at `told`.  `is_sure`:
 * nothing else that moves it was under way. */
void room_read(struct room *room, uint32_t person, uint32_t offset, uint32_t told, bool is_sure);
void rooms_settle(void);
/* A device holds what is so. */
void room_check(struct room *room, const struct device *device, const struct seat *seat);
void room_check_last(struct room *room, const struct device *device, const struct held *held);
/* The number in "u<number>"; fails on anything else. */
uint32_t person_of(struct bytes name);

/* day_people.c */
void people_init(void);
void people_fini(void);
void device_come(struct device *device, uint64_t after_ns);
/* Away for so long, once nothing is asked. */
void device_go(struct device *device, uint64_t away_ns);
/* Says something; false when it cannot now. */
bool device_say(struct device *device, enum room_kind kind);
void device_ask_last(struct device *device);
bool device_is_calm(const struct device *device);

/* The parts of it that day_hear.c asks for. */
struct room *seat_room(const struct device *device, uint32_t kind);
void seat_sit(struct device *device, uint32_t kind);
/* Looks at the room before long. */
void seat_look(struct device *device, uint32_t kind);
void device_must_ask(struct device *device, struct ask ask);
void device_pong(struct device *device);

/* day_hear.c */
void device_hear(struct device *device, const struct ws_message *message);

/* day.c */
bool day_is_storm(void);
