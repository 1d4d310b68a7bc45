/*
 * conn_say: answers and pushes → frames.
 */
#include <string.h>

#include "core/check.h"
#include "proto/outcome.h"
#include "shards/conn/conn.h"
#include "shards/shard.h"

struct frame *conn_frame(struct shard *shard, enum ws_opcode opcode, struct bytes payload)
{
    struct frame *frame = frame_new(&shard->frames, (uint32_t)payload.size);
    if (frame == NULL) return NULL;
    if (payload.size > 0) memcpy(frame_payload(frame), payload.at, payload.size);
    uint8_t header[FRAME_HEADROOM];
    uint32_t header_size = ws_header(header, opcode, payload.size);
    frame_seal(frame, bytes_of(header, header_size), (uint32_t)payload.size);
    return frame;
}

static enum ws_opcode opcode_of(const struct codec *codec)
{
    return codec->is_binary ? WS_OP_BINARY : WS_OP_TEXT;
}

/* Seals what `writer` wrote into the frame's payload and pushes it. */
static void push_encoded(struct shard *shard, struct conn *conn, struct frame *frame,
                         const struct writer *writer, enum ws_opcode opcode, bool is_bulk)
{
    check(!writer->failed);
    uint8_t header[FRAME_HEADROOM];
    uint32_t size = ws_header(header, opcode, writer->used);
    frame_seal(frame, bytes_of(header, size), (uint32_t)writer->used);
    if (is_bulk) {
        metric_add(&shard->metrics, METRIC_DELIVERED, 1);
        conn_queue(shard, conn, frame);
        conn->out_owed = conn->out_bytes;
    } else {
        conn_push(shard, conn, frame);
    }
    frame_unref(&shard->frames, frame);
}

/* Writes an answer right behind the last one that waits: of the sixteen of a frame of
 * commands, fifteen need no frame of their own and no copy.  False: it needs one. */
static bool reply_behind(struct shard *shard, struct conn *conn, const struct codec *codec,
                         const struct reply *reply, size_t bound)
{
    if (bound > UINT16_MAX) return false;
    uint8_t *at = conn_behind(shard, conn, FRAME_HEADROOM + (uint32_t)bound);
    if (at == NULL) return false;
    struct writer writer = writer_of(at + FRAME_HEADROOM, bound);
    codec->reply(&writer, reply);
    check(!writer.failed);
    uint32_t header = ws_header(at, opcode_of(codec), writer.used);
    memmove(at + header, writer.start, writer.used);
    conn_extend(shard, conn, header + (uint32_t)writer.used);
    return true;
}

/* Queued whatever is unread: it was asked for, and is large. */
static bool reply_is_bulk(const struct reply *reply)
{
    if (reply->error_code != 0) return false;
    switch (reply->kind) {
    case CMD_CONNECT: return reply->connect.subs_count > 0;
    case CMD_HISTORY: return reply->history.publications_count > 0;
    case CMD_SUBSCRIBE: return reply->subscribe.publications_count > 0;
    case CMD_PRESENCE: return reply->presence.infos_count > 0;
    default: return false;
    }
}

void conn_reply(struct shard *shard, struct conn *conn, const struct reply *reply)
{
    if (conn->state != CONN_WS) return;
    const struct codec *codec = codec_of((enum wire)conn->wire);
    if (conn->wire == WIRE_JSON && reply_is_opaque(reply)) {
        conn_end(shard, conn, CLOSE_INAPPROPRIATE);
        return;
    }
    size_t bound = codec->reply_bound(reply);
    bool is_bulk = reply_is_bulk(reply);
    if (!is_bulk && reply_behind(shard, conn, codec, reply, bound)) return;
    struct frame *frame = bound > UINT32_MAX ? NULL : frame_new(&shard->frames, (uint32_t)bound);
    if (frame == NULL) {
        conn_end(shard, conn, CLOSE_INTERNAL);
        return;
    }
    struct writer writer = writer_of(frame_payload(frame), bound);
    codec->reply(&writer, reply);
    push_encoded(shard, conn, frame, &writer, opcode_of(codec), is_bulk);
}

void conn_reply_error(struct shard *shard, struct conn *conn, uint32_t id, enum err err)
{
    const struct outcome *outcome = outcome_of(err);
    metric_add_code(&shard->metrics, FAMILY_REPLY_ERRORS, outcome->code);
    if (err == ERR_LIMIT_CHANNELS) metric_add(&shard->metrics, METRIC_CHANNELS_LIMITED, 1);
    struct reply reply = {
        .id = id,
        .error_code = outcome->code,
        .error_text = outcome->text,
        .error_temporary = outcome->temporary,
    };
    conn_reply(shard, conn, &reply);
}

void conn_send_push(struct shard *shard, struct conn *conn, const struct push *push)
{
    if (conn->state != CONN_WS) return;
    const struct codec *codec = codec_of((enum wire)conn->wire);
    if (conn->wire == WIRE_JSON && push->kind == PUSH_PUBLICATION && push->publication.is_opaque) {
        conn_end(shard, conn, CLOSE_INAPPROPRIATE);
        return;
    }
    size_t bound = codec->push_bound(push);
    struct frame *frame = frame_new(&shard->frames, (uint32_t)bound);
    if (frame == NULL) {
        conn_end(shard, conn, CLOSE_INTERNAL);
        return;
    }
    struct writer writer = writer_of(frame_payload(frame), bound);
    codec->push(&writer, push);
    push_encoded(shard, conn, frame, &writer, opcode_of(codec), false);
}
