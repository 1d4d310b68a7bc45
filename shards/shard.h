/*
 * shard: everything one thread owns, and the turn.
 *
 * The struct is the list of rooms; the turn is shard.c.  A shard is made and
 * ended by the node, runs on one thread (in the simulator all of them on one),
 * and is passed to every function: there is no global shard.
 *
 * Thread:  the owner, but shard_create and shard_destroy (the node's thread).
 * Tests:   the simulator
 */
#pragma once

#include "core/arena.h"
#include "core/clock.h"
#include "core/config.h"
#include "core/frame.h"
#include "core/inbox.h"
#include "core/intern.h"
#include "core/loop.h"
#include "core/mesh.h"
#include "core/metric.h"
#include "core/pattern.h"
#include "core/rng.h"
#include "core/slab.h"
#include "core/wheel.h"
#include "proto/jwt.h"
#include "shards/channel/channel.h"
#include "shards/conn/conn.h"
#include "shards/conn/conn_tls.h"
#include "shards/conn/door.h"
#include "shards/fanout/hub.h"
#include "shards/user/user_home.h"
#include "storage/store.h"

struct node;
struct tokens;

#define PING_WHEEL_SLOTS 128 /* seconds; longer waits go round again */
/* Parts of a second; a connection's is given by its index, so that what is due in
 * one second is looked at in so many portions. */
#define PING_PHASES      8

/* A growing list of connection indexes. */
struct indexes {
    uint32_t *items;
    uint32_t count, room;
};

/* A subscription of a local connection. */
enum sub_state {
    SUB_ASKED,   /* the home has not answered */
    SUB_LIVE,    /* in the hub */
    SUB_LEAVING, /* given up before the answer; undone when it comes */
    SUB_WAITS,   /* server-side: the home was not asked yet, for want of credit */
};
enum sub_flag {
    SUB_POSITIONED = 1,   /* the client knows its position */
    SUB_RECOVERABLE = 2,  /* and may come back to it */
    SUB_RECOVERS = 4,     /* what was missed was asked for */
    SUB_HAS_PRESENCE = 8, /* listed while subscribed */
    SUB_TELLS_JOINS = 16, /* its coming and going is told */
    SUB_HEARS_JOINS = 32, /* it is told who comes and goes */
    SUB_SERVER_SIDE = 64, /* the server's wish, not the client's */
    SUB_FROM_TOKEN = 128, /* the connection token's wish */
    SUB_HAS_INFO = 256,   /* shard.sub_infos holds its chan_info */
    SUB_ENDS = 512,       /* unsubscribed by the server before the answer: ends with it */
};
struct sub {
    uint32_t conn;
    uint32_t next, prev; /* in the connection's list; UINT32_MAX: none */
    uint32_t at;         /* position in the hub entry, while LIVE; the code, while SUB_ENDS */
    struct handle hub;
    uint32_t expires_s; /* Unix second at which its token ends; 0: never */
    uint16_t flags;     /* enum sub_flag */
    uint8_t state;
};
static_assert(sizeof(struct sub) == 32, "two to a cache line");

struct shard {
    struct node *node;
    uint32_t index;
    uint32_t shards_count;
    const struct config *config;                        /* snapshot; replaced between turns */
    const struct jwt_rules *token_rules[JWT_USE_COUNT]; /* of that snapshot */
    struct tokens *tokens;                              /* sets of keys, and who waits for one */
    struct loop *loop;
    struct post *post;
    struct inbox inbox;
    struct clock clock;
    struct wheel wheel;
    struct arena arena;
    struct rng rng;
    struct metrics metrics;
    struct frames frames;
    struct store *store;

    struct intern texts; /* infos of connections; few contents, each stands once */
    struct slab conns;   /* index = socket */
    struct slab subs;
    struct slab calls;
    struct slab out_chunks;
    struct map sub_infos;      /* chan_info by subscription; few have one */
    struct list sub_waiting;   /* server-side subscriptions that wait for credit, in order */
    struct map sub_pendings;   /* these and the parked ones, by subscription */
    uint32_t sub_parked;       /* whose connections wait for large answers of their own */
    struct indexes sub_unpark; /* connections that had an answer since */
    struct patterns patterns;  /* of the configuration, as this shard met them */
    struct ws_pool *ws_pool;
    struct door door;
    struct bucket *command_rates; /* by connection; pages come when touched */
    struct conn_tls_pool tls;
    struct hub hub;
    struct channels channels;
    struct user_home user_home;
    struct events *events; /* shard 0: the stream of cursor moves (reads/reads_events.h); or NULL */

    struct indexes dirty;   /* connections to flush at the end of the turn */
    struct indexes flushed; /* whose send left with the coming enter */
    struct indexes resumed; /* whose saved input is looked at in the coming turn */
    struct indexes waiting; /* whose commands wait for credit */
    struct indexes yielded; /* the same, after they had some: the waiting go before them */
    uint32_t share;         /* commands of who goes on after waiting; 0: no limit */
    uint32_t share_used;
    bool has_woken;      /* some who waited for keys try again next turn */
    bool is_credit_back; /* an answer came this turn: the waiting may try again */
    /* First connection per second and phase. */
    uint32_t ping_wheel[PING_WHEEL_SLOTS * PING_PHASES];
    uint64_t ping_phase; /* last phase that was run, since the clock's 0 */

    uint64_t started_ns; /* mono; no connection is older */
    uint64_t turn;
    uint64_t letters_left; /* 1: the last read was full, do not sleep */
    int listener;          /* or -1 */
    int index_listener;    /* of the read-index service; or -1 */
    bool is_in_turn;
    bool is_draining;         /* no new clients; ending */
    bool is_leaving;          /* no question may begin: who comes late is closed */
    bool is_stopped;          /* drained: the thread may leave */
    uint8_t drain_round;      /* how many times shard 0 said STOP (ops/drain.c) */
    bool is_quiet_told;       /* in this round */
    uint32_t quiet_count;     /* shard 0: shards that are quiet in this round */
    uint64_t drain_until_ms;  /* then what is left is cut off */
    uint64_t drain_spread_ms; /* until then clients are closed at an even pace */
    uint64_t drain_http_ms;   /* then requests that are not whole are not waited for */
    uint32_t drain_at;        /* next connection to close */
    uint32_t upgraded_count;  /* WebSockets: WS and CLOSING ones */
    uint32_t clients_count;   /* connected ones */
    struct timer tick, drain_timer;
    struct note drain_note, reload_note;
};

void indexes_add(struct indexes *indexes, uint32_t index);
/* The connection's commands wait for credit; it is resumed when some came back, behind
 * those that had none when it had some. */
void shard_await_credit(struct shard *shard, uint32_t conn, bool has_had_some);
/* Who goes on after waiting had its share, and others wait too. */
static inline bool shard_share_is_spent(const struct shard *shard)
{
    return shard->share > 0 && shard->share_used >= shard->share;
}

/* The shard's own monotonic second. */
static inline uint32_t shard_second(const struct shard *shard)
{
    return (uint32_t)(shard->clock.mono_ns / 1000000000u);
}
/* The phase that began last: PING_PHASES of them a second. */
static inline uint64_t shard_phase(const struct shard *shard)
{
    return shard->clock.mono_ns / (1000000000u / PING_PHASES);
}
/* The first second that begins `ms` from now or later: nobody gets less time. */
static inline uint32_t shard_second_after(const struct shard *shard, uint64_t ms)
{
    return (uint32_t)((clock_turn_ms(&shard->clock) + ms + 999) / 1000);
}

/* Makes shard `index` of `node`; its loop exists, its store is not attached. */
must_use enum err shard_create(struct node *node, uint32_t index, struct shard **shard);
/* On the shard's thread: attaches the store, arms the listener. */
must_use enum err shard_start(struct shard *shard);
/* One turn (shard.c). */
void shard_turn(struct shard *shard);
/* When nothing happens before, the shard must run again then (clock_turn_ms). */
uint64_t shard_wake_ms(struct shard *shard);
/* On the shard's thread, after is_stopped: detaches the store. */
void shard_stop(struct shard *shard);
/* Everything must be home: connections, letters, frames, calls. */
void shard_destroy(struct shard *shard);
/* Checks every structure of the shard: VERIFY builds and the simulator, each turn. */
void shard_verify(struct shard *shard);

/* What is not home, for drains and leak checks. */
struct shard_census {
    uint32_t conns, subs, calls, channels, frames, out_chunks, letters_out, letters_kept,
        ws_contexts, store_pending, presence_entries, texts;
    uint32_t users, sessions;
    uint64_t frame_bytes;
};
void shard_census(const struct shard *shard, struct shard_census *census);
