/*
 * redis_ask: one command to a test's redis-server, with its whole answer.
 *
 *   redis_ask(&redis, &asked, "XRANGE key - +") → a tree, alive until the next
 *
 * Thread:  one.
 */
#pragma once

#include <stdarg.h>
#include <sys/socket.h>

#include "unit/storage/redis_world.h"

/* Zeroed memory is one that asked nothing yet. */
struct redis_asked {
    struct resp_in *in;
};

/* The words of `format`, separated by spaces. */
static inline const struct reply *redis_ask(const struct redis_world *redis,
                                            struct redis_asked *asked, const char *format, ...)
    printf_like(3, 4);

static inline const struct reply *redis_ask(const struct redis_world *redis,
                                            struct redis_asked *asked, const char *format, ...)
{
    char words[1024], buffer[4096], *rest = NULL;
    struct resp_out out = {0};
    const struct reply *reply = NULL;
    va_list values;
    va_start(values, format);
    vsnprintf(words, sizeof words, format, values);
    va_end(values);
    uint32_t count = 1;
    for (const char *at = words; *at != 0; at++) count += *at == ' ';
    resp_begin(&out, count);
    for (char *word = strtok_r(words, " ", &rest); word != NULL; word = strtok_r(NULL, " ", &rest))
        resp_text(&out, word);
    if (asked->in == NULL) asked->in = resp_in_create();
    resp_in_reset(asked->in);
    int fd = redis_connect(redis);
    check(fd >= 0);
    check(send(fd, out.at, out.used, MSG_NOSIGNAL) == (ssize_t)out.used);
    resp_fini(&out);
    while (reply == NULL) {
        ssize_t got = recv(fd, buffer, sizeof buffer, 0);
        check(got > 0);
        check(resp_feed(asked->in, buffer, (size_t)got) == ERR_OK);
        check(resp_next(asked->in, &reply) == ERR_OK);
    }
    close(fd);
    return reply;
}

static inline void redis_ask_end(struct redis_asked *asked)
{
    resp_in_destroy(asked->in);
    asked->in = NULL;
}

/* The value of a field of a stream's entry, BYTES_NONE when it has none. */
static inline struct bytes redis_field(const struct reply *entry, const char *name)
{
    const struct reply *fields = reply_item(entry, 1);
    check(fields != NULL && fields->type == REPLY_ARRAY && fields->count % 2 == 0);
    for (uint32_t i = 0; i < fields->count; i += 2)
        if (bytes_equal_text(reply_text(fields->items[i]), name))
            return reply_text(fields->items[i + 1]);
    return BYTES_NONE;
}
