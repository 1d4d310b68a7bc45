/*
 * members: the members of one channel and how far each has read.
 *
 * A member list replaces the one before: who is new joins at head + 1 with the
 * cursor just below, who is missing is removed, who stays keeps both numbers.
 * A cursor only grows.
 *
 * Memory:  one heap block a member.
 * Thread:  its owner.
 * Bound:   members_set O(members), members_read O(1).
 * Tests:   tests/unit/storage/test_members.c
 */
#pragma once

#include "core/map.h"
#include "storage/store.h"

struct members {
    struct map map;
    uint64_t round; /* counts members_set calls */
};

void members_init(struct members *members, uint64_t seed);
void members_fini(struct members *members);
/* The list in force after the publication `head`. */
void members_set(struct members *members, const struct bytes *users, uint32_t users_count,
                 uint64_t head);
/* Moves a cursor forward; users who are no members are passed over. */
void members_read(struct members *members, struct bytes user, uint64_t offset);
/* A row from the disk. */
void members_load(struct members *members, const struct store_member *member);
/* Fills list[members->map.count]; names are views of the rows. */
void members_list(const struct members *members, struct store_member *list);
