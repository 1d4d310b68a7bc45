/*
 * home: which shard owns a channel.
 *
 * Jump consistent hash of the name; companion channels ("receipts:X", "typing:X")
 * share X's home.  Same input, same answer, everywhere and at every start with
 * as many shards.
 *
 * Thread:  any; pure.
 * Tests:   tests/unit/shards/test_home.c
 */
#pragma once

#include "core/bytes.h"

uint32_t home_of_channel(struct bytes channel, uint32_t shards_count);
/* True when `channel` is "receipts:X", which tells the members of X who has read what;
 * *base is X then, else `channel` itself. */
bool home_is_receipts(struct bytes channel, struct bytes *base);
uint32_t home_of_user(struct bytes user, uint32_t shards_count);
