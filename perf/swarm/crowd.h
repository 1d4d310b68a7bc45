/*
 * crowd: the clients of one process, on one ring.
 *
 * Opens connections as fast as the scenario lets it, takes each through TLS, upgrade,
 * connect and its subscriptions, answers pings, and hands what else it hears to the
 * traffic.  What a turn says to a client leaves in one send.
 *
 *   CLOSED ─▶ CONNECTING ─▶ SECURING ─▶ UPGRADING ─▶ GREETING ─▶ READY ─▶ CLOSED
 *
 * The k-th client belongs to process k modulo processes; so does the k-th channel,
 * whose publisher it is.
 *
 * Thread:  its process's only one.
 */
#pragma once

#include "core/loop.h"
#include "cover.h"
#include "tally.h"

enum client_state { CLOSED, CONNECTING, SECURING, UPGRADING, GREETING, READY };

struct client {
    uint32_t number; /* in the whole run */
    uint32_t sock;
    uint32_t subs_at;   /* its subscriptions in crowd.subs */
    uint32_t answers;   /* that it still waits for before it is ready */
    uint32_t sending;   /* bytes of `out` that this turn's send has */
    uint32_t in_flight; /* frames (send), messages (echo) */
    uint32_t ids;       /* of the last command */
    uint16_t subs_count;
    uint8_t state;
    bool is_dirty, is_blocked;
    bool is_slow;  /* does not read */
    bool is_extra; /* return: learns and publishes before the crowd comes; not counted */
    uint64_t begun_ns;
    uint64_t said, heard; /* echo, plain: messages */
    struct cover *cover;
    struct text in, plain, out, part; /* of the wire; opened; to send; a message in pieces */
};

struct sub {
    uint32_t channel;
    uint64_t heard; /* number of the last message */
};

/* A channel whose publisher is ours. */
struct outlet {
    uint64_t published;
    struct client *publisher;
};

struct traffic;

struct crowd {
    const struct scenario *scenario;
    const struct words *words; /* NULL: plain frames */
    struct tally *tally;
    struct tally_part *part;
    struct traffic *traffic;
    uint32_t process;
    struct loop *loop;
    uint64_t now_ns; /* of the turn */
    struct client *clients;
    uint32_t clients_count, opened, opening;
    struct client **of_sock;
    struct sub *subs;
    struct outlet *outlets; /* of channel process + k * processes */
    uint32_t outlets_count;
    struct client **dirty, **sent;
    uint32_t dirty_count, sent_count;
    struct cover_context *covers;
};

void crowd_create(struct crowd *crowd, const struct scenario *scenario, struct tally *tally,
                  uint32_t process);
/* One turn: an enter, what it brought, who comes next, what the traffic says, the sends. */
void crowd_turn(struct crowd *crowd, uint64_t wake_ms);
/* Opens one of ours now. */
void client_open(struct crowd *crowd, struct client *client);
/* All that it waited for has come. */
void client_ready(struct crowd *crowd, struct client *client);
void client_close(struct crowd *crowd, struct client *client);
/* Sends a frame with the commands of `message`, which is emptied. */
void client_say(struct crowd *crowd, struct client *client, struct text *message);
/* The name of a channel. */
const char *crowd_channel(const struct crowd *crowd, uint32_t channel);
/* Ends the run: this process's failure, as a sentence. */
void crowd_fail(struct crowd *crowd, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Number of a channel among the subscriptions of a client, by its name; NULL: none of them. */
struct sub *client_sub(struct crowd *crowd, const struct client *client, struct span channel);
