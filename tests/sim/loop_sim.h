/*
 * loop_sim: what the simulated network and the driver ask of simulated loops.
 *
 * A loop is named by the order of its creation in the current life.
 */
#pragma once

#include "core/loop.h"

struct link;

struct loop_sim_options {
    uint32_t sync_error_permille; /* fdatasyncs that fail */
    uint64_t closed_ns_max;       /* a close takes up to that long */
};

void loop_sim_init(const struct loop_sim_options *options);
/* Syncs that failed in this life: a shard that met one refuses writes until a
 * restart.  `no_more`: from now on they succeed. */
uint32_t loop_sim_sync_errors(bool no_more);
/* The life ended: no loop is left. */
void loop_sim_kill(void);
/* Loops that accept. */
uint32_t loop_sim_listening(void);

/* For net_sim.c.  A connection knocks; false when nobody listens. */
bool loop_sim_knock(struct link *link);
void loop_sim_arrived(uint32_t loop, uint32_t sock);
/* The client has read: a waiting send may go on. */
void loop_sim_room(uint32_t loop, uint32_t sock);
