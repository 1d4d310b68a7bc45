/*
 * swarm: many subscribers, few publishers, one figure.
 *
 * Opens N WebSocket connections, spreads them over C channels, publishes
 * through the first client of each channel, counts every delivery, and says
 * what the server spent per delivered message.  Talks Centrifuge JSON to the
 * gateway and plain frames to the floor.  The k-th delivery at a client is the
 * k-th publication of its channel, so latency needs nothing in the payload.
 *
 *   one at a time    publish when everybody has the one before
 *   K in flight      keep K publications of a channel under way
 *   --rate R         publish R a second, whoever has what
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

#define OPENING_MAX 128   /* connections on their way at once */
#define TIMES       65536 /* publications whose time is remembered, per channel */
#define TEXT_MAX    16384

struct client {
    struct wire wire;
    uint32_t channel;
    uint64_t received;
    bool is_ready;
};

struct channel {
    uint64_t published, delivered;
    uint32_t clients;
    uint64_t *times_ns; /* of publication k at k % TIMES */
};

static struct {
    const char *mode, *path;
    uint16_t port;
    uint32_t clients, channels, in_flight, payload;
    double seconds, warm_up, rate;
    pid_t pid;
    int server_cpu, cpu;
    bool is_json;
} options = {.mode = "sluice",
             .path = "/connection/websocket",
             .port = 8000,
             .clients = 1000,
             .channels = 1,
             .in_flight = 1,
             .payload = 128,
             .seconds = 5,
             .warm_up = 1,
             .server_cpu = -1,
             .cpu = -1};

static struct client *clients;
static struct channel *channels;
static struct histogram latency;
static int poller;
static uint32_t ready_count, opened_count, closed_count;
static uint64_t delivered, delivered_bytes, wakes, measured_from_ns, now_ns;
static bool is_measuring;

static void stop(const char *what)
{
    fprintf(stderr, "swarm: %s\n", what);
    exit(1);
}

static uint64_t clock_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static bool is_floor(void)
{
    return strcmp(options.mode, "floor") == 0;
}

static void on_delivery(struct client *client, size_t size)
{
    struct channel *channel = &channels[client->channel];
    uint64_t published_ns = channel->times_ns[client->received % TIMES];
    client->received++;
    channel->delivered++;
    delivered++;
    delivered_bytes += size;
    if (is_measuring) histogram_add(&latency, (now_ns - published_ns) / 1000);
}

/* A frame of the gateway is one or more replies, a line each. */
static void on_text(void *context, const char *text, size_t size)
{
    struct client *client = context;
    if (is_floor()) {
        on_delivery(client, size);
        return;
    }
    const char *end = text + size;
    while (text < end) {
        const char *line_end = memchr(text, '\n', (size_t)(end - text));
        size_t line = (size_t)((line_end != NULL ? line_end : end) - text);
        if (line >= 7 && memcmp(text, "{\"push\"", 7) == 0) {
            on_delivery(client, line);
        } else if (line == 2 && memcmp(text, "{}", 2) == 0) {
            if (!wire_send_text(&client->wire, "{}", 2)) stop("a pong did not go");
        } else if (memmem(text, line, "\"error\"", 7) != NULL) {
            fprintf(stderr, "swarm: %.*s\n", (int)line, text);
            stop("the server answered with an error");
        } else if (line >= 7 && memcmp(text, "{\"id\":2", 7) == 0) {
            client->is_ready = true;
            ready_count++;
        }
        text += line + 1;
    }
}

static void client_hello(struct client *client)
{
    char text[160];
    int size = snprintf(text, sizeof text,
                        "{\"id\":1,\"connect\":{}}\n"
                        "{\"id\":2,\"subscribe\":{\"channel\":\"bench%u\"}}",
                        client->channel);
    if (!wire_send_text(&client->wire, text, (size_t)size)) stop("a command did not go");
}

static void client_open(struct client *client, uint32_t index)
{
    client->channel = index % options.channels;
    channels[client->channel].clients++;
    int error = wire_connect(&client->wire, 0, options.port);
    if (error != 0) stop(strerror(-error));
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT, .data.u32 = index};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, client->wire.fd, &event) != 0) stop("epoll_ctl failed");
    opened_count++;
}

static void client_event(uint32_t index, uint32_t events)
{
    struct client *client = &clients[index];
    if (client->wire.fd < 0) return;
    if (events & EPOLLOUT) {
        struct epoll_event event = {.events = EPOLLIN, .data.u32 = index};
        epoll_ctl(poller, EPOLL_CTL_MOD, client->wire.fd, &event);
        if (!wire_upgrade(&client->wire, options.path)) stop("the server does not listen");
        return;
    }
    bool was_upgraded = client->wire.is_upgraded;
    enum wire_result result;
    wakes++;
    do result = wire_read(&client->wire, on_text, client);
    while (result == WIRE_MORE);
    if (result == WIRE_CLOSED) {
        wire_close(&client->wire);
        closed_count++;
        return;
    }
    if (was_upgraded || !client->wire.is_upgraded) return;
    if (is_floor()) {
        client->is_ready = true;
        ready_count++;
    } else {
        client_hello(client);
    }
}

/* Events of at most `wait_ms`; one reading of the clock for all of them. */
static void poll_events(int wait_ms)
{
    struct epoll_event events[512];
    int count = epoll_wait(poller, events, 512, wait_ms);
    now_ns = clock_ns();
    for (int i = 0; i < count; i++) client_event(events[i].data.u32, events[i].events);
    if (closed_count > 0) stop("the server closed a connection");
}

static void publish(uint32_t index)
{
    static uint32_t id = 100;
    static char text[TEXT_MAX], filling[TEXT_MAX];
    struct channel *channel = &channels[index];
    memset(filling, 'x', options.payload);
    channel->times_ns[channel->published % TIMES] = now_ns = clock_ns();
    channel->published++;
    struct wire *wire = &clients[index].wire; /* the channel's first client */
    bool is_sent;
    if (is_floor()) {
        is_sent = wire_send_text(wire, filling, options.payload);
    } else {
        /* The data as a whole has the wanted size: quotes and all. */
        int size = snprintf(text, sizeof text,
                            "{\"id\":%u,\"publish\":{\"channel\":\"bench%u\",\"data\":\"%.*s\"}}",
                            id++, index, (int)options.payload - 2, filling);
        is_sent = wire_send_text(wire, text, (size_t)size);
    }
    if (!is_sent) stop("a publication did not go: the server is slower than the pace");
}

/* Publishes what the pace allows now. */
static void publish_due(uint64_t start_ns)
{
    if (options.rate > 0) {
        uint64_t due = (uint64_t)((double)(clock_ns() - start_ns) * 1e-9 * options.rate);
        for (uint32_t i = 0; i < options.channels; i++)
            while (channels[i].published < due / options.channels) publish(i);
        return;
    }
    for (uint32_t i = 0; i < options.channels; i++) {
        struct channel *channel = &channels[i];
        while (channel->published - channel->delivered / channel->clients < options.in_flight)
            publish(i);
    }
}

static void open_all(void)
{
    uint64_t give_up = clock_ns() + 60000000000u;
    for (uint32_t next = 0; ready_count < options.clients;) {
        while (next < options.clients && next - ready_count < OPENING_MAX) {
            client_open(&clients[next], next);
            next++;
        }
        poll_events(100);
        if (clock_ns() > give_up) stop("not everybody was let in within a minute");
    }
}

struct result {
    uint64_t published, delivered, bytes, wakes;
    double seconds;
    struct cpu_time before, after;
};

static uint64_t published_in_all(void)
{
    uint64_t count = 0;
    for (uint32_t i = 0; i < options.channels; i++) count += channels[i].published;
    return count;
}

static void run(struct result *result)
{
    uint64_t start = clock_ns();
    uint64_t measure_at = start + (uint64_t)(options.warm_up * 1e9);
    uint64_t end = measure_at + (uint64_t)(options.seconds * 1e9);
    while (clock_ns() < end) {
        if (!is_measuring && clock_ns() >= measure_at) {
            is_measuring = true;
            measured_from_ns = clock_ns();
            result->published = published_in_all();
            result->delivered = delivered;
            result->bytes = delivered_bytes;
            result->wakes = wakes;
            if (options.pid > 0 && !cpu_time_read(options.pid, options.server_cpu, &result->before))
                stop("no such process");
        }
        publish_due(start);
        poll_events(options.rate > 0 ? 1 : 100);
    }
    if (options.pid > 0) cpu_time_read(options.pid, options.server_cpu, &result->after);
    result->seconds = (double)(clock_ns() - measured_from_ns) * 1e-9;
    result->published = published_in_all() - result->published;
    result->delivered = delivered - result->delivered;
    result->bytes = delivered_bytes - result->bytes;
    result->wakes = wakes - result->wakes;
    is_measuring = false;
    /* Nothing may be missing: what was published is waited for. */
    uint64_t give_up = clock_ns() + 20000000000u;
    for (uint32_t i = 0; i < options.channels;) {
        if (channels[i].delivered == channels[i].published * channels[i].clients) {
            i++;
            continue;
        }
        poll_events(10);
        if (clock_ns() > give_up) stop("deliveries are missing");
    }
}

static void report(const struct result *r, double connect_us, double idle_bytes)
{
    double each = (double)(r->delivered > 0 ? r->delivered : 1);
    double ns = (double)(r->after.ns - r->before.ns) / each;
    double softirq = (double)(r->after.softirq_ns - r->before.softirq_ns) / each;
    uint64_t user = r->after.user_ticks - r->before.user_ticks;
    uint64_t ticks = user + r->after.system_ticks - r->before.system_ticks;
    double user_share = ticks > 0 ? 100.0 * (double)user / (double)ticks : 0;
    double message_bytes = (double)r->bytes / each;
    double gathered = each / (double)(r->wakes > 0 ? r->wakes : 1);
    unsigned long long p50 = histogram_at(&latency, 0.5), p99 = histogram_at(&latency, 0.99);
    if (options.is_json) {
        printf("{\"mode\":\"%s\",\"clients\":%u,\"channels\":%u,\"in_flight\":%u,\"rate\":%.0f,"
               "\"payload\":%u,\"seconds\":%.3f,\"published\":%llu,\"delivered\":%llu,"
               "\"server_ns\":%.1f,\"softirq_ns\":%.1f,\"user_percent\":%.1f,\"p50_us\":%llu,"
               "\"p99_us\":%llu,\"max_us\":%llu,\"connect_us\":%.2f,\"idle_bytes\":%.0f,"
               "\"message_bytes\":%.1f,\"gathered\":%.2f}\n",
               options.mode, options.clients, options.channels, options.in_flight, options.rate,
               options.payload, r->seconds, (unsigned long long)r->published,
               (unsigned long long)r->delivered, ns + softirq, softirq, user_share, p50, p99,
               (unsigned long long)latency.most, connect_us, idle_bytes, message_bytes, gathered);
        return;
    }
    printf("clients %u, channels %u, in flight %u, payload %u bytes, %.1f s\n", options.clients,
           options.channels, options.in_flight, options.payload, r->seconds);
    printf("published %llu, delivered %llu (%.0f a second) of %.0f bytes, %.2f at once\n",
           (unsigned long long)r->published, (unsigned long long)r->delivered,
           (double)r->delivered / r->seconds, message_bytes, gathered);
    if (options.pid > 0) {
        printf("server CPU per delivered message: %.0f ns (softirq thread %.0f ns, user %.0f %%)\n",
               ns + softirq, softirq, user_share);
        printf("server CPU per connect: %.1f us; resident bytes per idle connection: %.0f\n",
               connect_us, idle_bytes);
    }
    printf("publish to receipt: p50 %llu us, p99 %llu us, most %llu us\n", p50, p99,
           (unsigned long long)latency.most);
}

static void usage(void)
{
    fputs("usage: sluice-swarm [--mode sluice|floor] [--port N] [--path PATH] [--clients N]\n"
          "                    [--channels C] [--in-flight K | --rate R] [--payload BYTES]\n"
          "                    [--seconds S] [--warm-up S] [--pid SERVER] [--server-cpu N]\n"
          "                    [--cpu N] [--json]\n",
          stderr);
    exit(2);
}

static void parse(int argc, char **argv)
{
    static const struct option table[] = {
        {"mode", 1, NULL, 'm'},    {"port", 1, NULL, 'p'},     {"path", 1, NULL, 'h'},
        {"clients", 1, NULL, 'n'}, {"channels", 1, NULL, 'c'}, {"in-flight", 1, NULL, 'k'},
        {"rate", 1, NULL, 'r'},    {"payload", 1, NULL, 'b'},  {"seconds", 1, NULL, 's'},
        {"warm-up", 1, NULL, 'w'}, {"pid", 1, NULL, 'i'},      {"server-cpu", 1, NULL, 'S'},
        {"cpu", 1, NULL, 'C'},     {"json", 0, NULL, 'j'},     {NULL, 0, NULL, 0},
    };
    for (int option; (option = getopt_long(argc, argv, "", table, NULL)) != -1;) {
        switch (option) {
        case 'm': options.mode = optarg; break;
        case 'p': options.port = (uint16_t)atoi(optarg); break;
        case 'h': options.path = optarg; break;
        case 'n': options.clients = (uint32_t)atoi(optarg); break;
        case 'c': options.channels = (uint32_t)atoi(optarg); break;
        case 'k': options.in_flight = (uint32_t)atoi(optarg); break;
        case 'r': options.rate = atof(optarg); break;
        case 'b': options.payload = (uint32_t)atoi(optarg); break;
        case 's': options.seconds = atof(optarg); break;
        case 'w': options.warm_up = atof(optarg); break;
        case 'i': options.pid = atoi(optarg); break;
        case 'S': options.server_cpu = atoi(optarg); break;
        case 'C': options.cpu = atoi(optarg); break;
        case 'j': options.is_json = true; break;
        default: usage();
        }
    }
    bool is_known = is_floor() || strcmp(options.mode, "sluice") == 0;
    if (optind != argc || !is_known || options.channels == 0 || options.in_flight == 0) usage();
    if (options.clients < options.channels || (is_floor() && options.channels > 1)) usage();
    if (options.payload < 2 || options.payload > TEXT_MAX - 200) usage();
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
    for (uint32_t i = 0; i < options.channels; i++) {
        channels[i].times_ns = calloc(TIMES, sizeof(uint64_t));
        if (channels[i].times_ns == NULL) stop("out of memory");
    }
}

int main(int argc, char **argv)
{
    parse(argc, argv);
    set_up();
    struct cpu_time before = {0}, after = {0};
    uint64_t resident = 0;
    if (options.pid > 0) {
        if (!cpu_time_read(options.pid, options.server_cpu, &before)) stop("no such process");
        resident = resident_bytes(options.pid);
    }
    open_all();
    double connect_us = 0, idle_bytes = 0;
    if (options.pid > 0) {
        cpu_time_read(options.pid, options.server_cpu, &after);
        uint64_t spent = after.ns - before.ns + after.softirq_ns - before.softirq_ns;
        connect_us = (double)spent / options.clients / 1000;
        uint64_t now = resident_bytes(options.pid);
        idle_bytes = now > resident ? (double)(now - resident) / options.clients : 0;
    }
    struct result result = {0};
    run(&result);
    report(&result, connect_us, idle_bytes);
    return 0;
}
