/*
 * chains: objects of a slab found by what they are called.
 *
 * Linear hashing: buckets of four bytes, chained through a link of four bytes that
 * each object keeps for it.  One bucket is split per object that comes, so no turn
 * pays for a whole table, where open addressing would move them all; and nothing
 * is kept twice: the owner says what an object's hash is and whether it is the one
 * looked for.  Eight bytes an object, however many there are.
 *
 * A number is an index + 1; 0 is none.
 *
 * Memory:  reserved address space; buckets once touched stay.
 * Thread:  owner.
 * Bound:   all O(1) on average.
 * Tests:   tests/unit/core/test_chains.c
 */
#pragma once

#include "core/base.h"

struct chains {
    uint32_t *buckets; /* first number of each */
    uint32_t buckets_count;
    uint32_t room;
    uint32_t count; /* numbers now held */
};

/* What a number stands for, said by the owner. */
struct chains_owner {
    const void *context;
    uint64_t (*hash)(const void *context, uint32_t number);
    bool (*is)(const void *context, uint32_t number, const void *key);
    /* The object's link, private to the chains while it is in them. */
    uint32_t *(*link)(const void *context, uint32_t number);
};

/* Room for `room` numbers, at least 1. */
void chains_init(struct chains *chains, uint32_t room);
/* None may be left.  Accepts zeroed memory. */
void chains_fini(struct chains *chains);
/* The number of `key`, whose hash it is, or 0. */
uint32_t chains_find(const struct chains *chains, const struct chains_owner *owner, uint64_t hash,
                     const void *key);
/* `number` is not there, nor is another one with its key. */
void chains_add(struct chains *chains, const struct chains_owner *owner, uint32_t number);
/* `number` is there, and what it stands for is still known. */
void chains_remove(struct chains *chains, const struct chains_owner *owner, uint32_t number);
/* Walks everything. */
void chains_verify(const struct chains *chains, const struct chains_owner *owner);
