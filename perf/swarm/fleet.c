/*
 * fleet: many clients that do nothing but be there.
 *
 * Opens N connections with a token and one subscription or two each, answers pings,
 * and holds them until its input ends.  One process holds as many as it has
 * descriptors; perf/fleet runs several, each from its own loopback address,
 * because one address has only so many ports.
 *
 *   stdout   "ready N" when everybody is subscribed, then, when the input ended,
 *            "held N pings P"
 *   exit     1 as soon as anything is closed, refused or late
 */
#include <errno.h>
#include <getopt.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>

#include "wire.h"

#define OPENING_MAX 256 /* connections on their way at once */
#define TEXT_MAX    2048
#define INPUT       UINT32_MAX

struct client {
    struct wire wire;
    uint32_t number;  /* of the whole fleet: names user and private channel */
    uint32_t answers; /* to its subscriptions */
};

static struct {
    const char *path, *secret;
    uint16_t port;
    uint32_t clients, first, shared, info, source;
    bool has_own; /* a channel of its own each as well */
} options = {
    .path = "/connection/websocket", .secret = "", .port = 8000, .clients = 1000, .shared = 100};

static struct client *clients;
static int poller;
static uint32_t ready_count;
static uint64_t pings;
static bool is_input_over;

static void stop(const char *what)
{
    fprintf(stderr, "fleet: %s\n", what);
    exit(1);
}

static size_t base64url(const uint8_t *in, size_t size, char *out)
{
    int length = EVP_EncodeBlock((unsigned char *)out, in, (int)size);
    while (length > 0 && out[length - 1] == '=') length--;
    for (int i = 0; i < length; i++) out[i] = out[i] == '+' ? '-' : out[i] == '/' ? '_' : out[i];
    out[length] = 0;
    return (size_t)length;
}

/* An HS256 token for user "u" and eleven digits, twelve bytes, with an info when wanted. */
static void make_token(const struct client *client, char token[TEXT_MAX])
{
    static const char header[] = "{\"alg\":\"HS256\",\"typ\":\"JWT\"}";
    char claims[1024], filling[512];
    memset(filling, 'i', sizeof filling);
    int size = options.info < 4
                   ? snprintf(claims, sizeof claims, "{\"sub\":\"u%011u\"}", client->number)
                   : snprintf(claims, sizeof claims, "{\"sub\":\"u%011u\",\"info\":\"%.*s\"}",
                              client->number, (int)options.info - 2, filling);
    size_t at = base64url((const uint8_t *)header, sizeof header - 1, token);
    token[at++] = '.';
    at += base64url((const uint8_t *)claims, (size_t)size, token + at);
    uint8_t digest[32];
    HMAC(EVP_sha256(), options.secret, (int)strlen(options.secret), (const uint8_t *)token, at,
         digest, NULL);
    token[at++] = '.';
    base64url(digest, sizeof digest, token + at);
}

static void client_hello(struct client *client)
{
    char token[TEXT_MAX], text[TEXT_MAX + 256];
    make_token(client, token);
    int size = snprintf(text, sizeof text,
                        "{\"id\":1,\"connect\":{\"token\":\"%s\"}}\n"
                        "{\"id\":2,\"subscribe\":{\"channel\":\"shared%u\"}}",
                        token, client->number % options.shared);
    if (options.has_own)
        size += snprintf(text + size, sizeof text - (size_t)size,
                         "\n{\"id\":3,\"subscribe\":{\"channel\":\"private%u\"}}", client->number);
    if (!wire_send_text(&client->wire, text, (size_t)size)) stop("a command did not go");
}

static void on_text(void *context, const char *text, size_t size)
{
    struct client *client = context;
    const char *end = text + size;
    while (text < end) {
        const char *line_end = memchr(text, '\n', (size_t)(end - text));
        size_t line = (size_t)((line_end != NULL ? line_end : end) - text);
        if (line == 2 && memcmp(text, "{}", 2) == 0) {
            if (!wire_send_text(&client->wire, "{}", 2)) stop("a pong did not go");
            pings++;
        } else if (memmem(text, line, "\"error\"", 7) != NULL) {
            fprintf(stderr, "fleet: %.*s\n", (int)line, text);
            stop("the server answered with an error");
        } else if (line >= 7 &&
                   (memcmp(text, "{\"id\":2", 7) == 0 || memcmp(text, "{\"id\":3", 7) == 0)) {
            if (++client->answers == 1u + options.has_own) ready_count++;
        }
        text += line + 1;
    }
}

static void client_open(struct client *client, uint32_t index)
{
    client->number = options.first + index;
    int error = wire_connect(&client->wire, options.source, options.port);
    if (error != 0) stop(strerror(-error));
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT, .data.u32 = index};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, client->wire.fd, &event) != 0) stop("epoll_ctl failed");
}

static void client_event(uint32_t index, uint32_t events)
{
    struct client *client = &clients[index];
    if (events & EPOLLOUT) {
        struct epoll_event event = {.events = EPOLLIN, .data.u32 = index};
        epoll_ctl(poller, EPOLL_CTL_MOD, client->wire.fd, &event);
        if (!wire_upgrade(&client->wire, options.path)) stop("the server does not listen");
        return;
    }
    bool was_upgraded = client->wire.is_upgraded;
    enum wire_result result;
    do result = wire_read(&client->wire, on_text, client);
    while (result == WIRE_MORE);
    if (result == WIRE_CLOSED) stop("the server closed a connection");
    if (!was_upgraded && client->wire.is_upgraded) client_hello(client);
}

static void poll_events(int wait_ms)
{
    struct epoll_event events[512];
    int count = epoll_wait(poller, events, 512, wait_ms);
    for (int i = 0; i < count; i++) {
        if (events[i].data.u32 == INPUT)
            is_input_over = true;
        else
            client_event(events[i].data.u32, events[i].events);
    }
}

static void open_all(void)
{
    time_t give_up = time(NULL) + 120;
    for (uint32_t next = 0; ready_count < options.clients;) {
        while (next < options.clients && next - ready_count < OPENING_MAX) {
            client_open(&clients[next], next);
            next++;
        }
        poll_events(100);
        if (time(NULL) > give_up) stop("not everybody was let in within two minutes");
    }
}

static void usage(void)
{
    fputs("usage: sluice-fleet --port N --secret KEY [--clients N] [--first NUMBER] [--shared C]\n"
          "                    [--own] [--info BYTES] [--source K] [--path PATH]\n"
          "--own: a channel of its own each beside one of the C shared ones\n"
          "--source K: come from 127.0.0.K\n",
          stderr);
    exit(2);
}

static void parse(int argc, char **argv)
{
    static const struct option table[] = {
        {"port", 1, NULL, 'p'},   {"secret", 1, NULL, 's'}, {"clients", 1, NULL, 'n'},
        {"first", 1, NULL, 'f'},  {"shared", 1, NULL, 'c'}, {"info", 1, NULL, 'i'},
        {"source", 1, NULL, 'a'}, {"path", 1, NULL, 'h'},   {"own", 0, NULL, 'o'},
        {NULL, 0, NULL, 0},
    };
    for (int option; (option = getopt_long(argc, argv, "", table, NULL)) != -1;) {
        switch (option) {
        case 'p': options.port = (uint16_t)atoi(optarg); break;
        case 's': options.secret = optarg; break;
        case 'n': options.clients = (uint32_t)atoi(optarg); break;
        case 'f': options.first = (uint32_t)atoi(optarg); break;
        case 'c': options.shared = (uint32_t)atoi(optarg); break;
        case 'i': options.info = (uint32_t)atoi(optarg); break;
        case 'a': options.source = (uint32_t)atoi(optarg); break;
        case 'h': options.path = optarg; break;
        case 'o': options.has_own = true; break;
        default: usage();
        }
    }
    if (optind != argc || options.clients == 0 || options.shared == 0 || options.info > 500)
        usage();
}

int main(int argc, char **argv)
{
    parse(argc, argv);
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    poller = epoll_create1(EPOLL_CLOEXEC);
    clients = calloc(options.clients, sizeof *clients);
    if (poller < 0 || clients == NULL) stop("out of memory");
    open_all();
    printf("ready %u\n", ready_count);
    fflush(stdout);
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = INPUT};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, 0, &event) != 0) stop("its input cannot be watched");
    while (!is_input_over) poll_events(1000);
    printf("held %u pings %llu\n", ready_count, (unsigned long long)pings);
    return 0;
}
