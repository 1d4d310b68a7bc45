/*
 * reads: the read-index service, for a chat server that keeps its own messages.
 *
 * HTTP on a port of its own (read_index.enabled): who read what, how many, what is
 * new, in channels whose messages are elsewhere.  JSON in and out; a success is 200
 * with its object, an error is its status with {"error":"NAME","code":…,"message":…},
 * and nothing was changed.  The server API's key is asked for.
 *
 * A request is answered by the channel's home, as an RPC's is, so the members and
 * cursors are the same ones that WebSocket clients see.  Nothing here is on a
 * message's way: with the service gone, or its port overrun, messages flow.
 *
 * Thread:  owner shard of the connection.
 * Source:  reads.c (credentials, routes, envelopes), reads_parse.c (paths, queries,
 *          bodies), reads_receipts.c, reads_members.c, reads_head.c, reads_pages.c
 * Tests:   tests/unit/shards/test_reads.c, tests/conformance/read_index.test.mjs
 */
#pragma once

#include "proto/http.h"

struct shard;
struct conn;

/* On the shard's thread, when it starts: listens, where the service is enabled. */
void reads_start(struct shard *shard);
/* Answers a request, now or later. */
void reads_on_request(struct shard *shard, struct conn *conn, const struct http_request *request);
/* The body of an answer to what is no request that could be read. */
struct json_out;
void reads_fault_write(struct json_out *out, uint16_t status, const char *reason);
/* May its path and method have a body that is read? */
bool reads_has_body(const struct http_request *request);
