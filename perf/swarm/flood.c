/*
 * flood: publishers that wait for nothing but their answers.
 *
 * N connections, each with F frames of K publish commands under way; channels in
 * turn.  An answer means durable.  Frames are made once, masked and all, and those of a
 * connection that may go leave with one call, so that the client costs little: it sends,
 * counts answers and takes the time from a frame's send to its last answer.  Answers of
 * a connection are counted in order.
 *
 *   --rate R    open loop: frames go out when they are due, wherever there is room,
 *               and time counts from when they were
 *   --send      rpc message.send with a key of its own each, instead of publish
 */
#include <errno.h>
#include <getopt.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>

#include "stats.h"
#include "wire.h"

#define FRAMES_MAX 64 /* under way on one connection */
#define TEXTS      8  /* different frames of one connection, for other channels */
#define FRAME_SIZE (64u << 10)

struct frame {
    uint8_t *bytes;
    size_t size;
};

struct client {
    struct wire wire;
    struct frame frames[TEXTS];
    uint64_t times_ns[FRAMES_MAX]; /* of the frames under way */
    uint64_t sent, answered;       /* frames */
    uint32_t answers;              /* of the oldest frame */
    uint32_t unsent_at;            /* bytes of the frame that went in part; 0: none */
    bool is_ready;
};

static struct {
    uint16_t port;
    uint32_t clients, channels, batch, in_flight, payload;
    double seconds, warm_up, rate;
    pid_t pid;
    int server_cpu, cpu;
    bool is_json, is_send;
} options = {.port = 8000,
             .clients = 64,
             .channels = 1000,
             .batch = 1,
             .in_flight = 4,
             .payload = 200,
             .seconds = 5,
             .warm_up = 2,
             .server_cpu = -1,
             .cpu = -1};

static struct client *clients;
static struct histogram latency;
static int poller;
static uint32_t ready_count, next_client;
static uint64_t answered, now_ns, due, started_ns, id_last;
static bool is_measuring, is_over;

static void stop(const char *what)
{
    fprintf(stderr, "flood: %s\n", what);
    exit(1);
}

static uint64_t clock_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

/* --- frames ------------------------------------------------------------------ */

static int command(char *at, size_t room, uint32_t id, uint32_t channel)
{
    static char filling[4096];
    memset(filling, 'x', sizeof filling);
    int data = (int)options.payload - 2; /* the data as a whole, quotes and all */
    if (!options.is_send)
        return snprintf(at, room,
                        "{\"id\":%u,\"publish\":{\"channel\":\"flood%u\",\"data\":\"%.*s\"}}", id,
                        channel, data, filling);
    return snprintf(at, room,
                    "{\"id\":%u,\"rpc\":{\"method\":\"message.send\",\"data\":{\"channel\":"
                    "\"flood%u\",\"key\":\"%016llx\",\"data\":\"%.*s\"}}}",
                    id, channel, 0ull, data, filling);
}

/* A mask of zeros costs the server what any mask does. */
static void frame_make(struct frame *frame, uint32_t first)
{
    frame->bytes = malloc(FRAME_SIZE);
    if (frame->bytes == NULL) stop("out of memory");
    char *text = (char *)frame->bytes + 14;
    size_t size = 0;
    for (uint32_t i = 0; i < options.batch; i++) {
        if (i > 0) text[size++] = '\n';
        int more =
            command(text + size, FRAME_SIZE - 14 - size, i + 1, (first + i) % options.channels);
        if (more < 0 || size + (size_t)more + 16 > FRAME_SIZE) stop("the frame is too large");
        size += (size_t)more;
    }
    uint8_t head[14] = {0x81};
    size_t at = 2;
    if (size < 126) {
        head[1] = (uint8_t)(0x80 | size);
    } else if (size < 65536) {
        head[1] = 0x80 | 126;
        head[2] = (uint8_t)(size >> 8);
        head[3] = (uint8_t)size;
        at = 4;
    }
    at += 4;
    memmove(frame->bytes + at, text, size);
    memcpy(frame->bytes, head, at);
    frame->size = at + size;
}

/* Sixteen hex digits that were never sent before, behind each `"key":"`. */
static void frame_keys(struct frame *frame)
{
    static const char hex[] = "0123456789abcdef";
    static uint64_t salt;
    if (salt == 0 && getrandom(&salt, sizeof salt, 0) != sizeof salt) stop("no entropy");
    uint8_t *at = frame->bytes, *end = frame->bytes + frame->size;
    for (uint32_t i = 0; i < options.batch; i++) {
        at = memmem(at, (size_t)(end - at), "\"key\":\"", 7);
        if (at == NULL) stop("a frame lost its keys");
        at += 7;
        uint64_t key = (++id_last * 0x9e3779b97f4a7c15u) ^ salt;
        for (int digit = 0; digit < 16; digit++) at[digit] = (uint8_t)hex[key >> (4 * digit) & 15];
    }
}

/* The next `count` frames with one call, as a client's own queue would; what did not
 * go stays for the next time. */
static void client_send(struct client *client, uint32_t count)
{
    struct iovec parts[TEXTS];
    if (count > TEXTS) count = TEXTS; /* each only once: its keys are new */
    for (uint32_t i = 0; i < count; i++) {
        struct frame *frame = &client->frames[(client->sent + i) % TEXTS];
        uint32_t skipped = i == 0 ? client->unsent_at : 0;
        if (options.is_send && skipped == 0) frame_keys(frame);
        parts[i] = (struct iovec){frame->bytes + skipped, frame->size - skipped};
    }
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = count};
    ssize_t went = sendmsg(client->wire.fd, &message, MSG_NOSIGNAL);
    if (went < 0 && errno != EAGAIN) stop("a frame did not go");
    size_t left = went > 0 ? (size_t)went : 0;
    for (uint32_t i = 0; i < count && left >= parts[i].iov_len; i++) {
        left -= parts[i].iov_len;
        client->sent++;
        client->unsent_at = 0;
    }
    client->unsent_at += (uint32_t)left;
}

/* --- answers ------------------------------------------------------------------ */

static void on_answer(struct client *client)
{
    if (++client->answers < options.batch) return;
    client->answers = 0;
    uint64_t began = client->times_ns[client->answered % FRAMES_MAX];
    client->answered++;
    answered += options.batch;
    if (is_measuring && now_ns > began) histogram_add(&latency, (now_ns - began) / 1000);
}

static void on_text(void *context, const char *text, size_t size)
{
    struct client *client = context;
    const char *end = text + size;
    while (text < end) {
        const char *line_end = memchr(text, '\n', (size_t)(end - text));
        size_t line = (size_t)((line_end != NULL ? line_end : end) - text);
        if (line == 2) {
            if (!wire_send_text(&client->wire, "{}", 2)) stop("a pong did not go");
        } else if (memmem(text, line, "\"error\"", 7) != NULL) {
            fprintf(stderr, "flood: %.*s\n", (int)line, text);
            stop("the server answered with an error");
        } else if (!client->is_ready) {
            client->is_ready = true;
            ready_count++;
        } else {
            on_answer(client);
        }
        text += line + 1;
    }
}

/* Sends what may go: in a closed loop that is a frame for each that was answered. */
static void client_fill(struct client *client)
{
    while (!is_over && client->sent - client->answered < options.in_flight) {
        uint32_t count = options.in_flight - (uint32_t)(client->sent - client->answered);
        uint64_t sent = client->sent;
        for (uint32_t i = client->unsent_at > 0; i < count; i++)
            client->times_ns[(sent + i) % FRAMES_MAX] = now_ns;
        client_send(client, count);
        if (client->sent == sent) return; /* the socket is full */
    }
}

/* Open loop: what is due goes to whoever has room. */
static void fill_due(void)
{
    double gap_ns = 1e9 * options.batch / options.rate;
    uint64_t wanted = (uint64_t)((double)(now_ns - started_ns) / gap_ns);
    uint32_t passed = 0;
    while (!is_over && due < wanted && passed < options.clients) {
        struct client *client = &clients[next_client];
        next_client = (next_client + 1) % options.clients;
        passed++;
        if (client->sent - client->answered >= options.in_flight) continue;
        uint64_t sent = client->sent;
        if (client->unsent_at == 0) {
            client->times_ns[sent % FRAMES_MAX] = started_ns + (uint64_t)((double)due * gap_ns);
            due++;
        }
        client_send(client, 1);
        if (client->sent > sent) passed = 0;
    }
}

/* --- the run -------------------------------------------------------------------- */

static void client_event(uint32_t index, uint32_t events)
{
    struct client *client = &clients[index];
    if (events & EPOLLOUT && !client->wire.is_upgraded) {
        struct epoll_event event = {.events = EPOLLIN, .data.u32 = index};
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
    if (!was_upgraded && client->wire.is_upgraded) {
        if (!wire_send_text(&client->wire, "{\"id\":1,\"connect\":{}}", 21))
            stop("a command did not go");
    }
}

static void poll_events(int wait_ms)
{
    struct epoll_event events[512];
    int count = epoll_wait(poller, events, 512, wait_ms);
    now_ns = clock_ns();
    for (int i = 0; i < count; i++) {
        client_event(events[i].data.u32, events[i].events);
        if (started_ns > 0 && options.rate == 0) client_fill(&clients[events[i].data.u32]);
    }
    if (started_ns > 0 && options.rate > 0) fill_due();
}

static void open_all(void)
{
    for (uint32_t i = 0; i < options.clients; i++) {
        struct client *client = &clients[i];
        for (uint32_t k = 0; k < TEXTS; k++)
            frame_make(&client->frames[k], (k * options.clients + i) * options.batch);
        int error = wire_connect(&client->wire, 0, options.port);
        if (error != 0) stop(strerror(-error));
        struct epoll_event event = {.events = EPOLLIN | EPOLLOUT, .data.u32 = i};
        if (epoll_ctl(poller, EPOLL_CTL_ADD, client->wire.fd, &event) != 0) stop("epoll_ctl");
    }
    uint64_t give_up = clock_ns() + 30000000000u;
    while (ready_count < options.clients) {
        poll_events(100);
        if (now_ns > give_up) stop("not everybody was let in within 30 s");
    }
}

struct marks {
    struct cpu_time cpu;
    uint64_t shard_ns, answered, at_ns;
};

static void mark(struct marks *marks)
{
    *marks = (struct marks){.answered = answered, .at_ns = clock_ns()};
    if (options.pid == 0) return;
    if (!cpu_time_read(options.pid, options.server_cpu, &marks->cpu)) stop("no such process");
    marks->shard_ns = thread_cpu_ns(options.pid, "shard-");
}

static void run(struct marks *before, struct marks *after)
{
    started_ns = now_ns = clock_ns();
    uint64_t measured = started_ns + (uint64_t)(options.warm_up * 1e9);
    uint64_t end = measured + (uint64_t)(options.seconds * 1e9);
    for (uint32_t i = 0; i < options.clients && options.rate == 0; i++) client_fill(&clients[i]);
    while (now_ns < end) {
        if (!is_measuring && now_ns >= measured) {
            mark(before);
            is_measuring = true;
        }
        poll_events(options.rate > 0 ? 0 : 100);
    }
    mark(after);
    is_measuring = false;
    is_over = true;
    /* Nothing may stay without an answer. */
    uint64_t give_up = clock_ns() + 20000000000u;
    for (uint32_t i = 0; i < options.clients;) {
        if (clients[i].unsent_at > 0) client_send(&clients[i], 1);
        if (clients[i].unsent_at == 0 && clients[i].sent == clients[i].answered) {
            i++;
            continue;
        }
        poll_events(10);
        if (now_ns > give_up) stop("answers are missing");
    }
}

static void report(const struct marks *before, const struct marks *after)
{
    double seconds = (double)(after->at_ns - before->at_ns) * 1e-9;
    double count = (double)(after->answered - before->answered);
    double each = count > 0 ? count : 1;
    double shard = (double)(after->shard_ns - before->shard_ns) / each;
    double all =
        (double)(after->cpu.ns - before->cpu.ns + after->cpu.softirq_ns - before->cpu.softirq_ns) /
        each;
    unsigned long long p50 = histogram_at(&latency, 0.5), p99 = histogram_at(&latency, 0.99),
                       p999 = histogram_at(&latency, 0.999);
    printf(options.is_json
               ? "{\"acks\":%.0f,\"shard_ns\":%.0f,\"all_ns\":%.0f,\"p50_us\":%llu,"
                 "\"p99_us\":%llu,\"p999_us\":%llu}\n"
               : "%.0f acks a second; CPU of each: shard %.0f ns, all threads %.0f ns; frame to "
                 "answer p50 %llu us, p99 %llu us, p99.9 %llu us\n",
           count / seconds, shard, all, p50, p99, p999);
}

static void parse(int argc, char **argv)
{
    static const struct option table[] = {
        {"port", 1, NULL, 'p'},      {"clients", 1, NULL, 'n'}, {"channels", 1, NULL, 'c'},
        {"in-flight", 1, NULL, 'k'}, {"batch", 1, NULL, 'f'},   {"rate", 1, NULL, 'r'},
        {"payload", 1, NULL, 'b'},   {"seconds", 1, NULL, 's'}, {"warm-up", 1, NULL, 'w'},
        {"pid", 1, NULL, 'i'},       {"cpu", 1, NULL, 'C'},     {"server-cpu", 1, NULL, 'S'},
        {"json", 0, NULL, 'j'},      {"send", 0, NULL, 'm'},    {NULL, 0, NULL, 0},
    };
    for (int option; (option = getopt_long(argc, argv, "", table, NULL)) != -1;) {
        switch (option) {
        case 'p': options.port = (uint16_t)atoi(optarg); break;
        case 'n': options.clients = (uint32_t)atoi(optarg); break;
        case 'c': options.channels = (uint32_t)atoi(optarg); break;
        case 'k': options.in_flight = (uint32_t)atoi(optarg); break;
        case 'f': options.batch = (uint32_t)atoi(optarg); break;
        case 'r': options.rate = atof(optarg); break;
        case 'b': options.payload = (uint32_t)atoi(optarg); break;
        case 's': options.seconds = atof(optarg); break;
        case 'w': options.warm_up = atof(optarg); break;
        case 'i': options.pid = atoi(optarg); break;
        case 'C': options.cpu = atoi(optarg); break;
        case 'S': options.server_cpu = atoi(optarg); break;
        case 'j': options.is_json = true; break;
        case 'm': options.is_send = true; break;
        default: fputs("usage: see the head of perf/swarm/flood.c\n", stderr); exit(2);
        }
    }
    if (options.clients == 0 || options.channels == 0 || options.batch == 0 ||
        options.in_flight == 0 || options.in_flight > FRAMES_MAX || options.payload < 2 ||
        options.payload > 4000)
        stop("an option is out of its range");
}

int main(int argc, char **argv)
{
    parse(argc, argv);
    if (options.cpu >= 0) {
        cpu_set_t set;
        CPU_ZERO(&set);
        CPU_SET((size_t)options.cpu, &set);
        sched_setaffinity(0, sizeof set, &set);
    }
    poller = epoll_create1(EPOLL_CLOEXEC);
    clients = calloc(options.clients, sizeof *clients);
    if (poller < 0 || clients == NULL) stop("out of memory");
    open_all();
    struct marks before = {0}, after = {0};
    run(&before, &after);
    report(&before, &after);
    return 0;
}
