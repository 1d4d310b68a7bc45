/*
 * health: /health and /health/simple.
 *
 * /health asks every shard whether its store can make appends durable now and
 * answers 200 or 503 with the same JSON: status, and each dependency with its state
 * and latency: store, keys (JWK sets, when there are any), shards.
 * /health/simple says "ok" while this shard turns and is not draining; it asks
 * nobody, so it suits a liveness probe.
 *
 * Thread:  owner shard of the connection.
 * Tests:   tests/conformance
 */
#pragma once

#include "proto/http.h"

struct shard;
struct conn;

void health_on_request(struct shard *shard, struct conn *conn, const struct http_request *request);
void health_on_request_simple(struct shard *shard, struct conn *conn,
                              const struct http_request *request);
