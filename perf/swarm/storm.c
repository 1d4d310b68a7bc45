/*
 * storm: round trips of live connections while many others shake hands of TLS.
 *
 * usage: sluice-storm PORT LIVE SECONDS HANDSHAKES [tls1_2]
 *
 * LIVE connections upgrade at /debug/echo; one thread sends a small message on one of
 * them after the other and takes the time until it is back.  After SECONDS a
 * second process, with the least priority so that it does not cost the first one
 * its processor, opens HANDSHAKES connections and sends all their first messages
 * at once.  Prints the quantiles before and during, and how the handshakes ended.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define TRIPS_MAX 1000000

static const char upgrade[] =
    "GET /debug/echo HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n";

/* What the two processes tell each other. */
struct shared {
    volatile int is_storming, is_over;
    uint32_t good, refused, failed;
    uint64_t took_ns, p50_ns, p99_ns;
};

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void die(const char *what)
{
    fprintf(stderr, "storm: %s: %s\n", what, strerror(errno));
    exit(1);
}

static int dial(uint16_t port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    if (fd < 0) die("socket");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) != 0) die("connect");
    return fd;
}

static int compare(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
    return left < right ? -1 : left > right;
}

static uint64_t quantile(const uint64_t *sorted, uint32_t count, double q)
{
    return count == 0 ? 0 : sorted[(uint32_t)(q * (count - 1))];
}

/* --- live ------------------------------------------------------------------ */

static SSL *live_open(SSL_CTX *ctx, uint16_t port)
{
    SSL *ssl = SSL_new(ctx);
    char answer[1024];
    SSL_set_fd(ssl, dial(port));
    if (SSL_connect(ssl) != 1) die("live handshake");
    SSL_write(ssl, upgrade, sizeof upgrade - 1);
    int got = SSL_read(ssl, answer, sizeof answer - 1);
    answer[got > 0 ? got : 0] = 0;
    if (strncmp(answer, "HTTP/1.1 101", 12) != 0) die("upgrade refused; is debug.echo on?");
    return ssl;
}

static uint64_t round_trip(SSL *ssl)
{
    /* A masked text frame of 32 bytes (mask 0); its echo has no mask. */
    uint8_t frame[38] = {0x81, 0x80 | 32}, answer[64];
    memset(frame + 6, 'x', 32);
    uint64_t start = now_ns();
    SSL_write(ssl, frame, sizeof frame);
    for (int got = 0; got < 34;) {
        int more = SSL_read(ssl, answer + got, (int)sizeof answer - got);
        if (more <= 0) die("a live connection broke");
        got += more;
    }
    return now_ns() - start;
}

static void report(const char *name, uint64_t *trips, uint32_t count)
{
    qsort(trips, count, sizeof *trips, compare);
    printf("%-8s %8u round trips, us: p50 %.0f  p90 %.0f  p99 %.0f  p99.9 %.0f  most %.0f\n", name,
           count, quantile(trips, count, 0.5) / 1e3, quantile(trips, count, 0.9) / 1e3,
           quantile(trips, count, 0.99) / 1e3, quantile(trips, count, 0.999) / 1e3,
           quantile(trips, count, 1) / 1e3);
}

/* Round trips with a rest between them, until `is_over`. */
static uint32_t live_run(SSL **lives, uint32_t count, uint64_t *trips, uint64_t until_ns,
                         const volatile int *is_over)
{
    uint32_t done = 0;
    while (done < TRIPS_MAX && (is_over != NULL ? !*is_over : now_ns() < until_ns)) {
        trips[done] = round_trip(lives[done % count]);
        done++;
        usleep(200);
    }
    return done;
}

/* --- the storm --------------------------------------------------------------- */

struct shake {
    SSL *ssl;
    int fd;
    uint64_t done_ns;
};

/* True when it has ended. */
static int shake_on(struct shake *shake, struct shared *shared)
{
    ERR_clear_error();
    int returned = SSL_connect(shake->ssl);
    int error = returned == 1 ? 0 : SSL_get_error(shake->ssl, returned);
    if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) return 0;
    shake->done_ns = now_ns();
    if (error == 0)
        shared->good++;
    else if (error == SSL_ERROR_SYSCALL || error == SSL_ERROR_ZERO_RETURN)
        shared->refused++;
    else
        shared->failed++;
    return 1;
}

static void storm(SSL_CTX *ctx, uint16_t port, uint32_t count, struct shared *shared)
{
    struct shake *shakes = calloc(count, sizeof *shakes);
    uint64_t *times = calloc(count, sizeof *times);
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    for (uint32_t i = 0; i < count; i++) {
        shakes[i].fd = dial(port);
        shakes[i].ssl = SSL_new(ctx);
        SSL_set_fd(shakes[i].ssl, shakes[i].fd);
        fcntl(shakes[i].fd, F_SETFL, O_NONBLOCK);
        struct epoll_event event = {.events = EPOLLIN, .data.u32 = i};
        epoll_ctl(epoll, EPOLL_CTL_ADD, shakes[i].fd, &event);
    }
    uint64_t start = now_ns();
    shared->is_storming = 1;
    uint32_t left = count;
    for (uint32_t i = 0; i < count; i++)
        if (shake_on(&shakes[i], shared)) left--;
    while (left > 0) {
        struct epoll_event events[256];
        int ready = epoll_wait(epoll, events, 256, 20000);
        if (ready <= 0) break;
        for (int k = 0; k < ready; k++) {
            struct shake *shake = &shakes[events[k].data.u32];
            bool was_over = shake->done_ns != 0; /* ended with its first message */
            if (!was_over && !shake_on(shake, shared)) continue;
            epoll_ctl(epoll, EPOLL_CTL_DEL, shake->fd, NULL);
            if (was_over) continue;
            times[--left] = shake->done_ns - start;
        }
    }
    shared->took_ns = now_ns() - start;
    shared->is_over = 1;
    qsort(times, count, sizeof *times, compare);
    shared->p50_ns = quantile(times, count, 0.5);
    shared->p99_ns = quantile(times, count, 0.99);
}

int main(int argc, char **argv)
{
    if (argc < 5) {
        fprintf(stderr, "usage: sluice-storm PORT LIVE SECONDS HANDSHAKES [tls1_2]\n");
        return 2;
    }
    uint16_t port = (uint16_t)atoi(argv[1]);
    uint32_t count = (uint32_t)atoi(argv[2]), handshakes = (uint32_t)atoi(argv[4]);
    uint64_t seconds = (uint64_t)atoi(argv[3]);
    struct shared *shared =
        mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    uint64_t *trips = calloc(TRIPS_MAX, sizeof *trips);
    SSL **lives = calloc(count, sizeof *lives);
    struct rlimit files = {handshakes + count + 100, handshakes + count + 100};
    if (count == 0 || setrlimit(RLIMIT_NOFILE, &files) != 0) die("raise ulimit -n");
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    if (argc > 5) SSL_CTX_set_max_proto_version(ctx, TLS1_2_VERSION);
    for (uint32_t i = 0; i < count; i++) lives[i] = live_open(ctx, port);

    (void)live_run(lives, count, trips, now_ns() + 500000000u, NULL);
    uint32_t done = live_run(lives, count, trips, now_ns() + seconds * 1000000000u, NULL);
    report("before", trips, done);
    pid_t child = fork();
    if (child == 0) {
        (void)!nice(19);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        storm(ctx, port, handshakes, shared);
        _exit(0);
    }
    while (!shared->is_storming) (void)round_trip(lives[0]);
    done = live_run(lives, count, trips, 0, &shared->is_over);
    report("during", trips, done);
    waitpid(child, NULL, 0);
    printf(
        "%u handshakes in %.2f s, %.0f a second; %u refused, %u failed; p50 %.0f ms, p99 %.0f ms\n",
        shared->good, shared->took_ns / 1e9, shared->good / (shared->took_ns / 1e9),
        shared->refused, shared->failed, shared->p50_ns / 1e6, shared->p99_ns / 1e6);
    return shared->good == handshakes ? 0 : 1;
}
