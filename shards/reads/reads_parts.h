/*
 * reads_parts: what the files of the read-index service share.
 *
 * Thread:  owner shard of the connection.
 */
#pragma once

#include "core/arena.h"
#include "core/bytes.h"
#include "core/err.h"
#include "shards/call.h"
#include "shards/json_out.h"
#include "shards/shard.h"

/* Entries of one page, of at most RECEIPT_LIST_MAX, when nobody says how many. */
#define READS_LIST_DEFAULT 50

enum reads_kind { READS_OPEN, READS_CURSOR, READS_QUERY };

/* One request.  What must outlive it goes into its call; views end with the turn. */
struct reads_ask {
    struct shard *shard;
    struct conn *conn;
    const struct http_request *request;
    struct bytes channel; /* {id}, decoded */
    uint64_t offset;      /* {offset} */
    enum reads_kind kind;
};

/* ERR_OK: it is answered, or will be by the call that was begun; else the caller
 * answers with the error, and nothing was begun. */
typedef enum err (*reads_fn)(const struct reads_ask *ask);
#define ROUTE(method, path, kind, handler) enum err handler(const struct reads_ask *ask);
#include "shards/reads/route.def"
#undef ROUTE

/* The channel's namespace is configured and keeps history; ERR_UNKNOWN_CHANNEL,
 * ERR_BAD_CHANNEL, ERR_NOT_AVAILABLE. */
must_use enum err reads_channel_check(const struct reads_ask *ask);
/* Begins a call to the channel's home; the request waits from then on. */
must_use enum err reads_call(const struct reads_ask *ask, call_fn on_answer, struct call **call,
                             struct handle *handle);
/* True when the answer is a result and the connection still takes one; else the request
 * is answered, as far as it can be. */
must_use bool reads_is_answered(struct shard *shard, const struct call *call, struct conn *conn,
                                const struct answer *answer);
/* 200 with `out`, which is freed. */
void reads_reply(struct shard *shard, const struct call *call, struct conn *conn,
                 struct json_out *out);
/* Of calls that change something: {}. */
void reads_on_done(struct shard *shard, struct call *call, struct conn *conn,
                   const struct answer *answer);
/* Of calls for a cursor, or a head: {"offset", "epoch"}, the epoch where the answer has one. */
void reads_on_offset(struct shard *shard, struct call *call, struct conn *conn,
                     const struct answer *answer);

/* reads_parse.c */
/* The decoded segment in `arena`; ERR_BAD_CHANNEL: bad percent signs, or no UTF-8. */
must_use enum err reads_decode(struct bytes segment, struct arena *arena, struct bytes *text);
/* The value of a query parameter; BYTES_NONE when absent, ERR_BAD_REQUEST when malformed. */
must_use enum err reads_query(const struct reads_ask *ask, const char *name, struct bytes *text);
/* The same, a decimal number; `value` stays as it is when absent. */
must_use enum err reads_query_u64(const struct reads_ask *ask, const char *name, uint64_t *value);
/* limit and after of a page; ERR_BAD_REQUEST. */
must_use enum err reads_query_page(const struct reads_ask *ask, uint32_t *limit, uint64_t *after);
/* A user's id: 1 .. USER_ID_MAX bytes. */
must_use enum err reads_user_check(struct bytes user);

struct reads_mark {
    struct bytes user, id;
    uint64_t offset, seq;
    bool has_offset, has_seq;
};
/* {"user"|"sender", "offset" | "seq", "id"}; unknown members are passed over. */
must_use enum err reads_parse_mark(const struct reads_ask *ask, struct reads_mark *mark);
/* {"offsets":[…]}: 1 .. RECEIPT_BATCH_MAX of them; ERR_LIMIT_SIZE. */
must_use enum err reads_parse_offsets(const struct reads_ask *ask, uint64_t *offsets,
                                      uint32_t *count);
