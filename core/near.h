/*
 * near: how far two names are apart.
 *
 * For "did you mean": the count of letters to insert, remove or replace.
 *
 * Thread:  any; pure.
 * Bound:   O(size of a x size of b), only ever for a mistake.
 * Source:  Levenshtein 1966, one row of the matrix
 * Tests:   tests/unit/core/test_near.c
 */
#pragma once

#include "core/base.h"

#define NEAR_NAME_MAX 96
/* What a name longer than NEAR_NAME_MAX is apart from everything. */
#define NEAR_FAR      ((size_t)1 << 30)

size_t near_distance(const char *a, const char *b);
