/*
 * glob: does a text match a simple pattern?
 *
 * '*' is any run of bytes, also an empty one; '?' is one byte; everything else is
 * itself, case included.
 *
 * Thread:  any; pure.
 * Bound:   O(glob × text); one remembered star, no recursion.
 * Tests:   tests/unit/core/test_glob.c
 */
#pragma once

#include "core/bytes.h"

bool glob_match(struct bytes glob, struct bytes text);
