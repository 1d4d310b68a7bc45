/*
 * outcome: the only place where an `enum err` becomes a number on a wire.
 *
 * Thread:  any; pure.
 * Source:  Centrifuge client protocol, error codes; receipts' own are 1001 up
 *          (custom range 400-1999).
 * Tests:   tests/unit/proto/test_outcome.c
 */
#pragma once

#include "core/err.h"

struct outcome {
    uint32_t code;  /* of a reply */
    uint16_t http;  /* status */
    bool temporary; /* an SDK may try again */
    const char *text;
};

/* Not for ERR_OK. */
const struct outcome *outcome_of(enum err err);
