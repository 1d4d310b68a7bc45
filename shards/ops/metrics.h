/*
 * metrics: /metrics, the counters of all shards in one page.
 *
 * Thread:  owner shard of the connection.
 * Tests:   tests/conformance
 */
#pragma once

#include "proto/http.h"

struct shard;
struct conn;

void metrics_on_request(struct shard *shard, struct conn *conn, const struct http_request *request);
