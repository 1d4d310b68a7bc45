/*
 * api_parts: what the files of the server API share.
 *
 * Thread:  owner shard of the connection.
 */
#pragma once

#include "core/arena.h"
#include "core/bytes.h"
#include "core/err.h"
#include "core/limits.h"
#include "shards/call.h"
#include "shards/json_out.h"

struct shard;
struct conn;

/* Channels of one broadcast, and of those how many wait for an answer at once: half of
 * what a pair of shards may ask of each other, so that others go on meanwhile. */
#define API_CHANNELS_MAX           100000
#define API_BROADCAST_PARALLEL_MAX (MESH_CREDITS / 2)

/* Commands of one batch, and of those how many wait for an answer at once with
 * "parallel".  The bytes bound all its results together. */
#define API_BATCH_MAX          10000
#define API_BATCH_PARALLEL_MAX 64
#define API_BATCH_BYTES_MAX    (64u << 20)

/* One method call under way: a request of its own, or one command of a batch.
 * What must outlive it goes into its calls; `body` and the arena end with the
 * turn.  A handler never writes to the connection: it answers its sink, exactly
 * once, whatever became of the connection meanwhile. */
struct api {
    struct shard *shard;
    struct conn *conn;
    struct bytes body;
    struct api_sink sink; /* api_call keeps a copy in call->sink */
};

/* ERR_OK: the sink is answered, or will be by the call that was begun.  Any
 * other error: nothing was begun and the caller answers the sink with it (a PEER
 * error is 400 for a request of its own and 107 in a batch). */
typedef enum err (*api_fn)(const struct api *api);
enum err api_publish(const struct api *api);
enum err api_broadcast(const struct api *api);
enum err api_history(const struct api *api);
enum err api_history_remove(const struct api *api);
enum err api_message_delete(const struct api *api);
enum err api_presence(const struct api *api);
enum err api_presence_stats(const struct api *api);
enum err api_channels(const struct api *api);
enum err api_info(const struct api *api);
enum err api_members(const struct api *api);
enum err api_members_set(const struct api *api);
enum err api_members_add(const struct api *api);
enum err api_members_remove(const struct api *api);
enum err api_members_import(const struct api *api);
enum err api_receipts_policy(const struct api *api);
enum err api_receipts_policy_set(const struct api *api);
enum err api_subscribe(const struct api *api);
enum err api_unsubscribe(const struct api *api);
enum err api_disconnect(const struct api *api);
enum err api_refresh(const struct api *api);
enum err api_rpc(const struct api *api);
enum err api_batch(const struct api *api);

/* Begins a call for `api`, to the home of `channel` or to any shard; the
 * request's connection waits from then on.  The handler of the answer ends with
 * api_reply or api_fail on call->sink, also when the connection is DYING:
 *
 *     static void on_thing(struct shard *shard, struct call *call, struct conn *conn,
 *                          const struct answer *answer)
 *     {
 *         if (answer->err != ERR_OK) api_fail(shard, conn, &call->sink, answer->err);
 *         else api_reply(shard, conn, &call->sink, BYTES_LITERAL("{}"));
 *     } */
must_use enum err api_call(const struct api *api, struct bytes channel, call_fn on_answer,
                           struct call **call, struct handle *handle);
must_use enum err api_call_to(const struct api *api, uint32_t shard, call_fn on_answer,
                              struct call **call, struct handle *handle);
/* `result` is one whole JSON value, copied: {"result": …} of a request, or
 * {"<method>": …} among the replies of a batch. */
void api_reply(struct shard *shard, struct conn *conn, const struct api_sink *sink,
               struct bytes result);
void api_fail(struct shard *shard, struct conn *conn, const struct api_sink *sink, enum err err);

/* For api_batch.c: runs one method; `name` is its row in api.def. */
must_use enum err api_run(const struct api *api, struct bytes name);
/* The same text for the life of the process; NULL when there is no such method. */
const char *api_method_name(struct bytes name);
/* Takes the answer of one slot. */
void api_batch_answer(struct shard *shard, struct conn *conn, const struct api_sink *sink,
                      enum err err, struct bytes result);
/* "error":{…} or "result":{"offset","epoch"} of a publication, as members. */
void api_write_published(struct json_out *out, const struct answer *answer);
void api_write_error(struct json_out *out, enum err err);
/* The policy that a channel's home answered with, as an object. */
void api_write_policy(struct json_out *out, const struct answer *answer);
/* A page of members, as an object. */
void api_write_members(struct json_out *out, const struct answer *answer);

/* Bodies (api_parse.c).  Malformed JSON and values of a wrong type are PEER
 * errors; what is well formed and may not be is ERR_BAD_REQUEST.  Views point
 * into the body or `arena`. */
struct api_publication {
    const struct bytes *channels;
    uint32_t channels_count;
    struct bytes data, tags, key, version_epoch;
    uint64_t version; /* 0: none */
    bool skip_history;
    bool is_json; /* `data` was part of the body; false: it was base64 and is anything */
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

/* {"channel","offset","epoch"} */
struct letter_message;
must_use enum err api_parse_message(struct bytes body, struct arena *arena,
                                    struct letter_message *out);

struct member_join;
struct api_members {
    struct bytes channel;
    const struct bytes *users;
    const struct member_join *joins; /* one a user; NULL: all join now */
    uint32_t users_count;
};
/* `is_import`: a user may be {"user","joined","read"}. */
must_use enum err api_parse_members(struct bytes body, bool is_import, struct arena *arena,
                                    struct api_members *out);
struct letter_members_list;
must_use enum err api_parse_members_list(struct bytes body, struct arena *arena,
                                         struct letter_members_list *out);
/* {"channel","receipts","receipts_opt_out"}: what is absent or null says nothing. */
struct letter_policy;
must_use enum err api_parse_policy(struct bytes body, struct arena *arena,
                                   struct letter_policy *out);
/* An object, or nothing at all, of which the text `name` is wanted; `text` stays as it
 * is without one. */
must_use enum err api_parse_text(struct bytes body, const char *name, struct arena *arena,
                                 struct bytes *text);
/* A list of texts, or null. */
struct json;
void api_parse_texts(struct json *json, struct arena *arena, const struct bytes **texts,
                     uint32_t *count);
/* JSON as base64; ERR_BAD_REQUEST. */
must_use enum err api_parse_base64(struct bytes text, struct arena *arena, struct bytes *data);
/* An object, or nothing at all. */
must_use enum err api_parse_nothing(struct bytes body);
