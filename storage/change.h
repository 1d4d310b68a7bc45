/*
 * change: a change of a channel's members of any size, as records of bounded size.
 *
 * A list of up to MEMBERS_RECORD_MAX users is one record.  A longer one is cut, and
 * its records are appended one after the other, each when the one before is durable,
 * so that no commit and no script is long: a SET becomes the whole list between one
 * user and another (SET_BETWEEN), in the order of the users.
 *
 * An error ends it: what came before stays in force, and the same change asked again
 * completes it.  Whoever asks keeps the channel open until on_changed.
 *
 * Memory:  everything is copied: 16 bytes a user, 32 with joins, and the names.
 * Thread:  owner shard of the store.
 * Tests:   tests/unit/storage/test_store_members.c
 */
#pragma once

#include "storage/store.h"

struct store_change {
    struct store_channel *channel;
    /* kind: SET, ADD or REMOVE; up to MEMBERS_MAX users, who may stand there more than
     * once: then the first counts. */
    struct members_ask ask;
    /* `op` may be used again or freed. */
    void (*on_changed)(struct store_change *op, enum err err);
    /* private */
    struct store *store;
    struct store_append append;
    struct bytes *users; /* what is left; one block with the names and the joins */
    struct member_join *joins;
    void *block;
    uint32_t left;
};

/* Everything is copied before it returns; on_changed comes later, never inside. */
void store_change(struct store *store, struct store_change *op);
