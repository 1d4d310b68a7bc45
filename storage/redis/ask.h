/*
 * ask: one blocking hello, before the shards start.
 *
 * A node that cannot work should say so at once and in a sentence, not by the
 * failures of its first clients.
 *
 * Thread:  any; blocks for at most `patience_ms`, longer only while the server
 *          says that it is loading its data (ASK_LOADING_MS).
 * Tests:   tests/unit/storage/test_redis.c, tests/unit/storage/test_redis_cluster.c
 */
#pragma once

#include "storage/redis/hello.h"

#define ASK_LOADING_MS 60000
#define ASK_PAUSE_MS   50
/* The same for a key whose slot is on the move. */
#define ASK_MOVING_MS  20

/* One question of one word list, after the hello of its role. */
struct ask_question {
    enum link_role role;
    void (*write)(const struct redis_options *options, struct resp_out *out);
    /* Takes the answer, borrowed; what it returns is what ask_question returns. */
    enum err (*take)(void *context, const struct redis_place *place, const struct reply *reply);
    void *context;
    /* It names a key: in a Cluster it goes where MOVED or ASK say that this is, and is asked
     * again while nobody takes it, for redis.connect_timeout. */
    bool is_keyed;
};

/* Connects, says hello, fills `server` and hangs up; a server that does not answer is asked
 * again until the time is over.  Errors as hello_take, with the sentence. */
must_use enum err ask_hello(const struct redis_options *options, const struct redis_place *place,
                            uint64_t patience_ms, struct hello_server *server,
                            char problem[HELLO_PROBLEM_MAX]);
/* Connects, asks once and hangs up; with an error there is a sentence in `problem`. */
must_use enum err ask_question(const struct redis_options *options, const struct redis_place *place,
                               const struct ask_question *question,
                               char problem[HELLO_PROBLEM_MAX]);
