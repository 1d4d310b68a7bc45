/*
 * hub: which connections of this shard listen to which channel.
 *
 * An entry per channel with a listener or a subscription under way here.  The
 * home knows the entry by its handle, so a frame finds it without hashing the
 * name; a stale handle finds nothing, which is a normal answer.  Listeners are
 * a dense array of (connection, subscription): a pass appends to pending
 * lists only, and leaving swaps with the last, O(1).  A channel of one's own has one
 * listener, which stands in the entry: with a name of up to 15 bytes it is 56 bytes.
 *
 * Thread:  owner shard only.
 * Tests:   tests/unit/shards/test_hub.c
 */
#pragma once

#include "core/chains.h"
#include "core/label.h"
#include "core/slab.h"

struct shard;

struct hub_listener {
    uint32_t conn;
    uint32_t sub;
};

struct hub_entry {
    struct label name;
    uint32_t link;    /* of hub.by_name */
    uint8_t home;     /* the channel's home shard */
    uint8_t room_log; /* room for 2^room_log listeners */
    uint32_t count;   /* listeners */
    uint32_t pending; /* subscriptions asked for and not answered: they hold the entry */
    uint64_t entered; /* last offset delivered since it had a listener; verifies order of frames */
    union {
        struct hub_listener one;   /* room_log is 0 */
        struct hub_listener *many; /* the heap */
    };
};
static_assert(sizeof(struct hub_entry) == 48, "one of each connection with a channel of its own");

struct hub {
    struct chains by_name;
    struct slab entries;
    uint64_t seed;
    uint32_t home_shards; /* shards_count, for home_of_channel */
    uint64_t listeners_count;
};

static inline struct hub_listener *hub_listeners(struct hub_entry *entry)
{
    return entry->room_log == 0 ? &entry->one : entry->many;
}

void hub_init(struct hub *hub, uint64_t seed, uint32_t entries_max, uint32_t shards_count);
void hub_fini(struct hub *hub);
/* NULL when nobody here listens or is about to. */
struct hub_entry *hub_find(const struct hub *hub, struct bytes channel);
struct hub_entry *hub_at(const struct hub *hub, struct handle handle);
struct handle hub_handle(const struct hub *hub, const struct hub_entry *entry);
/* Finds or makes; NULL at the limit.  Adds one to `pending`. */
must_use struct hub_entry *hub_expect(struct hub *hub, struct bytes channel);
/* The subscription became live: takes one from `pending`; returns its position. */
uint32_t hub_enter(struct hub *hub, struct hub_entry *entry, uint32_t conn, uint32_t sub);
/* It came to nothing: takes one from `pending`; frees an entry without any. */
void hub_forget(struct hub *hub, struct hub_entry *entry);
/* Removes position `at`; returns the subscription that moved there, or UINT32_MAX. */
uint32_t hub_leave(struct hub *hub, struct hub_entry *entry, uint32_t at);
static inline struct bytes hub_name(const struct hub_entry *entry)
{
    return label_text(&entry->name);
}
void hub_verify(const struct hub *hub);
