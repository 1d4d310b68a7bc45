/*
 * api_parts: what the files of the server API share.
 *
 * Thread:  owner shard of the connection.
 */
#pragma once

#include "core/arena.h"
#include "core/bytes.h"
#include "core/err.h"
#include "shards/call.h"
#include "shards/json_out.h"

struct shard;
struct conn;

/* Channels of one broadcast. */
#define API_CHANNELS_MAX 1024

/* One request under way; what must outlive it goes into its calls. */
struct api {
    struct shard *shard;
    struct conn *conn;
    struct bytes body;
    bool is_transport; /* errors as HTTP statuses; kept in call.kind */
};

/* ERR_OK: it is answered, or will be and input waits for that.  A PEER error is
 * answered 400, others by the envelope of an error. */
typedef enum err (*api_fn)(const struct api *api);
enum err api_publish(const struct api *api);
enum err api_broadcast(const struct api *api);
enum err api_history(const struct api *api);
enum err api_info(const struct api *api);
enum err api_members_set(const struct api *api);

/* Begins a call for `api`, to the home of `channel`; input waits from then on. */
must_use enum err api_call(const struct api *api, struct bytes channel, call_fn on_answer,
                           struct call **call, struct handle *handle);
/* {"result": `result`}; `result` is one whole JSON value.  No-op when the
 * connection takes nothing any more. */
void api_reply(struct shard *shard, struct conn *conn, struct bytes result);
void api_fail(struct shard *shard, struct conn *conn, bool is_transport, enum err err);
/* "error":{…} or "result":{"offset","epoch"} of a publication, as members. */
void api_write_published(struct json_out *out, const struct answer *answer);
void api_write_error(struct json_out *out, enum err err);

/* Bodies (api_parse.c).  Malformed JSON and values of a wrong type are PEER
 * errors; what is well formed and may not be is ERR_BAD_REQUEST.  Views point
 * into the body or `arena`. */
struct api_publication {
    const struct bytes *channels;
    uint32_t channels_count;
    struct bytes data, tags, key;
    bool skip_history;
};
/* `is_broadcast`: "channels", a list, in place of "channel". */
must_use enum err api_parse_publication(struct bytes body, bool is_broadcast, struct arena *arena,
                                        struct api_publication *out);

struct api_history_ask {
    struct bytes channel, since_epoch;
    uint64_t since;
    uint32_t limit; /* UINT32_MAX: everything */
    bool is_reverse;
};
must_use enum err api_parse_history(struct bytes body, struct arena *arena,
                                    struct api_history_ask *out);

struct api_members {
    struct bytes channel;
    const struct bytes *users;
    uint32_t users_count;
};
must_use enum err api_parse_members(struct bytes body, struct arena *arena,
                                    struct api_members *out);
/* An object, or nothing at all. */
must_use enum err api_parse_nothing(struct bytes body);
