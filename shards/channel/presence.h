/*
 * presence: who is subscribed to a channel, at its home.
 *
 * An entry per subscription whose client is listed (presence) or whose coming
 * and going is told (join and leave): 16 bytes of client id and two interned
 * names, the user's and the infos'.  It is made in the turn in which the
 * subscription becomes live, before the reply, and ends with its LEAVE; so at
 * quiet there are exactly as many entries as such subscriptions.  Two sets of
 * bare numbers find an entry by its client and a user by name:
 *
 *   clients   ▶ entry
 *   users     ▶ the only entry of this user, or a crowd: user and how many entries
 *
 * so both counts are exact and O(1).  Of a 12-byte user and no info an entry
 * costs 24 bytes, its places in the two sets 5 each, the id 16 and 5 more for its
 * place: 55 bytes.  The id is there once per shard, however many channels and
 * connections share it.
 *
 * A client that left and came back before the first answer has two entries for a
 * moment; it is listed and counted once.
 *
 * Entries are this node's.  With other nodes the store holds those of all, and is asked
 * who attends (attend.c).
 *
 * Thread:  home shard of the channel.
 * Bound:   all O(1) amortised, but presence_list: O(entries).
 * Tests:   tests/unit/shards/test_presence.c, tests/prop/prop_presence.c
 */
#pragma once

#include "core/arena.h"
#include "core/intern.h"
#include "proto/cmd.h"

/* The memory of all channels of one shard. */
struct presences {
    struct cells entries, crowds;
    struct intern texts;
};

/* One channel's.  Zeroed memory is an empty one. */
struct presence {
    struct compact clients, users;
    uint32_t hidden; /* entries that are told and not listed */
    uint32_t again;  /* listed entries of a client that has another one */
};

/* Of an entry. */
enum presence_flag {
    PRESENCE_LISTED = 1, /* presence shows it */
    PRESENCE_TOLD = 2,   /* its join was told */
};

void presences_init(struct presences *all, uint64_t seed);
void presences_fini(struct presences *all);

void presence_add(struct presences *all, struct presence *presence, const struct wire_info *who,
                  uint32_t flags);
/* The entry that `client` was added with, LISTED or not: who it is, views valid
 * until it is removed, and its flags.  False when there is none. */
must_use bool presence_find(const struct presences *all, const struct presence *presence,
                            const uint8_t client[16], bool is_listed, struct wire_info *who,
                            uint32_t *flags);
/* Removes what presence_find found. */
void presence_remove(struct presences *all, struct presence *presence, const uint8_t client[16],
                     bool is_listed);

/* Listed clients, and distinct users among them. */
static inline uint32_t presence_clients(const struct presence *presence)
{
    return presence->clients.count - presence->hidden - presence->again;
}
static inline uint32_t presence_users(const struct presence *presence)
{
    return presence->users.count;
}
/* One entry after the other, in no order: begins with *at 0, false at the end. */
must_use bool presence_next(const struct presences *all, const struct presence *presence,
                            uint32_t *at, struct wire_info *who, uint32_t *flags);
/* Everyone listed, each client once, presence_clients in all; views valid until
 * the next change. */
const struct wire_info *presence_list(const struct presences *all, const struct presence *presence,
                                      struct arena *arena);
void presence_verify(const struct presences *all, const struct presence *presence);
