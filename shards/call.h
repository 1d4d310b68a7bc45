/*
 * call: a question under way from this shard, and who waits for its answer.
 *
 * Made on the asking shard before the letter leaves; its handle travels in the
 * question and comes back in the ANSWER.  While a call is open its connection
 * stays: a dying one is DYING until calls_count is 0 (design: leaving races
 * nothing), and a handler that undoes what the answer created runs then.
 *
 * Thread:  owner shard only.
 * Tests:   through tests/unit/shards and the simulator
 */
#pragma once

#include "core/slab.h"
#include "shards/letter.h"

struct shard;
struct conn;
struct call;
struct api_batch;

/* Where the answer of one method of the server API goes (api/api_parts.h). */
struct api_sink {
    struct api_batch *batch; /* NULL: the response of the connection's request */
    uint64_t began_ns;       /* when the request was read */
    uint16_t slot;           /* of the batch */
    bool is_transport;       /* errors as HTTP statuses */
    bool is_nowhere;         /* no method was named: 404 in any mode */
};

/* `conn` is NULL when the call belongs to no connection.  It may be DYING: then
 * nothing can be sent, only undone.  The call is freed after it returns. */
typedef void (*call_fn)(struct shard *shard, struct call *call, struct conn *conn,
                        const struct answer *answer);

struct call {
    call_fn on_answer;
    uint64_t began_ns;
    uint32_t conn;        /* index, or UINT32_MAX */
    uint32_t id;          /* command id of the reply, or the handler's own use */
    uint32_t sub;         /* subscription index, or the handler's own use */
    uint16_t to;          /* the shard that was asked */
    uint8_t kind;         /* handler's own use */
    bool is_bulk;         /* counts in its connection's bulk_count */
    bool is_question;     /* counts in its connection's questions_count */
    void *context;        /* handler's own use */
    struct api_sink sink; /* api: who is answered */
};

/* Takes a credit to shard `to` and a call; ERR_CREDIT_SPENT when the pair is
 * out of credit (a connection's commands then wait: cmd/dispatch.c; an API call
 * gets 503), ERR_LIMIT_MEMORY at the pool's limit.  `conn` may be NULL. */
must_use enum err call_begin(struct shard *shard, struct conn *conn, uint32_t to, call_fn on_answer,
                             struct call **call, struct handle *handle);
/* The same for a question whose answer may be large, of a connection.  It waits
 * (ERR_CREDIT_SPENT too) while BULK_CALLS_MAX such answers are under way or more
 * than client.queue_max_size is unread, so a client that comes back to many
 * channels at once gets them as fast as it reads, and is never slow for it. */
must_use enum err call_begin_bulk(struct shard *shard, struct conn *conn, uint32_t to,
                                  call_fn on_answer, struct call **call, struct handle *handle);
/* A call just begun changes nothing: what stands behind it need not wait for its answer
 * (cmd/dispatch.c). */
void call_is_question(struct conn *conn, struct call *call);
/* Takes back a call without a connection whose question was not sent. */
void call_cancel(struct shard *shard, struct call *call);
/* Sends the question of a call just begun. */
void call_post(struct shard *shard, struct letter *question);

void call_on_answer(void *shard, struct letter *letter);
/* Packs and posts the answer to `question`. */
void call_answer(struct shard *shard, const struct letter *question, const struct answer *answer);
void call_answer_to(struct shard *shard, uint32_t to, const struct answer *answer);
/* The same at once, without a letter, when this shard has asked: for answers that may
 * overtake what it was told before, and not inside the call that asked. */
void call_answer_now(struct shard *shard, uint32_t to, const struct answer *answer);
