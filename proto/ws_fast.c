/*
 * ws_fast: one whole data frame in the receive buffer, unmasked where it lies.
 *
 * Budget at 128 bytes: two header bytes, sixteen words of xor, no copy, no
 * allocation, no state: 10 ns in perf/micro/bench_ws.c, where wslay's loop over
 * bytes takes 68 and judges nothing (hence by hand).  Anything out of the
 * ordinary, rules that are broken among it, is left to the slow path untouched,
 * so that there is one place that judges.
 */
#include "core/check.h"
#include "core/utf8.h"
#include "proto/ws_parts.h"

#define HIGHS 0x8080808080808080u

static uint64_t load(const uint8_t *at)
{
    uint64_t word;
    memcpy(&word, at, sizeof(word));
    return word;
}

static void store(uint8_t *at, uint64_t word)
{
    memcpy(at, &word, sizeof(word));
}

/* Four words a step: their loads do not wait for each other. */
bool ws_unmask(uint8_t *at, size_t size, const uint8_t key[4])
{
    uint64_t seen = 0, mask;
    memcpy(&mask, key, 4);
    memcpy((uint8_t *)&mask + 4, key, 4);
    size_t i = 0;
    for (; size - i >= 32; i += 32) {
        uint64_t a = load(at + i) ^ mask, b = load(at + i + 8) ^ mask;
        uint64_t c = load(at + i + 16) ^ mask, d = load(at + i + 24) ^ mask;
        store(at + i, a);
        store(at + i + 8, b);
        store(at + i + 16, c);
        store(at + i + 24, d);
        seen |= a | b | c | d;
    }
    for (; size - i >= 8; i += 8) {
        uint64_t word = load(at + i) ^ mask;
        store(at + i, word);
        seen |= word;
    }
    for (; i < size; i++) {
        at[i] ^= key[i & 3];
        seen |= at[i];
    }
    return (seen & HIGHS) != 0;
}

bool ws_fast(uint8_t **at, size_t *left, size_t message_max, struct ws_message *message,
             enum ws_event *event)
{
    const uint8_t *head = *at;
    if (*left < 6) return false;
    bool is_text = head[0] == (WS_FIN | WS_OP_TEXT);
    if (!is_text && head[0] != (WS_FIN | WS_OP_BINARY)) return false;
    if ((head[1] & WS_MASK) == 0) return false;

    size_t size = head[1] & WS_SIZE, header = 6;
    if (size == WS_SIZE_64) return false; /* no receive buffer holds one */
    if (size == WS_SIZE_16) {
        if (*left < 8) return false;
        size = (size_t)head[2] << 8 | head[3];
        header = 8;
        if (size < WS_SIZE_16) return false;
    }
    if (size > message_max || size > *left - header) return false;

    uint8_t *payload = *at + header;
    bool beyond_ascii = ws_unmask(payload, size, payload - 4);
    *at += header + size;
    *left -= header + size;
    message->data = bytes_of(payload, size);
    if (is_text && beyond_ascii && !utf8_is_valid(message->data)) {
        message->fault = CLOSE_UTF8;
        *event = WS_FAULT;
    } else {
        *event = is_text ? WS_TEXT : WS_BINARY;
    }
    return true;
}
