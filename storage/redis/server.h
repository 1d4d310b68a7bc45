/*
 * server: one primary as a shard knows it: where it is, the links to it, the
 * probe that shows that what is published comes back, what it confirmed.
 *
 * Every partition has a server (redis_server_of); all links of the engine hang
 * here.  Announcements name a call by (boot, seq): the boot is drawn for each
 * server, so the numbers of one are in the order of its answers.
 *
 * Thread:  owner shard.
 * Tests:   tests/unit/storage/test_redis.c
 */
#pragma once

#include "storage/redis/link.h"

#define REDIS_BOOT_SIZE              8
/* Subscriptions asked for and not yet confirmed, and per command. */
#define REDIS_SUBSCRIBES_MAX         2048
#define REDIS_SUBSCRIBES_PER_COMMAND 128
/* Commands among them: one a channel at worst, and those of probes. */
#define REDIS_SUBSCRIBE_GROUPS_MAX   (REDIS_SUBSCRIBES_MAX + 64)
/* A server with no partition to probe by. */
#define REDIS_PROBE_NONE             UINT32_MAX

struct redis_store;

/* One SSUBSCRIBE: each of its channels is confirmed, or all are refused. */
struct subscribe_group {
    uint16_t left;
    uint16_t partition; /* of the first, in a Cluster of all */
    bool is_apart;      /* not of open channels: not counted among them */
};

/* A server's process and data set, as long as we saw it. */
struct lineage {
    char text[LINEAGE_MAX + 1];
    char replication_id[LINEAGE_MAX / 2 + 1]; /* as it was last */
    bool is_durable;                          /* as it said last */
    uint32_t replicas_most;                   /* that it ever had, one after another too */
    uint64_t replica_places[REPLICAS_MAX];    /* of these, as far as it names them */
};

struct redis_server {
    struct redis_store *redis;
    struct redis_place place;
    /* route.c */
    uint32_t partitions_count;
    bool is_listed;                 /* the Cluster, or a Sentinel, calls it a primary */
    bool is_changed;                /* partitions came or went in this turn */
    bool is_stopped;                /* no partition is here, and no link */
    struct link commands, feed;     /* their owner is this server */
    struct link publish;            /* only with replicas to wait for */
    char boot[REDIS_BOOT_SIZE + 1]; /* names us in announcements */
    /* facts.c */
    uint64_t evicted;    /* keys that it gave away, as it said last */
    uint64_t evicted_ms; /* when that last rose; 0: never */
    /* The server that answers here, and the one that answered before it while we were linked. */
    struct lineage now, before;
    /* append.c */
    uint32_t appends; /* calls of records under way, but for those of flights */
    uint64_t seq_written, seq_answered;
    uint64_t unknown_first, unknown_last; /* calls of the last loss, ended without an answer */
    /* confirm.c */
    struct flight *flight;       /* boarding or on its way */
    uint64_t publish_connection; /* rises with every loss of the link */
    uint64_t publish_order;      /* of what is written to it */
    bool is_refusing;            /* it answers, and refuses what is appended */
    uint32_t replicas;           /* as WAIT counted them last */
    char replicas_problem[160];
    /* subscribe.c */
    struct list subscribes; /* channels to be subscribed */
    uint64_t subscribes_sent, subscribes_confirmed;
    bool is_resubscribing;                                     /* since a loss; ends with a sweep */
    struct subscribe_group groups[REDIS_SUBSCRIBE_GROUPS_MAX]; /* unconfirmed, a ring */
    uint32_t groups_first, groups_count;
    /* server.c: the probe */
    uint32_t probe_partition; /* one of ours, or REDIS_PROBE_NONE */
    struct timer probe_timer;
    struct link_call probe_call;
    bool is_probe_calling;
    uint64_t probe_heard_ms;
    uint64_t probe_sent_ms;
    /* facts.c: what is asked again and again */
    uint64_t facts_ms;
    struct link_call info_call, config_call;
    bool is_info_calling, is_config_calling;
};

/* The server at this place, linked to from the next turn on; NULL: there are too many. */
struct redis_server *server_get(struct redis_store *redis, const struct redis_place *place);
/* Gives the links up: what was under way ends as unknown, what was not written stays. */
void server_stop(struct redis_server *server);
/* Chooses a partition to probe by, when the one it has is elsewhere. */
void server_check_probe(struct redis_server *server);
/* Subscribes to the probe's channel; the feed is ready. */
void server_subscribe_probe(struct redis_server *server);
/* After links_fini. */
void server_destroy(struct redis_server *server);
/* facts.c */
/* Looks now and then whether what the server said of itself is true still. */
void facts_look(struct redis_server *server);
/* Looks at once, before whatever is written to the publish link from now on is answered. */
void facts_look_first(struct redis_server *server);
/* A hello, or a later look, said so. */
void facts_take(struct redis_server *server, const struct hello_server *said);
/* Sends what the turn wrote. */
void server_flush(struct redis_server *server);
/* The echo of a probe. */
void server_on_probe(struct redis_server *server, struct bytes token);
/* An append was taken: what was refused before it is over. */
void server_takes_again(struct redis_server *server);
/* NULL: it works, or is about to be reached for the first time; else what is wrong, as a
 * sentence for people. */
const char *server_problem(struct redis_server *server);
/* Where records are written: behind everything that was written before. */
static inline struct link *server_writes(struct redis_server *server)
{
    return server->publish.links != NULL ? &server->publish : &server->commands;
}
/* What it said of itself last; the lineage is empty before the first time. */
static inline const struct hello_server *server_said(const struct redis_server *server)
{
    return &server->commands.hello.server;
}
