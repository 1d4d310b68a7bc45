/*
 * events: a consumer of the stream in which a chat server tells of cursor moves.
 *
 * Entries of the stream read_cursor_events (channel_id, user_id, last_post_seq,
 * updated_at) are handed over, a batch at a time, and acknowledged when what they ask
 * for is durable; so each is handed over at least once, and since a cursor is a maximum,
 * once more changes nothing.  Every node is one consumer of the group, and an entry goes
 * to one of them; what a consumer left behind when it ended is taken over after a minute.
 *
 *   GROUP ─▶ OWN ─▶ CLAIM ─▶ FRESH ─▶ entries ─▶ events_done each ─▶ ACK ─▶ FRESH …
 *             ▲        └ each 30 s ┘                      │ not now: kept, asked again
 *             └────────────────── a second later ─────────┘
 *
 * The Redis of the stream is the chat server's: one server, whatever the store is.  While
 * it cannot be reached nothing else is held up.
 *
 * Thread:  the owner shard.
 * Bound:   EVENTS_BATCH_MAX entries under way; with nothing to do a question a second.
 * Source:  storage/redis/events.c
 * Tests:   tests/conformance/read_events.test.mjs
 */
#pragma once

#include "core/bytes.h"
#include "core/clock.h"
#include "core/config.h"
#include "core/err.h"
#include "core/rng.h"
#include "core/wheel.h"

struct loop;
struct events;

#define EVENTS_BATCH_MAX 256

/* Borrowed for the call. */
struct event {
    struct bytes channel, user;
    uint64_t seq;  /* last_post_seq */
    bool is_whole; /* false: a field is missing or malformed */
};

struct events_env {
    struct loop *loop;
    struct wheel *wheel;
    struct clock *clock;
    struct rng *rng;
    const struct config *config; /* outlives it */
    const char *consumer;        /* the same */
    /* `slot` names the entry until events_done, which may be called at once. */
    void (*on_event)(void *context, const struct event *event, uint32_t slot);
    void *context;
};

/* Can the options be followed?  Said in the log.  Blocking, before the shards start. */
must_use enum err events_check(const struct config *config);
/* On the shard's thread, with a loop that runs; NULL when events_check would say no. */
must_use struct events *events_create(const struct events_env *env);
/* Accepts NULL.  What is not acknowledged comes again, here or elsewhere. */
void events_destroy(struct events *events);
/* ERR_OK and what cannot get better: the entry is done with, and true.  An error of
 * another time (BUSY, STORE, WORLD): it comes again. */
bool events_done(struct events *events, uint32_t slot, enum err err);
/* Step 6 of the turn: what was asked leaves. */
void events_turn(struct events *events);
/* Asks for nothing more: the node drains. */
void events_stop(struct events *events);
