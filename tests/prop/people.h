/*
 * people: users with devices on the simulated world, for the property programs.
 *
 * The gateway is the real one (tests/sim); a program here scripts who comes, goes,
 * says and reads what and when, over kills of the process and of the machine, and holds
 * what everybody is told to a model of its own.  This file knows the protocol and
 * judges nothing but its form.
 *
 * A device is what an official SDK and a small application make: it comes back by
 * itself, subscribes again from where it was, and repeats what it wants to say, with
 * the same key, until it is answered.
 *
 *   round:  people_begin ─ people_pass, acts of devices, people_kill … ─ people_calm
 *           ─ what must hold now ─ people_end
 *
 * Thread:  one.
 */
#pragma once

#include "sim/plan.h"
#include "sim/wire_sim.h"
#include "sim/world.h"

#define DEVICES_MAX 48
#define ROOMS_MAX   8
#define TEXTS_MAX   8192
#define MS          UINT64_C(1000000)

enum room_kind {
    ROOM_WHOLE, /* history of everything; who is there is listed */
    ROOM_TAIL,  /* history of the newest scene.tail_size */
    ROOM_KIND_COUNT,
};

/* What a round is made of; the world's weather is drawn from the seed. */
struct scene {
    uint32_t users, devices; /* device n belongs to user n % users */
    uint32_t rooms;
    enum room_kind kinds[ROOMS_MAX];
    uint32_t tail_size, recovery_max; /* 0: 100000 and 300 */
    uint32_t user_limit;              /* connections of a user; 0: any */
    bool is_single;                   /* a newer connection of a user ends the older one */
};

enum device_state { DEVICE_OFF, DEVICE_DIALING, DEVICE_GREETING, DEVICE_ON };
enum seat_state { SEAT_OFF, SEAT_ASKED, SEAT_LIVE, SEAT_LEAVING };

/* A device in a room. */
struct seat {
    enum seat_state state;
    bool is_wanted, has_position;
    uint64_t offset; /* the last publication shown */
    uint64_t begun;  /* where the newest subscription without a position began */
    char epoch[32];
};

struct ask;
struct device {
    uint32_t number, user;
    enum device_state state;
    bool is_away;   /* stays so until device_come */
    bool is_binary; /* it speaks Protobuf */
    char client[40];
    struct seat seats[ROOMS_MAX];
    /* private to people.c */
    uint64_t session;
    struct link *link;
    struct intake intake;
    uint32_t ids, tries, close_code;
    struct ask *asks;
    uint32_t asks_count;
    char *token;
};

/* Something said, until it is answered and after. */
struct text {
    uint32_t room, device;
    bool is_acked;
    uint32_t answers; /* more than one where it was repeated on purpose */
    uint64_t offset;  /* once acknowledged */
    uint64_t said_ns; /* first attempt */
};

struct people {
    struct scene scene;
    struct device devices[DEVICES_MAX];
    struct text texts[TEXTS_MAX];
    uint32_t texts_count;
    uint32_t kills;
    bool is_over;
};
extern struct people people;

/* What a program is told; any may be NULL.  `text` is the number of what was said.
 * Whoever finds something wrong calls world_fail. */
struct people_calls {
    /* A publication, in the order in which an application gets them; `is_backlog`: in the
     * reply to a subscription.  seat->offset is still that of the one before. */
    void (*on_shown)(struct device *device, uint32_t room, uint64_t offset, uint32_t text,
                     bool is_backlog);
    /* A subscription is live at `offset`, before its backlog is shown; `since`: the position
     * it was asked from, or UINT64_MAX; `is_recovered` as the gateway says. */
    void (*on_seated)(struct device *device, uint32_t room, uint64_t since, bool is_recovered,
                      uint64_t offset);
    /* An answer that names the offset of `text`: the first, or a repeat. */
    void (*on_acked)(struct device *device, uint32_t text, uint64_t offset);
    /* receipt.read up to `asked` was answered with `told`. */
    void (*on_read)(struct device *device, uint32_t room, uint64_t asked, uint64_t told);
    void (*on_gone)(struct device *device);
};

/* A world of seed world.seed; returns when the gateway is up and every device that is not
 * away has been sent for.  `calls` is kept. */
void people_begin(const struct scene *scene, const struct people_calls *calls);
/* Drains, and looks that everything came home. */
void people_end(void);

/* Time goes by. */
void people_pass(uint64_t span_ns);
/* Steps until it is so; fails with `what` after two virtual minutes. */
void people_until(bool (*is_so)(void), const char *what);
enum end { END_KILL, END_POWER, END_DRAIN };
/* The process ends so, stays down for `down_ns`, and a new one begins, with another
 * number of shards.  Does not wait until that is up. */
void people_kill(enum end end, uint64_t down_ns);
/* With `percent` of 100: one of the three ends. */
void people_kill_maybe(uint32_t percent);
/* Everyone who is not away is connected, seated where wanted, has said all, and has been
 * shown everything up to the newest offset that anybody knows of. */
void people_calm(void);

/* Says something in `room`, again and again until it is answered; UINT32_MAX when
 * the round has said enough.  The device need not be on. */
uint32_t device_say(struct device *device, uint32_t room);
/* Says the same again, under its key; a no-op when it is not on. */
void device_repeat(struct device *device, uint32_t text);
/* receipt.read; false when it is not on. */
bool device_read(struct device *device, uint32_t room, uint64_t offset);
/* Wants a seat, or no longer.  Without a position it begins at the head. */
void device_join(struct device *device, uint32_t room, bool has_position);
void device_leave(struct device *device, uint32_t room);
/* The connection ends: by an orderly close, a reset of its own, or the network's. */
enum cut { CUT_CLOSE, CUT_RESET, CUT_NETWORK };
void device_cut(struct device *device, enum cut cut);
/* Cut, and away; and back. */
void device_go(struct device *device, enum cut cut);
void device_come(struct device *device);
/* Stops reading what arrives, or goes on. */
void device_pause(struct device *device, bool is_paused);

/* A call of the server API, sent again until it is answered without a temporary error;
 * its result is valid until the next call. */
struct bytes people_ask(const char *method, const char *format, ...) printf_like(2, 3);
/* The whole history of a room: calls `each` and returns the head. */
uint64_t people_history(uint32_t room, void (*each)(uint32_t room, uint64_t offset, uint32_t text));
const char *room_name(uint32_t room);
/* The highest offset that anybody was told of. */
uint64_t room_head(uint32_t room);
/* Everybody of all users is a member of the room: receipts count. */
void room_members(uint32_t room);

/* The text inside a payload; what nobody said fails. */
uint32_t text_of(uint32_t room, struct bytes data);

/* people_main.c: `round` runs for seeds 1 to 100, each in a process of its own, or for
 * those on the command line.  `faults`: what is planted with --fault, and must be found. */
int people_main(int count, char **words, void (*round)(void), const enum sim_fault *faults,
                uint32_t faults_count);
