/*
 * WebSocket frames in: ns per message by the fast path, by the slow path (the
 * frame arrives in two pieces), and by wslay's frame API alone, which neither
 * judges nor checks UTF-8.  Every round begins with a copy of the frames, as a
 * receive would; its cost stands in the first column and is part of the others.
 * The least of many rounds counts: the machine may be busy.
 */
#include <stdio.h>
#include <wslay/wslay.h>

#include "core/check.h"
#include "core/clock.h"
#include "core/mem.h"
#include "proto/ws.h"

#define BATCH_BYTES (32u << 10)
#define ROUNDS_MAX  4000

struct batch {
    uint8_t *pristine, *bytes;
    size_t size, frame_size;
    uint32_t count;
};

/* As many frames of `payload` bytes of text as fit the batch. */
static void fill(struct batch *batch, size_t payload, bool ascii)
{
    static const uint8_t mask[4] = {0xA5, 0x1C, 0x77, 0xE2};
    uint8_t head[10];
    uint32_t head_size = ws_header(head, WS_OP_TEXT, payload);
    batch->frame_size = head_size + 4 + payload;
    batch->count = (uint32_t)(BATCH_BYTES / batch->frame_size);
    batch->size = batch->count * batch->frame_size;
    for (uint32_t n = 0; n < batch->count; n++) {
        uint8_t *at = batch->pristine + n * batch->frame_size;
        memcpy(at, head, head_size);
        at[1] |= 0x80;
        memcpy(at + head_size, mask, 4);
        for (size_t i = 0; i < payload; i++) {
            /* Cyrillic: two bytes a letter. */
            uint8_t byte = ascii ? (uint8_t)('a' + i % 26) : i % 2 == 0 ? 0xD0 : 0xB0;
            at[head_size + 4 + i] = byte ^ mask[i % 4];
        }
    }
}

static uint64_t sum; /* keeps the work from being optimised away */

static void take(struct ws *ws, struct ws_pool *pool, uint8_t *at, size_t size, uint32_t *messages)
{
    struct ws_message message;
    while (ws_next(ws, pool, &at, &size, 65536, &message) == WS_TEXT) {
        sum += message.data.at[0];
        ++*messages;
    }
}

static void by_fast_path(struct batch *batch, struct ws_pool *pool)
{
    struct ws ws = {0};
    uint32_t messages = 0;
    take(&ws, pool, batch->bytes, batch->size, &messages);
    check(messages == batch->count);
}

static void by_slow_path(struct batch *batch, struct ws_pool *pool)
{
    struct ws ws = {0};
    uint32_t messages = 0;
    for (uint32_t n = 0; n < batch->count; n++) {
        uint8_t *at = batch->bytes + n * batch->frame_size;
        size_t first = batch->frame_size / 2;
        take(&ws, pool, at, first, &messages);
        take(&ws, pool, at + first, batch->frame_size - first, &messages);
    }
    check(messages == batch->count);
}

static const uint8_t *feed_at;
static size_t feed_left;

static ssize_t on_recv(uint8_t *buffer, size_t size, int flags, void *user_data)
{
    (void)flags, (void)user_data;
    if (feed_left == 0) return -1;
    size_t taken = min_u64(size, feed_left);
    memcpy(buffer, feed_at, taken);
    feed_at += taken;
    feed_left -= taken;
    return (ssize_t)taken;
}

static void by_wslay(struct batch *batch, wslay_frame_context_ptr wslay)
{
    struct wslay_frame_iocb iocb;
    feed_at = batch->bytes;
    feed_left = batch->size;
    while (wslay_frame_recv(wslay, &iocb) >= 0) sum += iocb.data_length;
}

int main(void)
{
    static const struct wslay_frame_callbacks callbacks = {.recv_callback = on_recv};
    static const size_t sizes[] = {32, 128, 512, 2048};
    struct batch batch = {.pristine = mem_alloc(BATCH_BYTES), .bytes = mem_alloc(BATCH_BYTES)};
    struct ws_pool *pool = ws_pool_create(16);
    wslay_frame_context_ptr wslay;
    check(wslay_frame_context_init(&wslay, &callbacks, NULL) == 0);

    printf("%-9s %6s %8s %8s %8s %8s   ns per message\n", "text", "bytes", "copy", "fast", "slow",
           "wslay");
    for (uint32_t kind = 0; kind < 2; kind++) {
        for (size_t s = 0; s < array_count(sizes); s++) {
            uint64_t ns[4] = {UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX};
            fill(&batch, sizes[s], kind == 0);
            for (uint32_t round = 0; round < ROUNDS_MAX; round++) {
                uint32_t way = round % 4;
                uint64_t start_ns = clock_mono_ns();
                memcpy(batch.bytes, batch.pristine, batch.size);
                if (way == 1) by_fast_path(&batch, pool);
                if (way == 2) by_slow_path(&batch, pool);
                if (way == 3) by_wslay(&batch, wslay);
                sum += batch.bytes[round % batch.size];
                ns[way] = min_u64(ns[way], clock_mono_ns() - start_ns);
            }
            double messages = (double)batch.count;
            printf("%-9s %6zu %8.1f %8.1f %8.1f %8.1f\n", kind == 0 ? "ASCII" : "Cyrillic",
                   sizes[s], (double)ns[0] / messages, (double)ns[1] / messages,
                   (double)ns[2] / messages, (double)ns[3] / messages);
        }
    }
    wslay_frame_context_free(wslay);
    ws_pool_destroy(pool);
    mem_free(batch.pristine);
    mem_free(batch.bytes);
    return sum == 0;
}
