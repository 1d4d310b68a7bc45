/*
 * The read-index service's pure parts: paths, percent signs, queries, bodies.  Its answers
 * are seen in tests/conformance/read_index.test.mjs.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "shards/reads/reads.c"
#include <stdlib.h>

static struct shard *shard;

static int set_up(void **state)
{
    (void)state;
    shard = calloc(1, sizeof *shard);
    arena_init(&shard->arena, 1 << 16);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    arena_fini(&shard->arena);
    free(shard);
    return 0;
}

static void paths_match_their_rows(void **state)
{
    (void)state;
    static const struct {
        const char *path, *pattern;
        bool matches;
    } cases[] = {
        {"/channels/a/head", "/channels/{id}/head", true},
        {"/channels/a/head/", "/channels/{id}/head", false},
        {"/channels/a", "/channels/{id}/head", false},
        {"/channels//head", "/channels/{id}/head", true}, /* and the empty name is refused */
        {"/channels/a/messages/7/readers", "/channels/{id}/messages/{offset}/readers", true},
        {"/channels/a/messages/7/reader", "/channels/{id}/messages/{offset}/readers", false},
        {"/channels/a%2Fb/head", "/channels/{id}/head", true},
        {"/channels/a/b/head", "/channels/{id}/head", false},
        {"", "/health", false},
        {"*", "/health", false},
        {"/", "/health", false},
        {"/health", "/health", true},
        {"//health", "/health", false},
    };
    for (size_t i = 0; i < array_count(cases); i++) {
        struct bytes id = BYTES_NONE, offset = BYTES_NONE;
        if (path_matches(bytes_of_text(cases[i].path), cases[i].pattern, &id, &offset) !=
            cases[i].matches)
            fail_msg("%s against %s", cases[i].path, cases[i].pattern);
    }
}

static void names_are_decoded(void **state)
{
    (void)state;
    static const struct {
        const char *segment, *name; /* NULL: none */
    } cases[] = {
        {"town", "town"}, {"a%2Fb%3a", "a/b:"}, {"%C3%BC", "\xc3\xbc"}, {"+", "+"},
        {"", NULL},       {"%", NULL},          {"%4", NULL},           {"%zz", NULL},
        {"%ff", NULL},    {"%00", NULL},
    };
    struct bytes name;
    for (size_t i = 0; i < array_count(cases); i++) {
        enum err err = reads_decode(bytes_of_text(cases[i].segment), &shard->arena, &name);
        assert_int_equal(err, cases[i].name == NULL ? ERR_BAD_CHANNEL : ERR_OK);
        if (cases[i].name != NULL) assert_true(bytes_equal_text(name, cases[i].name));
    }
    char longest[CHANNEL_NAME_MAX + 1];
    memset(longest, 'x', sizeof longest);
    assert_int_equal(reads_decode(bytes_of(longest, CHANNEL_NAME_MAX), &shard->arena, &name),
                     ERR_OK);
    assert_int_equal(reads_decode(bytes_of(longest, CHANNEL_NAME_MAX + 1), &shard->arena, &name),
                     ERR_BAD_CHANNEL);
}

static struct http_request request_of(const char *query, const char *body)
{
    return (struct http_request){.query = bytes_of_text(query), .body = bytes_of_text(body)};
}

static void pages_have_a_limit(void **state)
{
    (void)state;
    static const struct {
        const char *query;
        uint32_t limit; /* 0: refused */
        uint64_t after;
    } cases[] = {
        {"", READS_LIST_DEFAULT, 0},
        {"limit=1", 1, 0},
        {"limit=1000&after=9", 1000, 9},
        {"limit=1001", 0, 0},
        {"limit=0", 0, 0},
        {"limit=", 0, 0},
        {"limit=4294967297", 0, 0},
        {"after=x", 0, 0},
        {"after=-1", 0, 0},
        {"after=9007199254740991", READS_LIST_DEFAULT, 9007199254740991},
    };
    for (size_t i = 0; i < array_count(cases); i++) {
        struct http_request request = request_of(cases[i].query, "");
        struct reads_ask ask = {.shard = shard, .request = &request};
        uint32_t limit;
        uint64_t after;
        enum err err = reads_query_page(&ask, &limit, &after);
        assert_int_equal(err, cases[i].limit == 0 ? ERR_BAD_REQUEST : ERR_OK);
        if (err == ERR_OK) assert_true(limit == cases[i].limit && after == cases[i].after);
    }
}

static void bodies_are_read(void **state)
{
    (void)state;
    struct http_request request = request_of(
        "", "{\"sender\":\"\\u00fc\",\"seq\":18446744073709551615,\"id\":\"p\",\"x\":[{}]}");
    struct reads_ask ask = {.shard = shard, .request = &request};
    struct reads_mark mark;
    assert_int_equal(reads_parse_mark(&ask, &mark), ERR_OK);
    assert_true(bytes_equal_text(mark.user, "\xc3\xbc") && bytes_equal_text(mark.id, "p"));
    assert_true(mark.has_seq && !mark.has_offset && mark.seq == UINT64_MAX);
    static const char *const bad[] = {"",
                                      "[]",
                                      "{",
                                      "{\"seq\":-1}",
                                      "{\"seq\":1.0}",
                                      "{\"offset\":18446744073709551616}",
                                      "{\"user\":7}"};
    for (size_t i = 0; i < array_count(bad); i++) {
        request = request_of("", bad[i]);
        assert_int_equal(reads_parse_mark(&ask, &mark), ERR_BAD_JSON);
    }
}

static void offsets_are_counted(void **state)
{
    (void)state;
    static char text[RECEIPT_BATCH_MAX * 8 + 64];
    static uint64_t offsets[RECEIPT_BATCH_MAX];
    for (uint32_t n = RECEIPT_BATCH_MAX - 1; n <= RECEIPT_BATCH_MAX + 1; n++) {
        struct writer writer = writer_of(text, sizeof text);
        write_text(&writer, "{\"offsets\":[");
        for (uint32_t i = 1; i <= n; i++) {
            if (i > 1) write_u8(&writer, ',');
            write_decimal(&writer, i);
        }
        write_text(&writer, "]}");
        assert_false(writer.failed);
        struct http_request request = {.body = writer_bytes(&writer)};
        struct reads_ask ask = {.shard = shard, .request = &request};
        uint32_t count;
        enum err err = reads_parse_offsets(&ask, offsets, &count);
        assert_int_equal(err, n > RECEIPT_BATCH_MAX ? ERR_LIMIT_SIZE : ERR_OK);
        if (err == ERR_OK) assert_true(count == n && offsets[n - 1] == n);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(paths_match_their_rows),
        cmocka_unit_test_setup_teardown(names_are_decoded, set_up, tear_down),
        cmocka_unit_test_setup_teardown(pages_have_a_limit, set_up, tear_down),
        cmocka_unit_test_setup_teardown(bodies_are_read, set_up, tear_down),
        cmocka_unit_test_setup_teardown(offsets_are_counted, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
