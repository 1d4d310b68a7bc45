/*
 * store: the durable log behind one shard's channels, one interface, three engines.
 *
 * Promises, for every engine as far as it says it is durable:
 *  1. Per channel, offsets are gapless from 1 within an epoch.
 *  2. on_appended with ERR_OK means durable at the configured level; the feed
 *     brings a publication only after that; and feed order is offset order.
 *  3. An append with a key that was seen before in its (channel, scope) within
 *     the horizon changes nothing and answers the first offset, also while the
 *     first is still under way (it joins its answer) and after a restart.
 *  4. ERR_STORE_UNKNOWN means: it may or may not have happened; retry with the
 *     same key.  No other error leaves anything behind.
 *  5. A removal is a record like any other: durable when it is answered, and what
 *     it removed stays removed, here, after a restart and on other nodes.
 *     So is a publication that deletes an earlier one (`deletes`): from then on that is, in
 *     every answer, what publication_bury makes of it; offsets stay gapless, and its key is
 *     remembered.
 *  6. Loss is told: a channel whose stored data vanished gets on_lost and a new epoch.
 *  7. Members and their cursors are records like publications: what was answered is
 *     there after a restart and on every node, and a channel that has members, or a mark
 *     of its own, keeps its epoch.  A publication moves its publisher's cursors in the
 *     same step.
 *  8. A channel without publications, members, keys, a mark of its own and listeners is
 *     forgotten history_meta_ttl after its last use, and comes again in another epoch.
 *
 * A channel is opened before anything else is asked of it.  Opening loads its
 * epoch, head, members and newest publications, and starts the feed: everything
 * after the head of the snapshot comes through the sink, in order, exactly once,
 * the shard's own appends included and, with Redis, those of other nodes.
 * `memory` keeps everything in the process and promises nothing past it.
 *
 *   home: store_open ─▶ on_opened(snapshot)
 *         store_append ─▶ …commit… ─▶ on_appended, then sink.on_publication
 *         store_read  ─▶ on_read        store_close (no op under way)
 *         store_moves ─▶ on_moves       store_memberships ─▶ on_memberships
 *
 * Callbacks run inside loop_run, inbox_read, wheel_run or store_submit of the
 * owner shard, never inside the call that asked.
 *
 * Thread:  a struct store belongs to its shard; struct store_node to the process
 *          (opened before and closed after the shards).
 * Source:  storage/embed, storage/redis, storage/memory
 * Tests:   tests/unit/storage/test_store.c, test_store_remove.c, test_store_delete.c,
 *          test_store_members.c, test_store_moves.c, test_store_forget.c (one contract,
 *          every engine)
 */
#pragma once

#include "core/clock.h"
#include "core/config.h"
#include "core/inbox.h"
#include "core/limits.h"
#include "core/list.h"
#include "core/metric.h"
#include "core/rng.h"
#include "core/wheel.h"
#include "core/worker.h"
#include "storage/member.h"

struct loop;
struct store;
struct store_node;
struct store_peers;
struct store_sync;
struct store_peer_sink;

/* How much of a channel is kept; from its namespace.  size or ttl_ms 0: none,
 * publications are live only and get offset 0. */
struct history_rule {
    uint32_t size;
    uint64_t ttl_ms;
};
static inline bool history_is_kept(struct history_rule rule)
{
    return rule.size > 0 && rule.ttl_ms > 0;
}

/* The store's part of a channel; a field of the home's channel object, which
 * keeps `name` alive.  `head` and `epoch` are read by anyone on the shard. */
struct store_channel {
    struct bytes name;
    uint64_t head;             /* last offset given to the sink: durable, confirmed */
    char epoch[EPOCH_MAX + 1]; /* set from on_opened on */
    struct history_rule history;
    void *engine; /* private to the engine */
};

/* Borrowed for the callback. */
struct store_snapshot {
    const struct publication *publications; /* the newest, ascending, ending at channel->head */
    uint32_t publications_count;
    const struct store_member *members;
    uint32_t members_count;
    uint64_t policy;  /* CURSOR_POLICY */
    uint64_t removed; /* offsets up to it were removed (RECORD_REMOVE); 0: nothing was */
};

/* Ops are fields of the object they serve, kept alive until their callback. */
struct store_open {
    struct store_channel *channel;
    uint32_t window_max; /* at most that many publications in the snapshot */
    /* After an error the channel is closed, and `snapshot` is NULL. */
    void (*on_opened)(struct store_open *op, enum err err, const struct store_snapshot *snapshot);
    /* private to the engine */
    struct list link;
    struct job job;
    void *engine;
};

struct store_append {
    struct store_channel *channel;
    enum record_type type;
    /* All views are copied before store_append returns. */
    struct publication publication; /* offset and time_ms are given by the store.  `deletes`: not
                                       above the head, and only where publications are kept */
    struct bytes scope, key;        /* empty key: none */
    struct members_ask members;     /* RECORD_MEMBERS: at most MEMBERS_RECORD_MAX users;
                                       storage/change.h cuts longer lists */
    struct bytes user;              /* RECORD_CURSOR: who; a user who is no member is passed over;
                                       empty for a mark of the channel */
    enum cursor_mark mark;          /* RECORD_CURSOR */
    uint64_t offset;                /* RECORD_CURSOR: cut to the head */
    /* RECORD_PUBLICATION with a key: nothing is appended, it is the first one's answer that
     * is asked for; ERR_NOT_FOUND when the key was not seen. */
    bool is_look_up;
    bool is_live_only; /* RECORD_PUBLICATION: deliver it, keep nothing but its key; offset 0 */
    /* Answer, for the callback: what `offset` is of.  Empty: of the channel's epoch;
     * else of the one that has followed it, and on_lost is on its way. */
    struct bytes epoch;
    /* RECORD_REMOVE says nothing more: everything up to the head that the channel
     * has in the order of the appends; offsets, epoch, members and keys stay.
     * `offset`: of the publication (0 when live only), the last one removed, the head at
     * which a list came into force, or the cursor's, cut to the head; `is_repeat`: the
     * key was seen before. */
    void (*on_appended)(struct store_append *op, enum err err, uint64_t offset, bool is_repeat);
    /* private to the engine */
    struct list link;
    void *engine;
};

struct store_read {
    struct store_channel *channel;
    /* Exclusive.  Forward: offsets > since; reverse: offsets < since, 0 from the head. */
    uint64_t since;
    uint32_t limit; /* at most that many; UINT32_MAX: everything */
    bool is_reverse;
    /* Answer, for the callback: some that should be kept are missing or cannot be read, and
     * were passed over. */
    bool has_holes;
    /* Ascending, or descending when reverse; views borrowed for the callback.
     * Only what the channel's history rule still keeps.  An answer above
     * HISTORY_BYTES_MAX may end early, and then is ERR_LIMIT_SIZE when everything was
     * asked for. */
    void (*on_read)(struct store_read *op, enum err err, const struct publication *publications,
                    uint32_t publications_count);
    /* private to the engine */
    struct list link;
    struct job job;
    void *engine;
};

/* When did these members move to or past an offset, since they joined?  Known for
 * STORE_MOVES_MS, of channels that had at most STORE_MOVES_MEMBERS_MAX members at the time. */
struct store_moved {
    uint64_t joined;                /* the first offset that is for this member; 0: is none */
    uint64_t read_ms, delivered_ms; /* store time; 0: not known.  Reading delivers. */
};
/* Takes a move in: the first one of each kind counts. */
static inline void moved_note(struct store_moved *moved, enum cursor_mark mark, uint64_t time_ms)
{
    if (mark == CURSOR_READ && (moved->read_ms == 0 || time_ms < moved->read_ms))
        moved->read_ms = time_ms;
    if (moved->delivered_ms == 0 || time_ms < moved->delivered_ms) moved->delivered_ms = time_ms;
}
struct store_moves {
    struct store_channel *channel;
    uint64_t offset;
    /* No move to `offset` can be older: the time of its publication, or 0.  It only
     * spares work. */
    uint64_t since_ms;
    const struct bytes *users; /* members; copied before store_moves returns */
    uint32_t users_count;      /* at most STORE_MOVES_MEMBERS_MAX */
    /* `moved`: one for each user, in their order; NULL after an error. */
    void (*on_moves)(struct store_moves *op, enum err err, const struct store_moved *moved);
    /* private to the engine */
    struct list link;
    struct job job;
    void *engine;
};

/* The channels that a user is a member of.  What was answered in the last moments may be
 * missing, or still there (STORE_LISTED_LATE_MS), unless every shard has settled before
 * (store_settle); where it matters, a channel's own members decide. */
struct store_memberships {
    struct bytes user;  /* alive until the callback, as is `after` */
    struct bytes after; /* names above it, byte by byte; empty: from the first */
    uint32_t limit;     /* 1 .. STORE_MEMBERSHIPS_MAX */
    /* Ascending.  `has_more`: go on after the last one.  NULL and 0 after an error. */
    void (*on_memberships)(struct store_memberships *op, enum err err, const struct bytes *channels,
                           uint32_t count, bool has_more);
    /* private to the engine */
    struct list link;
    struct job job;
    void *engine;
};

/* Memberships that this shard has answered are to be listed. */
struct store_settle {
    void (*on_settled)(struct store_settle *op);
    /* private to the engine */
    struct list link;
    uint64_t batch;
};

#define STORE_MOVES_MS          (7u * 24 * 3600 * 1000)
#define STORE_MOVES_MEMBERS_MAX 256
#define STORE_MEMBERSHIPS_MAX   1000
/* After that long every membership that was answered is listed, unless the engine is
 * behind (store_health). */
#define STORE_LISTED_LATE_MS    1000

/* Somebody's mark, as a sink hears it. */
struct store_cursor {
    struct bytes user; /* empty: the channel's own */
    enum cursor_mark mark;
    uint64_t offset;  /* CURSOR_READ, CURSOR_DELIVERED: at most the head */
    uint64_t time_ms; /* store time */
};

/* Where the feed of all channels of a shard ends.  Views are borrowed. */
struct store_sink {
    void *context;
    /* channel->head was moved to publication->offset before, unless it is 0.  Its
     * publisher's cursors go with it (publication_mover); no on_cursor says so. */
    void (*on_publication)(void *context, struct store_channel *channel,
                           const struct publication *publication);
    /* In force from here on.  A list that comes in pieces stands beside the one that it takes
     * the place of; who is told of more than 2 * MEMBERS_MAX passes the rest over. */
    void (*on_members)(void *context, struct store_channel *channel,
                       const struct members_change *change);
    /* Users who are no members are to be passed over, and what moves nothing. */
    void (*on_cursor)(void *context, struct store_channel *channel,
                      const struct store_cursor *cursor);
    /* Publications at or below `offset` are kept nowhere any more; <= channel->head. */
    void (*on_removed)(void *context, struct store_channel *channel, uint64_t offset);
    /* What listeners count on is gone: the epoch changed under us and positions before are
     * void, or, in the same epoch, what stands up to the head cannot be had.
     * channel->epoch and head are the new ones; the owner tells its listeners and reopens,
     * and may hear more of the channel until it has closed it. */
    void (*on_lost)(void *context, struct store_channel *channel);
    const struct store_peer_sink *peers; /* what other nodes say (storage/peers.h); or NULL */
};

/* What a shard lends its store. */
struct store_env {
    uint32_t shard, shards_count;
    struct loop *loop;
    struct inbox *inbox;
    struct wheel *wheel;
    struct clock *clock;
    struct rng *rng;
    struct metrics *metrics;
    struct workers *workers;
    const struct config *config;
    struct store_sink sink;
};

/* How far a consumer group of the worker streams is behind, all partitions together;
 * of shard 0, where there are such streams. */
#define STORE_GROUPS_MAX     16
#define STORE_GROUP_NAME_MAX 63
struct store_group {
    char topic[24];
    char name[STORE_GROUP_NAME_MAX + 1]; /* '_' for what is not printable, quotes, backslashes */
    uint64_t lag;                        /* entries that the group has not read … */
    bool is_lag_unknown;                 /* … where the server knows that of every partition */
    uint64_t pending;                    /* read and not acknowledged */
};

/* A server behind the engine. */
struct store_server {
    const char *address;
    const char *role;    /* "primary" or "sentinel" */
    const char *problem; /* NULL: none */
};

#define STORE_DETAIL_MAX 320
struct store_health {
    bool is_ok;                         /* appends can become durable now */
    char detail[STORE_DETAIL_MAX];      /* one sentence for people */
    uint64_t lag_bytes;                 /* embedded: log not yet applied */
    uint64_t latency_us;                /* of the last commit or round trip */
    const char *durability;             /* "durable", "written" or "memory" */
    const struct store_group *groups;   /* valid for the turn */
    const struct store_server *servers; /* the same */
    uint32_t groups_count, servers_count;
};

/* What an engine is. */
struct store_engine {
    const char *name;                /* storage.engine */
    bool has_others;                 /* other nodes write too: only an open channel hears them */
    const struct store_peers *peers; /* what they do besides (storage/peers.h); NULL: alone */
    enum err (*node_open)(const struct config *config, struct workers *workers,
                          uint32_t shards_count, struct store_node **node);
    void (*node_close)(struct store_node *node);
    struct store *(*attach)(struct store_node *node, const struct store_env *env);
    void (*detach)(struct store *store);
    void (*open)(struct store *store, struct store_open *op);
    void (*close)(struct store *store, struct store_channel *channel);
    void (*append)(struct store *store, struct store_append *op);
    void (*read)(struct store *store, struct store_read *op);
    void (*moves)(struct store *store, struct store_moves *op);
    void (*memberships)(struct store *store, struct store_memberships *op);
    bool (*settle)(struct store *store, struct store_settle *op); /* NULL: nothing is late */
    void (*submit)(struct store *store);
    uint32_t (*pending)(const struct store *store);
    void (*health)(const struct store *store, struct store_health *health);
    void (*sync)(struct store *store, struct store_sync *op); /* storage/sync.h; NULL: none */
};

/* Every engine's node and store begin with these. */
struct store_node {
    const struct store_engine *engine;
};
struct store {
    const struct store_engine *engine;
    struct store_env env;
    uint64_t age_base_ms; /* store time minus monotonic time; 0: wall time is the store's */
};

/* The time that history_rule.ttl_ms and publication.taken_ms are measured in: Unix
 * milliseconds, unless the machine's clock jumped; then it goes on as if it had not.  On
 * Redis: by the server's clock. */
static inline uint64_t store_now_ms(const struct store *store)
{
    const struct clock *clock = store->env.clock;
    return store->age_base_ms == 0 ? clock->wall_ms : store->age_base_ms + clock_turn_ms(clock);
}

/* How long epoch and offset of the channel outlive its last use. */
uint64_t store_meta_ttl_ms(const struct config *config, struct bytes channel);

/* Opens the engine that config->storage_engine names; blocking: recovery and
 * its progress lines happen here.  Before shards start. */
must_use enum err store_node_open(const struct config *config, struct workers *workers,
                                  uint32_t shards_count, struct store_node **node);
/* After every shard has detached: writes out what is left.  Accepts NULL. */
void store_node_close(struct store_node *node);

/* On the shard's thread, before its first turn.  NULL only when the engine said why in the log. */
must_use struct store *store_attach(struct store_node *node, const struct store_env *env);
/* A reload: the store reads `config` from now on, which outlives the next call.
 * What an engine took when it was opened stays: its options wait for a start. */
void store_configure(struct store *store, const struct config *config);
/* No op may be under way and no channel open. */
void store_detach(struct store *store);

static inline void store_open(struct store *store, struct store_open *op)
{
    store->engine->open(store, op);
}
static inline void store_close(struct store *store, struct store_channel *channel)
{
    store->engine->close(store, channel);
}
static inline void store_append(struct store *store, struct store_append *op)
{
    store->engine->append(store, op);
}
static inline void store_read(struct store *store, struct store_read *op)
{
    op->has_holes = false;
    store->engine->read(store, op);
}
static inline void store_moves(struct store *store, struct store_moves *op)
{
    store->engine->moves(store, op);
}
/* Of no channel that must be open; any shard may ask. */
static inline void store_memberships(struct store *store, struct store_memberships *op)
{
    store->engine->memberships(store, op);
}
/* Are there memberships that store_memberships may not know yet, by what shards answer? */
static inline bool store_settles(const struct store *store)
{
    return store->engine->settle != NULL;
}
/* True: every membership that this shard has answered is listed.  False: it will be in a
 * moment, and on_settled tells so; also when the engine is in trouble, as it is then. */
must_use static inline bool store_settle(struct store *store, struct store_settle *op)
{
    return store->engine->settle == NULL || store->engine->settle(store, op);
}
/* Step 6 of the turn: what the turn appended leaves as one batch. */
static inline void store_submit(struct store *store)
{
    store->engine->submit(store);
}
/* Ops under way; a drain waits for 0. */
static inline uint32_t store_pending(const struct store *store)
{
    return store->engine->pending(store);
}
static inline void store_health(const struct store *store, struct store_health *health)
{
    store->engine->health(store, health);
}
