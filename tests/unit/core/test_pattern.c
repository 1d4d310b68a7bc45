/*
 * pattern: expressions as an operator writes them, against what they must take.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/pattern.h"

static void expressions_are_searched_for_in_the_subject(void **state)
{
    (void)state;
    const struct {
        const char *text, *subject;
        bool is_match;
    } rows[] = {
        {"b", "abc", true},
        {"^b", "abc", false},
        {"^abc$", "abc", true},
        {"^abc$", "abcd", false},
        {"^[a-z]{2,3}$", "a", false},
        {"^[a-z]{2,3}$", "ab", true},
        {"^[a-z]{2,3}$", "abc", true},
        {"^[a-z]{2,3}$", "abcd", false},
        {"^(a|b)+$", "abab", true},
        {"^$", "", true},
        {"", "x", true},
        {"^.$", "\xc3\xa9", false}, /* names are bytes */
    };
    struct patterns patterns = {0};
    for (int round = 0; round < 2; round++)
        for (size_t i = 0; i < array_count(rows); i++)
            if (pattern_match(&patterns, rows[i].text, bytes_of_text(rows[i].subject)) !=
                rows[i].is_match)
                fail_msg("%s in %s", rows[i].text, rows[i].subject);
    patterns_fini(&patterns);
}

static void subjects_with_a_nul_or_too_long_match_nothing(void **state)
{
    (void)state;
    static uint8_t subject[PATTERN_TEXT_MAX + 1];
    struct patterns patterns = {0};
    memset(subject, 'a', sizeof subject);
    assert_true(pattern_match(&patterns, "a", bytes_of(subject, PATTERN_TEXT_MAX)));
    assert_false(pattern_match(&patterns, "a", bytes_of(subject, PATTERN_TEXT_MAX + 1)));
    assert_false(pattern_match(&patterns, "a", BYTES_LITERAL("a\0b")));
    patterns_fini(&patterns);
}

static void what_is_no_expression_is_told(void **state)
{
    (void)state;
    char why[PATTERN_WHY_MAX];
    assert_int_equal(pattern_check("^[a-z]+$", why), ERR_OK);
    const char *const bad[] = {"[a", "(a", "a{2,1}", "[[:nothing:]]"};
    for (size_t i = 0; i < array_count(bad); i++) {
        assert_int_equal(pattern_check(bad[i], why), ERR_BAD_REQUEST);
        assert_true(why[0] != '\0');
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(expressions_are_searched_for_in_the_subject),
        cmocka_unit_test(subjects_with_a_nul_or_too_long_match_nothing),
        cmocka_unit_test(what_is_no_expression_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
