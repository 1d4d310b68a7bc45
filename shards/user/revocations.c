/*
 * revocations: a list by age, and one by user.
 */
#include "shards/user/revocations.h"

#include "core/check.h"
#include "core/mem.h"

struct revoked_user {
    struct revocation *first, *last;
    uint32_t id_size;
    uint8_t id[];
};

void revocations_init(struct revocations *revocations, uint64_t seed)
{
    *revocations = (struct revocations){.last = &revocations->first};
    map_init(&revocations->users, seed);
}

static uint64_t size_of(const struct revocation *revocation)
{
    return sizeof *revocation + revocation->size;
}

/* The oldest of all is the oldest of its user. */
static void forget_first(struct revocations *revocations)
{
    struct revocation *first = revocations->first;
    struct revoked_user *user = first->user;
    check(user->first == first);
    check(revocations->bytes >= size_of(first));
    revocations->first = first->after;
    if (revocations->first == NULL) revocations->last = &revocations->first;
    revocations->bytes -= size_of(first);
    revocations->count--;
    revocations->since_ns = first->at_ns;
    user->first = first->younger;
    if (user->first == NULL) {
        map_remove(&revocations->users, bytes_of(user->id, user->id_size));
        mem_free(user);
    }
    mem_free(first);
}

void revocations_forget(struct revocations *revocations, uint64_t until_ns)
{
    while (revocations->first != NULL && revocations->first->at_ns <= until_ns)
        forget_first(revocations);
}

void revocations_fini(struct revocations *revocations)
{
    revocations_forget(revocations, UINT64_MAX);
    check(revocations->bytes == 0);
    check(revocations->count == 0);
    map_fini(&revocations->users);
}

static struct revoked_user *user_for(struct revocations *revocations, struct bytes id)
{
    struct revoked_user *user = map_find(&revocations->users, id);
    if (user != NULL) return user;
    user = mem_alloc(sizeof *user + id.size);
    user->id_size = (uint32_t)id.size;
    memcpy(user->id, id.at, id.size);
    map_put(&revocations->users, bytes_of(user->id, user->id_size), user);
    return user;
}

void revocations_add(struct revocations *revocations, struct bytes id, struct bytes act,
                     uint64_t now_ns)
{
    check(id.size > 0);
    check(act.size <= UINT32_MAX);
    while (revocations->first != NULL && revocations->bytes + act.size > REVOCATIONS_BYTES_MAX)
        forget_first(revocations);

    struct revoked_user *user = user_for(revocations, id);
    if (user->first != NULL) check(user->last->at_ns <= now_ns);
    struct revocation *made = mem_alloc(sizeof *made + act.size);
    made->user = user;
    made->at_ns = now_ns;
    made->size = (uint32_t)act.size;
    memcpy(made->act, act.at, act.size);
    if (user->first == NULL)
        user->first = made;
    else
        user->last->younger = made;
    user->last = made;
    *revocations->last = made;
    revocations->last = &made->after;
    revocations->bytes += size_of(made);
    revocations->count++;
}

const struct revocation *revocations_find(const struct revocations *revocations, struct bytes id,
                                          uint64_t began_ns)
{
    const struct revoked_user *user = map_find(&revocations->users, id);
    if (user == NULL) return NULL;
    const struct revocation *at = user->first;
    while (at != NULL && at->at_ns < began_ns) at = at->younger;
    return at;
}

bool revocations_know(const struct revocations *revocations, uint64_t began_ns)
{
    return began_ns > revocations->since_ns;
}
