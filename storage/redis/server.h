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

#define REDIS_BOOT_SIZE 8

struct redis_store;

struct redis_server {
    struct redis_store *redis;
    struct redis_place place;
    struct link commands, feed;     /* their owner is this server */
    struct link publish;            /* only with replicas to wait for */
    char boot[REDIS_BOOT_SIZE + 1]; /* names us in announcements */
    /* append.c */
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
    bool is_resubscribing; /* since a loss; ends with a sweep */
    /* server.c: the probe */
    uint32_t probe_partition; /* one of ours */
    struct timer probe_timer;
    struct link_call probe_call;
    bool is_probe_calling;
    uint64_t probe_heard_ms;
    uint64_t probe_sent_ms;
};

/* Begins to connect with the next turn; `server` is zeroed. */
void server_start(struct redis_server *server, struct redis_store *redis,
                  const struct redis_place *place);
/* After links_fini. */
void server_fini(struct redis_server *server);
/* Sends what the turn wrote. */
void server_flush(struct redis_server *server);
/* The echo of a probe. */
void server_on_probe(struct redis_server *server, struct bytes token);
/* NULL: it works, or is about to be reached for the first time; else what is wrong, as a
 * sentence for people. */
const char *server_problem(struct redis_server *server);
/* What it said of itself last; the lineage is empty before the first time. */
static inline const struct hello_server *server_said(const struct redis_server *server)
{
    return &server->commands.hello.server;
}
