/*
 * test_doc: values in, the same values out; limits at, below and above.
 *
 * The refusals matter most: what a document may not be is what two readers
 * could understand differently.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "core/doc.h"
#include "core/limits.h"
#include "core/mem.h"

static struct doc *parsed(const char *text)
{
    struct doc *doc = NULL;
    char where[160];
    enum err err = doc_parse(bytes_of_text(text), &doc, where);
    if (err != ERR_OK) print_message("%s: %s\n", text, where);
    assert_int_equal(err, ERR_OK);
    return doc;
}

static enum err refused(const char *text, size_t size)
{
    struct doc *doc = NULL;
    char where[160] = "";
    enum err err = doc_parse(bytes_of(text, size), &doc, where);
    assert_null(doc);
    assert_string_not_equal(where, "");
    return err;
}

static void doc_reads_each_type(void **state)
{
    (void)state;
    struct doc *doc =
        parsed("{\"text\":\"a\\u0000b\",\"n\":-7,\"big\":9007199254740993,"
               "\"real\":1.5,\"yes\":true,\"no\":false,\"none\":null,\"list\":[1,2,3]}");
    struct bytes text;
    int64_t i64;
    uint64_t u64 = 42;
    double real;
    bool truth;
    assert_true(doc_is_object(doc));
    assert_int_equal(doc_count(doc), 8);
    assert_true(doc_text(doc_get(doc, "text"), &text));
    assert_int_equal(text.size, 3);
    assert_memory_equal(text.at, "a\0b", 3);
    assert_true(doc_i64(doc_get(doc, "n"), &i64));
    assert_int_equal(i64, -7);
    assert_false(doc_u64(doc_get(doc, "n"), &u64));
    assert_int_equal(u64, 42);
    assert_true(doc_u64(doc_get(doc, "big"), &u64));
    assert_int_equal(u64, 9007199254740993);
    assert_true(doc_real(doc_get(doc, "real"), &real));
    assert_true(real > 1.49 && real < 1.51);
    assert_false(doc_i64(doc_get(doc, "real"), &i64));
    assert_true(doc_bool(doc_get(doc, "yes"), &truth) && truth);
    assert_true(doc_bool(doc_get(doc, "no"), &truth) && !truth);
    assert_true(doc_is_null(doc_get(doc, "none")));
    assert_true(doc_is_array(doc_get(doc, "list")));
    assert_int_equal(doc_count(doc_get(doc, "list")), 3);
    assert_true(doc_u64(doc_at(doc_get(doc, "list"), 2), &u64));
    assert_int_equal(u64, 3);
    assert_null(doc_at(doc_get(doc, "list"), 3));
    doc_free(doc);
}

static void doc_absent_is_null_and_of_no_type(void **state)
{
    (void)state;
    struct doc *doc = parsed("{\"a\":1}");
    struct doc *none = doc_get(doc, "b");
    struct bytes text;
    uint64_t u64;
    bool truth;
    assert_null(none);
    assert_false(doc_text(none, &text));
    assert_false(doc_u64(none, &u64));
    assert_false(doc_bool(none, &truth));
    assert_false(doc_is_object(none));
    assert_int_equal(doc_count(none), 0);
    assert_null(doc_get(doc_get(doc, "a"), "x"));
    assert_null(doc_get(none, "x"));
    doc_free(doc);
    doc_free(NULL);
}

static void doc_walks_members_in_order(void **state)
{
    (void)state;
    struct doc *doc = parsed("{\"b\":1,\"a\":2,\"c\":3}");
    void *at = NULL;
    const char *name;
    char names[8];
    size_t count = 0;
    while (doc_next(doc, &at, &name) != NULL) names[count++] = name[0];
    assert_int_equal(count, 3);
    assert_memory_equal(names, "bac", 3);
    doc_free(doc);
}

static void doc_prints_compactly(void **state)
{
    (void)state;
    struct doc *doc = parsed(" { \"b\" : [ 1 , \"x\" ] , \"a\" : null } ");
    char *text = doc_print(doc);
    assert_string_equal(text, "{\"b\":[1,\"x\"],\"a\":null}");
    mem_free(text);
    doc_free(doc);
}

static void doc_refuses_members_that_stand_twice(void **state)
{
    (void)state;
    static const char text[] = "{\"sub\":\"a\",\"sub\":\"b\"}";
    assert_int_equal(refused(text, sizeof(text) - 1), ERR_BAD_JSON);
}

static void doc_refuses_what_is_not_json(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "",    "{",   "[1,]",       "{\"a\"}",  "tru", "01",          "\"\\x\"", "1 2",
        "'a'", "nan", "{\"a\":1,}", "\"\xff\"", "[1}", "\"\\ud800\"", "/**/1",   "1e999"};
    for (size_t i = 0; i < array_count(texts); i++) {
        print_message("%s\n", texts[i]);
        assert_int_equal(refused(texts[i], strlen(texts[i])), ERR_BAD_JSON);
    }
}

static void doc_cut_anywhere_is_refused(void **state)
{
    (void)state;
    static const char text[] = "{\"a\":[1,2.5,\"\\u00e9x\"],\"b\":{\"c\":true}}";
    for (size_t size = 0; size + 1 < sizeof(text) - 1; size++) refused(text, size);
    doc_free(parsed(text));
}

static void doc_depth_ends_at_the_limit(void **state)
{
    (void)state;
    char text[2 * JSON_DEPTH_MAX + 8];
    for (size_t depth = JSON_DEPTH_MAX - 1; depth <= JSON_DEPTH_MAX + 1; depth++) {
        memset(text, '[', depth);
        memset(text + depth, ']', depth);
        text[2 * depth] = 0;
        if (depth > JSON_DEPTH_MAX)
            assert_int_equal(refused(text, 2 * depth), ERR_TOO_DEEP);
        else
            doc_free(parsed(text));
    }
    /* Brackets in texts are no depth. */
    doc_free(parsed(
        "[\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\\\"[\"]"));
}

static void doc_memory_comes_home(void **state)
{
    (void)state;
    uint64_t before = mem_used();
    struct doc *doc = parsed("{\"a\":[1,2,3],\"b\":\"text\"}");
    assert_true(mem_used() > before);
    doc_free(doc);
    assert_int_equal(mem_used(), before);
}

int main(void)
{
    doc_setup();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(doc_reads_each_type),
        cmocka_unit_test(doc_absent_is_null_and_of_no_type),
        cmocka_unit_test(doc_walks_members_in_order),
        cmocka_unit_test(doc_prints_compactly),
        cmocka_unit_test(doc_refuses_members_that_stand_twice),
        cmocka_unit_test(doc_refuses_what_is_not_json),
        cmocka_unit_test(doc_cut_anywhere_is_refused),
        cmocka_unit_test(doc_depth_ends_at_the_limit),
        cmocka_unit_test(doc_memory_comes_home),
    };
    return cmocka_run_group_tests_name("doc", tests, NULL, NULL);
}
