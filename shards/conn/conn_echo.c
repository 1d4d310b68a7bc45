/*
 * conn_echo: /debug/echo, which sends every message back.
 *
 * For conformance suites and benchmarks, so it must cost next to nothing: what one
 * receive brought goes back as one frame of the queue, headers written where they
 * belong, and with everything else of the turn in one send.
 *
 * Budget of a message: one copy.
 */
#include <string.h>

#include "core/check.h"
#include "shards/conn/conn.h"
#include "shards/shard.h"

#define HEADER_MAX 10

/* A message takes from the input at least what it gives back: the client's header
 * has four bytes of mask more than ours.  So after the first message, whose
 * beginning may have come before, the rest of the input bounds the rest. */
static bool has_room(const struct echo *echo, size_t size)
{
    return echo->frame != NULL && echo->frame->room - echo->used >= size;
}

void conn_echo(struct shard *shard, struct conn *conn, struct echo *echo, enum ws_event event,
               struct bytes data, size_t left)
{
    check(conn->flags & CONN_ECHO);
    check(event == WS_TEXT || event == WS_BINARY);
    if (!has_room(echo, HEADER_MAX + data.size)) {
        conn_echo_flush(shard, conn, echo);
        if (conn->state != CONN_WS) return;
        echo->frame = frame_new(&shard->frames, (uint32_t)(HEADER_MAX + data.size + left));
        if (echo->frame == NULL) {
            conn_end(shard, conn, CLOSE_INTERNAL);
            return;
        }
    }
    metric_add(&shard->metrics, METRIC_DELIVERED, 1);
    uint8_t *out = frame_payload(echo->frame) + echo->used;
    uint32_t header = ws_header(out, event == WS_TEXT ? WS_OP_TEXT : WS_OP_BINARY, data.size);
    if (data.size > 0) memcpy(out + header, data.at, data.size);
    echo->used += header + (uint32_t)data.size;
    check(echo->used <= echo->frame->room);
}

void conn_echo_flush(struct shard *shard, struct conn *conn, struct echo *echo)
{
    struct frame *frame = echo->frame;
    if (frame == NULL) return;
    frame_seal(frame, BYTES_NONE, echo->used);
    if (conn->state == CONN_WS) conn_queue(shard, conn, frame);
    frame_unref(&shard->frames, frame);
    *echo = (struct echo){NULL, 0};
}
