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
#include "storage/redis/refusal.h"
#include "storage/redis/slots.h"
#include "storage/redis/wrap.h"

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

/* A conversation over one connection. */
struct ask {
    const struct redis_options *options;
    const struct redis_place *place;
    const struct ask_question *question; /* NULL: the hello alone, in the role of commands */
    int fd;
    int error; /* 0, or a positive errno: the connection failed */
    uint64_t due_ms;
    struct wrap wrap;
    struct hello hello;
    struct resp_in *in;
    bool is_asking;          /* the key is on its way to this server: ASKING comes first */
    bool is_elsewhere;       /* the key is not here … */
    struct redis_place next; /* … but there; an address of no size: nobody says where */
    bool is_next_asking;
    char problem[HELLO_PROBLEM_MAX]; /* of TLS, or what the server refused, or "" */
};

static void ask_send(struct ask *ask, struct resp_out *out)
{
    struct bytes bytes = wrap_seal(&ask->wrap, out);
    for (size_t at = 0; at < bytes.size && ask->error == 0;) {
        ask->error = ask_wait(ask->fd, POLLOUT, ask->due_ms);
        if (ask->error != 0) return;
        ssize_t sent = send(ask->fd, bytes.at + at, bytes.size - at, MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN && errno != EINTR) ask->error = errno;
        if (sent > 0) at += (size_t)sent;
    }
    wrap_clear(&ask->wrap);
}

static bool ask_hear(void *context, struct bytes plain)
{
    struct ask *ask = context;
    if (resp_feed(ask->in, plain.at, plain.size) != ERR_OK) ask->error = EPROTO;
    return ask->error == 0;
}

static void ask_recv(struct ask *ask)
{
    uint8_t buffer[4096];
    ask->error = ask_wait(ask->fd, POLLIN, ask->due_ms);
    if (ask->error != 0) return;
    ssize_t got = recv(ask->fd, buffer, sizeof buffer, 0);
    if (got == 0) ask->error = ECONNRESET;
    if (got < 0 && errno != EAGAIN && errno != EINTR) ask->error = errno;
    if (got <= 0) return;
    enum secure_result result = wrap_open(&ask->wrap, bytes_of(buffer, (size_t)got), ask_hear, ask,
                                          ask->place, ask->problem);
    if (result == SECURE_FAILED) ask->error = EPROTO;
    if (result == SECURE_ENDED) ask->error = ECONNRESET;
}

/* Both sides of the handshake of TLS, until words can be sent. */
static void ask_shake(struct ask *ask)
{
    struct resp_out none = {0};
    ask_send(ask, &none);
    while (ask->error == 0 && !wrap_is_open(&ask->wrap)) {
        ask_recv(ask);
        if (ask->error == 0) ask_send(ask, &none);
    }
}

/* The next reply, or NULL with ask->error. */
static const struct reply *ask_reply(struct ask *ask)
{
    while (ask->error == 0) {
        const struct reply *reply;
        if (resp_next(ask->in, &reply) != ERR_OK) {
            ask->error = EPROTO;
        } else if (reply != NULL) {
            return reply;
        } else {
            ask_recv(ask);
        }
    }
    return NULL;
}

static void ask_write(const struct ask *ask, struct resp_out *out)
{
    if (ask->is_asking) {
        resp_begin(out, 1);
        resp_text(out, "ASKING");
    }
    ask->question->write(ask->options, out);
}

static enum err ask_take(struct ask *ask, const struct reply *reply)
{
    const struct ask_question *question = ask->question;
    uint32_t slot;
    enum err err = ERR_STORE_DOWN;
    ask->is_elsewhere = question->is_keyed && refusal_of(reply) == REFUSAL_ELSEWHERE;
    if (!ask->is_elsewhere) {
        err = question->take(question->context, ask->place, reply);
    } else if (slots_moved_read(reply->text, ask->place, &slot, &ask->next) != ERR_OK) {
        ask->is_next_asking = slots_ask_read(reply->text, ask->place, &slot, &ask->next) == ERR_OK;
        if (!ask->is_next_asking) ask->next = (struct redis_place){0};
    }
    if (err != ERR_OK && reply->type == REPLY_ERROR)
        refusal_write(ask->place->text, reply->text, ask->problem, sizeof ask->problem);
    return err;
}

static enum err ask_dialogue(struct ask *ask)
{
    struct resp_out out = {0};
    const struct ask_question *question = ask->question;
    if (!wrap_begin(&ask->wrap, ask->options, ask->place)) return ERR_LIMIT_MEMORY;
    ask_shake(ask);
    if (ask->error != 0) return ERR_STORE_DOWN;
    hello_write(&ask->hello, ask->options, ask->place,
                question == NULL ? LINK_COMMANDS : question->role, false, &out);
    if (question != NULL) ask_write(ask, &out);
    ask_send(ask, &out);
    resp_fini(&out);
    const struct reply *reply = NULL;
    while (!hello_is_done(&ask->hello) && (reply = ask_reply(ask)) != NULL)
        TRY(hello_take(&ask->hello, reply));
    if (question == NULL || ask->error != 0) return ERR_OK;
    if (ask->is_asking && ask_reply(ask) == NULL) return ERR_OK;
    reply = ask_reply(ask);
    return reply == NULL ? ERR_OK : ask_take(ask, reply);
}

static enum err ask_once(struct ask *ask, char problem[HELLO_PROBLEM_MAX])
{
    enum err err = ERR_OK;
    problem[0] = 0;
    ask->due_ms = now_ms() + ask->options->connect_timeout_ms;
    ask->in = resp_in_create();
    ask->fd = socket(ask->place->address.storage.ss_family,
                     SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    ask->error = ask->fd < 0 ? errno : ask_connect(ask->place, ask->fd, ask->due_ms);
    if (ask->error == 0) err = ask_dialogue(ask);
    if (ask->fd >= 0) close(ask->fd);
    if (ask->error != 0 && ask->problem[0] == 0 && ask->wrap.is_begun)
        wrap_tell(&ask->wrap, ask->place, "lost Redis", ask->error, ask->problem);
    resp_in_destroy(ask->in);
    wrap_end(&ask->wrap);
    if (ask->error != 0) err = ERR_STORE_DOWN;
    if (ask->problem[0] != 0) {
        memcpy(problem, ask->problem, HELLO_PROBLEM_MAX);
    } else if (ask->error != 0) {
        bool is_sentinel = ask->question != NULL && ask->question->role == LINK_SENTINEL;
        snprintf(problem, HELLO_PROBLEM_MAX,
                 "cannot reach %s at %s: %s; start it, or set redis.%s to where it runs",
                 is_sentinel ? "the Sentinel" : "Redis", ask->place->text, strerror(ask->error),
                 ask->options->mode == CONFIG_REDIS_STANDALONE ? "address" : "addresses");
    } else if (err != ERR_OK) {
        memcpy(problem, ask->hello.problem, HELLO_PROBLEM_MAX);
        if (problem[0] == 0)
            snprintf(problem, HELLO_PROBLEM_MAX, "Redis at %s gave an answer of no use: %s",
                     ask->place->text, err_text(err));
    }
    return err;
}

enum err ask_question(const struct redis_options *options, const struct redis_place *place,
                      const struct ask_question *question, char problem[HELLO_PROBLEM_MAX])
{
    uint64_t due_ms = now_ms() + options->connect_timeout_ms;
    struct redis_place at = *place;
    bool is_asking = false, is_away = false;
    check(question->write != NULL && question->take != NULL);
    for (;;) {
        struct ask ask = {
            .options = options, .place = &at, .question = question, .is_asking = is_asking};
        enum err err = ask_once(&ask, problem);
        bool may_change = err == ERR_STORE_DOWN && (ask.is_elsewhere || is_away);
        if (!may_change || now_ms() >= due_ms) return err;
        is_away = ask.next.address.size > 0;
        is_asking = is_away && ask.is_next_asking;
        at = is_away ? ask.next : *place;
        poll(NULL, 0, ASK_MOVING_MS);
    }
}

enum err ask_hello(const struct redis_options *options, const struct redis_place *place,
                   uint64_t patience_ms, struct hello_server *server,
                   char problem[HELLO_PROBLEM_MAX])
{
    uint64_t started_ms = now_ms();
    bool was_told = false;
    for (;;) {
        struct ask ask = {.options = options, .place = place};
        enum err err = ask_once(&ask, problem);
        if (err == ERR_OK) *server = ask.hello.server;
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
