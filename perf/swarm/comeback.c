/*
 * comeback: a crowd that was away comes back, and each one missed something.
 *
 * Learns where C channels stand, publishes M messages to each, then opens N
 * connections at once, as an SDK does: connect, wait for the reply, subscribe with
 * recover from the old position, and counts what the reply brings.  Prints what
 * that cost the server, from the first connection to the last recovered client.
 *
 *   exit   1 when a client did not recover, or got another number of messages
 */
#include <errno.h>
#include <getopt.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>

#include "stats.h"
#include "wire.h"

#define TEXT_MAX      8192
#define PUBLISHES_MAX 256 /* under way at once */

struct client {
    struct wire wire;
    uint32_t channel;
    bool is_connected;
};

/* Where everybody was before. */
struct channel {
    char epoch[32];
    unsigned long long offset;
};

static struct {
    uint16_t port;
    uint32_t clients, channels, missed, payload, opening;
    pid_t pid;
    int server_cpu, cpu;
    bool is_json;
} options = {.port = 8000,
             .clients = 10000,
             .channels = 100,
             .missed = 100,
             .payload = 128,
             .opening = 256,
             .server_cpu = -1,
             .cpu = -1};

static struct client *clients, publisher;
static struct channel *channels;
static int poller;
static uint32_t back_count, learnt_count, published_count;
static uint64_t recovered_bytes;

static void stop(const char *what)
{
    fprintf(stderr, "comeback: %s\n", what);
    exit(1);
}

static uint64_t clock_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static void say(struct client *client, const char *text, int size)
{
    if (!wire_send_text(&client->wire, text, (size_t)size)) stop("a command did not go");
}

static uint32_t count_of(const char *text, size_t size, const char *what)
{
    uint32_t count = 0;
    size_t length = strlen(what);
    const char *end = text + size;
    while ((text = memmem(text, (size_t)(end - text), what, length)) != NULL) {
        count++;
        text += length;
    }
    return count;
}

/* --- before they come back ------------------------------------------------------- */

/* {"id":1000+i,"subscribe":{"recoverable":true,"epoch":"...","offset":N,...}} */
static void learn(const char *line, size_t size)
{
    char text[512];
    snprintf(text, sizeof text, "%.*s", (int)size, line);
    struct channel *channel = &channels[learnt_count++];
    const char *epoch = strstr(text, "\"epoch\":\""), *offset = strstr(text, "\"offset\":");
    if (epoch == NULL) stop("no epoch: does the channel recover?");
    snprintf(channel->epoch, sizeof channel->epoch, "%.*s", (int)strcspn(epoch + 9, "\""),
             epoch + 9);
    channel->offset = offset == NULL ? 0 : strtoull(offset + 9, NULL, 10);
}

static void on_publisher_text(const char *line, size_t size)
{
    if (memmem(line, size, "\"subscribe\":{", 13) != NULL) learn(line, size);
    if (memmem(line, size, "\"publish\":{", 11) != NULL) published_count++;
    if (memmem(line, size, "\"connect\":{", 11) != NULL) publisher.is_connected = true;
}

/* --- coming back ------------------------------------------------------------------- */

static void client_subscribe(struct client *client)
{
    char text[256];
    const struct channel *channel = &channels[client->channel];
    int size = snprintf(text, sizeof text,
                        "{\"id\":2,\"subscribe\":{\"channel\":\"back%u\",\"recoverable\":true,"
                        "\"recover\":true,\"epoch\":\"%s\",\"offset\":%llu}}",
                        client->channel, channel->epoch, channel->offset);
    say(client, text, size);
}

static void client_back(const char *line, size_t size)
{
    if (memmem(line, size, "\"recovered\":true", 16) == NULL) {
        fprintf(stderr, "comeback: %.*s\n", (int)(size < 400 ? size : 400), line);
        stop("a client did not recover");
    }
    if (count_of(line, size, "{\"data\":") != options.missed)
        stop("a client got another number of messages than it missed");
    recovered_bytes += size;
    back_count++;
}

static void on_line(struct client *client, const char *line, size_t size)
{
    if (size == 2) {
        say(client, "{}", 2);
    } else if (memmem(line, size < 64 ? size : 64, "\"error\"", 7) != NULL) {
        fprintf(stderr, "comeback: %.*s\n", (int)size, line);
        stop("the server answered with an error");
    } else if (client == &publisher) {
        on_publisher_text(line, size);
    } else if (!client->is_connected) {
        client->is_connected = true;
        client_subscribe(client);
    } else {
        client_back(line, size);
    }
}

static void on_text(void *context, const char *text, size_t size)
{
    const char *end = text + size;
    while (text < end) {
        const char *line_end = memchr(text, '\n', (size_t)(end - text));
        size_t line = (size_t)((line_end != NULL ? line_end : end) - text);
        on_line(context, text, line);
        text += line + 1;
    }
}

static void client_event(struct client *client, uint32_t events)
{
    if (events & EPOLLOUT) {
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = client};
        epoll_ctl(poller, EPOLL_CTL_MOD, client->wire.fd, &event);
        if (!wire_upgrade(&client->wire, "/connection/websocket"))
            stop("the server does not listen");
        return;
    }
    bool was_upgraded = client->wire.is_upgraded;
    enum wire_result result;
    do result = wire_read(&client->wire, on_text, client);
    while (result == WIRE_MORE);
    if (result == WIRE_CLOSED) stop("the server closed a connection");
    if (!was_upgraded && client->wire.is_upgraded) say(client, "{\"id\":1,\"connect\":{}}", 21);
}

static void poll_events(int wait_ms)
{
    struct epoll_event events[512];
    int count = epoll_wait(poller, events, 512, wait_ms);
    for (int i = 0; i < count; i++) client_event(events[i].data.ptr, events[i].events);
}

static void client_open(struct client *client)
{
    int error = wire_connect(&client->wire, 0, options.port);
    if (error != 0) stop(strerror(-error));
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT, .data.ptr = client};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, client->wire.fd, &event) != 0) stop("epoll_ctl failed");
}

static void wait_for(const uint32_t *count, uint32_t wanted)
{
    uint64_t give_up = clock_ns() + 60000000000u;
    while (*count < wanted) {
        poll_events(100);
        if (clock_ns() > give_up) stop("an answer is missing");
    }
}

/* --- the run ------------------------------------------------------------------------ */

static void prepare(void)
{
    static char text[TEXT_MAX], filling[TEXT_MAX];
    memset(filling, 'x', sizeof filling);
    client_open(&publisher);
    while (!publisher.is_connected) poll_events(100);
    for (uint32_t i = 0; i < options.channels; i++) {
        say(&publisher, text,
            snprintf(text, sizeof text,
                     "{\"id\":%u,\"subscribe\":{\"channel\":\"back%u\",\"recoverable\":true}}",
                     1000 + i, i));
        wait_for(&learnt_count, i + 1);
        say(&publisher, text,
            snprintf(text, sizeof text, "{\"id\":9,\"unsubscribe\":{\"channel\":\"back%u\"}}", i));
    }
    for (uint32_t i = 0; i < options.channels * options.missed; i++) {
        say(&publisher, text,
            snprintf(text, sizeof text,
                     "{\"id\":%u,\"publish\":{\"channel\":\"back%u\",\"data\":\"%.*s\"}}",
                     1000000 + i, i % options.channels, (int)options.payload - 2, filling));
        if (i >= PUBLISHES_MAX) wait_for(&published_count, i - PUBLISHES_MAX);
    }
    wait_for(&published_count, options.channels * options.missed);
}

static void come_back(void)
{
    uint64_t give_up = clock_ns() + 60000000000u;
    for (uint32_t next = 0; back_count < options.clients;) {
        while (next < options.clients && next - back_count < options.opening) {
            clients[next].channel = next % options.channels;
            client_open(&clients[next++]);
        }
        poll_events(100);
        if (clock_ns() > give_up) stop("not everybody is back within a minute");
    }
}

static void parse(int argc, char **argv)
{
    static const struct option table[] = {
        {"port", 1, NULL, 'p'},       {"clients", 1, NULL, 'n'}, {"channels", 1, NULL, 'c'},
        {"missed", 1, NULL, 'm'},     {"payload", 1, NULL, 'b'}, {"opening", 1, NULL, 'o'},
        {"pid", 1, NULL, 'i'},        {"cpu", 1, NULL, 'C'},     {"json", 0, NULL, 'j'},
        {"server-cpu", 1, NULL, 'S'}, {NULL, 0, NULL, 0},
    };
    for (int option; (option = getopt_long(argc, argv, "", table, NULL)) != -1;) {
        switch (option) {
        case 'p': options.port = (uint16_t)atoi(optarg); break;
        case 'n': options.clients = (uint32_t)atoi(optarg); break;
        case 'c': options.channels = (uint32_t)atoi(optarg); break;
        case 'm': options.missed = (uint32_t)atoi(optarg); break;
        case 'b': options.payload = (uint32_t)atoi(optarg); break;
        case 'o': options.opening = (uint32_t)atoi(optarg); break;
        case 'i': options.pid = atoi(optarg); break;
        case 'C': options.cpu = atoi(optarg); break;
        case 'S': options.server_cpu = atoi(optarg); break;
        case 'j': options.is_json = true; break;
        default: fputs("usage: see the head of perf/swarm/comeback.c\n", stderr); exit(2);
        }
    }
    if (options.clients == 0 || options.channels == 0 || options.payload < 2 ||
        options.payload > TEXT_MAX - 200)
        stop("an option is out of its range");
}

static void set_up(void)
{
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    if (options.cpu >= 0) {
        cpu_set_t set;
        CPU_ZERO(&set);
        CPU_SET((size_t)options.cpu, &set);
        sched_setaffinity(0, sizeof set, &set);
    }
    poller = epoll_create1(EPOLL_CLOEXEC);
    clients = calloc(options.clients, sizeof *clients);
    channels = calloc(options.channels, sizeof *channels);
    if (poller < 0 || clients == NULL || channels == NULL) stop("out of memory");
}

int main(int argc, char **argv)
{
    parse(argc, argv);
    set_up();
    prepare();
    struct cpu_time before = {0}, after = {0};
    if (options.pid > 0 && !cpu_time_read(options.pid, options.server_cpu, &before))
        stop("no such process");
    uint64_t start = clock_ns(), shard = thread_cpu_ns(options.pid, "shard-");
    come_back();
    double seconds = (double)(clock_ns() - start) * 1e-9;
    shard = thread_cpu_ns(options.pid, "shard-") - shard;
    if (options.pid > 0) cpu_time_read(options.pid, options.server_cpu, &after);
    double cpu = (double)(after.ns - before.ns + after.softirq_ns - before.softirq_ns);
    printf(options.is_json ? "{\"seconds\":%.3f,\"cpu_s\":%.3f,\"shard_s\":%.3f,\"client_us\":%.1f,"
                             "\"client_bytes\":%.0f}\n"
                           : "back within %.3f s; CPU %.3f s in all, %.3f s of the shard, %.1f us "
                             "and %.0f bytes a client\n",
           seconds, cpu * 1e-9, (double)shard * 1e-9, cpu / 1000 / options.clients,
           (double)recovered_bytes / options.clients);
    return 0;
}
