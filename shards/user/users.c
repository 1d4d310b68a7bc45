/*
 * users: linear hashing, one session in place.
 *
 *   name of a session   0xxx…  the one in place of user xxx…
 *                       1xxx…  number xxx… of `more`
 */
#include "shards/user/users.h"

#include "core/check.h"
#include "core/hash.h"
#include "core/limits.h"
#include "core/mem.h"

#define NEAR_MAX 24
#define MORE_BIT 0x80000000u
#define NONE     UINT32_MAX

/* A shard and a connection's index in one word: 1 bit ended, 6 shard, 25 index. */
#define WHERE_ENDED      0x80000000u
#define WHERE_INDEX_BITS 25

static_assert(SHARDS_MAX <= 64, "a shard is six bits of `where`");

struct user {
    uint8_t id_size; /* 0: the slot is free */
    uint8_t spare;
    uint16_t tag;     /* bits of the hash: most strangers are seen without their id */
    uint32_t next;    /* in its bucket, or of the free list: index + 1; 0 is the end */
    uint32_t where;   /* of the session in place */
    uint32_t tenant;  /* its connection's generation; 0: no session in place */
    uint32_t further; /* first of `more`, or NONE */
    uint32_t count;   /* sessions not told to end */
    union {
        uint8_t near[NEAR_MAX];
        uint8_t *far;
    };
};
static_assert(sizeof(struct user) == 48, "as users.h says");

struct user_more {
    uint32_t where;
    uint32_t tenant; /* 0: the slot is free */
    uint32_t user;
    uint32_t next; /* NONE at the end; of the free list: index + 1 */
    uint32_t prev;
};
static_assert(sizeof(struct user_more) == 20, "as users.h says");

void users_init(struct users *users, uint64_t seed, uint32_t sessions_max)
{
    check(sessions_max > 0 && sessions_max < MORE_BIT);
    *users = (struct users){.seed = seed, .room = sessions_max, .buckets_count = 1};
    users->buckets = mem_reserve((size_t)sessions_max * sizeof *users->buckets);
    users->users = mem_reserve((size_t)sessions_max * sizeof *users->users);
    users->more = mem_reserve((size_t)sessions_max * sizeof *users->more);
}

void users_fini(struct users *users)
{
    check(users->users_count == 0);
    check(users->sessions_count == 0);
    size_t room = users->room;
    mem_unreserve(users->buckets, room * sizeof *users->buckets);
    mem_unreserve(users->users, room * sizeof *users->users);
    mem_unreserve(users->more, room * sizeof *users->more);
}

/* --- where ---------------------------------------------------------------------- */

static uint32_t where_of(const struct user_place *place)
{
    check(place->shard < SHARDS_MAX);
    check(place->conn.index < 1u << WHERE_INDEX_BITS);
    check(place->conn.generation != 0);
    return (place->is_ended ? WHERE_ENDED : 0) | place->shard << WHERE_INDEX_BITS |
           place->conn.index;
}

static struct user_place place_of(uint32_t where, uint32_t tenant)
{
    check(tenant != 0);
    return (struct user_place){
        .shard = (where & ~WHERE_ENDED) >> WHERE_INDEX_BITS,
        .conn = {where & ((1u << WHERE_INDEX_BITS) - 1), tenant},
        .is_ended = (where & WHERE_ENDED) != 0,
    };
}

/* --- buckets -------------------------------------------------------------------- */

struct bytes users_id(const struct user *user)
{
    return bytes_of(user->id_size > NEAR_MAX ? user->far : user->near, user->id_size);
}

static uint16_t tag_of(uint64_t hash)
{
    return (uint16_t)(hash >> 48);
}

/* Buckets are split in order, so those that are not split yet take the users of
 * the ones to come:
 *
 *    count = 6:   0 1 2 3 | 4 5      bits of 8 where that bucket is there,
 *                 split ↑   of 0, 1  else of 4
 */
static uint32_t *bucket_of(const struct users *users, uint64_t hash)
{
    uint32_t count = users->buckets_count;
    uint32_t mask = count <= 1 ? 0 : UINT32_MAX >> __builtin_clz(count - 1);
    uint32_t at = (uint32_t)hash & mask;
    if (at >= count) at &= mask >> 1;
    return &users->buckets[at];
}

/* One bucket more for one user more: shares the users of its lower twin. */
static void split_one(struct users *users)
{
    if (users->users_count <= users->buckets_count || users->buckets_count == users->room) return;
    uint32_t fresh = users->buckets_count;
    uint32_t twin = fresh & ~(1u << (31 - __builtin_clz(fresh)));
    users->buckets_count++;
    uint32_t at = users->buckets[twin];
    users->buckets[twin] = users->buckets[fresh] = 0;
    while (at != 0) {
        struct user *user = &users->users[at - 1];
        uint32_t next = user->next;
        uint32_t *bucket = bucket_of(users, hash_bytes(users_id(user), users->seed));
        check(bucket == &users->buckets[twin] || bucket == &users->buckets[fresh]);
        user->next = *bucket;
        *bucket = at;
        at = next;
    }
}

static struct user *find(const struct users *users, struct bytes id, uint64_t hash)
{
    for (uint32_t at = *bucket_of(users, hash); at != 0;) {
        struct user *user = &users->users[at - 1];
        if (user->tag == tag_of(hash) && bytes_equal(users_id(user), id)) return user;
        at = user->next;
    }
    return NULL;
}

struct user *users_find(const struct users *users, struct bytes id)
{
    return find(users, id, hash_bytes(id, users->seed));
}

uint32_t users_count_of(const struct user *user)
{
    return user->count;
}

/* --- enter ---------------------------------------------------------------------- */

static struct user *make(struct users *users, struct bytes id, uint64_t hash)
{
    uint32_t index;
    if (users->users_free != 0) {
        index = users->users_free - 1;
        users->users_free = users->users[index].next;
    } else if (users->users_touched < users->room) {
        index = users->users_touched++;
    } else {
        return NULL;
    }
    struct user *user = &users->users[index];
    check(user->id_size == 0);
    *user = (struct user){
        .id_size = (uint8_t)id.size,
        .tag = tag_of(hash),
        .further = NONE,
    };
    if (id.size > NEAR_MAX) user->far = mem_alloc(id.size);
    memcpy(id.size > NEAR_MAX ? user->far : user->near, id.at, id.size);
    uint32_t *bucket = bucket_of(users, hash);
    user->next = *bucket;
    *bucket = index + 1;
    users->users_count++;
    split_one(users);
    return user;
}

static uint32_t enter_further(struct users *users, struct user *user,
                              const struct user_place *place)
{
    uint32_t index;
    if (users->more_free != 0) {
        index = users->more_free - 1;
        users->more_free = users->more[index].next;
    } else if (users->more_touched < users->room) {
        index = users->more_touched++;
    } else {
        return SESSION_NONE;
    }
    struct user_more *more = &users->more[index];
    check(more->tenant == 0);
    *more = (struct user_more){
        .where = where_of(place),
        .tenant = place->conn.generation,
        .user = (uint32_t)(user - users->users),
        .next = user->further,
        .prev = NONE,
    };
    if (more->next != NONE) users->more[more->next].prev = index;
    user->further = index;
    return MORE_BIT | index;
}

enum err users_enter(struct users *users, struct bytes id, const struct user_place *place,
                     uint32_t *session)
{
    check(id.size > 0 && id.size <= USER_ID_MAX);
    check(!place->is_ended);
    uint64_t hash = hash_bytes(id, users->seed);
    struct user *user = find(users, id, hash);
    if (user == NULL) user = make(users, id, hash);
    if (user == NULL) return ERR_LIMIT_MEMORY;
    if (user->tenant == 0) {
        user->where = where_of(place);
        user->tenant = place->conn.generation;
        *session = (uint32_t)(user - users->users);
    } else {
        *session = enter_further(users, user, place);
        if (*session == SESSION_NONE) return ERR_LIMIT_MEMORY;
    }
    user->count++;
    users->sessions_count++;
    return ERR_OK;
}

/* --- leave ---------------------------------------------------------------------- */

static void forget(struct users *users, struct user *user)
{
    check(user->count == 0);
    uint32_t index = (uint32_t)(user - users->users);
    uint32_t *at = bucket_of(users, hash_bytes(users_id(user), users->seed));
    while (*at != index + 1) {
        check(*at != 0);
        at = &users->users[*at - 1].next;
    }
    *at = user->next;
    if (user->id_size > NEAR_MAX) mem_free(user->far);
    *user = (struct user){.next = users->users_free};
    users->users_free = index + 1;
    users->users_count--;
}

static struct user *user_of(const struct users *users, uint32_t session)
{
    if (!(session & MORE_BIT)) {
        check(session < users->users_touched);
        return &users->users[session];
    }
    check((session & ~MORE_BIT) < users->more_touched);
    return &users->users[users->more[session & ~MORE_BIT].user];
}

static void leave_further(struct users *users, struct user *user, uint32_t index)
{
    struct user_more *more = &users->more[index];
    if (more->prev != NONE)
        users->more[more->prev].next = more->next;
    else
        user->further = more->next;
    if (more->next != NONE) users->more[more->next].prev = more->prev;
    *more = (struct user_more){.next = users->more_free};
    users->more_free = index + 1;
}

void users_leave(struct users *users, uint32_t session, struct handle conn)
{
    struct user *user = user_of(users, session);
    struct user_place place = users_place(users, session);
    check(place.conn.index == conn.index);
    check(place.conn.generation == conn.generation);
    if (!place.is_ended) {
        check(user->count > 0);
        user->count--;
    }
    if (session & MORE_BIT)
        leave_further(users, user, session & ~MORE_BIT);
    else
        user->where = user->tenant = 0;
    check(users->sessions_count > 0);
    users->sessions_count--;
    if (user->tenant == 0 && user->further == NONE) forget(users, user);
}

/* --- looking -------------------------------------------------------------------- */

uint32_t users_first(const struct users *users, const struct user *user)
{
    if (user->tenant != 0) return (uint32_t)(user - users->users);
    return user->further == NONE ? SESSION_NONE : MORE_BIT | user->further;
}

uint32_t users_next(const struct users *users, const struct user *user, uint32_t session)
{
    uint32_t next = session & MORE_BIT ? users->more[session & ~MORE_BIT].next : user->further;
    return next == NONE ? SESSION_NONE : MORE_BIT | next;
}

struct user_place users_place(const struct users *users, uint32_t session)
{
    if (session & MORE_BIT) {
        const struct user_more *more = &users->more[session & ~MORE_BIT];
        return place_of(more->where, more->tenant);
    }
    return place_of(users->users[session].where, users->users[session].tenant);
}

void users_end(struct users *users, struct user *user, uint32_t session)
{
    check(user_of(users, session) == user);
    uint32_t *where = session & MORE_BIT ? &users->more[session & ~MORE_BIT].where : &user->where;
    if (*where & WHERE_ENDED) return;
    *where |= WHERE_ENDED;
    check(user->count > 0);
    user->count--;
}

void users_verify(const struct users *users)
{
    uint32_t found = 0, sessions = 0;
    check(users->buckets_count >= 1);
    for (uint32_t i = 0; i < users->buckets_count; i++) {
        for (uint32_t at = users->buckets[i]; at != 0; at = users->users[at - 1].next) {
            const struct user *user = &users->users[at - 1];
            check(user->id_size > 0);
            check(bucket_of(users, hash_bytes(users_id(user), users->seed)) == &users->buckets[i]);
            found++;
            uint32_t counted = 0;
            uint32_t session = users_first(users, user);
            check(session != SESSION_NONE);
            for (; session != SESSION_NONE; session = users_next(users, user, session)) {
                check(user_of(users, session) == user);
                sessions++;
                if (!users_place(users, session).is_ended) counted++;
            }
            check(counted == user->count);
        }
    }
    check(found == users->users_count);
    check(sessions == users->sessions_count);
}
