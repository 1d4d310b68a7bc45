/*
 * codec_pb: the Protobuf wire of the Centrifuge protocol.
 *
 * Every message of a frame stands behind its length as a varint; one of length
 * zero is the ping and the pong.  Commands are read by nanopb from proto/client.proto
 * as views of the frame, nothing is copied and nothing allocated but the array of
 * connect.subs; replies and pushes are written by hand in one pass.
 *
 * Strings are checked to be UTF-8, unknown fields are passed over, groups (long
 * out of use) are refused, and what nests is read no deeper than CODEC_PB_DEPTH_MAX.
 * The opcode of an incoming frame is not looked at: the wire was chosen at the
 * handshake, and as in Centrifugo a text frame may carry Protobuf as long as it
 * happens to be UTF-8.
 *
 * Thread:  any; pure.
 * Source:  Centrifuge client protocol, client.proto; protobuf.dev, encoding.
 * Tests:   tests/unit/proto/test_codec_pb.c, tests/prop/prop_codec.c,
 *          tests/fuzz/fuzz_codec_pb.c, tests/conformance
 */
#pragma once

#include "proto/codec.h"

/* Levels of a filter, the only message that holds itself. */
#define CODEC_PB_DEPTH_MAX 32

extern const struct codec codec_pb;

/* codec_pb.c */
enum err codec_pb_next(struct reader *frame, bool is_first, struct arena *arena, struct cmd *cmd);
/* codec_pb_write.c */
size_t codec_pb_reply_bound(const struct reply *reply);
void codec_pb_reply(struct writer *writer, const struct reply *reply);
size_t codec_pb_push_bound(const struct push *push);
void codec_pb_push(struct writer *writer, const struct push *push);
