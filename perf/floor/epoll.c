/*
 * floor over epoll: one wait a turn, a receive for each socket that is ready, a
 * send for each that has something to be told.
 */
#include <errno.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "floor.h"

#define EVENTS_MAX 1024
#define LISTENER   UINT32_MAX

static void watch(int epoll, int fd, uint32_t name)
{
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = name};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0) floor_stop("epoll_ctl", errno);
}

void floor_send(struct floor *floor, uint32_t socket, const void *data, uint32_t size)
{
    ssize_t sent = send((int)socket, data, size, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent != (ssize_t)size) floor_close(floor, socket);
}

void floor_submit(struct floor *floor)
{
    (void)floor; /* what was sent has been read */
}

void floor_close(struct floor *floor, uint32_t socket)
{
    if (!floor->peers[socket].is_open) return;
    floor_closed(floor, socket);
    close((int)socket);
}

static void accept_all(struct floor *floor, int epoll)
{
    for (;;) {
        int fd = accept4(floor->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) return;
        if (fd >= SOCKETS_MAX) floor_stop("sockets", EMFILE);
        floor_opened(floor, (uint32_t)fd);
        watch(epoll, fd, (uint32_t)fd);
    }
}

static void receive(struct floor *floor, uint32_t socket)
{
    static _Thread_local uint8_t buffer[READ_MAX];
    ssize_t got = recv((int)socket, buffer, sizeof buffer, 0);
    if (got > 0)
        floor_received(floor, socket, buffer, (uint32_t)got);
    else if (got == 0 || (errno != EAGAIN && errno != EINTR))
        floor_close(floor, socket);
}

void floor_run(struct floor *floor)
{
    static _Thread_local struct epoll_event events[EVENTS_MAX];
    /* A table of descriptors of the thread's own: the limit holds for each. */
    if (unshare(CLONE_FILES) != 0) floor_stop("unshare", errno);
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    watch(epoll, floor->listener, LISTENER);
    for (;;) {
        uint64_t wait_ns = floor_wait_ns(floor);
        int wait_ms = wait_ns == UINT64_MAX ? -1 : (int)((wait_ns + 999999) / 1000000);
        int count = epoll_wait(epoll, events, EVENTS_MAX, wait_ms);
        floor->room_used = 0;
        for (int i = 0; i < count; i++) {
            if (events[i].data.u32 == LISTENER)
                accept_all(floor, epoll);
            else
                receive(floor, events[i].data.u32);
        }
        floor_turn(floor);
    }
}
