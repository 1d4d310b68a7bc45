/*
 * peers: what nodes that share a store let each other know.
 *
 * An engine that others write to as well (store_engine.peers) keeps three things
 * for all of them; one that is alone has none of it, and whoever asks then knows
 * everything itself.
 *
 *   presence   who attends a channel.  Each home enters its own clients and takes
 *              them back; what a node that died has left is taken back for it, and
 *              told as leaves, some ten seconds later.
 *   surveys    one question to every shard of every other node.
 *   tellings   what is said about a user reaches every shard of every node, each
 *              once and all in one order, also who was away for a while.
 *
 * Nothing is answered inside the call that asked.
 *
 * Thread:  owner shard of the store.
 * Source:  storage/redis/presence.c, storage/redis/nodes.c, storage/redis/tell.c
 * Tests:   tests/unit/storage/test_redis_peers.c, test_redis_tell.c,
 *          tests/conformance/nodes_peers.test.mjs
 */
#pragma once

#include "storage/store.h"

/* Somebody who attends a channel.  Views are borrowed. */
struct store_present {
    uint8_t client[16];
    struct bytes user, conn_info, chan_info;
};

enum store_present_flag {
    STORE_PRESENT_LISTED = 1, /* rolls show it */
    STORE_PRESENT_TOLD = 2,   /* other nodes' listeners are told of its coming and going */
    STORE_PRESENT_QUIET = 4,  /* its coming was told before: it is entered again */
};

/* Op: who attends a channel, over all nodes. */
struct store_roll {
    struct bytes channel; /* kept alive by the owner */
    bool is_count;        /* numbers only */
    uint32_t clients_max; /* more are counted and not listed */
    void (*on_roll)(struct store_roll *op, enum err err, uint32_t clients, uint32_t users,
                    const struct store_present *present, uint32_t present_count);
    void *engine; /* private to the engine */
};

/* Op: a question to every shard of every other node. */
struct store_survey {
    struct bytes question; /* kept alive by the owner */
    /* One answer, borrowed; as many as there are. */
    void (*on_part)(struct store_survey *op, struct bytes answer);
    /* ERR_PEER_SILENT: somebody is there and did not answer in time; ERR_STORE_DOWN: nobody
     * could be asked. */
    void (*on_end)(struct store_survey *op, enum err err);
    /* private to the engine */
    struct list link;
    uint64_t id, due_ms;
    void *engine;
};

/* Whom an answer goes to; a value, kept as long as it takes. */
struct store_asker {
    char box[17];
    uint64_t id;
};

/* Op: says something about a user to every shard of every node. */
struct store_tell {
    struct bytes user, text; /* copied */
    /* Without a place in the order, and kept nowhere: who does not hear it now never does. */
    bool is_passing;
    /* ERR_OK: in its place of the order, after everything that came before it; other
     * shards hear it by on_told, this one does not.  ERR_STORE_UNKNOWN: perhaps. */
    void (*on_end)(struct store_tell *op, enum err err);
    /* private to the engine */
    struct list link;
    void *engine;
};

/* Where it ends; context as in store_sink. */
struct store_peer_sink {
    /* Another node's client came to an open channel, or went. */
    void (*on_join)(void *context, struct store_channel *channel, const struct store_present *who,
                    bool is_leave);
    /* Everyone whom this shard entered into the channel is to be entered again. */
    void (*on_reenter)(void *context, struct store_channel *channel);
    /* Answered by store_answer, now or later. */
    void (*on_question)(void *context, const struct store_asker *asker, struct bytes question);
    /* `age_ms`: how long ago it was said. */
    void (*on_told)(void *context, struct bytes user, struct bytes text, uint64_t age_ms);
};

/* What an engine with peers does. */
struct store_peers {
    void (*enter)(struct store *store, struct bytes channel, const struct store_present *who,
                  uint32_t flags);
    void (*leave)(struct store *store, struct bytes channel, const uint8_t client[16],
                  bool is_listed);
    void (*roll)(struct store *store, struct store_roll *op);
    void (*survey)(struct store *store, struct store_survey *op);
    void (*answer)(struct store *store, const struct store_asker *asker, struct bytes answer);
    void (*tell)(struct store *store, struct store_tell *op);
    void (*goodbye)(struct store *store);
};

static inline bool store_has_peers(const struct store *store)
{
    return store->engine->peers != NULL;
}
/* `flags`: enum store_present_flag.  Lasts until the leave, over every loss. */
static inline void store_enter(struct store *store, struct bytes channel,
                               const struct store_present *who, uint32_t flags)
{
    store->engine->peers->enter(store, channel, who, flags);
}
static inline void store_leave(struct store *store, struct bytes channel, const uint8_t client[16],
                               bool is_listed)
{
    store->engine->peers->leave(store, channel, client, is_listed);
}
static inline void store_roll(struct store *store, struct store_roll *op)
{
    store->engine->peers->roll(store, op);
}
static inline void store_survey(struct store *store, struct store_survey *op)
{
    store->engine->peers->survey(store, op);
}
static inline void store_answer(struct store *store, const struct store_asker *asker,
                                struct bytes answer)
{
    store->engine->peers->answer(store, asker, answer);
}
static inline void store_tell(struct store *store, struct store_tell *op)
{
    store->engine->peers->tell(store, op);
}
/* Nothing comes after it: others need not wait for this shard any more. */
static inline void store_goodbye(struct store *store)
{
    store->engine->peers->goodbye(store);
}
