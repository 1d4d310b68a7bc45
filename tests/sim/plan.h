/*
 * plan: what one seed's run consists of.
 *
 * Swarm testing: each seed draws its own probabilities and sizes, many of
 * them zero or extreme, so that features meet in combinations that one fixed
 * mixture would never show.
 */
#pragma once

#include "disk_sim.h"
#include "loop_sim.h"
#include "net_sim.h"

#define CHANNELS_SIM_MAX 16
#define CLIENTS_SIM_MAX  256
#define USERS_SIM_MAX    64
#define APIS_SIM_MAX     4
#define KILLS_SIM_MAX    5
#define TROUBLES_SIM_MAX 3
#define PLAN_KEY         "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define RECOVERY_MAX     300 /* client.recovery_max_publication_limit */

/* What the namespaces of a run allow. */
enum channel_kind {
    KIND_KEEP, /* history that outlasts the run; recovery */
    KIND_TAIL, /* history of a few; recovery */
    KIND_LIVE, /* no history */
    KIND_SHUT, /* history, no client may subscribe */
    KIND_MUTE, /* history, no client may publish */
    KIND_TEAM, /* history and members: receipts */
    KIND_COUNT,
};

struct plan_channel {
    char name[24];
    enum channel_kind kind;
};

enum kill_kind { KILL_PROCESS, KILL_MACHINE, KILL_DRAIN };

struct plan_kill {
    uint64_t at_ns; /* after the previous start */
    uint64_t down_ns;
    enum kill_kind kind;
    uint32_t shards; /* of the next life */
};

/* The disk is full, or fails now and then, for a while. */
struct plan_trouble {
    uint64_t at_ns, span_ns; /* of the run */
    enum disk_trouble kind;
    uint32_t permille;
};

struct plan {
    struct plan_channel channels[CHANNELS_SIM_MAX];
    uint32_t channels_count;
    uint32_t tail_size; /* history of KIND_TAIL */
    uint32_t window_size;
    uint32_t queue_max_bytes, message_max_bytes;
    uint32_t ping_ms, pong_ms;
    uint32_t index_lag_max;
    uint32_t presence_max; /* clients of a channel that are listed and told */
    bool is_sealed;        /* with storage.key */
    bool is_memory;        /* storage.engine memory: nothing outlives a life, so no life ends */
    bool is_large;         /* too many connections to look at each after every turn */

    uint32_t clients_count, users_count, apis_count;
    uint32_t channels_per_client;
    bool has_tokens;     /* users with names; else everyone is anonymous */
    bool has_key_sets;   /* their keys come from another server */
    bool is_insecure;    /* everyone is anonymous and may do everything */
    uint64_t act_ns;     /* mean time between two acts of a client */
    uint64_t api_act_ns; /* of an API backend */
    /* What an act is, out of their sum. */
    uint32_t weight_publish, weight_subscribe, weight_history, weight_read, weight_forbidden,
        weight_reset, weight_leave, weight_slow, weight_ping;
    uint32_t keyed_percent; /* publications with a key, sent again until answered */
    uint32_t large_percent; /* publications with a large payload */
    uint32_t large_max;
    uint32_t fragment_percent; /* messages sent in fragments */
    uint32_t named_percent;    /* subscriptions that the connect command names */
    uint64_t slow_ns_max;
    uint32_t ban_percent;    /* calls of a backend that speak of a user */
    uint32_t binary_percent; /* clients that speak Protobuf */
    /* Personal channels, and a user's new connection ends the older ones: only where
     * every client is a user of its own, else they would never come to rest. */
    bool is_single;
    uint32_t user_limit; /* client.user_connection_limit: as many as a user's clients; 0: none */

    uint64_t active_ns;
    struct plan_kill kills[KILLS_SIM_MAX];
    uint32_t kills_count;
    struct plan_trouble troubles[TROUBLES_SIM_MAX];
    uint32_t troubles_count;
    uint32_t shards;
    uint64_t jump_ns;        /* mean time between two jumps of the wall clock; 0: it never does */
    uint64_t turn_ns_max;    /* a turn takes up to that */
    uint32_t stall_permille; /* turns that take long */
    uint64_t stall_ns_max;
    struct disk_sim_options disk;
    struct net_sim_options net;
    struct loop_sim_options loop;
};

void plan_draw(struct plan *plan);
/* The gateway's configuration as JSON; returns its size. */
uint32_t plan_config(const struct plan *plan, uint32_t shards, char *text, uint32_t size);
bool plan_has_history(enum channel_kind kind);
/* Publications that the channel keeps for certain. */
uint32_t plan_history(const struct plan *plan, enum channel_kind kind);
