/* floor: upgrades, frames, channels and the clock; see floor.h. */
#include "floor.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define CHANNELS_MAX  100000
#define PING_TICKS    8 /* a second */
#define PING_INTERVAL 25
#define GUID          "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

void floor_stop(const char *what, int error)
{
    fprintf(stderr, "floor: %s: %s\n", what, strerror(error));
    exit(1);
}

static uint64_t now_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

/* Bytes that live until this turn's sends have been submitted. */
static uint8_t *room_get(struct floor *floor, uint32_t size)
{
    if (floor->room_used + size > ROOM_MAX) {
        floor_submit(floor);
        floor->room_used = 0;
    }
    return floor->room + floor->room_used;
}

/* --- channels ------------------------------------------------------------------------------- */

static void channel_enter(struct floor *floor, uint32_t socket, uint32_t number)
{
    if (number >= CHANNELS_MAX) number = 0;
    struct channel *channel = &floor->channels[number];
    if (channel->count == channel->room) {
        channel->room = channel->room == 0 ? 8 : 2 * channel->room;
        channel->members = realloc(channel->members, channel->room * sizeof *channel->members);
    }
    floor->peers[socket].channel = number;
    floor->peers[socket].place = channel->count;
    channel->members[channel->count++] = socket;
}

static void channel_leave(struct floor *floor, uint32_t socket)
{
    const struct peer *peer = &floor->peers[socket];
    struct channel *channel = &floor->channels[peer->channel];
    uint32_t last = channel->members[--channel->count];
    channel->members[peer->place] = last;
    floor->peers[last].place = peer->place;
}

/* Room for a frame behind those of this turn; the bytes of the turn before have been sent. */
static uint8_t *channel_frame(struct floor *floor, uint32_t number, uint32_t size)
{
    struct channel *channel = &floor->channels[number];
    if (!channel->is_fired) floor->fired[floor->fired_count++] = number;
    if (!channel->is_fired) channel->bytes_used = 0;
    channel->is_fired = true;
    if (channel->bytes_used + size > channel->bytes_room) {
        channel->bytes_room = 2 * (channel->bytes_used + size);
        channel->bytes = realloc(channel->bytes, channel->bytes_room);
    }
    return channel->bytes + channel->bytes_used;
}

static void broadcast(struct floor *floor)
{
    for (uint32_t f = 0; f < floor->fired_count; f++) {
        struct channel *channel = &floor->channels[floor->fired[f]];
        for (uint32_t i = channel->count; i-- > 0;) /* who is closed leaves on the way */
            floor_send(floor, channel->members[i], channel->bytes, channel->bytes_used);
        channel->is_fired = false;
    }
    floor->fired_count = 0;
}

/* --- requests and frames -------------------------------------------------------------------- */

/* The bytes of data[size] that were used: all of the request, or none of it. */
static uint32_t take_request(struct floor *floor, uint32_t socket, const uint8_t *data,
                             uint32_t size)
{
    static _Thread_local EVP_MD_CTX *sha1;
    char head[2 * READ_MAX], joined[128], accept[64];
    uint8_t digest[EVP_MAX_MD_SIZE];
    const uint8_t *end = memmem(data, size, "\r\n\r\n", 4);
    if (end == NULL) return 0;
    uint32_t used = (uint32_t)(end + 4 - data);
    memcpy(head, data, used);
    head[used - 1] = 0;
    const char *key = strcasestr(head, "\r\nsec-websocket-key:");
    if (key == NULL) {
        floor_close(floor, socket);
        return size;
    }
    key += strlen("\r\nsec-websocket-key:");
    key += strspn(key, " ");
    int joined_size =
        snprintf(joined, sizeof joined, "%.*s" GUID, (int)strcspn(key, " \r\n") & 63, key);
    if (sha1 == NULL) sha1 = EVP_MD_CTX_new();
    EVP_DigestInit_ex(sha1, EVP_sha1(), NULL);
    EVP_DigestUpdate(sha1, joined, (size_t)joined_size);
    EVP_DigestFinal_ex(sha1, digest, NULL);
    EVP_EncodeBlock((uint8_t *)accept, digest, 20);
    char *answer = (char *)room_get(floor, 160);
    int answer_size = snprintf(answer, 160,
                               "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                               "Connection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n",
                               accept);
    floor->room_used += (uint32_t)answer_size;
    floor->peers[socket].is_upgraded = true;
    channel_enter(floor, socket, strncmp(head, "GET /", 5) == 0 ? (uint32_t)atoi(head + 5) : 0);
    floor_send(floor, socket, answer, (uint32_t)answer_size);
    return used;
}

/* One frame back: its header without the mask's bit, its payload without the mask. */
static uint32_t unmask(uint8_t *out, const uint8_t *frame, uint32_t head, uint32_t length)
{
    uint64_t mask, word;
    memcpy(&mask, frame + head, 4);
    memcpy((uint8_t *)&mask + 4, frame + head, 4);
    memcpy(out, frame, head);
    out[1] &= 0x7f;
    const uint8_t *from = frame + head + 4;
    uint8_t *to = out + head;
    uint32_t i = 0;
    for (; i + 8 <= length; i += 8) {
        memcpy(&word, from + i, 8);
        word ^= mask;
        memcpy(to + i, &word, 8);
    }
    for (; i < length; i++) to[i] = from[i] ^ (uint8_t)(mask >> 8 * (i & 3));
    return head + length;
}

/* Takes the whole frames of data[size]; the bytes that they were. */
static uint32_t take_frames(struct floor *floor, uint32_t socket, const uint8_t *data,
                            uint32_t size)
{
    uint32_t at = 0, out_size = 0;
    uint8_t *out = floor->kind == ECHO ? room_get(floor, size) : NULL;
    while (size - at >= 6) {
        const uint8_t *frame = data + at;
        uint32_t length = frame[1] & 0x7f, head = 2;
        if (length == 127) { /* nobody sends so much here */
            floor_close(floor, socket);
            return size;
        }
        if (length == 126) {
            head = 4;
            length = (uint32_t)frame[2] << 8 | frame[3];
        }
        if (size - at < head + 4 + length) break;
        at += head + 4 + length;
        bool is_data = (frame[0] & 0x0f) <= 2;
        if (is_data && floor->kind == BROADCAST) {
            uint32_t number = floor->peers[socket].channel;
            uint8_t *to = channel_frame(floor, number, head + length);
            floor->channels[number].bytes_used += unmask(to, frame, head, length);
        }
        if (is_data && floor->kind == ECHO) out_size += unmask(out + out_size, frame, head, length);
    }
    floor->room_used += out_size;
    if (out_size > 0) floor_send(floor, socket, out, out_size);
    return at;
}

void floor_received(struct floor *floor, uint32_t socket, const uint8_t *data, uint32_t size)
{
    struct peer *peer = &floor->peers[socket];
    uint8_t *joined = NULL;
    if (!peer->is_open) return;
    if (peer->rest_size > 0) {
        joined = realloc(peer->rest, peer->rest_size + size);
        memcpy(joined + peer->rest_size, data, size);
        data = joined;
        size += peer->rest_size;
        peer->rest = NULL;
        peer->rest_size = 0;
    }
    uint32_t used = size >= 2 * READ_MAX ? UINT32_MAX
                    : peer->is_upgraded  ? take_frames(floor, socket, data, size)
                                         : take_request(floor, socket, data, size);
    if (used == UINT32_MAX) {
        floor_close(floor, socket);
    } else if (used < size && peer->is_open) {
        peer->rest_size = size - used;
        peer->rest = malloc(peer->rest_size);
        memcpy(peer->rest, data + used, peer->rest_size);
    }
    free(joined);
}

void floor_opened(struct floor *floor, uint32_t socket)
{
    floor->peers[socket] = (struct peer){.is_open = true};
    if (socket >= floor->peers_end) floor->peers_end = socket + 1;
}

void floor_closed(struct floor *floor, uint32_t socket)
{
    struct peer *peer = &floor->peers[socket];
    if (peer->is_upgraded) channel_leave(floor, socket);
    free(peer->rest);
    *peer = (struct peer){0};
}

/* --- turns ---------------------------------------------------------------------------------- */

uint64_t floor_wait_ns(const struct floor *floor)
{
    if (floor->kind != IDLE) return UINT64_MAX;
    uint64_t now = now_ns();
    return floor->tick_ns > now ? floor->tick_ns - now : 0;
}

/* Every socket has its tick among those of the interval, by its number. */
static void ping(struct floor *floor)
{
    static const uint8_t frame[] = {0x89, 0};
    uint32_t step = PING_TICKS * PING_INTERVAL;
    for (uint32_t i = floor->ticks++ % step; i < floor->peers_end; i += step)
        if (floor->peers[i].is_upgraded) floor_send(floor, i, frame, sizeof frame);
    floor->tick_ns += 1000000000u / PING_TICKS;
}

void floor_turn(struct floor *floor)
{
    if (floor->fired_count > 0) broadcast(floor);
    if (floor->kind == IDLE)
        while (floor->tick_ns <= now_ns()) ping(floor);
}

/* --- the program ---------------------------------------------------------------------------- */

static int listen_on(uint16_t port)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), on = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); /* accepted sockets inherit it */
    if (bind(fd, (struct sockaddr *)&address, sizeof address) != 0) floor_stop("bind", errno);
    if (listen(fd, 4096) != 0) floor_stop("listen", errno);
    return fd;
}

static void *run(void *argument)
{
    struct floor *floor = argument;
    floor->tick_ns = now_ns();
    floor_run(floor);
    return NULL;
}

/* Pages that nobody touches cost nothing. */
static void *pages(size_t size)
{
    void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED) floor_stop("memory", errno);
    return at;
}

static struct floor *floor_create(enum kind kind, uint16_t port)
{
    struct floor *floor = pages(sizeof *floor);
    floor->kind = kind;
    floor->channels = pages(CHANNELS_MAX * sizeof *floor->channels);
    floor->fired = pages(CHANNELS_MAX * sizeof *floor->fired);
    floor->room = pages(ROOM_MAX);
    floor->listener = listen_on(port);
    return floor;
}

int main(int argc, char **argv)
{
    static const char *const kinds[] = {"broadcast", "echo", "idle"};
    int kind = -1;
    for (int i = 0; argc > 2 && i < 3; i++)
        if (strcmp(argv[1], kinds[i]) == 0) kind = i;
    uint32_t threads = argc > 3 ? (uint32_t)atoi(argv[3]) : 1;
    if (kind < 0 || threads == 0) {
        fprintf(stderr, "usage: %s broadcast|echo|idle PORT [THREADS]\n", argv[0]);
        return 2;
    }
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    /* All listeners exist before the first connection comes: the kernel spreads over them. */
    struct floor **floors = calloc(threads, sizeof(struct floor *));
    for (uint32_t i = 0; i < threads; i++)
        floors[i] = floor_create((enum kind)kind, (uint16_t)atoi(argv[2]));
    for (uint32_t i = 1; i < threads; i++) {
        pthread_t thread;
        int error = pthread_create(&thread, NULL, run, floors[i]);
        if (error != 0) floor_stop("thread", error);
    }
    run(floors[0]);
    return 0;
}
