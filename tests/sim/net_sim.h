/*
 * net_sim: simulated TCP connections, each a pair of byte streams.
 *
 *    client ── up ──▶ server sock       bytes travel, arrive later, in any split
 *    client ◀─ down ─ server sock       a window bounds what the client has not read
 *
 * The client's end calls net_*; the server's end is the loop's (loop_sim.c).
 * Callbacks to the client run from world events, never inside a call it made.
 *
 * Memory:  a link belongs to both ends and to the events under way, counted.
 */
#pragma once

#include "core/base.h"

struct link;

/* The client's end. */
struct net_peer {
    void (*on_open)(void *owner);
    void (*on_data)(void *owner, const uint8_t *data, size_t size);
    /* The connection is over, whoever ended it; `is_orderly`: the server closed
     * its side after everything was read.  Last callback. */
    void (*on_end)(void *owner, bool is_orderly);
};

struct net_sim_options {
    uint64_t delay_ns_min, delay_ns_max;
    uint32_t window_min, window_max; /* bytes a client has room for */
    uint32_t short_percent;          /* sends that go short although there is room */
    uint32_t split_percent;          /* receives that get less than has arrived */
};

void net_sim_init(const struct net_sim_options *options);
void net_sim_fini(void);

/* A connection attempt; on_open or on_end follows. */
struct link *net_connect(const struct net_peer *peer, void *owner);
void net_write(struct link *link, const void *data, size_t size);
/* The client goes: an orderly end after what was written, or a reset.  No
 * callback follows; the link is the client's no longer. */
void net_close(struct link *link, bool is_abort);
/* A reader that does not read, and reads again.  Its window stays small. */
void net_pause(struct link *link, bool is_paused);
/* The network cuts a link: both ends learn of it. */
void net_reset(struct link *link);
uint32_t net_number(const struct link *link);

/* The server's end, for loop_sim.c. */
struct net_end {
    bool is_fin; /* everything arrived and the client ended its side */
    bool is_reset;
    uint32_t bytes; /* arrived and not taken */
};

/* The process died: every server end goes.  `is_machine`: without a word, the
 * clients learn it much later. */
void net_sim_kill(bool is_machine);
void net_take(struct link *link, uint8_t *data, uint32_t size);
struct net_end net_end_of(const struct link *link);
/* Gives the client up to `size` bytes; how many found room. */
uint32_t net_give(struct link *link, const uint8_t *data, uint32_t size, bool may_be_short);
void net_give_fin(struct link *link);
bool net_is_shut(const struct link *link);
/* The server's end is gone. */
void net_drop(struct link *link, bool is_abort);
void net_accepted(struct link *link, uint32_t loop, uint32_t sock);
const struct net_sim_options *net_options(void);
