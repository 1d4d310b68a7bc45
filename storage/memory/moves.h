/*
 * moves: when the members of one channel moved their cursors (store_moves), in memory.
 *
 * Memory:  40 bytes and the name a move, for STORE_MOVES_MS.
 * Thread:  owner shard.
 * Bound:   moves_find O(moves * users), moves_forget O(moves).
 * Tests:   tests/unit/storage/test_store_moves.c
 */
#pragma once

#include "storage/store.h"

struct move;

/* Oldest first. */
struct moves {
    struct move *list;
    uint32_t count, room;
};

/* Zeroes are an empty one. */
void moves_fini(struct moves *moves);
/* A CURSOR_READ or CURSOR_DELIVERED that moved; others are passed over. */
void moves_add(struct moves *moves, const struct store_cursor *cursor);
/* Drops what is too old. */
void moves_trim(struct moves *moves, uint64_t now_ms);
/* The user leaves: another membership begins without any. */
void moves_forget(struct moves *moves, struct bytes user);
/* Fills moved[users_count]. */
void moves_find(const struct moves *moves, uint64_t offset, const struct bytes *users,
                uint32_t users_count, struct store_moved *moved);
