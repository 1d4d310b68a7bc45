/*
 * members: the members of one channel and how far each has read, by name.
 *
 * For engines that keep them in memory, or make a snapshot: the rules stand in
 * storage/member.h.
 *
 * Memory:  one heap block a member.
 * Thread:  its owner.
 * Bound:   members_apply O(members) for a list that replaces, else O(list);
 *          members_move O(1).
 * Tests:   tests/unit/storage/test_members.c
 */
#pragma once

#include "core/map.h"
#include "storage/store.h"

/* Who came and who went. */
typedef void (*members_fn)(void *context, struct bytes user, bool is_leave);

struct members {
    struct map map;
    uint64_t round;       /* counts the lists that replaced */
    uint64_t policy;      /* the channel's own mark */
    members_fn on_change; /* told by members_apply; NULL: nobody */
    void *context;
};

void members_init(struct members *members, uint64_t seed);
void members_fini(struct members *members);
void members_apply(struct members *members, const struct members_change *change);
/* The row of a member, NULL for a stranger. */
struct store_member *members_find(const struct members *members, struct bytes user);
/* As member_move, and the channel's own marks; false for users who are no members. */
bool members_move(struct members *members, struct bytes user, enum cursor_mark mark,
                  uint64_t offset, uint64_t head);
/* A row from the disk. */
void members_load(struct members *members, const struct store_member *member);
/* Fills list[members->map.count]; names are views of the rows. */
void members_list(const struct members *members, struct store_member *list);
