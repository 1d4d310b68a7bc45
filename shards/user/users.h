/*
 * users: the users whose home this shard is, and their sessions.
 *
 * A user is there exactly while it has a session.  Its id stands once, here; a
 * session is where its connection lives.  Most users have one session, so the
 * first one is part of the user:
 *
 *    buckets   4 bytes   linear hashing: one bucket is split per new user, so no
 *                        turn pays for a whole table
 *    user     48 bytes   id up to 24 bytes in place, longer ones on the heap
 *    session  20 bytes   each beyond the first, doubly linked
 *
 * that is 52 bytes for a user with one connection.  A session's name is a number
 * that the connection keeps, so leaving is O(1) however many sessions a user has.
 *
 * Memory:  reserved address space; a free slot is linked in place.
 * Thread:  the home shard.
 * Tests:   tests/unit/shards/test_users.c, tests/prop/prop_users.c
 */
#pragma once

#include "core/bytes.h"
#include "core/err.h"
#include "core/slab.h"

struct user;
struct user_more;

#define SESSION_NONE UINT32_MAX

/* Where a session's connection lives. */
struct user_place {
    uint32_t shard;
    struct handle conn;
    bool is_ended; /* it was told to end; counts in no limit */
};

struct users {
    uint32_t *buckets; /* first user of each, index + 1 */
    uint32_t buckets_count;
    struct user *users;
    uint32_t users_touched, users_free; /* free list: index + 1 */
    struct user_more *more;
    uint32_t more_touched, more_free;
    uint32_t room; /* of users and of more */
    uint32_t users_count, sessions_count;
    uint64_t seed;
};

/* Room for `sessions_max` sessions; 1 <= sessions_max < 2^31. */
void users_init(struct users *users, uint64_t seed, uint32_t sessions_max);
/* No session may be left. */
void users_fini(struct users *users);

/* A session more for the user `id`, 1 to USER_ID_MAX bytes; ERR_LIMIT_MEMORY. */
must_use enum err users_enter(struct users *users, struct bytes id, const struct user_place *place,
                              uint32_t *session);
/* Ends a session; `conn` is what it entered with. */
void users_leave(struct users *users, uint32_t session, struct handle conn);

/* NULL when nobody of that id has a session. */
struct user *users_find(const struct users *users, struct bytes id);
struct bytes users_id(const struct user *user);
/* Sessions that were not told to end. */
uint32_t users_count_of(const struct user *user);
/* The sessions of a user, the newest last but the first may be anywhere; SESSION_NONE
 * ends the list.  No change of the user meanwhile, but users_end. */
uint32_t users_first(const struct users *users, const struct user *user);
uint32_t users_next(const struct users *users, const struct user *user, uint32_t session);
struct user_place users_place(const struct users *users, uint32_t session);
/* The session was told to end. */
void users_end(struct users *users, struct user *user, uint32_t session);

/* Walks everything. */
void users_verify(const struct users *users);
