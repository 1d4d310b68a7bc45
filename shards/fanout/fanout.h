/*
 * fanout: home → shards → connections.
 *
 * The home encodes a push once per wire in use and posts one letter per
 * listening shard; the shard's pass appends the frame to each listener's
 * pending list and nothing else.  The letter goes home when the last local
 * reader is done, and the home then drops its count on the frame.
 *
 * A frame that cannot be made, at either end, is a publication that its readers
 * would miss: they get Unsubscribe 2500 instead and come back for it.
 *
 * Thread:  fanout_publish on the home shard; fanout_on_frame on each listener.
 * Bound:   one letter per listening shard; one append per listener.
 * Tests:   tests/unit/shards/test_channel.c, the simulator
 */
#pragma once

#include "core/mesh.h"
#include "proto/cmd.h"
#include "storage/record.h"

struct shard;
struct channel;

/* Delivers `publication` to every listening shard of `channel`. */
void fanout_publish(struct shard *shard, struct channel *channel,
                    const struct publication *publication);
/* Tells those who hear them that somebody came (PUSH_JOIN) or went (PUSH_LEAVE).
 * Told once at most, like Centrifuge's: without a frame to spare nobody hears it. */
void fanout_join(struct shard *shard, struct channel *channel, enum push_kind kind,
                 const struct wire_info *who);
void fanout_on_frame(void *shard, struct letter *letter);
void fanout_on_frame_home(void *shard, struct letter *letter);
/* What shard `to` has not given back: letters, and the frames that they show. */
uint64_t fanout_backlog_bytes(const struct shard *shard, uint32_t to);
/* Positions of the channel are void: each listener gets Unsubscribe 2500 and comes back. */
void fanout_lose(struct shard *shard, struct channel *channel);
void fanout_on_lost(void *shard, struct letter *letter);
