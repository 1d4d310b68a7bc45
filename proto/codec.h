/*
 * codec: bytes of a frame ↔ commands, replies and pushes.
 *
 * One table per wire format; JSON lines and length-prefixed Protobuf give the
 * same struct cmd for the same request.  Decoding yields one command per call,
 * so a batch decodes up to its first bad command.  Encoding writes into a room
 * that the matching *_bound sized, so it cannot fail.
 *
 * Thread:  any; pure.
 * Source:  Centrifuge client protocol, framing.
 * Tests:   tests/unit/proto/test_codec_json.c, test_codec_pb.c, tests/prop/prop_codec.c
 */
#pragma once

#include "core/arena.h"
#include "core/err.h"
#include "proto/cmd.h"

enum wire { WIRE_JSON, WIRE_PROTOBUF, WIRE_COUNT };

struct codec {
    const char *name;
    bool is_binary; /* the WebSocket opcode of its frames */
    /* The next command of a frame; ERR_END after the last; ERR_BAD_REQUEST or
     * a PEER error for a frame that breaks the protocol (3501): an empty frame,
     * a blank line between commands, no known command, not JSON or Protobuf.  `frame` moves
     * on.  `is_first`: nothing of this frame was decoded yet, so emptiness is an
     * error and not the end. */
    enum err (*next)(struct reader *frame, bool is_first, struct arena *arena, struct cmd *cmd);
    /* For the JSON wire no publication in it may be opaque: reply_is_opaque. */
    size_t (*reply_bound)(const struct reply *reply);
    void (*reply)(struct writer *writer, const struct reply *reply);
    size_t (*push_bound)(const struct push *push);
    void (*push)(struct writer *writer, const struct push *push);
    struct bytes ping; /* the server's ping message */
};

const struct codec *codec_of(enum wire wire);

/* True when some publication of `reply` carries data that is not JSON. */
bool reply_is_opaque(const struct reply *reply);

/* "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx" of 16 bytes; text[37]. */
void codec_uuid(const uint8_t id[16], char text[37]);
must_use enum err codec_uuid_parse(struct bytes text, uint8_t id[16]);
