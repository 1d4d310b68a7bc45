/*
 * Bodies, credentials and documents of the server API: tables of what is taken
 * and what is refused, and every body cut at every byte.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "proto/json.h"
#include "shards/api/api.c" /* credentials are its statics */
#include "storage/member.h"

static struct arena arena;

static int setup(void **state)
{
    (void)state;
    arena_init(&arena, 0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    arena_fini(&arena);
    return 0;
}

static void assert_bytes(struct bytes found, const char *expected)
{
    if (!bytes_equal_text(found, expected))
        fail_msg("expected %s, found %.*s", expected, (int)found.size, (const char *)found.at);
}

static void a_publication_passes_its_data_byte_for_byte(void **state)
{
    (void)state;
    struct api_publication out;
    struct bytes body = BYTES_LITERAL(
        "{\"new\":[1,{}], \"channel\":\"a:b\", \"data\" : {\"x\": "
        "1.50,\n\"big\":12345678901234567890123} ,"
        "\"tags\":{\"k\":\"v\"},\"idempotency_key\":\"\\u0041\",\"skip_history\":true}");
    assert_int_equal(api_parse_publication(body, false, &arena, &out), ERR_OK);
    assert_int_equal(out.channels_count, 1);
    assert_bytes(out.channels[0], "a:b");
    assert_bytes(out.data, "{\"x\": 1.50,\n\"big\":12345678901234567890123}");
    assert_bytes(out.tags, "{\"k\":\"v\"}");
    assert_bytes(out.key, "A");
    assert_true(out.skip_history);
}

static const struct {
    const char *body;
    enum err err;
} publications[] = {
    {"{\"channel\":\"a\",\"data\":null}", ERR_OK},
    {"{\"channel\":\"a\",\"data\":1,\"tags\":null,\"idempotency_key\":null}", ERR_OK},
    {"{\"channel\":\"a\",\"data\":1,\"tags\":{}}", ERR_OK},
    {"{\"channel\":\"a\",\"b64data\":\"eyJhIjoxfQ==\"}", ERR_OK},
    {"{\"channel\":\"a\",\"data\":1,\"b64data\":\"AAE=\"}", ERR_OK},
    {"{\"channel\":\"a\",\"b64data\":\"eyJhIjoxfQ=\"}", ERR_BAD_REQUEST}, /* not base64 */
    {"{\"channel\":\"a\"}", ERR_OK}, /* whether nothing may be published the namespace says */
    {"{}", ERR_OK},
    {"", ERR_BAD_JSON},
    {"[]", ERR_BAD_JSON},
    {"{\"channel\":1,\"data\":1}", ERR_BAD_JSON},
    {"{\"channel\":\"a\",\"data\":1,\"tags\":{\"k\":1}}", ERR_BAD_REQUEST},
    {"{\"channel\":\"a\",\"data\":1,\"tags\":{\"k\":\"v\",\"l\":null}}", ERR_BAD_REQUEST},
    {"{\"channel\":\"a\",\"data\":1,\"version\":18446744073709551615}", ERR_OK},
    {"{\"channel\":\"a\",\"data\":1,\"version\":-1}", ERR_BAD_JSON},
    {"{\"channel\":\"a\",\"data\":1,\"tags\":[]}", ERR_BAD_REQUEST},
    {"{\"channel\":\"a\",\"data\":1,\"skip_history\":1}", ERR_BAD_JSON},
    {"{\"channel\":\"a\",\"data\":1} x", ERR_BAD_JSON},
    {"{\"channel\":\"a\",\"data\":{]}", ERR_BAD_JSON},
};

static void publications_are_taken_and_refused_by_the_table(void **state)
{
    (void)state;
    for (size_t i = 0; i < array_count(publications); i++) {
        struct api_publication out;
        enum err err =
            api_parse_publication(bytes_of_text(publications[i].body), false, &arena, &out);
        if (err != publications[i].err) fail_msg("%s: %s", publications[i].body, err_name(err));
    }
}

static void a_key_ends_at_its_limit(void **state)
{
    (void)state;
    for (size_t size = IDEMPOTENCY_KEY_MAX; size <= IDEMPOTENCY_KEY_MAX + 1; size++) {
        char body[400];
        int used =
            snprintf(body, sizeof body,
                     "{\"channel\":\"a\",\"data\":1,\"idempotency_key\":\"%0*d\"}", (int)size, 0);
        struct api_publication out;
        enum err err = api_parse_publication(bytes_of(body, (size_t)used), false, &arena, &out);
        assert_int_equal(err, size == IDEMPOTENCY_KEY_MAX ? ERR_OK : ERR_BAD_REQUEST);
    }
}

static void a_broadcast_names_its_channels_in_order(void **state)
{
    (void)state;
    struct api_publication out;
    struct bytes body = BYTES_LITERAL("{\"channels\":[\"a\",\"\",\"c\"],\"data\":[1]}");
    assert_int_equal(api_parse_publication(body, true, &arena, &out), ERR_OK);
    assert_int_equal(out.channels_count, 3);
    assert_bytes(out.channels[2], "c");
    struct bytes none = BYTES_LITERAL("{\"channels\":[],\"data\":[1]}");
    assert_int_equal(api_parse_publication(none, true, &arena, &out), ERR_BAD_REQUEST);
    struct bytes one = BYTES_LITERAL("{\"channel\":\"a\",\"data\":[1]}");
    assert_int_equal(api_parse_publication(one, true, &arena, &out), ERR_BAD_REQUEST);
}

static void history_takes_every_limit(void **state)
{
    (void)state;
    static const struct {
        const char *body;
        enum err err;
        uint32_t limit;
        uint64_t since;
        bool is_reverse;
    } rows[] = {
        {"{\"channel\":\"a\"}", ERR_OK, 0, 0, false},
        {"{\"channel\":\"a\",\"limit\":-1}", ERR_OK, UINT32_MAX, 0, false},
        {"{\"channel\":\"a\",\"limit\":7,\"reverse\":true}", ERR_OK, 7, 0, true},
        {"{\"channel\":\"a\",\"limit\":99999999999}", ERR_OK, UINT32_MAX, 0, false},
        {"{\"channel\":\"a\",\"since\":{\"offset\":5,\"epoch\":\"e\",\"x\":1}}", ERR_OK, 0, 5,
         false},
        {"{\"channel\":\"a\",\"since\":null,\"reverse\":true}", ERR_OK, 0, 0, true},
        {"{\"channel\":\"a\",\"since\":{},\"reverse\":true}", ERR_BAD_REQUEST, 0, 0, true},
        {"{\"channel\":\"a\",\"since\":5}", ERR_BAD_JSON, 0, 0, false},
        {"{\"channel\":\"a\",\"limit\":\"1\"}", ERR_BAD_JSON, 0, 0, false},
        {"{\"channel\":\"a\",\"since\":{\"offset\":-1}}", ERR_BAD_JSON, 0, 0, false},
    };
    for (size_t i = 0; i < array_count(rows); i++) {
        struct api_history_ask out;
        enum err err = api_parse_history(bytes_of_text(rows[i].body), &arena, &out);
        if (err != rows[i].err) fail_msg("%s: %s", rows[i].body, err_name(err));
        if (err != ERR_OK) continue;
        assert_int_equal(out.limit, rows[i].limit);
        assert_int_equal(out.since, rows[i].since);
        assert_int_equal(out.is_reverse, rows[i].is_reverse);
    }
}

static void members_may_be_brought_along(void **state)
{
    (void)state;
    struct api_members out;
    struct bytes body = BYTES_LITERAL(
        "{\"channel\":\"a\",\"users\":[\"x\",{\"user\":\"y\",\"joined\":3,\"read\":7,\"z\":[]}]}");
    assert_int_equal(api_parse_members(body, true, &arena, &out), ERR_OK);
    assert_int_equal(out.users_count, 2);
    assert_true(bytes_equal_text(out.users[0], "x") && bytes_equal_text(out.users[1], "y"));
    assert_true(out.joins[0].joined == 0 && out.joins[0].read == 0);
    assert_true(out.joins[1].joined == 3 && out.joins[1].read == 7);
    assert_int_equal(api_parse_members(body, false, &arena, &out), ERR_BAD_JSON);
    struct bytes nobody = BYTES_LITERAL("{\"channel\":\"a\",\"users\":[{\"joined\":3}]}");
    assert_int_equal(api_parse_members(nobody, true, &arena, &out), ERR_BAD_REQUEST);
    struct bytes wrong =
        BYTES_LITERAL("{\"channel\":\"a\",\"users\":[{\"user\":\"y\",\"read\":-1}]}");
    assert_int_equal(api_parse_members(wrong, true, &arena, &out), ERR_BAD_JSON);
}

static void members_have_names_within_the_limit(void **state)
{
    (void)state;
    struct api_members out;
    struct bytes good = BYTES_LITERAL("{\"channel\":\"a\",\"members\":[\"u\",\"\\u00e9\"]}");
    assert_int_equal(api_parse_members(good, false, &arena, &out), ERR_OK);
    assert_int_equal(out.users_count, 2);
    assert_bytes(out.users[1], "\xc3\xa9");
    struct bytes nobody = BYTES_LITERAL("{\"channel\":\"a\",\"members\":[]}");
    assert_int_equal(api_parse_members(nobody, false, &arena, &out), ERR_OK);
    assert_int_equal(out.users_count, 0);
    struct bytes absent = BYTES_LITERAL("{\"channel\":\"a\"}");
    assert_int_equal(api_parse_members(absent, false, &arena, &out), ERR_BAD_REQUEST);
    struct bytes unnamed = BYTES_LITERAL("{\"channel\":\"a\",\"members\":[\"\"]}");
    assert_int_equal(api_parse_members(unnamed, false, &arena, &out), ERR_BAD_REQUEST);
    struct bytes number = BYTES_LITERAL("{\"channel\":\"a\",\"members\":[1]}");
    assert_int_equal(api_parse_members(number, false, &arena, &out), ERR_BAD_JSON);
    char body[400];
    for (int size = USER_ID_MAX; size <= USER_ID_MAX + 1; size++) {
        int used = snprintf(body, sizeof body, "{\"members\":[\"%0*d\"]}", size, 0);
        enum err err = api_parse_members(bytes_of(body, (size_t)used), false, &arena, &out);
        assert_int_equal(err, size == USER_ID_MAX ? ERR_OK : ERR_BAD_REQUEST);
    }
}

static void a_body_cut_anywhere_is_malformed(void **state)
{
    (void)state;
    static const char body[] =
        "{\"channel\":\"a\",\"data\":{\"x\":[1,\"\\n\"]},\"tags\":{\"a\":\"b\"},"
        "\"members\":[\"u\"],\"since\":{\"offset\":1},\"b64data\":\"MQ==\"}";
    for (size_t size = 1; size < sizeof body - 1; size++) {
        /* A copy of exactly that size: reading past its end is seen. */
        char *cut = malloc(size);
        memcpy(cut, body, size);
        struct bytes text = bytes_of(cut, size);
        struct api_publication publication;
        struct api_history_ask history;
        struct api_members members;
        assert_int_equal(api_parse_publication(text, false, &arena, &publication), ERR_BAD_JSON);
        assert_int_equal(api_parse_publication(text, true, &arena, &publication), ERR_BAD_JSON);
        assert_int_equal(api_parse_history(text, &arena, &history), ERR_BAD_JSON);
        assert_int_equal(api_parse_members(text, false, &arena, &members), ERR_BAD_JSON);
        assert_int_equal(api_parse_nothing(text), ERR_BAD_JSON);
        free(cut);
    }
    assert_int_equal(api_parse_nothing(BYTES_NONE), ERR_OK);
    assert_int_equal(api_parse_nothing(BYTES_LITERAL("{\"a\":1}")), ERR_OK);
}

/* --- credentials -------------------------------------------------------------------- */

static bool allows(const char *key, const char *name, const char *value, const char *query)
{
    struct config config = {.http_api_key = key};
    struct http_request request = {.query = bytes_of_text(query)};
    if (name != NULL) {
        request.headers[0] = (struct http_header){bytes_of_text(name), bytes_of_text(value)};
        request.headers_count = 1;
    }
    return api_is_allowed(&config, &request);
}

static void credentials_follow_their_order(void **state)
{
    (void)state;
    assert_true(allows("secret", "x-api-key", "secret", ""));
    assert_false(allows("secret", "x-api-key", "secreT", ""));
    assert_false(allows("secret", "x-api-key", "", ""));
    assert_true(allows("secret", "authorization", "apikey secret", ""));
    assert_true(allows("secret", "authorization", "ApiKey secret", ""));
    assert_false(allows("secret", "authorization", "Bearer secret", ""));
    assert_false(allows("secret", "authorization", "apikey", ""));
    assert_false(allows("secret", "authorization", "apikey ", ""));
    assert_true(allows("secret", NULL, NULL, "api_key=secret"));
    assert_true(allows("secret", "x-api-key", "wrong", "a=b&api_key=secret"));
    assert_false(allows("secret", NULL, NULL, "api_key=secre"));
    assert_false(allows("secret", NULL, NULL, ""));
    /* Without a configured key nothing is right, the empty key least of all. */
    assert_false(allows("", "x-api-key", "", ""));
    assert_false(allows("", NULL, NULL, "api_key="));
    struct config insecure = {.http_api_key = "", .http_api_insecure = true};
    assert_true(api_is_allowed(&insecure, &(struct http_request){.headers_count = 0}));
}

/* --- documents ------------------------------------------------------------------------ */

static void documents_put_their_commas(void **state)
{
    (void)state;
    struct json_out out = {0};
    json_out_object(&out);
    json_out_member_text(&out, "a", BYTES_LITERAL("q\"\n"));
    json_out_member_u64(&out, "zero", 0);
    json_out_member_u64(&out, "big", UINT64_MAX);
    json_out_key(&out, "list");
    json_out_array(&out);
    json_out_array(&out);
    json_out_array_end(&out);
    json_out_raw(&out, BYTES_LITERAL("{\"r\":1}"));
    json_out_bool(&out, true);
    json_out_bool(&out, false);
    json_out_array_end(&out);
    json_out_object_end(&out);
    assert_bytes(json_out_bytes(&out), "{\"a\":\"q\\\"\\n\",\"big\":18446744073709551615,"
                                       "\"list\":[[],{\"r\":1},true,false]}");
    assert_true(json_is_valid(json_out_bytes(&out)));
    json_out_fini(&out);

    for (int i = 0; i < 1000; i++) json_out_member_u64(&out, "n", (uint64_t)i + 1);
    assert_true(out.used <= out.room);
    json_out_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_publication_passes_its_data_byte_for_byte),
        cmocka_unit_test(publications_are_taken_and_refused_by_the_table),
        cmocka_unit_test(a_key_ends_at_its_limit),
        cmocka_unit_test(a_broadcast_names_its_channels_in_order),
        cmocka_unit_test(history_takes_every_limit),
        cmocka_unit_test(members_have_names_within_the_limit),
        cmocka_unit_test(members_may_be_brought_along),
        cmocka_unit_test(a_body_cut_anywhere_is_malformed),
        cmocka_unit_test(credentials_follow_their_order),
        cmocka_unit_test(documents_put_their_commas),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
