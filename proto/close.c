/*
 * close: the rows of proto/close.def by reason.
 */
#include "proto/close.h"

#include "core/check.h"

#define CLOSE(id, code, reconnect, label, text)                                                    \
    static_assert(sizeof(text) - 1 <= CLOSE_REASON_MAX, "the reason fits a close frame");
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

#define CUSTOM_FIRST 4000
#define CUSTOM_LAST  4999

enum close close_of_code(uint32_t code)
{
    if (code >= CUSTOM_FIRST && code <= CUSTOM_LAST) return CLOSE_CUSTOM;
    for (uint32_t i = CLOSE_NONE + 1; i < CLOSE_COUNT; i++)
        if (rows[i].code == code) return (enum close)i;
    impossible("only codes that close_may_be_asked allows are sent");
}

bool close_may_be_asked(uint32_t code)
{
    if (code >= CUSTOM_FIRST) return code <= CUSTOM_LAST;
    if (code < close_row(CLOSE_CONNECTION)->code) return false; /* RFC 6455's own */
    for (uint32_t i = CLOSE_NONE + 1; i < CLOSE_COUNT; i++)
        if (rows[i].code == code) return true;
    return false;
}
