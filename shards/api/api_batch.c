/*
 * api_batch: many methods in one request.
 *
 * {"commands":[{"publish":{…}}, …], "parallel":false} → {"replies":[{"publish":{…}}, …]},
 * a reply per command, in the order of the request and not wrapped in a result;
 * a command that fails has {"error":{…}} in its place and stops nothing.  null is
 * error 107, an object without a known method 104.
 *
 * One after another unless "parallel"; then up to API_BATCH_PARALLEL_MAX wait for
 * their answers at once.  When a pair of shards is out of credit the batch goes on
 * with its next answer, so a batch is slow before it fails.
 *
 * The batch lives on the heap from its request to its last answer.  Every answer
 * comes to it, also when its connection is DYING; then no further command begins.
 */
#include "core/check.h"
#include "core/mem.h"
#include "proto/json.h"
#include "shards/api/api_parts.h"
#include "shards/shard.h"

struct batch_slot {
    const char *method; /* as in api.def; NULL: none that is known */
    struct bytes body;  /* of the command, in the batch's copy */
    enum err err;
    uint8_t *result; /* the heap; NULL: none */
    uint32_t result_size;
};

struct api_batch {
    uint8_t *body; /* of the request: commands begin turns later */
    uint32_t count;
    uint32_t next;        /* the first command that was not begun */
    uint32_t left;        /* commands that are begun and not answered */
    uint32_t width;       /* how many may be */
    size_t results_bytes; /* of all slots */
    bool is_running;      /* true exactly while batch_run is on the stack */
    bool is_transport;
    uint64_t began_ns;
    struct batch_slot slots[];
};

static void batch_destroy(struct api_batch *batch)
{
    check(batch->left == 0);
    for (uint32_t i = 0; i < batch->count; i++) mem_free(batch->slots[i].result);
    mem_free(batch->body);
    mem_free(batch);
}

static void batch_reply(struct shard *shard, struct conn *conn, const struct api_batch *batch)
{
    metric_observe(&shard->metrics, FAMILY_API_SECONDS, shard->clock.mono_ns - batch->began_ns);
    struct json_out out = {0};
    json_out_object(&out);
    json_out_key(&out, "replies");
    json_out_array(&out);
    for (uint32_t i = 0; i < batch->count; i++) {
        const struct batch_slot *slot = &batch->slots[i];
        json_out_object(&out);
        if (slot->err != ERR_OK) {
            api_write_error(&out, slot->err);
        } else {
            json_out_key(&out, slot->method);
            json_out_raw(&out, bytes_of(slot->result, slot->result_size));
        }
        json_out_object_end(&out);
    }
    json_out_array_end(&out);
    json_out_object_end(&out);
    conn_respond(shard, conn, 200, "application/json", json_out_bytes(&out), NULL);
    json_out_fini(&out);
}

/* False when the command must wait for an answer to another one. */
static bool batch_begin(struct shard *shard, struct conn *conn, struct api_batch *batch,
                        uint32_t index)
{
    struct batch_slot *slot = &batch->slots[index];
    if (slot->err != ERR_OK) return true; /* known since the request was read */
    struct api api = {
        .shard = shard,
        .conn = conn,
        .body = slot->body,
        .sink = {.batch = batch, .slot = (uint16_t)index, .is_transport = batch->is_transport},
    };
    batch->left++;
    enum err err = api_run(&api, bytes_of_text(slot->method));
    if (err == ERR_OK) return true;
    if (err == ERR_CREDIT_SPENT && batch->left > 1) {
        batch->left--;
        return false;
    }
    api_fail(shard, conn, &api.sink, err);
    return true;
}

/* Begins what may begin; the last answer ends the batch. */
static void batch_run(struct shard *shard, struct conn *conn, struct api_batch *batch)
{
    check(!batch->is_running);
    batch->is_running = true;
    while (batch->next < batch->count && batch->left < batch->width && conn->state == CONN_HTTP &&
           batch_begin(shard, conn, batch, batch->next))
        batch->next++;
    batch->is_running = false;
    if (batch->left > 0) return;
    check(batch->next == batch->count || conn->state != CONN_HTTP);
    if (conn->state == CONN_HTTP) batch_reply(shard, conn, batch);
    batch_destroy(batch);
}

void api_batch_answer(struct shard *shard, struct conn *conn, const struct api_sink *sink,
                      enum err err, struct bytes result)
{
    struct api_batch *batch = sink->batch;
    check(sink->slot < batch->count && batch->left > 0);
    struct batch_slot *slot = &batch->slots[sink->slot];
    check(slot->result == NULL && slot->err == ERR_OK);
    batch->left--;
    slot->err = err;
    if (err == ERR_OK && batch->results_bytes + result.size > API_BATCH_BYTES_MAX)
        slot->err = ERR_LIMIT_SIZE;
    if (slot->err == ERR_OK) {
        slot->result = mem_alloc(result.size);
        slot->result_size = (uint32_t)result.size;
        memcpy(slot->result, result.at, result.size);
        batch->results_bytes += result.size;
    }
    if (!batch->is_running) batch_run(shard, conn, batch);
}

/* --- the request ------------------------------------------------------------------ */

struct batch_ask {
    uint32_t count;
    bool is_parallel;
};

/* The first member that names a method decides, as there is to be only one. */
static void parse_command(struct bytes text, struct batch_slot *slot)
{
    *slot = (struct batch_slot){0};
    struct bytes name;
    struct json json;
    json_open(&json, text);
    if (json_peek(&json) != JSON_OBJECT) {
        slot->err = ERR_BAD_REQUEST;
        return;
    }
    if (json_enter_object(&json))
        while (json_key(&json, &name)) {
            const char *method = slot->method == NULL ? api_method_name(name) : NULL;
            if (method == NULL || bytes_equal_text(name, "batch")) {
                json_skip(&json);
                continue;
            }
            slot->method = method;
            json_raw(&json, &slot->body);
        }
    if (json_close(&json) != ERR_OK)
        slot->err = ERR_BAD_REQUEST;
    else if (slot->method == NULL)
        slot->err = ERR_NOT_FOUND;
}

/* Counts and checks, and fills what there are slots for: a list that stands twice
 * is read twice, and the last one counts. */
static enum err parse_batch(struct bytes body, struct batch_ask *ask, struct batch_slot *slots,
                            uint32_t slots_count)
{
    *ask = (struct batch_ask){0};
    struct bytes name, command;
    struct json json;
    json_open(&json, body);
    if (json_enter_object(&json))
        while (json_key(&json, &name)) {
            if (bytes_equal_text(name, "parallel")) {
                json_bool(&json, &ask->is_parallel);
            } else if (bytes_equal_text(name, "commands") && json_peek(&json) != JSON_NULL) {
                ask->count = 0;
                if (json_enter_array(&json))
                    while (json_element(&json)) {
                        json_raw(&json, &command);
                        if (ask->count < slots_count && json.error == ERR_OK)
                            parse_command(command, &slots[ask->count]);
                        ask->count++;
                    }
            } else {
                json_skip(&json);
            }
        }
    TRY(json_close(&json));
    return ask->count <= API_BATCH_MAX ? ERR_OK : ERR_LIMIT_BATCH;
}

enum err api_batch(const struct api *api)
{
    check(api->sink.batch == NULL);
    struct batch_ask ask;
    TRY(parse_batch(api->body, &ask, NULL, 0));

    struct api_batch *batch = mem_alloc(sizeof *batch + ask.count * sizeof batch->slots[0]);
    batch->body = mem_alloc(api->body.size);
    memcpy(batch->body, api->body.at, api->body.size);
    batch->count = ask.count;
    batch->width = ask.is_parallel ? API_BATCH_PARALLEL_MAX : 1;
    batch->is_transport = api->sink.is_transport;
    batch->began_ns = api->sink.began_ns;
    enum err err =
        parse_batch(bytes_of(batch->body, api->body.size), &ask, batch->slots, ask.count);
    check(err == ERR_OK);
    batch_run(api->shard, api->conn, batch);
    return ERR_OK;
}
