/*
 * channel: a channel at its home shard.
 *
 *   state      may become      while here
 *   OPENING    LIVE, FAILED    the store loads it; questions wait as kept letters
 *   LIVE       CLOSED          questions are answered; the feed arrives
 *   FAILED     CLOSED          the store said no; questions get its error
 *   CLOSED     -               given back to the store and freed
 *
 * The home holds the hot window (the newest publications as bytes), which
 * shards listen and how many connections each, and the read index.  A
 * subscription becomes live in one turn here: read the window up to the head
 * T, register the listening shard, post the answer; every later frame has an
 * offset above T, and letters between two shards are one FIFO, so nothing is
 * ever held back (design.md decision 7).  A recovery that reaches below the
 * window reads the store first, then takes that step in the turn of the answer.
 *
 * An idle channel (no listener, no op, untouched for CHANNEL_IDLE_MS) is closed.
 *
 * Thread:  home shard only.
 * Source:  channel.c (life), window.c, subscribe.c, publish.c, history.c, receipt.c
 * Tests:   tests/unit/shards/test_channel.c, the simulator
 */
#pragma once

#include "core/list.h"
#include "core/map.h"
#include "core/slab.h"
#include "core/wheel.h"
#include "shards/call.h"
#include "storage/cursor.h"
#include "storage/store.h"

struct config_namespace;

#define CHANNEL_IDLE_MS 60000

enum channel_state { CHANNEL_OPENING, CHANNEL_LIVE, CHANNEL_FAILED, CHANNEL_CLOSED };

/* One shard that listens. */
struct channel_listener {
    uint32_t shard;
    uint32_t count;    /* its subscriptions */
    struct handle hub; /* its hub entry */
};

/* The newest publications, ascending and contiguous, ending at store.head.
 * Invariant: count == 0, or last offset == head and offsets have no hole. */
struct channel_window {
    struct window_item {
        uint64_t offset;
        uint64_t time_ms;
        uint8_t *record; /* publication_write bytes, heap */
        uint32_t size;
    } * items; /* ring of `room` */
    uint32_t first, count, room;
    uint64_t bytes;
};

struct channel {
    struct shard *shard;
    struct list idle_link; /* in shard->channels_idle while nothing holds the channel */
    char *name;
    uint32_t name_size;
    uint8_t state;
    const struct config_namespace *options; /* of the current snapshot */
    struct store_channel store;
    struct store_open opening;
    enum err failure;        /* why FAILED */
    struct letter **waiting; /* kept letters, in order, while OPENING */
    uint32_t waiting_count, waiting_room;
    struct channel_listener *listeners;
    uint32_t listeners_count, listeners_room;
    struct channel_window window;
    struct cursor_index *cursors; /* NULL until it has members */
    uint32_t ops;                 /* store ops under way */
    uint64_t idle_since_ms;
};

struct channels {
    struct map by_name;
    struct slab channels;
    struct slab ops; /* struct channel_op: one per question under way at the store */
    struct list idle;
    struct timer idle_timer;
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
void channel_on_members_set(void *shard, struct letter *letter);
void channel_on_receipt_read(void *shard, struct letter *letter);
void channel_on_receipt_counts(void *shard, struct letter *letter);

/* The store's feed (struct store_sink); context is the shard. */
void channel_on_publication(void *shard, struct store_channel *channel,
                            const struct publication *publication);
void channel_on_members(void *shard, struct store_channel *channel, const struct bytes *users,
                        uint32_t users_count);
void channel_on_cursor(void *shard, struct store_channel *channel, struct bytes user,
                       uint64_t offset);
void channel_on_lost(void *shard, struct store_channel *channel);

void channel_verify(const struct channel *channel);
