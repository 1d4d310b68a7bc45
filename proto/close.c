/*
 * close: the rows of proto/close.def by reason.
 */
#include "proto/close.h"

#include "core/check.h"

/* RFC 6455 section 5.5: a control frame carries at most 125 bytes, two of them the code. */
#define CLOSE(id, code, reconnect, label, text)                                                    \
    static_assert(sizeof(text) - 1 <= 123, "the reason fits a close frame");
#include "proto/close.def"
#undef CLOSE

static const struct close_row rows[CLOSE_COUNT] = {
    [CLOSE_NONE] = {0, false, "none", ""},
#define CLOSE(id, code, reconnect, label, text) [CLOSE_##id] = {code, reconnect, label, text},
#include "proto/close.def"
#undef CLOSE
};

const struct close_row *close_row(enum close close)
{
    check(close < CLOSE_COUNT);
    return &rows[close];
}
