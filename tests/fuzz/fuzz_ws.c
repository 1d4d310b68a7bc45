/*
 * fuzz_ws: the fast path against the slow one.
 *
 * The same bytes are fed whole (the fast path takes what it can), byte by byte
 * (nothing is whole) and in pieces that the input itself chooses.  All must
 * tell the same events with the same data, and the same fault.  The first byte
 * chooses between raw bytes and a script of frames, and the size limit.
 *
 * Script, a frame each: first header byte, size code, mask byte, payload bytes.
 */
#include "proto/ws.h"

#include "core/check.h"
#include "core/mem.h"

#define EVENTS_MAX 4096
#define BYTES_MAX  (256u << 10)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct event {
    enum ws_event kind;
    size_t size;
    uint64_t hash;
    uint16_t code;
    enum close fault;
};

struct story {
    struct event events[EVENTS_MAX];
    uint32_t count;
    bool is_over;
};

static uint64_t hash_of(struct bytes bytes)
{
    uint64_t hash = 14695981039346656037u;
    for (size_t i = 0; i < bytes.size; i++) hash = (hash ^ bytes.at[i]) * 1099511628211u;
    return hash;
}

static void feed(struct story *story, struct ws *ws, struct ws_pool *pool, const uint8_t *bytes,
                 size_t size, size_t message_max)
{
    uint8_t *copy = mem_alloc(size), *at = copy;
    size_t left = size;
    memcpy(copy, bytes, size);
    while (!story->is_over) {
        struct ws_message message;
        enum ws_event kind = ws_next(ws, pool, &at, &left, message_max, &message);
        check(at == copy + (size - left));
        if (kind == WS_MORE) {
            check(left == 0);
            break;
        }
        bool is_data = kind == WS_TEXT || kind == WS_BINARY;
        check(!is_data || message.data.size <= message_max);
        if (kind == WS_FAULT) message.data = BYTES_NONE;
        check(story->count < EVENTS_MAX);
        story->events[story->count++] = (struct event){
            kind, message.data.size, hash_of(message.data), message.close_code, message.fault};
        story->is_over = kind == WS_FAULT || kind == WS_CLOSE;
    }
    mem_free(copy);
}

/* `steps` NULL: everything at once; else pieces of 1 + steps[i] % 37. */
static void run(struct story *story, const uint8_t *bytes, size_t size, const uint8_t *steps,
                size_t steps_count, size_t message_max)
{
    struct ws_pool *pool = ws_pool_create(1);
    struct ws ws = {0};
    story->count = 0;
    story->is_over = false;
    size_t used = 0, step = 0;
    while (used < size && !story->is_over) {
        size_t piece = size - used;
        if (steps_count > 0) piece = min_u64(piece, 1 + steps[step++ % steps_count] % 37);
        feed(story, &ws, pool, bytes + used, piece, message_max);
        used += piece;
    }
    ws_end(&ws, pool);
    check(ws_pool_used(pool) == 0);
    ws_pool_destroy(pool);
}

static void same(const struct story *a, const struct story *b)
{
    check(a->count == b->count);
    for (uint32_t i = 0; i < a->count; i++) {
        check(a->events[i].kind == b->events[i].kind);
        check(a->events[i].size == b->events[i].size);
        check(a->events[i].hash == b->events[i].hash);
        check(a->events[i].code == b->events[i].code);
        check(a->events[i].fault == b->events[i].fault);
    }
}

/* Frames of a script; lengths are true, so that streams go far. */
static size_t build(const uint8_t *data, size_t size, uint8_t *out)
{
    static const uint16_t lengths[] = {0, 1, 2, 7, 8, 31, 64, 124, 125, 126, 127, 300, 1000, 5000};
    size_t used = 0, in = 0;
    while (size - in >= 3) {
        uint8_t first = data[in], code = data[in + 1], mask = data[in + 2];
        in += 3;
        size_t length = code < 0x80 ? code % 16 : lengths[code % array_count(lengths)];
        if (used + 14 + length > BYTES_MAX) break;
        uint8_t head[10];
        uint32_t head_size = ws_header(head, WS_OP_BINARY, length);
        head[0] = first;
        head[1] |= 0x80;
        memcpy(out + used, head, head_size);
        used += head_size;
        const uint8_t key[4] = {mask, (uint8_t)(mask * 3), (uint8_t)~mask, (uint8_t)(mask >> 1)};
        memcpy(out + used, key, 4);
        used += 4;
        for (size_t i = 0; i < length; i++, used++) {
            uint8_t byte = in < size && i < 16 ? data[in++] : 'x';
            out[used] = byte ^ key[i % 4];
        }
    }
    return used;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2 || size > 4096) return 0;
    static const size_t limits[] = {0, 1, 125, 126, 300, 1000, 65536, 100000};
    size_t message_max = limits[data[0] % array_count(limits)];
    bool is_script = (data[0] & 0x80) != 0;
    uint8_t *bytes = mem_alloc(BYTES_MAX);
    size_t bytes_size = size - 1;
    if (is_script)
        bytes_size = build(data + 1, size - 1, bytes);
    else
        memcpy(bytes, data + 1, bytes_size);

    struct story *stories = mem_alloc(3 * sizeof(*stories));
    static const uint8_t one[] = {0};
    run(&stories[0], bytes, bytes_size, NULL, 0, message_max);
    run(&stories[1], bytes, bytes_size, one, 1, message_max);
    run(&stories[2], bytes, bytes_size, data, size, message_max);
    same(&stories[0], &stories[1]);
    same(&stories[0], &stories[2]);
    mem_free(stories);
    mem_free(bytes);
    return 0;
}
