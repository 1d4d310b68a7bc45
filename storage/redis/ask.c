/* A plain socket and poll; nothing runs yet that could be kept waiting. */
#include "storage/redis/ask.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/check.h"
#include "core/clock.h"
#include "core/log.h"

#define ASK_PAUSE_MS 50

static uint64_t now_ms(void)
{
    return clock_mono_ns() / 1000000u;
}

/* Waits until the socket has `events`; 0 or a positive errno. */
static int ask_wait(int fd, short events, uint64_t due_ms)
{
    for (;;) {
        uint64_t now = now_ms();
        if (now >= due_ms) return ETIMEDOUT;
        struct pollfd poller = {.fd = fd, .events = events};
        int count = poll(&poller, 1, (int)min_u64(due_ms - now, 1000));
        if (count > 0) return 0;
        if (count < 0 && errno != EINTR) return errno;
    }
}

static int ask_connect(const struct redis_place *place, int fd, uint64_t due_ms)
{
    const struct net_address *address = &place->address;
    if (connect(fd, (const struct sockaddr *)&address->storage, address->size) == 0) return 0;
    if (errno != EINPROGRESS) return errno;
    int error = ask_wait(fd, POLLOUT, due_ms);
    if (error != 0) return error;
    socklen_t size = sizeof error;
    return getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) == 0 ? error : errno;
}

static int ask_send(int fd, struct bytes bytes, uint64_t due_ms)
{
    for (size_t at = 0; at < bytes.size;) {
        int error = ask_wait(fd, POLLOUT, due_ms);
        if (error != 0) return error;
        ssize_t sent = send(fd, bytes.at + at, bytes.size - at, MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN && errno != EINTR) return errno;
        if (sent > 0) at += (size_t)sent;
    }
    return 0;
}

/* Feeds what comes; 0 or a positive errno. */
static int ask_recv(int fd, struct resp_in *in, uint64_t due_ms)
{
    uint8_t buffer[4096];
    int error = ask_wait(fd, POLLIN, due_ms);
    if (error != 0) return error;
    ssize_t got = recv(fd, buffer, sizeof buffer, 0);
    if (got == 0) return ECONNRESET;
    if (got < 0) return errno == EAGAIN || errno == EINTR ? 0 : errno;
    return resp_feed(in, buffer, (size_t)got) == ERR_OK ? 0 : EPROTO;
}

static enum err ask_dialogue(int fd, struct hello *hello, const struct redis_options *options,
                             const struct redis_place *place, struct resp_in *in, uint64_t due_ms,
                             int *error)
{
    struct resp_out out = {0};
    hello_write(hello, options, place, LINK_COMMANDS, false, &out);
    *error = ask_send(fd, bytes_of(out.at, out.used), due_ms);
    resp_fini(&out);
    while (*error == 0 && !hello_is_done(hello)) {
        const struct reply *reply;
        if (resp_next(in, &reply) != ERR_OK) {
            *error = EPROTO;
        } else if (reply != NULL) {
            TRY(hello_take(hello, reply));
        } else {
            *error = ask_recv(fd, in, due_ms);
        }
    }
    return *error == 0 ? ERR_OK : ERR_STORE_DOWN;
}

static enum err ask_once(const struct redis_options *options, const struct redis_place *place,
                         struct hello_server *server, char problem[HELLO_PROBLEM_MAX])
{
    uint64_t due_ms = now_ms() + options->connect_timeout_ms;
    struct hello hello = {0};
    struct resp_in *in = resp_in_create();
    enum err err = ERR_STORE_DOWN;
    int fd =
        socket(place->address.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int error = fd < 0 ? errno : ask_connect(place, fd, due_ms);
    if (error == 0) err = ask_dialogue(fd, &hello, options, place, in, due_ms, &error);
    if (fd >= 0) close(fd);
    resp_in_destroy(in);
    if (error != 0) {
        snprintf(problem, HELLO_PROBLEM_MAX,
                 "cannot reach Redis at %s: %s; start it, or set redis.address to where it runs",
                 place->text, strerror(error));
    } else if (err == ERR_OK) {
        *server = hello.server;
    } else {
        memcpy(problem, hello.problem, HELLO_PROBLEM_MAX);
    }
    return err;
}

enum err ask_hello(const struct redis_options *options, const struct redis_place *place,
                   uint64_t patience_ms, struct hello_server *server,
                   char problem[HELLO_PROBLEM_MAX])
{
    uint64_t started_ms = now_ms();
    bool was_told = false;
    for (;;) {
        enum err err = ask_once(options, place, server, problem);
        bool is_loading = err == ERR_STARTING;
        uint64_t limit_ms = is_loading ? ASK_LOADING_MS : patience_ms;
        if (err != ERR_STORE_DOWN && !is_loading) return err;
        if (now_ms() - started_ms >= limit_ms) return err;
        if (is_loading && !was_told)
            log_info("waiting for Redis to load its data address=%s", place->text);
        was_told = was_told || is_loading;
        poll(NULL, 0, ASK_PAUSE_MS);
    }
}
