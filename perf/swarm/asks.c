/*
 * asks: HTTP requests at a set rate to the read-index service.
 *
 * Open loop: a request goes out when it is due, on a kept-alive connection that waits
 * for nothing; when none is free the request waits, and its time counts from when it
 * was due.  Requests come as whole bytes on stdin, one after the other with their size
 * before them ("<size>\n<bytes>"), and are sent in turn.  Any answer but 200 ends the run.
 *
 *   asks --port P --rate 10000 --seconds 5 --connections 32 < requests
 */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "stats.h"

#define CONNECTIONS_MAX 1024
#define INPUT_MAX       (1u << 20)

struct request {
    char *bytes;
    size_t size;
};

struct asker {
    int fd;
    uint64_t due_ns; /* of the request under way; 0: none */
    char *input;
    size_t size, whole; /* received; bytes of the answer once its head is there, or 0 */
};

static struct {
    uint16_t port;
    uint32_t connections;
    double rate, seconds, warm_up;
    pid_t pid;
    int cpu;
} options = {.port = 8066, .connections = 32, .rate = 10000, .seconds = 5, .warm_up = 1, .cpu = -1};

static struct request *requests;
static uint32_t requests_count;
static struct asker askers[CONNECTIONS_MAX];
static uint32_t free_list[CONNECTIONS_MAX], free_count;
static struct histogram latency;
static uint64_t sent, answered, most_waiting;
static int poller;

static void stop(const char *what)
{
    fprintf(stderr, "asks: %s\n", what);
    exit(1);
}

static uint64_t clock_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static void requests_read(void)
{
    size_t size;
    while (scanf("%zu", &size) == 1) {
        if (getchar() != '\n' || size == 0 || size > INPUT_MAX) stop("a request has no size");
        requests = realloc(requests, (requests_count + 1) * sizeof *requests);
        if (requests == NULL) stop("no memory");
        struct request *request = &requests[requests_count++];
        *request = (struct request){malloc(size), size};
        if (request->bytes == NULL || fread(request->bytes, 1, size, stdin) != size)
            stop("a request is not whole");
    }
    if (requests_count == 0) stop("no requests on stdin");
}

static void asker_open(uint32_t at)
{
    struct asker *asker = &askers[at];
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(options.port)};
    int on = 1;
    inet_pton(AF_INET, "127.0.0.1", &to.sin_addr);
    asker->fd = socket(AF_INET, SOCK_STREAM, 0);
    asker->input = malloc(INPUT_MAX);
    if (asker->fd < 0 || asker->input == NULL) stop("no socket");
    if (connect(asker->fd, (struct sockaddr *)&to, sizeof to) != 0) stop(strerror(errno));
    setsockopt(asker->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = at};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, asker->fd, &event) != 0) stop(strerror(errno));
    free_list[free_count++] = at;
}

static void asker_send(uint64_t due_ns)
{
    uint32_t at = free_list[--free_count];
    struct asker *asker = &askers[at];
    const struct request *request = &requests[sent++ % requests_count];
    asker->due_ns = due_ns;
    asker->size = asker->whole = 0;
    if (send(asker->fd, request->bytes, request->size, MSG_NOSIGNAL) != (ssize_t)request->size)
        stop("a request did not go whole");
}

/* The size of the answer, once its head is there. */
static size_t answer_size(const struct asker *asker)
{
    const char *end = memmem(asker->input, asker->size, "\r\n\r\n", 4);
    if (end == NULL) return 0;
    if (asker->size < 12 || memcmp(asker->input, "HTTP/1.1 200", 12) != 0) {
        fprintf(stderr, "%.*s\n", (int)asker->size, asker->input);
        stop("an answer is no success");
    }
    const char *length = strcasestr(asker->input, "content-length:");
    if (length == NULL || length > end) stop("an answer has no length");
    return (size_t)(end + 4 - asker->input) + strtoull(length + 15, NULL, 10);
}

static void asker_read(uint32_t at, uint64_t measured_ns)
{
    struct asker *asker = &askers[at];
    ssize_t got =
        recv(asker->fd, asker->input + asker->size, INPUT_MAX - 1 - asker->size, MSG_DONTWAIT);
    if (got <= 0) stop("a connection ended");
    asker->size += (size_t)got;
    asker->input[asker->size] = '\0';
    if (asker->whole == 0) asker->whole = answer_size(asker);
    if (asker->whole == 0 || asker->size < asker->whole) return;
    if (asker->size > asker->whole) stop("an answer is longer than it says");
    if (asker->due_ns >= measured_ns) {
        histogram_add(&latency, (clock_ns() - asker->due_ns) / 1000);
        answered++;
    }
    asker->due_ns = 0;
    free_list[free_count++] = at;
}

static void run(void)
{
    struct cpu_time before = {0}, after = {0};
    uint64_t began_ns = clock_ns(), each_ns = (uint64_t)(1e9 / options.rate);
    uint64_t measured_ns = began_ns + (uint64_t)(options.warm_up * 1e9);
    uint64_t end_ns = measured_ns + (uint64_t)(options.seconds * 1e9);
    uint64_t due_ns = began_ns;
    bool is_measuring = false;
    while (due_ns < end_ns || free_count < options.connections) {
        uint64_t now_ns = clock_ns();
        if (!is_measuring && now_ns >= measured_ns) {
            is_measuring = true;
            cpu_time_read(options.pid, -1, &before);
        }
        for (; due_ns <= now_ns && due_ns < end_ns && free_count > 0; due_ns += each_ns)
            asker_send(due_ns);
        if (due_ns < now_ns && (now_ns - due_ns) / each_ns > most_waiting)
            most_waiting = (now_ns - due_ns) / each_ns;
        /* Asleep until the next is due, unless it waits for a free connection. */
        now_ns = clock_ns();
        bool is_due = free_count > 0 && due_ns < end_ns && due_ns <= now_ns;
        bool may_wait = due_ns < end_ns && due_ns > now_ns;
        struct timespec wait = {.tv_nsec = is_due     ? 0
                                           : may_wait ? (long)(due_ns - now_ns)
                                                      : 1000000};
        struct epoll_event events[256];
        int count = epoll_pwait2(poller, events, 256, &wait, NULL);
        for (int i = 0; i < count; i++) asker_read(events[i].data.u32, measured_ns);
    }
    cpu_time_read(options.pid, -1, &after);
    printf("{\"asks_per_s\":%.0f,\"p50_us\":%llu,\"p99_us\":%llu,\"p999_us\":%llu,\"max_us\":%llu,"
           "\"server_ns\":%.0f,\"most_waiting\":%llu}\n",
           (double)answered / options.seconds, (unsigned long long)histogram_at(&latency, 0.5),
           (unsigned long long)histogram_at(&latency, 0.99),
           (unsigned long long)histogram_at(&latency, 0.999), (unsigned long long)latency.most,
           answered == 0 ? 0 : (double)(after.ns - before.ns) / (double)answered,
           (unsigned long long)most_waiting);
}

int main(int argc, char **argv)
{
    static const struct option names[] = {{"port", 1, NULL, 'p'},    {"rate", 1, NULL, 'r'},
                                          {"seconds", 1, NULL, 's'}, {"warm-up", 1, NULL, 'w'},
                                          {"pid", 1, NULL, 'i'},     {"connections", 1, NULL, 'c'},
                                          {"cpu", 1, NULL, 'u'},     {NULL, 0, NULL, 0}};
    for (int c; (c = getopt_long(argc, argv, "", names, NULL)) != -1;) switch (c) {
        case 'p': options.port = (uint16_t)atoi(optarg); break;
        case 'r': options.rate = atof(optarg); break;
        case 's': options.seconds = atof(optarg); break;
        case 'w': options.warm_up = atof(optarg); break;
        case 'i': options.pid = atoi(optarg); break;
        case 'c': options.connections = (uint32_t)atoi(optarg); break;
        case 'u': options.cpu = atoi(optarg); break;
        default: stop("see perf/swarm/asks.c");
        }
    if (options.connections == 0 || options.connections > CONNECTIONS_MAX || options.rate <= 0)
        stop("--connections 1 .. 1024, --rate above 0");
    if (options.cpu >= 0) {
        cpu_set_t set;
        CPU_ZERO(&set);
        CPU_SET((unsigned)options.cpu, &set);
        if (sched_setaffinity(0, sizeof set, &set) != 0) stop("cannot run on that CPU");
    }
    prctl(PR_SET_TIMERSLACK, 1);
    requests_read();
    poller = epoll_create1(0);
    for (uint32_t i = 0; i < options.connections; i++) asker_open(i);
    run();
    return 0;
}
