/*
 * book: what the run knows to be true, from everything anyone was told.
 *
 * Messages have numbers that travel in their payload.  Whoever sees one at an
 * offset writes it down; whoever is told otherwise later has found a bug.
 *
 * The book is the models' common memory: check_order.c, check_delivery.c and
 * check_access.c hold the properties, the clients call them.
 */
#pragma once

#include "plan.h"

#define EPOCH_SIM_MAX 32

enum message_fate {
    FATE_OPEN,    /* sent, perhaps more than once; not answered */
    FATE_ACKED,   /* acknowledged: durable from then on */
    FATE_UNKNOWN, /* answered with an error, or the connection ended: may have happened */
    FATE_REFUSED, /* answered "you may not": must not have happened */
};

struct book_message {
    uint32_t channel;
    uint32_t publisher;
    enum message_fate fate;
    uint64_t session; /* of the publisher's connection: order holds within one */
    uint64_t offset;  /* 0: not known yet */
};

struct book_channel {
    const struct plan_channel *plan;
    char epoch[EPOCH_SIM_MAX]; /* "" until anyone was told */
    uint64_t head;             /* highest offset delivered or acknowledged */
    uint32_t *numbers;         /* by offset: message number + 1; 0 unknown */
    uint64_t numbers_room;
    /* Receipts: by user, the highest offset acknowledged and ever asked for. */
    uint64_t read_acked[USERS_SIM_MAX], read_asked[USERS_SIM_MAX];
    bool has_members;       /* members_set was acknowledged */
    uint32_t members_since; /* messages with this number and later came after */
};

struct book {
    const struct plan *plan;
    struct book_channel channels[CHANNELS_SIM_MAX];
    struct book_message *messages;
    uint32_t messages_count, messages_room;
    uint64_t delivered, acked, recovered, unrecovered, repeats;
};

extern struct book book;

void book_init(const struct plan *plan);
void book_fini(void);
uint32_t book_message_new(uint32_t channel, uint32_t publisher);
/* The channel of that name, or UINT32_MAX. */
uint32_t book_channel_of(struct bytes name);
/* The message number inside a payload; fails the run when it holds none. */
uint32_t book_number_of(struct bytes data);

/* check_order.c: a publication of `channel` was seen at `offset`. */
void check_seen(uint32_t channel, uint64_t offset, uint32_t number);
/* The epoch that someone was told. */
void check_epoch(uint32_t channel, const char *epoch);

/* check_delivery.c: an acknowledgement; `offset` 0 when it tells none. */
void check_acked(uint32_t number, uint64_t offset, const char *epoch);
/* An error answer to a publish. */
void check_refused(uint32_t number, uint32_t code);
/* A position that an answer told; `head_before` is book head when it was asked. */
void check_position(uint32_t channel, uint64_t offset, uint64_t head_before);
/* A cursor that an answer told; `least`: what was asked for, and what was told before. */
void check_cursor(uint32_t channel, uint32_t user, uint64_t least, uint64_t told);
/* At the end, history was read whole: everything acknowledged is in it. */
void check_complete(uint32_t channel, uint64_t first, uint64_t head);
/* At the end: readers and eligible ones of `offset` by the gateway's count. */
void check_counts(uint32_t channel, uint64_t offset, uint64_t readers, uint64_t eligible);
