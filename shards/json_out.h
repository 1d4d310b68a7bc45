/*
 * json_out: a JSON document in a growing buffer.
 *
 * For answers whose size is not known before they are made: the server API,
 * operations, results of RPC methods.  Commas are put by the writer; keys are
 * literals of ours.  Not for pushes and replies of the hot path: those are sized
 * first and written by proto/codec.h.
 *
 * Memory:  the heap, doubled as it grows; json_out_fini frees it.
 * Thread:  any.
 * Tests:   tests/unit/shards/test_api.c
 */
#pragma once

#include "core/bytes.h"

/* Zeroed memory is an empty document. */
struct json_out {
    uint8_t *at;
    size_t used, room;
    bool is_comma_due; /* true exactly when a value at this level stands before the next one */
};

void json_out_fini(struct json_out *out);
static inline struct bytes json_out_bytes(const struct json_out *out)
{
    return bytes_of(out->at, out->used);
}

void json_out_object(struct json_out *out);
void json_out_object_end(struct json_out *out);
void json_out_array(struct json_out *out);
void json_out_array_end(struct json_out *out);
/* `name` needs no escapes; exactly one value follows. */
void json_out_key(struct json_out *out, const char *name);

/* The same for any name. */
void json_out_key_text(struct json_out *out, struct bytes name);

void json_out_text(struct json_out *out, struct bytes text);
void json_out_u64(struct json_out *out, uint64_t value);
void json_out_bool(struct json_out *out, bool value);
/* One whole value, as it stands. */
void json_out_raw(struct json_out *out, struct bytes raw);

/* Key and value; the second leaves zero out, as the protocol does. */
void json_out_member_text(struct json_out *out, const char *name, struct bytes text);
void json_out_member_u64(struct json_out *out, const char *name, uint64_t value);
