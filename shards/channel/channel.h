/*
 * channel: a channel at its home shard.
 *
 *   state      may become      while here
 *   BARE       OPENING, CLOSED the store does not know it: who listens hears what is
 *                              published; any other question opens it
 *   OPENING    LIVE, FAILED    the store loads it; questions wait as kept letters
 *   LIVE       LOST, CLOSED,   questions are answered; the feed arrives
 *              BARE
 *   LOST       OPENING         its data vanished: closed at the store once no op is
 *                              under way, then opened again; questions wait
 *   FAILED     OPENING, BARE,  the store said no: those who waited got its error,
 *              CLOSED          the next question tries again
 *   CLOSED     -               given back to the store and freed
 *
 * The home holds the hot window (the newest publications as bytes), which
 * shards listen and how many connections each, and the read index.  A
 * subscription becomes live in one turn here: read the window up to the head
 * T, register the listening shard, post the answer; every later frame has an
 * offset above T, and letters between two shards are one FIFO, so nothing is
 * ever held back.  A recovery that reaches below the
 * window reads the store first, then takes that step in the turn of the answer.
 *
 * A channel that keeps no history needs nothing of the store but for keys, members
 * and questions about the past, so it is not opened before one of them comes, and
 * what is published goes out in the same turn.  Where other nodes publish as well
 * (store_engine.has_others) every channel with listeners is open.
 *
 * An idle channel (no listener, no op, untouched for CHANNEL_IDLE_MS) is closed, and
 * one with listeners that could be BARE becomes so.
 *
 * Thread:  home shard only.
 * Source:  channel.c (life), question.c (ops, the feed), window.c, subscribe.c,
 *          publish.c, history.c, receipt*.c, policy.c, live.c, attend.c, presence.c, list.c
 * Tests:   tests/unit/shards/test_channel.c, the simulator
 */
#pragma once

#include "core/chains.h"
#include "core/label.h"
#include "core/list.h"
#include "core/slab.h"
#include "core/wheel.h"
#include "shards/call.h"
#include "shards/channel/presence.h"
#include "shards/channel/window.h"
#include "storage/cursor.h"
#include "storage/store.h"

#define CHANNEL_IDLE_MS 60000

/* Channels that one shard holds at once, subscribed or not yet idle. */
#define CHANNELS_MAX (1u << 20)

enum channel_state {
    CHANNEL_BARE,
    CHANNEL_OPENING,
    CHANNEL_LIVE,
    CHANNEL_LOST,
    CHANNEL_FAILED,
    CHANNEL_CLOSED,
    CHANNEL_STATE_COUNT,
};

/* One shard that listens.  Each subscription that was answered as live is told
 * to leave by exactly one LEAVE, also after a loss; so the count is exact. */
struct channel_listener {
    uint32_t shard;
    /* Its subscriptions by enum wire; one is > 0.  A frame is encoded for a wire that
     * somebody speaks. */
    uint32_t counts[2];
    uint32_t hears;    /* of them, those who are told who comes and goes */
    struct handle hub; /* its hub entry */
};
static inline uint32_t listener_count(const struct channel_listener *listener)
{
    return listener->counts[0] + listener->counts[1];
}

/* What a channel has while the store knows it. */
struct stored {
    struct channel *channel;
    struct list link; /* in channels.idle while nothing holds it, in channels.lost while LOST */
    struct store_channel store;
    struct store_open opening;
    struct letter **waiting; /* kept questions, in order, until LIVE or FAILED */
    uint32_t waiting_count, waiting_room;
    struct window window;
    struct list waiters;          /* struct channel_waiter: ready when LIVE or FAILED */
    struct cursor_index *cursors; /* NULL until it has members */
    uint64_t cursors_bytes;       /* of them, as the metrics know it (members.c) */
    uint64_t removed;          /* publications up to it were removed, and are unread for nobody */
    uint64_t seq_answered;     /* the newest number of a head that was recorded (head.c) */
    struct list heads;         /* struct channel_op: those under way */
    struct live *live;         /* NULL while nobody listens to receipts:<name> (live.c) */
    struct versions *versions; /* NULL until a publication has one (version.c) */
    uint32_t ops;              /* store ops under way, the opening not counted */
    uint32_t moves, marks;     /* of them: cursors and marks; marks, which replace each other */
    uint32_t policy;           /* its own, of receipts (shards/policy.h) */
    uint64_t idle_since_ms;
};

struct channel {
    struct shard *shard;
    struct stored *stored; /* NULL exactly while BARE */
    struct label name;
    uint32_t link; /* of channels.by_name */
    uint8_t state;
    uint8_t listeners_count;
    uint8_t listeners_room; /* 0: the one in place */
    union {
        struct channel_listener one;
        struct channel_listener *many; /* the heap */
    };
    struct presence *presence; /* NULL while nobody has an entry */
};
static_assert(sizeof(struct channel) == 72, "one of each connection with a channel of its own");
static_assert(SHARDS_MAX <= UINT8_MAX, "a listener per shard, counted in a byte");

static inline struct channel_listener *channel_listeners(struct channel *channel)
{
    return channel->listeners_room == 0 ? &channel->one : channel->many;
}

struct channels {
    struct chains by_name;
    uint64_t seed;
    struct slab channels, stored;
    struct slab ops;  /* struct channel_op: one per question under way at the store */
    struct list idle; /* longest idle first */
    struct list lost;
    struct timer idle_timer, lost_timer;
    struct presences presences;
    uint64_t frame_bytes_out[SHARDS_MAX]; /* of frames whose letter to that shard is not home */
};

struct shard;
void channels_init(struct shard *shard);
/* Closes every channel; nothing may be under way. */
void channels_fini(struct shard *shard);
/* Store ops under way for all channels of this shard. */
uint32_t channels_pending(const struct shard *shard);

/* Letters (shards/letter.def). */
void channel_on_subscribe(void *shard, struct letter *letter);
void channel_on_leave(void *shard, struct letter *letter);
void channel_on_publish(void *shard, struct letter *letter);
void channel_on_history(void *shard, struct letter *letter);
void channel_on_history_remove(void *shard, struct letter *letter);
void channel_on_message_delete(void *shard, struct letter *letter);
void channel_on_presence(void *shard, struct letter *letter);
void channel_on_presence_stats(void *shard, struct letter *letter);
void channel_on_list(void *shard, struct letter *letter);
void channel_on_members_ask(void *shard, struct letter *letter);
void channel_on_members_list(void *shard, struct letter *letter);
void channel_on_policy(void *shard, struct letter *letter);
void channel_on_head(void *shard, struct letter *letter);
void channel_on_receipt(void *shard, struct letter *letter);
void channel_on_receipt_states(void *shard, struct letter *letter);

/* Asks `home` to publish, for a call just begun: by a letter, or at once where nothing
 * stands against it.  Not inside a callback of the store. */
struct letter_publish;
void channel_publish(struct shard *shard, uint32_t home, const struct letter_publish *question);

/* The store's feed (struct store_sink); context is the shard. */
void channel_on_publication(void *shard, struct store_channel *channel,
                            const struct publication *publication);
void channel_on_members(void *shard, struct store_channel *channel,
                        const struct members_change *change);
void channel_on_cursor(void *shard, struct store_channel *channel,
                       const struct store_cursor *cursor);
void channel_on_removed(void *shard, struct store_channel *channel, uint64_t offset);
void channel_on_lost(void *shard, struct store_channel *channel);
/* Of other nodes (struct store_peer_sink). */
struct store_present;
void channel_on_join(void *shard, struct store_channel *channel, const struct store_present *who,
                     bool is_leave);
void channel_on_reenter(void *shard, struct store_channel *channel);

/* Channels of this home that have listeners and match; rows in the arena.
 * ERR_LIMIT_LISTED when there are more than `rows_max`.  O(channels). */
must_use enum err channels_list(struct shard *shard, struct bytes glob, uint32_t rows_max,
                                struct answer *answer);

void channel_verify(struct channel *channel);
/* Every channel of a shard. */
void channels_verify(const struct channels *channels);
