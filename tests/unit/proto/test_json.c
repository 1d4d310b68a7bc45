/*
 * The JSON reader by tables: what RFC 8259 allows and what it does not, each
 * valid document cut at every byte; the pull calls; numbers at their limits;
 * strings in and out.  Inputs sit in tight copies so that ASan sees any overrun.
 */
#include "unit/proto/wire.h"

#include "core/limits.h"
#include "proto/json.h"

static bool valid(const char *text, size_t size)
{
    uint8_t *copy = tight_copy(text, size);
    bool answer = json_is_valid(bytes_of(copy, size));
    free(copy);
    return answer;
}

static const char *const good[] = {
    "0",
    "-0",
    "10",
    "-1.5e+10",
    "1E400",
    "123456789012345678901234567890",
    "0.0000001e-999",
    "true",
    "false",
    "null",
    "\"\"",
    "\"a\"",
    "\"\\u0000\\ud800\\\"\\/\\b\\f\\n\\r\\t\\\\\"",
    "{}",
    "[]",
    " [ ] ",
    "\t{ }\r\n",
    "[1,2,3]",
    "[[[]],[]]",
    "{\"a\":{},\"b\":[{}]}",
    "{\"a\":1,\"a\":2}",
    "{\"\":\"\"}",
    " { \"k\" : [ 1 , true , null , \"x\" ] } ",
    "\"\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80\xF4\x8F\xBF\xBF\"",
    "\"12345678\\\"2345678\x7F\"",
    "[0,-0.1,\"long enough for two words of eight\",[{\"a\":[]}]]",
};

static const char *const bad[] = {
    "",
    " ",
    "nul",
    "nulll",
    "True",
    "01",
    "-",
    "+1",
    ".5",
    "1.",
    "1e",
    "1e+",
    "0x10",
    "1 2",
    "\"",
    "\"\\\"",
    "\"\\x\"",
    "\"\\u12\"",
    "\"\\u12g4\"",
    "\"a\nb\"",
    "\"\x01\"",
    "'a'",
    "[",
    "]",
    "[1",
    "[1,",
    "[1,]",
    "[,1]",
    "[1 2]",
    "{",
    "}",
    "{\"a\"}",
    "{\"a\":}",
    "{\"a\":1,}",
    "{,}",
    "{a:1}",
    "{1:1}",
    "{\"a\":1 \"b\":2}",
    "[}",
    "{]",
    "[1}",
    "{\"a\":1]",
    "NaN",
    "Infinity",
    "/**/1",
    "\xEF\xBB\xBF{}",
    "[1]x",
    "{}{}",
    "\"\x80\"",
    "\"\xC0\xAF\"",
    "\"\xE0\x80\xAF\"",
    "\"\xED\xA0\x80\"",
    "\"\xF4\x90\x80\x80\"",
    "\"\xF5\x80\x80\x80\"",
    "\"\xC3\"",
    "\"\xE2\x82\"",
    "\"12345678\xF0\x9F\x98\"",
    "\xC3\xA9",
};

static void valid_documents_pass_and_their_halves_do_not(void **state)
{
    (void)state;
    for (size_t i = 0; i < array_count(good); i++) {
        size_t size = strlen(good[i]);
        if (!valid(good[i], size)) fail_msg("refused: %s", good[i]);
        if (good[i][0] != '{' && good[i][0] != '[' && good[i][0] != '"') continue;
        size_t whole = size;
        while (strchr(" \t\r\n", good[i][whole - 1]) != NULL) whole--;
        for (size_t cut = 0; cut < whole; cut++) {
            if (valid(good[i], cut)) fail_msg("taken: %zu bytes of %s", cut, good[i]);
        }
    }
}

static void invalid_documents_are_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < array_count(bad); i++) {
        if (valid(bad[i], strlen(bad[i]))) fail_msg("taken: %s", bad[i]);
    }
    assert_false(valid("\0", 1));
    assert_false(valid("1\0", 2));
    assert_false(valid("\"a\0b\"", 5));
}

/* Strings are scanned by pieces: each byte at each place of some pieces and a rest. */
static void what_may_stand_in_a_string_may_stand_anywhere(void **state)
{
    (void)state;
    char text[42];
    for (uint32_t size = 1; size <= 40; size++) {
        for (uint32_t place = 0; place < size; place++) {
            memset(text, 'a', sizeof text);
            text[0] = text[size + 1] = '"';
            for (uint32_t c = 0; c < 256; c++) {
                text[1 + place] = (char)c;
                bool is_fine = c >= 0x20 && c < 0x80 && c != '"' && c != '\\';
                if (valid(text, size + 2) != is_fine)
                    fail_msg("byte %u at %u of %u", c, place, size);
            }
        }
    }
}

static void depth_is_bounded_at_its_limit(void **state)
{
    (void)state;
    char text[2 * (JSON_DEPTH_MAX + 1) + 1];
    for (uint32_t depth = JSON_DEPTH_MAX - 1; depth <= JSON_DEPTH_MAX + 1; depth++) {
        memset(text, '[', depth);
        memset(text + depth, ']', depth);
        struct json json;
        json_open(&json, bytes_of(text, 2 * depth));
        json_skip(&json);
        assert_int_equal(json_close(&json), depth <= JSON_DEPTH_MAX ? ERR_OK : ERR_TOO_DEEP);
    }
}

static void levels_opened_by_the_caller_count_too(void **state)
{
    (void)state;
    char text[2 * JSON_DEPTH_MAX + 3];
    memset(text, '[', JSON_DEPTH_MAX + 1);
    memset(text + JSON_DEPTH_MAX + 1, ']', JSON_DEPTH_MAX + 1);
    struct json json;
    json_open(&json, bytes_of(text, 2 * JSON_DEPTH_MAX + 2));
    assert_true(json_enter_array(&json));
    assert_true(json_element(&json));
    json_skip(&json);
    assert_false(json_element(&json));
    assert_int_equal(json_close(&json), ERR_TOO_DEEP);
}

static void members_are_pulled_in_order(void **state)
{
    (void)state;
    struct json json;
    struct bytes key, raw, text;
    struct arena arena;
    uint32_t id = 0, keys = 0;
    bool flag = false;
    arena_init(&arena, 4096);
    json_open(&json,
              bytes_of_text(" {\"id\": 7, \"raw\" : [1, {\"x\":\"]\"}] ,\"skip\":{\"id\":9},"
                            "\"t\":\"a\\u00e9\\ud83d\\ude00\\n\", \"b\":true, \"n\":null} "));
    assert_true(json_enter_object(&json));
    while (json_key(&json, &key)) {
        keys++;
        if (bytes_equal_text(key, "id"))
            json_u32(&json, &id);
        else if (bytes_equal_text(key, "raw"))
            json_raw(&json, &raw);
        else if (bytes_equal_text(key, "t"))
            json_text(&json, &arena, &text);
        else if (bytes_equal_text(key, "b"))
            json_bool(&json, &flag);
        else
            json_skip(&json);
    }
    assert_int_equal(json_close(&json), ERR_OK);
    assert_int_equal(keys, 6);
    assert_int_equal(id, 7);
    assert_bytes(raw, "[1, {\"x\":\"]\"}]");
    assert_bytes(text, "a\xC3\xA9\xF0\x9F\x98\x80\n");
    assert_true(flag);
    arena_fini(&arena);
}

static void arrays_are_pulled_element_by_element(void **state)
{
    (void)state;
    struct json json;
    uint64_t sum = 0;
    json_open(&json, BYTES_LITERAL("[1, [2,3] ,[],4]"));
    assert_true(json_enter_array(&json));
    while (json_element(&json)) {
        if (json_peek(&json) == JSON_ARRAY) {
            assert_true(json_enter_array(&json));
            while (json_element(&json)) {
                uint64_t inner;
                json_u64(&json, &inner);
                sum += inner;
            }
        } else {
            uint64_t value;
            json_u64(&json, &value);
            sum += value;
        }
    }
    assert_int_equal(json_close(&json), ERR_OK);
    assert_int_equal(sum, 10);
}

static enum err read_u64_of(const char *text, uint64_t *value)
{
    struct json json;
    json_open(&json, bytes_of_text(text));
    json_u64(&json, value);
    return json_close(&json);
}

static enum err read_i64_of(const char *text, int64_t *value)
{
    struct json json;
    json_open(&json, bytes_of_text(text));
    json_i64(&json, value);
    return json_close(&json);
}

static void numbers_are_whole_and_in_range(void **state)
{
    (void)state;
    uint64_t wide;
    int64_t whole;
    assert_int_equal(read_u64_of("18446744073709551615", &wide), ERR_OK);
    assert_true(wide == UINT64_MAX);
    assert_int_equal(read_u64_of("null", &wide), ERR_OK);
    assert_int_equal(wide, 0);
    static const char *const not_u64[] = {
        "18446744073709551616",       "-1",   "-0", "1.0", "1e2", "\"1\"",
        "99999999999999999999999999", "true", "01", ""};
    for (size_t i = 0; i < array_count(not_u64); i++)
        assert_int_equal(read_u64_of(not_u64[i], &wide), ERR_BAD_JSON);
    assert_int_equal(read_i64_of("-9223372036854775808", &whole), ERR_OK);
    assert_true(whole == INT64_MIN);
    assert_int_equal(read_i64_of("9223372036854775807", &whole), ERR_OK);
    assert_true(whole == INT64_MAX);
    assert_int_equal(read_i64_of("-0", &whole), ERR_OK);
    static const char *const not_i64[] = {
        "9223372036854775808", "-9223372036854775809", "--1", "-", "-a", "- 1"};
    for (size_t i = 0; i < array_count(not_i64); i++)
        assert_int_equal(read_i64_of(not_i64[i], &whole), ERR_BAD_JSON);
}

static void u32_stops_at_its_limit(void **state)
{
    (void)state;
    struct json json;
    uint32_t value;
    json_open(&json, BYTES_LITERAL("4294967295"));
    json_u32(&json, &value);
    assert_int_equal(json_close(&json), ERR_OK);
    assert_true(value == UINT32_MAX);
    json_open(&json, BYTES_LITERAL("4294967296"));
    json_u32(&json, &value);
    assert_int_equal(json_close(&json), ERR_BAD_JSON);
    assert_int_equal(value, 0);
}

static void text_of(const char *json_value, const char *expected)
{
    struct json json;
    struct arena arena;
    struct bytes text;
    arena_init(&arena, 4096);
    uint8_t *copy = tight_copy(json_value, strlen(json_value));
    json_open(&json, bytes_of(copy, strlen(json_value)));
    json_text(&json, &arena, &text);
    if (expected != NULL) {
        assert_int_equal(json_close(&json), ERR_OK);
        assert_bytes(text, expected);
    } else {
        assert_int_equal(json_close(&json), ERR_BAD_JSON);
        assert_int_equal(text.size, 0);
    }
    free(copy);
    arena_fini(&arena);
}

static void strings_are_unescaped(void **state)
{
    (void)state;
    text_of("\"\"", "");
    text_of("null", "");
    text_of("\"plain\"", "plain");
    text_of("\"\\u0041\\u00df\\u20ac\"", "A\xC3\x9F\xE2\x82\xAC");
    text_of("\"\\ud83d\\ude00\"", "\xF0\x9F\x98\x80");
    text_of("\"\\uDBFF\\uDFFF\"", "\xF4\x8F\xBF\xBF");
    text_of("\"\\ud83d\"", "\xEF\xBF\xBD");
    text_of("\"\\ud83dx\"", "\xEF\xBF\xBDx");
    text_of("\"\\ud83d\\n\"", "\xEF\xBF\xBD\n");
    text_of("\"\\ud83d\\u0041\"", "\xEF\xBF\xBD"
                                  "A");
    text_of("\"\\ude00\\ud83d\\ude00\"", "\xEF\xBF\xBD\xF0\x9F\x98\x80");
    text_of("1", NULL);
    text_of("[]", NULL);
    text_of("\"a", NULL);
}

static void a_failure_latches(void **state)
{
    (void)state;
    struct json json;
    struct bytes key, raw;
    uint64_t value = 1;
    json_open(&json, BYTES_LITERAL("{\"a\":x,\"b\":1}"));
    assert_true(json_enter_object(&json));
    assert_true(json_key(&json, &key));
    json_u64(&json, &value);
    assert_int_equal(value, 0);
    json_raw(&json, &raw);
    assert_int_equal(raw.size, 0);
    assert_int_equal(json_peek(&json), JSON_NONE);
    assert_false(json_key(&json, &key));
    assert_false(json_enter_object(&json));
    assert_int_equal(json_close(&json), ERR_BAD_JSON);
}

static void writes(struct bytes text, const char *expected)
{
    uint8_t room[256];
    struct writer writer = writer_of(room, json_text_bound(text));
    json_write_text(&writer, text);
    assert_false(writer.failed);
    assert_bytes(writer_bytes(&writer), expected);
    assert_true(json_is_valid(writer_bytes(&writer)));
}

static void strings_are_escaped(void **state)
{
    (void)state;
    writes(BYTES_NONE, "\"\"");
    writes(BYTES_LITERAL("a\"b\\c/\b\f\n\r\t\x01\x1F\x7F"),
           "\"a\\\"b\\\\c/\\b\\f\\n\\r\\t\\u0001\\u001f\x7F\"");
    writes(BYTES_LITERAL("\0\0\0"), "\"\\u0000\\u0000\\u0000\"");
    writes(BYTES_LITERAL("\xC3\xA9\xF0\x9F\x98\x80"), "\"\xC3\xA9\xF0\x9F\x98\x80\"");
    writes(BYTES_LITERAL("\xFF"
                         "a\xE2\x82"),
           "\"\xEF\xBF\xBD"
           "a\xEF\xBF\xBD\xEF\xBF\xBD\"");
    writes(BYTES_LITERAL("\xED\xA0\x80"), "\"\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\"");
}

static void raw_values_lose_their_newlines(void **state)
{
    (void)state;
    uint8_t room[64];
    struct writer writer = writer_of(room, sizeof(room));
    json_write_raw(&writer, BYTES_LITERAL("\n{\n\n\"a\\n\":\n1}\n"));
    assert_bytes(writer_bytes(&writer), "{\"a\\n\":1}");
    json_write_raw(&writer, BYTES_NONE);
    assert_int_equal(writer.used, 9);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(valid_documents_pass_and_their_halves_do_not),
        cmocka_unit_test(invalid_documents_are_refused),
        cmocka_unit_test(what_may_stand_in_a_string_may_stand_anywhere),
        cmocka_unit_test(depth_is_bounded_at_its_limit),
        cmocka_unit_test(levels_opened_by_the_caller_count_too),
        cmocka_unit_test(members_are_pulled_in_order),
        cmocka_unit_test(arrays_are_pulled_element_by_element),
        cmocka_unit_test(numbers_are_whole_and_in_range),
        cmocka_unit_test(u32_stops_at_its_limit),
        cmocka_unit_test(strings_are_unescaped),
        cmocka_unit_test(a_failure_latches),
        cmocka_unit_test(strings_are_escaped),
        cmocka_unit_test(raw_values_lose_their_newlines),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
