/*
 * floor: what any WebSocket server on this machine pays, and nothing more.
 *
 * Accepts, answers the upgrade, and then does one thing:
 *
 *   broadcast  a frame from anyone goes, as it came, to every socket of its channel;
 *              what comes in one turn leaves as one send
 *   echo       every frame goes back, without its mask
 *   idle       each socket is pinged every 25 s, and what it answers is read
 *
 * No names, no protocol, no care for slow readers: they are closed.  A server
 * with logic is judged by how little it adds to this.
 *
 * floor.c is what does not depend on how the kernel is asked; uring.c and
 * epoll.c ask it, and make a program each: sluice-floor-uring, sluice-floor-epoll.
 *
 *   sluice-floor-uring KIND PORT [THREADS]
 *
 * A channel is the number in the path of the upgrade, "GET /17 HTTP/1.1".
 *
 * Thread:  a struct floor each, with sockets of its own; nothing is shared.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define SOCKETS_MAX                                                                                \
    19000 /* of a thread: an io_uring table and a thread's descriptors end at 20,000 here */
#define READ_MAX 2048       /* bytes of one receive */
#define ROOM_MAX (1u << 22) /* bytes on their way in a turn */

enum kind { BROADCAST, ECHO, IDLE };

struct peer {
    bool is_open, is_upgraded;
    uint32_t channel, place; /* among the channel's members */
    uint8_t *rest;           /* of what came, the part that is not whole yet */
    uint32_t rest_size;
};

struct channel {
    uint32_t *members, count, room;
    uint8_t *bytes; /* the frames of this turn */
    uint32_t bytes_used, bytes_room;
    bool is_fired; /* has some */
};

struct floor {
    enum kind kind;
    int listener;
    struct peer peers[SOCKETS_MAX];
    uint32_t peers_end; /* above all that were ever open */
    struct channel *channels;
    uint32_t channels_count;
    uint32_t *fired, fired_count; /* channels with frames */
    uint8_t *room;                /* bytes of this turn's answers */
    uint32_t room_used;
    uint64_t tick_ns; /* idle: when the next share of the sockets is pinged */
    uint32_t ticks;
    void *kernel; /* uring.c's or epoll.c's */
};

/* uring.c, epoll.c: turns, for ever. */
void floor_run(struct floor *floor);
/* Sends all of it or closes the socket; `data` is read until floor_submit at the latest. */
void floor_send(struct floor *floor, uint32_t socket, const void *data, uint32_t size);
/* Nobody reads the data of floor_send any more. */
void floor_submit(struct floor *floor);
void floor_close(struct floor *floor, uint32_t socket);

/* floor.c: what happens to sockets. */
void floor_opened(struct floor *floor, uint32_t socket);
void floor_received(struct floor *floor, uint32_t socket, const uint8_t *data, uint32_t size);
void floor_closed(struct floor *floor, uint32_t socket);
/* The end of a turn's receives: broadcasts, and pings when they are due. */
void floor_turn(struct floor *floor);
/* How long a turn may wait: nanoseconds, UINT64_MAX for ever. */
uint64_t floor_wait_ns(const struct floor *floor);
_Noreturn void floor_stop(const char *what, int error);
