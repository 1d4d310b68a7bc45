/*
 * rpc: chat operations that the client protocol lacks, as RPC methods.
 *
 * shards/rpc/rpc.def is the table; one file a method.  An unknown method of a
 * family that is ours ("receipt.") is answered 104, any other 108: there is no
 * backend to hand it to.
 *
 *   message.send    {"channel","data","key"?}  → {"offset","epoch","id","time"?}
 *   receipt.read    {"channel","offset"}       → {"offset"}
 *   receipt.delivered  {"channel","offset"}    → {"offset"}
 *   receipt.view    {"channel"}                → {"offset"}
 *   receipt.mark_unread  {"channel","offset"}  → {"offset"}
 *   receipt.hide    {"channel","hidden"}       → {}
 *   receipt.counts  {"channel","offsets":[…]}  → {"counts":[…],"eligible":[…]}
 *   receipt.readers, receipt.nonreaders  {"channel","offset","limit"?,"after"?}
 *                   → {"users":[{"user","read_at"?,"delivered_at"?}],"times","next"?}
 *   receipt.unread  {"channels":[…]}           → {"channels":{name:{"epoch","head","read",
 *                                                 "unread","first_unread"?}}}
 *   receipt.digest  {"version"?}               → {"version","channels":[{…}],"more"?}
 *   sync.save       {"client","channels":{name:{"offset","epoch"}}}  → {}
 *   sync.load       {"client"}  → {"channels":{name:{"offset","epoch","at","missed"?}}}
 *
 * Thread:  owner shard of the connection.
 * Tests:   tests/unit/shards/test_rpc.c, tests/conformance
 */
#pragma once

#include "core/err.h"
#include "proto/cmd.h"

struct shard;
struct conn;

/* Handles a CMD_RPC: ERR_OK when it is answered or will be, by a reply.
 * Otherwise nothing has happened: the caller replies with the error, or, for
 * ERR_CREDIT_SPENT, gives the same command again once there is credit. */
must_use enum err rpc_on_cmd(struct shard *shard, struct conn *conn, const struct cmd *cmd);
