/*
 * Globs: a table, and small ones against the definition.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/glob.h"
#include "core/rng.h"

static const struct {
    const char *glob, *text;
    bool matches;
} rows[] = {
    {"", "", true},
    {"", "a", false},
    {"*", "", true},
    {"*", "anything:at all", true},
    {"?", "", false},
    {"?", "a", true},
    {"?", "ab", false},
    {"room:*", "room:1", true},
    {"room:*", "room:", true},
    {"room:*", "rooms:1", false},
    {"room:*", "Room:1", false},
    {"*:1", "room:1", true},
    {"*:1", "room:11", false},
    {"*:1", "room:12", false},
    {"r*m:?", "room:1", true},
    {"r*m:?", "rm:1", true},
    {"a*b*c", "aXbYbZc", true},
    {"a*b*c", "aXbYbZ", false},
    {"**a**", "xxaxx", true},
    {"a.c", "abc", false},
    {"[ab]", "a", false},
    {"[ab]", "[ab]", true},
};

static void globs_match_as_the_table_says(void **state)
{
    (void)state;
    for (size_t i = 0; i < array_count(rows); i++)
        if (glob_match(bytes_of_text(rows[i].glob), bytes_of_text(rows[i].text)) != rows[i].matches)
            fail_msg("%s against %s", rows[i].glob, rows[i].text);
}

/* The definition, for short texts. */
static bool model(struct bytes glob, struct bytes text)
{
    if (glob.size == 0) return text.size == 0;
    struct bytes rest = bytes_of(glob.at + 1, glob.size - 1);
    if (glob.at[0] == '*')
        return model(rest, text) ||
               (text.size > 0 && model(glob, bytes_of(text.at + 1, text.size - 1)));
    return text.size > 0 && (glob.at[0] == '?' || glob.at[0] == text.at[0]) &&
           model(rest, bytes_of(text.at + 1, text.size - 1));
}

static void globs_agree_with_the_definition(void **state)
{
    (void)state;
    struct rng rng;
    rng_seed(&rng, 20261121);
    for (int round = 0; round < 200000; round++) {
        char glob[8], text[10];
        size_t glob_size = rng_below(&rng, sizeof glob), text_size = rng_below(&rng, sizeof text);
        for (size_t i = 0; i < glob_size; i++) glob[i] = "ab*?"[rng_below(&rng, 4)];
        for (size_t i = 0; i < text_size; i++) text[i] = "ab"[rng_below(&rng, 2)];
        struct bytes left = bytes_of(glob, glob_size), right = bytes_of(text, text_size);
        if (glob_match(left, right) != model(left, right))
            fail_msg("%.*s against %.*s", (int)glob_size, glob, (int)text_size, text);
    }
}

static void many_stars_end_in_time(void **state)
{
    (void)state;
    char glob[255], text[255];
    for (size_t i = 0; i < sizeof glob; i++) glob[i] = i % 2 == 0 ? '*' : 'a';
    glob[sizeof glob - 1] = 'b';
    memset(text, 'a', sizeof text);
    for (int i = 0; i < 10000; i++)
        assert_false(glob_match(bytes_of(glob, sizeof glob), bytes_of(text, sizeof text)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(globs_match_as_the_table_says),
        cmocka_unit_test(globs_agree_with_the_definition),
        cmocka_unit_test(many_stars_end_in_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
