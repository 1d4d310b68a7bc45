/*
 * traffic_parts: what the kinds of traffic share.
 *
 * Thread:  its process's only one.
 */
#pragma once

#include "core/rng.h"
#include "traffic.h"

/* Commands of a survey have numbers from here on, two a channel. */
#define SURVEY_IDS 0x40000000u

struct traffic {
    struct hearer hearer;
    struct client *speaker; /* who is heard just now */
    struct rng rng;
    struct text message;           /* being put together */
    char *data;                    /* of a message */
    uint64_t paced_from_ns, paced; /* open loop: where it began, and how many were due */
    double rate;                   /* of this process */
    uint32_t next;                 /* whose turn it is, where all are alike */
    double *weights;               /* cumulative, of our channels; NULL: all alike */
    /* send: when command id left, at id % times of its client */
    uint64_t *asked_ns;
    uint32_t asked_size;
    /* A survey of where our channels stand. */
    uint32_t surveyed, survey_asked;
    bool has_begun, is_second_survey;
    uint64_t away_acked; /* return */
    struct receipts *receipts;
};

/* Writes the data of message `number` of `source`; valid until the next. */
struct span traffic_data(struct crowd *crowd, uint32_t source, uint64_t number, uint64_t due_ns);
/* The intended moment of the next message of the open loop, when it has come; 0: not yet. */
uint64_t traffic_due(struct crowd *crowd);
/* One of our channels, by its weight. */
uint32_t traffic_pick(struct crowd *crowd);
bool traffic_is_measuring(const struct crowd *crowd);
void traffic_took(struct crowd *crowd, uint64_t due_ns);

/* The next message of one of our channels. */
void traffic_publish(struct crowd *crowd, uint32_t outlet_at, uint64_t due_ns);

/* receipts (traffic_receipts.c). */
void receipts_create(struct crowd *crowd);
void receipts_turn(struct crowd *crowd);
bool receipts_is_done(struct crowd *crowd);
/* A client got the room's message; was told of receipts; has an answer. */
void receipts_on_message(struct crowd *crowd, const struct client *client, uint64_t offset);
void receipts_hear(struct crowd *crowd, const struct client *client, struct span data);
void receipts_on_reply(struct crowd *crowd, const struct client *client, const struct heard *heard);

/* send and return (traffic_send.c). */
void send_turn(struct crowd *crowd);
bool send_is_done(struct crowd *crowd);
void send_on_reply(struct crowd *crowd, struct client *client, const struct heard *heard);
void away_turn(struct crowd *crowd);
bool away_is_done(struct crowd *crowd);
/* send: asks where our channels stand; true when all have answered, or none need be asked. */
bool survey_turn(struct crowd *crowd);
/* True when the reply belongs to a survey. */
bool survey_on_reply(struct crowd *crowd, const struct heard *heard);
