/*
 * stamp: what the data of each message carries, so that its listeners can check it.
 *
 *   "@<source: 4 hex><number: 12 hex><intended moment, ns: 16 hex>@xxxx…"
 *
 * `source` says who numbers (a publisher's number modulo 65,536), `number` counts
 * from 1, the moment is CLOCK_MONOTONIC of this machine.  With its quotes it is a
 * JSON string; plain frames carry the quotes too.
 *
 * Thread:  any; pure.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "scenario.h"

struct stamp {
    uint32_t source;
    uint64_t number, due_ns;
};

static inline void stamp_hex(char *to, uint64_t value, uint32_t digits)
{
    for (uint32_t i = digits; i-- > 0; value >>= 4) to[i] = "0123456789abcdef"[value & 15];
}

/* Fills data[size], size >= STAMPED_PAYLOAD. */
static inline void stamp_write(char *data, uint32_t size, const struct stamp *stamp)
{
    data[0] = '"';
    data[1] = '@';
    stamp_hex(data + 2, stamp->source, 4);
    stamp_hex(data + 6, stamp->number, 12);
    stamp_hex(data + 18, stamp->due_ns, 16);
    data[34] = '@';
    if (size > STAMPED_PAYLOAD) memset(data + 35, 'x', size - STAMPED_PAYLOAD);
    data[size - 1] = '"';
}

static inline bool stamp_unhex(const char *from, uint32_t digits, uint64_t *value)
{
    uint64_t sum = 0;
    uint32_t bad = 0;
    for (uint32_t i = 0; i < digits; i++) {
        uint32_t c = (uint8_t)from[i], digit = c - '0';
        if (digit > 9) digit = c - 'a' + 10;
        bad |= digit & ~15u;
        sum = sum << 4 | (digit & 15);
    }
    *value = sum;
    return bad == 0;
}

/* Reads data[size]: false when it is not exactly what stamp_write made. */
static inline bool stamp_read(const char *data, uint32_t size, struct stamp *stamp)
{
    uint64_t source;
    if (size < STAMPED_PAYLOAD || data[0] != '"' || data[1] != '@' || data[34] != '@') return false;
    if (!stamp_unhex(data + 2, 4, &source) || !stamp_unhex(data + 6, 12, &stamp->number) ||
        !stamp_unhex(data + 18, 16, &stamp->due_ns))
        return false;
    stamp->source = (uint32_t)source;
    return data[size - 1] == '"';
}
