/*
 * link: a shard's connections to Redis, on the shard's own ring.
 *
 * A link connects, says hello, carries calls and comes back by itself after a
 * loss (backoff from 20 ms to 2 s, with jitter).  Calls wait in line, are
 * written in order when the link is ready, and are answered in order; what a
 * turn asks leaves as one send.
 *
 *   OFF ─▶ WAITING ─▶ CONNECTING ─▶ HELLO ─▶ READY ─▶ CLOSING ─▶ WAITING … OFF
 *              ▲ backoff                 AGAIN ◀┘ ▲ scripts or lineage changed:
 *                                          └──────┘ drain, hello, go on
 *
 * A call that was not written may wait until its deadline; then it ends with
 * ERR_STORE_DOWN.  A call that was written when the link broke ends with
 * ERR_STORE_UNKNOWN.  A call that Redis refused before running it (its scripts
 * were flushed, it is another server) is written again, in the old order: the
 * link first waits until everything under way has been answered.
 *
 * Bound:   LINK_CALLS_MAX calls, LINK_OUT_MAX bytes written ahead.
 * Thread:  owner shard.
 * Memory:  a call is a field of the object it serves.
 * Tests:   tests/unit/storage/test_link.c
 */
#pragma once

#include "core/clock.h"
#include "core/list.h"
#include "core/loop.h"
#include "core/rng.h"
#include "core/wheel.h"
#include "storage/redis/hello.h"
#include "storage/redis/wrap.h"

struct link;
struct link_call;

/* Calls waiting and under way on one link; beyond it new ones are refused. */
#define LINK_CALLS_MAX        20000
/* Bytes written but not handed to the kernel; what comes after waits as a call. */
#define LINK_OUT_MAX          (4u << 20)
/* A lineage read this recently is believed without asking again. */
#define LINK_LINEAGE_FRESH_MS 10000

struct link_call {
    struct list link;  /* private */
    uint32_t route;    /* of route.c: 0: bound to its link, else partition plus 1 */
    uint64_t limit_ms; /* of route.c: however often it is written, it ends by then */
    bool is_single;    /* of route.c: it names one key, which is whole wherever it is */
    bool is_optional;  /* Redis may refuse it, and nobody minds */
    bool is_roaming;   /* without a route: that its key is elsewhere is no refusal */
    uint64_t due_ms;   /* while unwritten: ERR_STORE_DOWN from then on; then: when it was written */
    /* Writes exactly one command; may run again when the first had no effect. */
    void (*write)(struct link_call *call, struct link *link, struct resp_out *out);
    /* The end of the call.  ERR_OK: `reply`, borrowed, which may still be an
     * error that the command ran into.  ERR_STORE_DOWN, ERR_BACKLOG: it did not
     * run.  ERR_STORE_UNKNOWN: nobody knows. */
    void (*on_end)(struct link_call *call, enum err err, const struct reply *reply);
};

struct link_events {
    /* The server said who it is, also again on a standing connection; NULL: not wanted. */
    void (*on_hello)(struct link *link);
    void (*on_ready)(struct link *link);
    /* The connection is gone; written calls have ended before. */
    void (*on_lost)(struct link *link);
    /* The call, which has a route, did not run, for its keys are elsewhere: it is the owner's
     * again.  `reply`, borrowed, says where. */
    void (*on_elsewhere)(struct link *link, struct link_call *call, const struct reply *reply);
    /* LINK_FEED only: whatever the server says after the hello. */
    void (*on_push)(struct link *link, const struct reply *reply);
};

enum link_state {
    LINK_OFF,
    LINK_WAITING,
    LINK_CONNECTING,
    LINK_HELLO,
    LINK_READY,
    LINK_AGAIN,
    LINK_CLOSING,
    LINK_STATE_COUNT,
};

/* Fields are private to link.c but for `owner`, `hello.server` and `problem`; route.c looks
 * into the lines. */
struct link {
    struct links *links;
    struct list item; /* in links */
    const struct redis_options *options;
    const struct redis_place *place;
    const struct link_events *events;
    void *owner;
    enum link_role role;
    enum link_state state;
    uint32_t sock;
    uint32_t attempts; /* failed in a row */
    bool is_refused;   /* LINK_AGAIN: the hello follows when `pending` is empty */
    bool is_doubted;   /* a script found another lineage than ours; until the next hello */
    bool is_stopping;
    uint64_t since_ms; /* in this state */
    uint64_t down_ms;  /* since then it has not been ready; 0 while it is */
    uint64_t retry_ms; /* LINK_WAITING: connect from then on */
    struct timer timer;
    struct hello hello;
    uint64_t lineage_ms; /* when the lineage was read */
    uint64_t settled_ms; /* when it was read because it was doubted; 0: never */
    struct wrap wrap;
    struct resp_in *in;
    struct resp_out outs[2]; /* one is filled while the other is with the kernel */
    uint32_t filling;
    bool is_sending;
    struct list waiting; /* not written, in order */
    struct list pending; /* written, in order; the last `unsent_count` are not with the kernel */
    struct list again;   /* refused, to be written first */
    struct list refused; /* over the limit; end at the next flush */
    uint64_t written, ended; /* calls, ever; pending is what is between */
    uint32_t calls_count;
    uint32_t pending_count;
    uint32_t unsent_count;
    uint64_t refused_ms; /* when Redis last refused a call, or broke off a script; 0: never */
    char refusal[HELLO_PROBLEM_MAX]; /* in what words */
    char problem[HELLO_PROBLEM_MAX]; /* why it is not ready, for people */
};

/* Finds the link of a socket; owns that kind of the shard's loop. */
struct links {
    enum sock_kind kind; /* of their sockets */
    struct loop *loop;
    struct wheel *wheel;
    struct clock *clock;
    struct rng *rng;
    struct list items;
};

void links_init(struct links *links, enum sock_kind kind, struct loop *loop, struct wheel *wheel,
                struct clock *clock, struct rng *rng);
/* Closes every link and waits for the kernel, up to a second, by turns of the
 * loop: its buffers must not go while a send reads them.  Calls that are left
 * end as after a loss. */
void links_fini(struct links *links);

/* Adds `link`, zeroed, and begins to connect with the next turn; `options` and `place` stay. */
void link_start(struct link *link, struct links *links, const struct redis_options *options,
                const struct redis_place *place, enum link_role role,
                const struct link_events *events, void *owner);
/* Puts `call` in line; its end comes later, never inside.  It may wait
 * unwritten until `due_ms`. */
void link_call(struct link *link, struct link_call *call, uint64_t due_ms);
/* Writes what waits and sends what is written; once a turn. */
void link_flush(struct link *link);
/* Until when something may wait for this link: a moment after its loss, so that a
 * short one is not seen; no longer once it has been gone for that long. */
uint64_t link_due_ms(const struct link *link);
/* Gives the connection up until link_resume; what is not written stays in line. */
void link_stop(struct link *link);
void link_resume(struct link *link);
/* LINK_FEED: where commands are written; only while it is ready. */
struct resp_out *link_out(struct link *link);
/* Gives the connection up, for example because it went silent; `problem` says why. */
void link_drop(struct link *link, const char *problem);
static inline bool link_is_ready(const struct link *link)
{
    return link->state == LINK_READY;
}
/* How long a refusal is told: whoever is refused tries again within that, and a test of what
 * was mended does not wait for long. */
#define LINK_REFUSAL_MS 5000
/* What Redis refused lately, and why; NULL: nothing. */
static inline const char *link_refusal(const struct link *link)
{
    bool is_recent = link->refused_ms > 0 &&
                     clock_turn_ms(link->links->clock) < link->refused_ms + LINK_REFUSAL_MS;
    return is_recent ? link->refusal : NULL;
}
/* True exactly when the lineage in hello.server was read moments ago. */
static inline bool link_is_lineage_fresh(const struct link *link)
{
    return clock_turn_ms(link->links->clock) < link->lineage_ms + LINK_LINEAGE_FRESH_MS;
}
/* True exactly when it was read moments ago because a script doubted it. */
static inline bool link_is_doubt_settled(const struct link *link)
{
    return link->settled_ms > 0 &&
           clock_turn_ms(link->links->clock) < link->settled_ms + LINK_LINEAGE_FRESH_MS;
}
