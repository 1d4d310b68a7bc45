/*
 * api: the server HTTP API of backends.
 *
 * POST {http_api.handler_prefix}/{method}, a JSON object in, always 200 with
 * {"result":{…}} or {"error":{…}} out; in transport error mode (the request
 * header X-Centrifugo-Error-Mode: transport) an error is a status and its body
 * {"code":…,"message":…}.  Credentials: X-API-Key, else Authorization: apikey,
 * else ?api_key=; compared in constant time; 401 with an empty body.
 *
 * A call runs where its connection lives and asks the channel's home; what the
 * answer needs is kept in the call (shards/call.h), so nothing of the request
 * outlives this function.
 *
 * Thread:  owner shard of the connection.
 * Source:  api.c (credentials, dispatch, envelope), api_parse.c (bodies),
 *          api_publish.c, api_history.c, api_info.c, api_members.c,
 *          api_batch.c (many methods in one request)
 * Tests:   tests/unit/shards/test_api.c
 */
#pragma once

#include "proto/http.h"

struct config;
struct shard;
struct conn;

/* Answers a request whose path begins with the prefix, now or later. */
void api_on_request(struct shard *shard, struct conn *conn, const struct http_request *request);
/* Does the request carry the key, or is none asked for?  Its body need not be there. */
bool api_is_allowed(const struct config *config, const struct http_request *request);
