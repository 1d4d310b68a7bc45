/* backend: see backend.h.  A connection a call, and it waits: nothing is measured here. */
#include "backend.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "text.h"

static bool say_all(int fd, const struct text *text)
{
    for (uint32_t sent = 0; sent < text->used;) {
        ssize_t part = send(fd, text->at + sent, text->used - sent, MSG_NOSIGNAL);
        if (part <= 0) return false;
        sent += (uint32_t)part;
    }
    return true;
}

/* The answer to one request, up to the server's end. */
static bool call(const struct scenario *s, const struct text *request, struct text *answer)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)s->port)};
    struct timeval patience = {.tv_sec = (time_t)s->patience};
    address.sin_addr.s_addr = inet_addr(s->host);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return false;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    bool is_good =
        connect(fd, (struct sockaddr *)&address, sizeof address) == 0 && say_all(fd, request);
    answer->used = 0;
    while (is_good) {
        ssize_t part = recv(fd, text_room(answer, 4096), 4096, 0);
        if (part <= 0) {
            is_good = part == 0;
            break;
        }
        answer->used += (uint32_t)part;
    }
    close(fd);
    return is_good;
}

bool backend_name_members(const struct scenario *s, char *why, size_t why_size)
{
    struct text body = {0}, request = {0}, answer = {0};
    bool is_good = true;
    for (uint32_t i = 0; i < s->channels && is_good; i++) {
        char line[512];
        body.used = request.used = 0;
        int size = snprintf(line, sizeof line, "{\"channel\":\"%s%u\",\"users\":[", s->prefix, i);
        text_add(&body, line, (uint32_t)size);
        for (uint32_t n = i; n < s->clients; n += s->channels) {
            size = snprintf(line, sizeof line, "%s\"u%011u\"", n == i ? "" : ",", s->first + n);
            text_add(&body, line, (uint32_t)size);
        }
        text_add(&body, "]}", 2);
        size = snprintf(line, sizeof line,
                        "POST /api/members_set HTTP/1.1\r\nHost: %s\r\nX-API-Key: %s\r\n"
                        "Content-Type: application/json\r\nConnection: close\r\n"
                        "Content-Length: %u\r\n\r\n",
                        s->host, s->api_key, body.used);
        text_add(&request, line, (uint32_t)size);
        text_add(&request, body.at, body.used);
        is_good = call(s, &request, &answer);
        if (!is_good) {
            snprintf(why, why_size, "members of %s%u: %s", s->prefix, i, strerror(errno));
        } else if (answer.used < 12 || memcmp(answer.at + 9, "200", 3) != 0 ||
                   memmem(answer.at, answer.used, "\"error\"", 7) != NULL) {
            is_good = false;
            snprintf(why, why_size, "members of %s%u are answered: %.*s", s->prefix, i,
                     (int)(answer.used < 200 ? answer.used : 200),
                     answer.used > 0 ? answer.at : "");
        }
    }
    text_free(&body);
    text_free(&request);
    text_free(&answer);
    return is_good;
}
