/*
 * rpc_parts: what the RPC methods share.
 *
 * Thread:  owner shard of the connection.
 */
#pragma once

#include "core/bytes.h"
#include "core/err.h"
#include "shards/call.h"
#include "shards/json_out.h"

struct shard;
struct conn;

/* One command under way; what must outlive it goes into its call. */
struct rpc {
    struct shard *shard;
    struct conn *conn;
    uint32_t id;
    struct bytes data; /* raw JSON; BYTES_NONE when none was given */
};

typedef enum err (*rpc_fn)(const struct rpc *rpc);
enum err rpc_message_send(const struct rpc *rpc);
enum err rpc_receipt_read(const struct rpc *rpc);
enum err rpc_receipt_delivered(const struct rpc *rpc);
enum err rpc_receipt_mark_unread(const struct rpc *rpc);
enum err rpc_receipt_hide(const struct rpc *rpc);
enum err rpc_receipt_digest(const struct rpc *rpc);
enum err rpc_receipt_view(const struct rpc *rpc);
enum err rpc_receipt_counts(const struct rpc *rpc);
enum err rpc_receipt_readers(const struct rpc *rpc);
enum err rpc_receipt_nonreaders(const struct rpc *rpc);
enum err rpc_receipt_unread(const struct rpc *rpc);
enum err rpc_sync_save(const struct rpc *rpc);
enum err rpc_sync_load(const struct rpc *rpc);

/* Begins a call to the home of `channel`, that replies to this command. */
must_use enum err rpc_call(const struct rpc *rpc, struct bytes channel, call_fn on_answer,
                           struct call **call, struct handle *handle);
/* Replies with the answer's error, if it has one; true when it had none and the
 * connection still takes a result. */
must_use bool rpc_is_answered(struct shard *shard, const struct call *call, struct conn *conn,
                              const struct answer *answer);
/* Replies with `out` as the result's data, and frees it. */
void rpc_reply(struct shard *shard, const struct call *call, struct conn *conn,
               struct json_out *out);
