/*
 * listing: which channels a user is a member of, for all shards of a process that
 * keeps everything in memory.
 *
 * The listing belongs to the index writer's thread; shards tell it who joined and who
 * left, and ask, in one queue each.  So a shard's own changes are in what it hears.
 *
 * Memory:  a channel's name for each of its members.
 * Thread:  struct listing: the index writer's, and the main thread's while there are no
 *          shards; struct lister: its shard's.
 * Bound:   O(channels of the user) a change and a question.
 * Tests:   tests/unit/storage/test_store_moves.c
 */
#pragma once

#include "core/map.h"
#include "storage/store.h"

struct listing {
    struct map users; /* struct listed */
};

void listing_init(struct listing *listing);
void listing_fini(struct listing *listing);

struct lister {
    struct listing *listing;
    const struct store_env *env;
    struct list items; /* to go with the next job */
    struct list taken; /* under way */
    struct job job;
    struct timer retry;
    bool is_under_way;
    uint32_t asked; /* questions without an answer */
};

void lister_init(struct lister *lister, struct listing *listing, const struct store_env *env);
/* Nothing may be under way. */
void lister_fini(struct lister *lister);
void lister_note(struct lister *lister, struct bytes user, struct bytes channel, bool is_leave);
void lister_ask(struct lister *lister, struct store_memberships *op);
/* What a detach has to wait for. */
uint32_t lister_pending(const struct lister *lister);
