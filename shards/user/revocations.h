/*
 * revocations: what user-addressed calls leave behind for connects under way.
 *
 * A call covers the registrations before it.  A connect that began before the
 * call but registers after it must meet it too, so the call stays here for as
 * long as such a connect can last.  Oldest first, one list; beside it the calls
 * of each user.
 *
 * What is forgotten early, by age or by room, is not forgotten silently: `since_ns`
 * says from when on everything is known, and who began before that is sent back
 * to try again.
 *
 * Thread:  the user's home shard.
 * Bound:   REVOCATIONS_BYTES_MAX; all O(1) but for the calls of one user.
 * Tests:   tests/unit/shards/test_revocations.c
 */
#pragma once

#include "core/bytes.h"
#include "core/map.h"

/* Bytes of one home's calls: a backend that speaks of 10,000 users a second is
 * remembered for some seconds, a connect takes milliseconds. */
#define REVOCATIONS_BYTES_MAX (16u << 20)

struct revocation {
    struct revocation *after;   /* private: the next younger of all */
    struct revocation *younger; /* the next younger of this user */
    struct revoked_user *user;  /* private */
    uint64_t at_ns;
    uint32_t size;
    uint8_t act[]; /* packed (user/act.h) */
};

struct revocations {
    struct revocation *first, **last;
    struct map users; /* struct revoked_user by id */
    uint64_t bytes;
    uint64_t since_ns;
    uint32_t count;
};

void revocations_init(struct revocations *revocations, uint64_t seed);
void revocations_fini(struct revocations *revocations);
/* `now_ns` is not before any earlier one. */
void revocations_add(struct revocations *revocations, struct bytes user, struct bytes act,
                     uint64_t now_ns);
/* The oldest call for `user` that a connect which began at `began_ns` must meet; NULL
 * when there is none.  The others follow by `younger`. */
const struct revocation *revocations_find(const struct revocations *revocations, struct bytes user,
                                          uint64_t began_ns);
/* Whether every call that a connect which began then must meet is still known. */
bool revocations_know(const struct revocations *revocations, uint64_t began_ns);
/* Forgets calls at or before `until_ns`. */
void revocations_forget(struct revocations *revocations, uint64_t until_ns);
