/*
 * codec_json: the JSON wire of the Centrifuge protocol.
 *
 * One message is one line; a frame holds several, joined by single newlines,
 * and one newline after the last is tolerated.  Zero and empty fields are
 * left out, but for those which the protocol always writes (cmd.h has no say
 * in that: codec_json_write.c has).
 *
 * Thread:  any; pure.
 * Source:  Centrifuge client protocol, client.proto and its JSON rules.
 * Tests:   tests/unit/proto/test_codec_json.c, test_codec_json_write.c,
 *          tests/fuzz/fuzz_codec_json.c
 */
#pragma once

#include "proto/codec.h"

extern const struct codec codec_json;

/* codec_json.c */
enum err codec_json_next(struct reader *frame, bool is_first, struct arena *arena, struct cmd *cmd);
/* codec_json_write.c */
size_t codec_json_reply_bound(const struct reply *reply);
void codec_json_reply(struct writer *writer, const struct reply *reply);
size_t codec_json_push_bound(const struct push *push);
void codec_json_push(struct writer *writer, const struct push *push);
