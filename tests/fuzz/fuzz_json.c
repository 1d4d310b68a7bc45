/*
 * fuzz_json: the JSON reader against jansson.
 *
 * Any bytes: both say the same about validity, but for what jansson cannot hold
 * (lone surrogates, numbers beyond a double, a NUL in a key) and for our depth.
 * A valid document is then read by the pull calls beside jansson's tree: kinds,
 * strings, members and whole numbers must agree, and what the writer makes of
 * each string must read back.
 */
/* Both libraries call their kinds JSON_…; ours get other names here. */
#define JSON_OBJECT KIND_OBJECT
#define JSON_ARRAY  KIND_ARRAY
#define JSON_TRUE   KIND_TRUE
#define JSON_FALSE  KIND_FALSE
#define JSON_NULL   KIND_NULL
#include "proto/json.h"
#undef JSON_OBJECT
#undef JSON_ARRAY
#undef JSON_TRUE
#undef JSON_FALSE
#undef JSON_NULL

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>

#include "core/check.h"
#include "core/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* jansson's reasons to refuse what RFC 8259 allows. */
static bool is_own_limit(const char *text)
{
    static const char *const limits[] = {"real number overflow", "invalid Unicode",
                                         "NUL byte in object key", "\\u0000 is not allowed"};
    for (size_t i = 0; i < array_count(limits); i++) {
        if (strstr(text, limits[i]) != NULL) return true;
    }
    return false;
}

static void compare_text(struct json *json, struct arena *arena, const json_t *tree)
{
    struct bytes text, back;
    json_text(json, arena, &text);
    check(text.size == json_string_length(tree));
    check(text.size == 0 || memcmp(text.at, json_string_value(tree), text.size) == 0);

    size_t bound = json_text_bound(text);
    struct writer writer = writer_of(arena_get(arena, bound), bound);
    json_write_text(&writer, text);
    check(!writer.failed);
    struct json again;
    json_open(&again, writer_bytes(&writer));
    json_text(&again, arena, &back);
    check(json_close(&again) == ERR_OK);
    check(bytes_equal(text, back));
}

/* Whole numbers against the C library. */
static void compare_number(struct json *json)
{
    struct bytes raw;
    char text[64], *end;
    struct json wide, whole;
    uint64_t unsigned_value;
    int64_t signed_value;
    json_raw(json, &raw);
    if (raw.size >= sizeof(text)) return;
    memcpy(text, raw.at, raw.size);
    text[raw.size] = '\0';
    bool is_whole = strpbrk(text, ".eE") == NULL;

    json_open(&wide, raw);
    json_u64(&wide, &unsigned_value);
    errno = 0;
    uint64_t expected = strtoull(text, &end, 10);
    bool fits = is_whole && errno == 0 && text[0] != '-';
    check((json_close(&wide) == ERR_OK) == fits);
    if (fits) check(unsigned_value == expected);

    json_open(&whole, raw);
    json_i64(&whole, &signed_value);
    errno = 0;
    int64_t expected_signed = strtoll(text, &end, 10);
    fits = is_whole && errno == 0;
    check((json_close(&whole) == ERR_OK) == fits);
    if (fits) check(signed_value == expected_signed);
}

static void compare(struct json *json, struct arena *arena, const json_t *tree);

static void compare_object(struct json *json, struct arena *arena, const json_t *tree)
{
    struct bytes key;
    check(json_is_object(tree));
    check(json_enter_object(json));
    while (json_key(json, &key)) {
        struct json name;
        struct bytes text;
        json_open(&name, bytes_of(key.at - 1, key.size + 2));
        json_text(&name, arena, &text);
        check(json_close(&name) == ERR_OK);
        char *zero_ended = mem_text(text.at, text.size);
        const json_t *member = json_object_get(tree, zero_ended);
        check(member != NULL);
        /* Of duplicates the tree holds the last: only its own kind compares. */
        struct bytes raw;
        json_raw(json, &raw);
        json_error_t error;
        json_t *alone =
            json_loadb((const char *)raw.at, raw.size,
                       JSON_DECODE_ANY | JSON_DECODE_INT_AS_REAL | JSON_ALLOW_NUL, &error);
        check(alone != NULL);
        struct json value;
        json_open(&value, raw);
        compare(&value, arena, alone);
        check(json_close(&value) == ERR_OK);
        json_decref(alone);
        mem_free(zero_ended);
    }
}

static void compare(struct json *json, struct arena *arena, const json_t *tree)
{
    size_t count = 0;
    bool value;
    switch (json_peek(json)) {
    case KIND_OBJECT: compare_object(json, arena, tree); break;
    case KIND_ARRAY:
        check(json_is_array(tree));
        check(json_enter_array(json));
        while (json_element(json)) compare(json, arena, json_array_get(tree, count++));
        check(count == json_array_size(tree));
        break;
    case JSON_TEXT: compare_text(json, arena, tree); break;
    case JSON_NUMBER: compare_number(json); break;
    case KIND_TRUE:
    case KIND_FALSE:
        json_bool(json, &value);
        check(value == json_is_true(tree));
        break;
    case KIND_NULL:
        json_bool(json, &value);
        check(!value && json_is_null(tree));
        break;
    case JSON_NONE: impossible("the document is valid");
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct json json;
    json_error_t error;
    json_open(&json, bytes_of(data, size));
    json_skip(&json);
    enum err err = json_close(&json);
    json_t *tree = json_loadb((const char *)data, size,
                              JSON_DECODE_ANY | JSON_DECODE_INT_AS_REAL | JSON_ALLOW_NUL, &error);
    /* jansson takes a NUL for the end; no NUL has a place in JSON as it stands. */
    bool has_nul = size > 0 && memchr(data, 0, size) != NULL;
    if (has_nul) {
        check(err != ERR_OK);
    } else if (tree != NULL) {
        check(err == ERR_OK || err == ERR_TOO_DEEP);
    } else if (err == ERR_OK && !is_own_limit(error.text)) {
        check_failed(__FILE__, __LINE__, error.text, "jansson refuses it");
    }
    if (tree != NULL && err == ERR_OK) {
        struct arena arena;
        arena_init(&arena, 4096);
        json_open(&json, bytes_of(data, size));
        compare(&json, &arena, tree);
        check(json_close(&json) == ERR_OK);
        arena_fini(&arena);
    }
    json_decref(tree);

    /* What passes raw holds no newline and means the same. */
    if (err == ERR_OK) {
        uint8_t *room = mem_alloc(size + 1);
        struct writer writer = writer_of(room, size);
        json_write_raw(&writer, bytes_of(data, size));
        check(!writer.failed && memchr(room, '\n', writer.used) == NULL);
        check(json_is_valid(writer_bytes(&writer)));
        mem_free(room);
    }
    return 0;
}
