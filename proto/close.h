/*
 * close: every reason a connection ends by our will, from proto/close.def.
 *
 * Thread:  any; pure.
 * Source:  Centrifuge client protocol, disconnect codes; RFC 6455 section 7.4.
 * Tests:   tests/unit/proto/test_outcome.c
 */
#pragma once

#include "core/base.h"

enum close {
    CLOSE_NONE,
#define CLOSE(id, code, reconnect, label, text) CLOSE_##id,
#include "proto/close.def"
#undef CLOSE
    CLOSE_COUNT,
};

struct close_row {
    uint16_t code;
    bool reconnect;
    const char *label, *text;
};

const struct close_row *close_row(enum close close);

/* RFC 6455 section 5.5: what a close frame carries beside its code. */
#define CLOSE_REASON_MAX 123

/* Whether a backend may end a connection with `code`: one of the protocol's, or
 * 4000-4999 for the application. */
bool close_may_be_asked(uint32_t code);
/* The row of a code that may be asked for; CLOSE_CUSTOM for an application's. */
enum close close_of_code(uint32_t code);
