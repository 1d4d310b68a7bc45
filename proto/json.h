/*
 * json: the reader of commands; a small bounded writer.
 *
 * One pass, pull style: the caller walks the value it expects, everything else
 * is skipped, and every byte is validated on the way (RFC 8259, UTF-8, depth
 * <= JSON_DEPTH_MAX).  Payloads come out as raw slices of the input.  A wrong
 * turn latches an error; calls after it do nothing, and json_close says it.
 * Duplicate keys are not an error: the last one counts, as in SDKs' parsers.
 *
 *     struct json json;
 *     json_open(&json, text);
 *     if (json_enter_object(&json))
 *         while (json_key(&json, &key))
 *             if (bytes_equal_text(key, "id")) json_u32(&json, &id);
 *             else json_skip(&json);
 *     TRY(json_close(&json));
 *
 * Thread:  any; pure.
 * Bound:   linear in the input; no allocation but decoded strings with escapes.
 * Tests:   tests/unit/proto/test_json.c; fuzzed against jansson (tests/fuzz/fuzz_json.c)
 */
#pragma once

#include "core/arena.h"
#include "core/bytes.h"
#include "core/err.h"

enum json_kind {
    JSON_NONE,
    JSON_OBJECT,
    JSON_ARRAY,
    JSON_TEXT,
    JSON_NUMBER,
    JSON_TRUE,
    JSON_FALSE,
    JSON_NULL,
};

struct json {
    const uint8_t *at, *end;
    uint32_t depth;
    bool is_first; /* true exactly when no member or element of the open level was read yet */
    enum err error;
};

void json_open(struct json *json, struct bytes text);
/* ERR_OK when the whole input was one valid value and everything was read;
 * ERR_BAD_JSON, ERR_BAD_UTF8 or ERR_TOO_DEEP otherwise. */
must_use enum err json_close(struct json *json);
/* What the next value is, by its first byte. */
enum json_kind json_peek(struct json *json);

/* Enters an object; false and latched when the next value is none.  The loop
 * over json_key ends (false) after the closing brace, which it consumed.  (The
 * shorter name is jansson's, and a symbol of the program hides a library's.) */
bool json_enter_object(struct json *json);
/* The next key, raw between the quotes (a key with escapes matches nothing we
 * ask for); the caller must then read or skip exactly one value. */
bool json_key(struct json *json, struct bytes *key);
/* The next key of a map, whose keys are somebody's names: unescaped as json_text does. */
bool json_key_text(struct json *json, struct arena *arena, struct bytes *key);
/* The same for arrays: true while there is an element to read. */
bool json_enter_array(struct json *json);
bool json_element(struct json *json);

void json_skip(struct json *json);
/* The whole value, validated, as it stands, without surrounding whitespace. */
void json_raw(struct json *json, struct bytes *raw);
/* A string, unescaped; a view of the input when it has no escapes, else in `arena`.
 * null gives BYTES_NONE (SDKs send null for absent). */
void json_text(struct json *json, struct arena *arena, struct bytes *text);
/* Whole numbers in range; anything else latches ERR_BAD_JSON.  null gives 0. */
void json_u64(struct json *json, uint64_t *value);
/* An array of them.  *count: how many it has; `values` gets the first `most`. */
void json_u64s(struct json *json, uint64_t *values, uint32_t most, uint32_t *count);
void json_u32(struct json *json, uint32_t *value);
void json_i64(struct json *json, int64_t *value);
void json_bool(struct json *json, bool *value);

/* True when `text` is exactly one valid JSON value. */
bool json_is_valid(struct bytes text);

/* Writing.  A quoted string with what must be escaped escaped; invalid UTF-8
 * becomes U+FFFD.  At most 6 * size + 2 bytes. */
void json_write_text(struct writer *writer, struct bytes text);
/* A raw value with newline bytes between tokens removed, so that a newline
 * stays a message delimiter. */
void json_write_raw(struct writer *writer, struct bytes raw);
static inline size_t json_text_bound(struct bytes text)
{
    return 6 * text.size + 2;
}
