/*
 * append: records on their way to Redis, shared by batch.c, append.c and confirm.c.
 *
 * A call is a batch of one partition: one run of lua/append.lua, or one SPUBLISH
 * of a live publication without a key.  Without replicas to wait for its answer ends
 * it.  Otherwise it boards a flight (confirm.h), which ends it.
 *
 * Thread:  owner shard.
 * Source:  storage/redis/batch.c, storage/redis/append.c
 * Tests:   tests/unit/storage/test_redis.c, tests/unit/storage/test_redis_wait.c
 */
#pragma once

#include "storage/redis/redis.h"

struct append_record {
    struct list link;
    struct store_append *op; /* NULL: a touch, whose body is the channel's name */
    char kind;               /* as in lua/append.lua */
    uint64_t a, b;
    /* As answered: 2 * offset, plus 1 for a repeat; with `head` the position after it. */
    uint64_t result, revision, head;
    char birth[BIRTH_MAX + 1]; /* of its channel */
    bool is_damaged;           /* its channel is, and nothing was changed */
    uint32_t key_size, body_size;
    uint8_t bytes[]; /* key, body */
};

struct append_call {
    struct link_call call;
    /* In redis->batches until submitted, then in its partition's line, or in its flight. */
    struct list batch;
    struct redis_store *redis;
    struct redis_server *server; /* to which it was written last */
    struct list records;
    uint32_t records_count;
    uint32_t bytes;
    uint32_t partition;
    bool is_plain;                /* a live publication without a key: nothing of it is kept */
    bool is_answered;             /* the script ran; results and epoch are known */
    struct redis_server *counted; /* among whose appends it is; NULL: it is not */
    uint64_t seq;
    uint64_t started_ns;
    struct position position; /* of the answer */
    /* confirm.c */
    struct flight *flight; /* NULL: none */
    enum err err;
    bool is_returned;           /* it did not run: the partition is elsewhere, or on the move */
    uint64_t connection, order; /* when it was written last, on the publish link */
};

/* A batch without records. */
struct append_call *append_create(struct redis_store *redis, uint32_t partition, bool is_script);
/* batch.c: what stands behind the call in its partition may follow, before what came since. */
void batch_on_end(struct append_call *call);
/* Takes what the script answered into the records; false: it stopped in the middle. */
bool append_answer(struct append_call *call, const struct reply *reply);
/* What the records end with then. */
enum err append_failure(const struct reply *reply);
/* Every time a call is written it is another one, with a number of its own. */
void append_number(struct append_call *call, struct redis_server *server);
struct bytes append_origin(const struct append_call *call, char *origin, size_t size);
/* What lua/streams.lua is told. */
void append_write_streams(const struct config *config, struct resp_out *out);
struct bytes append_channel(const struct append_record *record);
struct bytes append_body(const struct append_record *record);
static inline bool append_is_repeat(const struct append_record *record)
{
    return (record->result & 1) != 0;
}
/* Puts calls that did not run before all others, to be given to a flight again. */
void append_return(struct redis_store *redis, struct list *calls);
/* Answers every record, feeds what is ours and frees the call. */
void append_end(struct append_call *call, enum err err);
