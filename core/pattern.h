/*
 * pattern: regular expressions from the configuration.
 *
 * POSIX extended expressions, searched for anywhere in a text, so `^` and `$` say
 * where it begins and ends.  Each shard compiles an expression when it first meets
 * it and keeps it by its text: the C library's matcher locks what it works on, so
 * a compiled expression is never shared, and a reload needs no care.
 *
 * Thread:  a `struct patterns` belongs to one thread; the rest is for any.
 * Memory:  one compiled form per distinct expression, until patterns_fini.
 * Source:  POSIX.1 regcomp(3); names are bytes, in the C locale
 * Tests:   tests/unit/core/test_pattern.c
 */
#pragma once

#include "core/err.h"
#include "core/map.h"

/* Texts that are matched are no longer; a longer one matches nothing. */
#define PATTERN_TEXT_MAX 1023
#define PATTERN_WHY_MAX  128

/* Zeroed memory is an empty set. */
struct patterns {
    struct map by_text;
};
void patterns_fini(struct patterns *patterns);

/* ERR_BAD_REQUEST with a clause for people in `why` when `text` is no expression. */
must_use enum err pattern_check(const char *text, char why[PATTERN_WHY_MAX]);
/* One expression compiled, for any thread: the C library's lock makes threads wait for
 * each other, so it is for what happens once a connection.  NULL for what pattern_check
 * refuses. */
struct pattern;
must_use struct pattern *pattern_create(const char *text);
/* Accepts NULL. */
void pattern_destroy(struct pattern *pattern);
/* As pattern_match. */
bool pattern_is_in(const struct pattern *pattern, struct bytes subject);

/* True when `subject` holds a match of the expression `text`, which pattern_check
 * took.  A subject with a NUL in it matches nothing. */
bool pattern_match(struct patterns *patterns, const char *text, struct bytes subject);
