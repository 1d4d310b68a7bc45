/*
 * connecting: a connect command under way, from its arrival to its reply.
 *
 *   stage      file                 what it does
 *   IDENTIFY   connect_identify.c   who is this? user, client id, end of the token
 *   REGISTER   connect_register.c   tells the user's home (user/user_home.h)
 *   SUBSCRIBE  connect_subs.c       asks for the server-side subscriptions
 *   DIGEST     connect_digest.c     what is new for the user, when that is asked for
 *   REPLY      connecting.c         the client is connected and hears it
 *
 * The stages run in this order on the connection's shard.  A stage that must
 * wait (for a key, another shard's answer) says so and is called again by
 * connecting_go_on.  Later commands of the connection wait until the reply
 * (cmd/dispatch.c), the time for stale connections goes on.
 *
 * What lives only while connecting is in struct connecting, a heap block that
 * ends with the reply or with the connection.  A connection that ends on the way
 * is not CONN_CONNECTING any more when a late answer comes: its handler undoes
 * what the answer created.
 *
 * Thread:  the connection's shard.
 * Tests:   the simulator, tests/conformance
 */
#pragma once

#include "core/err.h"
#include "proto/cmd.h"
#include "shards/cmd/connect_subs.h"

struct shard;
struct conn;
struct jwt_sub;
struct connecting_kept;

enum connect_stage {
    CONNECT_STAGE_IDENTIFY,
    CONNECT_STAGE_REGISTER,
    CONNECT_STAGE_SUBSCRIBE,
    CONNECT_STAGE_DIGEST,
    CONNECT_STAGE_REPLY,
};

/* What a stage says. */
enum connect_step {
    CONNECT_DONE,   /* the next stage may begin */
    CONNECT_WAITS,  /* connecting_go_on will call this stage again */
    CONNECT_CREDIT, /* out of credit: called again when an answer has come */
    /* It ended the connection or called connecting_fail; struct connecting is gone. */
    CONNECT_OVER,
};

struct connecting {
    uint8_t stage;              /* enum connect_stage */
    bool is_registering;        /* REGISTER: the home was asked */
    uint32_t id;                /* of the command */
    uint64_t began_ns;          /* when the command was read (shard->clock.mono_ns) */
    struct cmd_connect request; /* a copy */
    uint32_t expires_s;         /* IDENTIFY: Unix second at which the token ends; 0: never */
    /* IDENTIFY: the server-side subscriptions of the token, copied. */
    const struct jwt_sub *token_subs;
    uint32_t token_subs_count;
    bool is_digesting, is_digested; /* DIGEST: begun, over */
    struct bytes data;              /* of the reply, filled by DIGEST */
    /* Of the reply, filled by SUBSCRIBE. */
    const struct reply_connect_sub *reply_subs;
    uint32_t reply_subs_count;
    void *subscribing;            /* SUBSCRIBE's own */
    struct connect_held held;     /* pushes that follow the reply */
    struct connecting_kept *kept; /* private: blocks freed with this one */
};

/* Memory that lives as long as `connecting`, zeroed. */
void *connecting_alloc(struct connecting *connecting, size_t size);
/* A copy that does. */
struct bytes connecting_keep(struct connecting *connecting, struct bytes bytes);

/* Runs the stage under way and those after it, as far as they go. */
void connecting_go_on(struct shard *shard, struct conn *conn);
/* Answers the command with an error; every later command ends the connection. */
void connecting_fail(struct shard *shard, struct conn *conn, enum err err);
/* The connection ends: forgets a connect under way; a no-op without one. */
void connecting_end(struct shard *shard, struct conn *conn);

/* The connection ends: its user's home hears of it; a no-op when it is not registered. */
void connect_unregister(struct shard *shard, struct conn *conn);

/* The stages. */
enum connect_step connect_identify(struct shard *shard, struct conn *conn);
enum connect_step connect_register(struct shard *shard, struct conn *conn);
enum connect_step connect_subscribe(struct shard *shard, struct conn *conn);
enum connect_step connect_digest(struct shard *shard, struct conn *conn);
