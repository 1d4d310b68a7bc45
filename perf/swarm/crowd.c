/* crowd: sockets and states; what is said and heard is the traffic's. */
#include "crowd.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "token.h"
#include "traffic.h"

#define OUT_MAX (32u << 20) /* that wait for one client */

void crowd_fail(struct crowd *crowd, const char *format, ...)
{
    if (crowd->part->is_failed) return;
    va_list list;
    va_start(list, format);
    vsnprintf(crowd->part->failure, sizeof crowd->part->failure, format, list);
    va_end(list);
    crowd->part->is_failed = true;
}

const char *crowd_channel(const struct crowd *crowd, uint32_t channel)
{
    static struct text name;
    name.used = 0;
    text_add_text(&name, crowd->scenario->prefix);
    text_add_number(&name, channel);
    text_add(&name, "", 1);
    return name.at;
}

struct sub *client_sub(struct crowd *crowd, const struct client *client, struct span channel)
{
    size_t prefix = strlen(crowd->scenario->prefix);
    uint32_t number = 0;
    if (channel.size <= prefix) return NULL;
    for (size_t i = prefix; i < channel.size; i++)
        number = number * 10 + (uint32_t)(channel.at[i] - '0');
    struct sub *subs = &crowd->subs[client->subs_at];
    for (uint32_t i = 0; i < client->subs_count; i++)
        if (subs[i].channel == number) return &subs[i];
    return NULL;
}

/* --- sending ------------------------------------------------------------------------------ */

static void client_touch(struct crowd *crowd, struct client *client)
{
    if (client->is_dirty) return;
    client->is_dirty = true;
    crowd->dirty[crowd->dirty_count++] = client;
}

static void client_pushed(struct crowd *crowd, struct client *client)
{
    if (client->out.used > OUT_MAX)
        crowd_fail(crowd, "client %u: the server takes less than the pace sends", client->number);
    client_touch(crowd, client);
}

/* Bytes of a frame, or of the upgrade, on their way. */
static void client_push(struct crowd *crowd, struct client *client, const struct text *bytes)
{
    if (client->cover != NULL)
        cover_seal(client->cover, bytes->at, bytes->used, &client->out);
    else
        text_add(&client->out, bytes->at, bytes->used);
    client_pushed(crowd, client);
}

void client_say(struct crowd *crowd, struct client *client, struct text *message)
{
    static struct text frame;
    enum opcode opcode = crowd->words != NULL ? crowd->words->opcode : OPCODE_TEXT;
    if (client->cover == NULL) {
        wire_frame(&client->out, opcode, message->at, message->used);
        client_pushed(crowd, client);
    } else {
        frame.used = 0;
        wire_frame(&frame, opcode, message->at, message->used);
        client_push(crowd, client, &frame);
    }
    message->used = 0;
}

static void flush(struct crowd *crowd)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < crowd->dirty_count; i++) {
        struct client *client = crowd->dirty[i];
        if (client->state != CLOSED && (client->is_blocked || client->state == CONNECTING)) {
            crowd->dirty[kept++] = client;
            continue;
        }
        client->is_dirty = false;
        if (client->state == CLOSED || client->out.used == 0) continue;
        client->sending = client->out.used;
        loop_send_now(crowd->loop, client->sock, client->out.at, client->out.used);
        crowd->sent[crowd->sent_count++] = client;
    }
    crowd->dirty_count = kept;
}

/* What the last turn sent and nobody complained about has gone. */
static void settle(struct crowd *crowd)
{
    for (uint32_t i = 0; i < crowd->sent_count; i++) {
        struct client *client = crowd->sent[i];
        if (client->is_blocked || client->state == CLOSED) continue;
        text_drop(&client->out, client->sending);
        client->sending = 0;
        if (client->out.used == 0 && crowd->clients_count > 20000) text_free(&client->out);
    }
    crowd->sent_count = 0;
}

static void on_send(void *owner, uint32_t sock, uint32_t sent, int error)
{
    struct crowd *crowd = owner;
    struct client *client = crowd->of_sock[sock];
    if (client->state == CLOSED) return;
    text_drop(&client->out, sent);
    client->sending = 0;
    if (error != 0 && error != EAGAIN) return; /* on_end tells it */
    client->is_blocked = client->out.used > 0 && error == EAGAIN;
    if (client->is_blocked) {
        client->sending = client->out.used;
        loop_send_wait(crowd->loop, sock, client->out.at, client->out.used);
    } else if (client->out.used > 0) {
        client_touch(crowd, client);
    }
}

/* --- coming in ------------------------------------------------------------------------------ */

void client_open(struct crowd *crowd, struct client *client)
{
    const struct scenario *s = crowd->scenario;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)s->port)};
    uint32_t host =
        ntohl(inet_addr(s->host)) + client->number / crowd->tally->processes % s->addresses;
    address.sin_addr.s_addr = htonl(host);
    client->sock =
        loop_connect(crowd->loop, SOCK_LINK, (struct sockaddr *)&address, sizeof address);
    if (client->sock == SOCK_NONE) {
        crowd_fail(crowd, "client %u: no socket is free; more processes have more", client->number);
        return;
    }
    crowd->of_sock[client->sock] = client;
    client->state = CONNECTING;
    client->begun_ns = crowd->now_ns;
    crowd->opening++;
    if (!client->is_extra) crowd->part->opened++;
}

/* A heap block per text is too much for a million clients that are only there. */
static void client_forget(struct client *client)
{
    text_free(&client->in);
    text_free(&client->plain);
    text_free(&client->out);
    text_free(&client->part);
    cover_free(client->cover);
    client->cover = NULL;
    client->sending = 0;
    client->is_blocked = false;
}

void client_close(struct crowd *crowd, struct client *client)
{
    if (client->state == CLOSED) return;
    if (client->state != READY) crowd->opening--;
    client->state = CLOSED;
    loop_close(crowd->loop, client->sock, false);
}

static void upgrade(struct crowd *crowd, struct client *client)
{
    struct text request = {0};
    const char *subprotocol = crowd->words != NULL ? crowd->words->subprotocol : NULL;
    char path[256];
    if (crowd->scenario->wire == WIRE_RELAY && client->subs_count > 0)
        snprintf(path, sizeof path, "%s%u", crowd->scenario->path,
                 crowd->subs[client->subs_at].channel);
    else
        snprintf(path, sizeof path, "%s", crowd->scenario->path);
    wire_upgrade(&request, crowd->scenario->host, path, subprotocol);
    client->state = UPGRADING;
    client_push(crowd, client, &request);
    text_free(&request);
}

void client_ready(struct crowd *crowd, struct client *client)
{
    client->state = READY;
    crowd->opening--;
    if (client->cover != NULL && cover_is_resumed(client->cover)) crowd->part->resumed++;
    if (!client->is_extra) {
        histogram_add(&crowd->part->opening, (crowd->now_ns - client->begun_ns) / 1000);
        crowd->part->ready++;
    }
    traffic_ready(crowd, client);
}

static void greet(struct crowd *crowd, struct client *client)
{
    client->state = GREETING;
    if (crowd->words == NULL || crowd->scenario->wire == WIRE_RELAY) {
        client_ready(crowd, client);
        return;
    }
    struct text message = {0};
    char user[24], token[TOKEN_MAX] = "";
    const struct scenario *s = crowd->scenario;
    snprintf(user, sizeof user, "u%011u", s->first + client->number);
    if (*s->secret != 0) token_make(s->secret, user, s->info, token);
    crowd->words->connect(&message, ++client->ids, token);
    client->answers = 1u + client->subs_count;
    for (uint32_t i = 0; i < client->subs_count; i++) {
        uint32_t channel = crowd->subs[client->subs_at + i].channel;
        const struct position *from = traffic_position(crowd, channel);
        crowd->words->subscribe(&message, ++client->ids, crowd_channel(crowd, channel), from);
        if (s->kind != KIND_RECEIPTS) continue;
        char receipts[300];
        snprintf(receipts, sizeof receipts, "receipts:%s", crowd_channel(crowd, channel));
        crowd->words->subscribe(&message, ++client->ids, receipts, NULL);
        client->answers++;
    }
    client_say(crowd, client, &message);
    text_free(&message);
}

static void on_connect(void *owner, uint32_t sock, int error)
{
    struct crowd *crowd = owner;
    struct client *client = crowd->of_sock[sock];
    if (client->state == CLOSED) return;
    if (error != 0) {
        crowd_fail(crowd, "client %u: %s", client->number, strerror(error));
        return;
    }
    loop_recv_arm(crowd->loop, sock);
    if (crowd->covers == NULL) {
        upgrade(crowd, client);
        return;
    }
    client->state = SECURING;
    client->cover = cover_create(crowd->covers);
    cover_begin(client->cover, &client->out);
    client_touch(crowd, client);
}

/* --- hearing -------------------------------------------------------------------------------- */

static void hear_message(struct crowd *crowd, struct client *client, struct wire_message *message)
{
    crowd->part->bytes += message->size;
    if (crowd->words == NULL)
        traffic_plain(crowd, client, (struct span){message->payload, message->size});
    else
        traffic_hear(crowd, client, (struct span){message->payload, message->size});
}

/* Messages in pieces are put together. */
static void hear_piece(struct crowd *crowd, struct client *client, struct wire_message *message)
{
    if (message->is_last && client->part.used == 0) {
        hear_message(crowd, client, message);
        return;
    }
    text_add(&client->part, message->payload, message->size);
    if (!message->is_last) return;
    message->payload = client->part.at;
    message->size = client->part.used;
    hear_message(crowd, client, message);
    client->part.used = 0;
}

static void hear_frame(struct crowd *crowd, struct client *client, struct wire_message *message)
{
    struct text pong = {0};
    switch (message->opcode) {
    case OPCODE_PING:
        wire_frame(&pong, OPCODE_PONG, message->payload, message->size);
        client_push(crowd, client, &pong);
        text_free(&pong);
        crowd->part->pings++;
        break;
    case OPCODE_PONG: break;
    case OPCODE_CLOSE: break; /* the end follows */
    default: hear_piece(crowd, client, message);
    }
}

/* Takes what is whole of data[size]; how much that was. */
static uint32_t hear_all(struct crowd *crowd, struct client *client, const char *data,
                         uint32_t size)
{
    uint32_t at = 0;
    if (client->state == UPGRADING) {
        bool is_good;
        at = wire_upgraded(data, size, &is_good);
        if (at == 0) return 0;
        if (!is_good) {
            crowd_fail(crowd, "client %u is not let in: %.*s", client->number,
                       (int)strcspn(data, "\r"), data);
            return size;
        }
        greet(crowd, client);
    }
    while (client->state != CLOSED) {
        struct wire_message message;
        uint32_t frame = wire_read(data + at, size - at, &message);
        if (frame == 0) break;
        if (frame == UINT32_MAX) {
            crowd_fail(crowd, "client %u: a frame that no server may send", client->number);
            return size;
        }
        at += frame;
        hear_frame(crowd, client, &message);
    }
    return at;
}

/* Plain bytes of the wire, behind what was not whole before. */
static void take(struct crowd *crowd, struct client *client, const char *data, uint32_t size)
{
    struct text *in = &client->in;
    if (in->used > 0) {
        text_add(in, data, size);
        uint32_t taken = hear_all(crowd, client, in->at, in->used);
        text_drop(in, taken);
        if (in->used == 0) text_free(in);
    } else {
        uint32_t taken = hear_all(crowd, client, data, size);
        text_add(in, data + taken, size - taken);
    }
}

static void on_recv(void *owner, uint32_t sock, uint8_t *data, uint32_t size)
{
    struct crowd *crowd = owner;
    struct client *client = crowd->of_sock[sock];
    if (client->state == CLOSED) return;
    crowd->part->wakes++;
    if (client->cover == NULL) {
        take(crowd, client, (const char *)data, size);
        return;
    }
    bool is_alive =
        cover_take(client->cover, (const char *)data, size, &client->plain, &client->out);
    if (client->out.used > 0) client_touch(crowd, client);
    if (client->state == SECURING && cover_is_open(client->cover)) upgrade(crowd, client);
    if (client->state == SECURING && !is_alive)
        crowd_fail(crowd, "client %u: no TLS: %s", client->number, cover_failure());
    if (client->plain.used > 0) {
        take(crowd, client, client->plain.at, client->plain.used);
        text_free(&client->plain);
    }
}

static void on_end(void *owner, uint32_t sock, int error)
{
    struct crowd *crowd = owner;
    struct client *client = crowd->of_sock[sock];
    if (client->state == CLOSED) return;
    bool may_end = client->is_slow || crowd->tally->phase == PHASE_OVER;
    if (!may_end)
        crowd_fail(crowd, "client %u was closed by the server%s%s", client->number,
                   error != 0 ? ": " : "", error != 0 ? strerror(error) : "");
    crowd->part->closed++;
    client_close(crowd, client);
}

/* Until here a send may still read the client's bytes. */
static void on_closed(void *owner, uint32_t sock)
{
    struct crowd *crowd = owner;
    struct client *client = crowd->of_sock[sock];
    client_forget(client);
    crowd->of_sock[sock] = NULL;
}

static const struct sock_handlers handlers = {
    .on_connect = on_connect,
    .on_recv = on_recv,
    .on_end = on_end,
    .on_send = on_send,
    .on_closed = on_closed,
};

/* --- the turn ------------------------------------------------------------------------------- */

/* Who may come now: so many under way, or so many a second. */
static void open_next(struct crowd *crowd)
{
    const struct scenario *s = crowd->scenario;
    uint32_t share = max_u32(s->opening / s->processes, 1);
    uint64_t due = UINT64_MAX;
    /* A phase may begin a little after this turn did. */
    uint64_t began_ns = min_u64(crowd->tally->began_ns, crowd->now_ns);
    if (s->open_rate > 0)
        due = (uint64_t)((double)(crowd->now_ns - began_ns) * 1e-9 * s->open_rate / s->processes);
    /* Nobody resumes before there is a ticket. */
    if (crowd->covers != NULL && !cover_context_is_warm(crowd->covers)) share = 1;
    while (crowd->opened < crowd->clients_count && crowd->opening < share && crowd->opened < due &&
           !crowd->part->is_failed)
        client_open(crowd, &crowd->clients[crowd->opened++]);
}

void crowd_turn(struct crowd *crowd, uint64_t wake_ms)
{
    loop_enter(crowd->loop, wake_ms);
    crowd->now_ns = now_ns();
    loop_run(crowd->loop);
    settle(crowd);
    if (crowd->tally->phase == PHASE_OPEN) open_next(crowd);
    traffic_turn(crowd);
    flush(crowd);
}

void crowd_create(struct crowd *crowd, const struct scenario *scenario, struct tally *tally,
                  uint32_t process)
{
    const struct scenario *s = scenario;
    *crowd = (struct crowd){
        .scenario = s, .tally = tally, .part = &tally->part[process], .process = process};
    crowd->words = s->wire == WIRE_PLAIN      ? NULL
                   : s->wire == WIRE_PROTOBUF ? &words_protobuf
                                              : &words_json;
    crowd->clients_count = (s->clients - process + s->processes - 1) / s->processes;
    uint32_t extra = s->kind == KIND_RETURN;
    struct loop_options options = {
        .socks_max = crowd->clients_count + extra + 64,
        .links_max = crowd->clients_count + extra + 32,
        .recv_buffers = 1024,
        .recv_buffer_size = 8192,
        .sq_entries = 4096,
        .cq_entries = 32768,
        .is_client = true,
        .is_quiet = true,
    };
    if (loop_create(&options, &crowd->loop) != ERR_OK) {
        crowd_fail(crowd, "no ring: is io_uring allowed here?");
        return;
    }
    loop_handle(crowd->loop, SOCK_LINK, &handlers, crowd);
    loop_start(crowd->loop);
    crowd->of_sock = calloc(loop_socks_max(crowd->loop), sizeof *crowd->of_sock);
    crowd->clients = calloc(crowd->clients_count + extra, sizeof *crowd->clients);
    crowd->dirty = calloc(crowd->clients_count + extra, sizeof *crowd->dirty);
    crowd->sent = calloc(crowd->clients_count + extra, sizeof *crowd->sent);
    if (s->tls != TLS_OFF) crowd->covers = cover_context_create(s->tls == TLS_RESUMED);
    for (uint32_t i = 0; i < crowd->clients_count + extra; i++)
        crowd->clients[i].number = process + i * s->processes;
    traffic_create(crowd);
}
