/*
 * hello: what is said to Redis first on every connection.
 *
 * One pipelined burst: who we are, which database, which server this is
 * (lineage), whether it loses anything at a restart, how many partitions the
 * data has, and the scripts.  The answers come in the same order.  The same
 * dialogue runs over a ring's link and, once before the shards start, over a
 * blocking socket (ask.h).
 *
 *   hello_write(hello, out) · for each reply: hello_take(hello, reply) · until hello_is_done
 *
 * Thread:  one owner.
 * Tests:   tests/unit/storage/test_link.c, tests/unit/storage/test_redis.c
 */
#pragma once

#include "core/config.h"
#include "storage/redis/place.h"
#include "storage/redis/resp.h"
#include "storage/redis/script.h"

#define HELLO_PROBLEM_MAX 512
#define LINEAGE_MAX       32

/* From the configuration; shared by all links of a node, read-only. */
struct redis_options {
    enum config_redis_mode mode;
    const char *user, *password, *prefix;
    const char *sentinel_user, *sentinel_password, *sentinel_master;
    uint32_t db;
    uint32_t partitions;
    uint64_t connect_timeout_ms;
    uint64_t io_timeout_ms;
    struct secure_context *secure; /* of redis.tls; NULL: without */
    const char *server_name;       /* in the servers' certificates; empty: their hosts */
    uint32_t wait_replicas;   /* that have it before it is acknowledged; 0: none is waited for */
    uint64_t wait_timeout_ms; /* below io_timeout_ms */
};

enum link_role {
    LINK_COMMANDS, /* questions and answers */
    LINK_PUBLISH,  /* the same where WAIT may keep what follows waiting */
    LINK_FEED,     /* subscriptions: RESP2 allows nothing else on such a connection */
    LINK_SENTINEL, /* questions to a Sentinel */
    LINK_SEED,     /* one question to any server of a Cluster, a replica too */
    LINK_EVENTS,   /* read_cursor_events: no server of the store, or not only */
};

const char *link_role_name(enum link_role role);

/* One more than may be waited for. */
#define REPLICAS_MAX 17

/* What the server said of itself. */
struct hello_server {
    /* Run id and, of a replica that was promoted, replication id, else zeros: changes with
     * every other data set, and with nothing else. */
    char lineage[LINEAGE_MAX + 1];
    char replication_id[LINEAGE_MAX / 2 + 1];
    char parent[LINEAGE_MAX / 2 + 1]; /* replication id of the primary that it replaced, or "" */
    uint64_t time_ms;  /* Unix milliseconds by its clock when it said this; 0: it does not say */
    bool has_log;      /* appendonly … */
    bool is_durable;   /* … and answers only after that is on disk: a restart loses nothing */
    bool is_evicting;  /* it gives away what was acknowledged when its memory is full */
    uint64_t evicted;  /* keys that it has given away since it was started */
    uint32_t replicas; /* linked to it */
    uint64_t replica_places[REPLICAS_MAX]; /* hashes of their addresses; 0: no more */
    char digests[SCRIPT_COUNT][SCRIPT_DIGEST_SIZE + 1];
};

struct hello {
    const struct redis_options *options;
    const struct redis_place *place;
    enum link_role role;
    bool is_again; /* on a connection that said it before: only what may have changed */
    bool steps[32];
    uint32_t step; /* whose reply comes next */
    struct hello_server server;
    char problem[HELLO_PROBLEM_MAX]; /* after an error: a sentence that says what to do */
};

void hello_write(struct hello *hello, const struct redis_options *options,
                 const struct redis_place *place, enum link_role role, bool is_again,
                 struct resp_out *out);
/* ERR_STARTING: the server is loading, try again soon.  ERR_UNAUTHORIZED: the
 * password.  ERR_CONFLICT: another number of partitions.  ERR_UNSUPPORTED: the
 * version.  ERR_STORE_DOWN: anything else.  All with hello->problem. */
must_use enum err hello_take(struct hello *hello, const struct reply *reply);
bool hello_is_done(const struct hello *hello);

/* What may change while a connection stands, asked again; the answers set all but the
 * lineage, the parent, the time and the digests. */
void hello_ask_info(struct resp_out *out);
void hello_hear_info(struct hello_server *said, const struct reply *reply);
void hello_ask_config(struct resp_out *out);
void hello_hear_config(struct hello_server *said, const struct reply *reply);
/* Fixes the number of partitions, unless that is done: takes the answer as hello_take does. */
void hello_ask_partitions(const struct redis_options *options, struct resp_out *out);
must_use enum err hello_hear_partitions(const struct redis_options *options,
                                        const struct redis_place *place, const struct reply *reply,
                                        char problem[HELLO_PROBLEM_MAX]);
/* The same of what the first partition says; nothing there is no objection. */
void hello_ask_witness(const struct redis_options *options, struct resp_out *out);
must_use enum err hello_hear_witness(const struct redis_options *options,
                                     const struct redis_place *place, const struct reply *reply,
                                     char problem[HELLO_PROBLEM_MAX]);
