/*
 * reads_events: cursor moves that a chat server tells of in a Redis stream.
 *
 * Shard 0 of each node is a consumer (storage/events.h) and asks each channel's home, as
 * the service does for POST read_cursor with a seq.  What can never be done (no member, no
 * such channel, out of the window, malformed) is counted and done with; what cannot be
 * done now comes again.
 *
 * Thread:  shard 0.
 * Tests:   tests/conformance/read_events.test.mjs
 */
#pragma once

struct shard;

/* On the shard's thread, when it starts; does nothing on other shards and without
 * read_index.events. */
void reads_events_start(struct shard *shard);
/* The node drains: nothing more is taken. */
void reads_events_drain(struct shard *shard);
void reads_events_stop(struct shard *shard);
