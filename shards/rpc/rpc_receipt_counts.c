/*
 * rpc_receipt_counts: how many members have read what.
 *
 * {"channel", "offsets":[…]} → {"counts":[…], "eligible":[…]}, one of each per
 * offset, in the order asked.  The sender counts in neither.  Only members ask.
 */
#include "core/check.h"
#include "core/limits.h"
#include "proto/json.h"
#include "shards/letter_receipt.h"
#include "shards/rpc/rpc_parts.h"
#include "shards/shard.h"

static enum err counts_parse(struct bytes text, struct arena *arena, struct letter_receipt *out)
{
    uint64_t *offsets = arena_get(arena, RECEIPT_OFFSETS_MAX * sizeof *offsets);
    *out = (struct letter_receipt){.verb = RECEIPT_COUNTS, .offsets = offsets};
    struct bytes name;
    uint32_t count = 0;
    struct json json;
    json_open(&json, text);
    if (json_enter_object(&json))
        while (json_key(&json, &name)) {
            if (bytes_equal_text(name, "channel")) {
                json_text(&json, arena, &out->channel);
            } else if (bytes_equal_text(name, "offsets")) {
                count = 0;
                if (json_enter_array(&json))
                    for (uint64_t offset = 0; json_element(&json); count++) {
                        json_u64(&json, &offset);
                        if (count < RECEIPT_OFFSETS_MAX) offsets[count] = offset;
                    }
            } else {
                json_skip(&json);
            }
        }
    TRY(json_close(&json));
    if (count > RECEIPT_OFFSETS_MAX) return ERR_LIMIT_SIZE;
    out->offsets_count = count;
    return count == 0 ? ERR_BAD_REQUEST : ERR_OK;
}

static void write_counts(struct json_out *out, const char *name, const uint32_t *counts,
                         uint32_t count)
{
    json_out_key(out, name);
    json_out_array(out);
    for (uint32_t i = 0; i < count; i++) json_out_u64(out, counts[i]);
    json_out_array_end(out);
}

static void on_counts(struct shard *shard, struct call *call, struct conn *conn,
                      const struct answer *answer)
{
    if (!rpc_is_answered(shard, call, conn, answer)) return;
    struct json_out out = {0};
    json_out_object(&out);
    write_counts(&out, "counts", answer->readers, answer->counts_count);
    write_counts(&out, "eligible", answer->eligible, answer->counts_count);
    json_out_object_end(&out);
    rpc_reply(shard, call, conn, &out);
}

enum err rpc_receipt_counts(const struct rpc *rpc)
{
    struct shard *shard = rpc->shard;
    struct letter_receipt question;
    TRY(counts_parse(rpc->data, &shard->arena, &question));
    TRY(rpc_receipt_check(rpc, question.channel));
    question.user = conn_user(rpc->conn);

    struct call *call;
    TRY(rpc_call(rpc, question.channel, on_counts, &call, &question.call));
    call_post(shard, letter_pack_receipt(shard->post, call->to, &question));
    return ERR_OK;
}
