/*
 * chains: buckets are split in order.
 *
 * So those that are not split yet take the objects of the ones to come:
 *
 *    count = 6:   0 1 2 3 | 4 5      three bits of the hash where that bucket is
 *                 split ↑   of 0, 1  there, else two
 */
#include "core/chains.h"

#include "core/check.h"
#include "core/mem.h"

void chains_init(struct chains *chains, uint32_t room)
{
    check(room > 0 && room < UINT32_MAX);
    *chains = (struct chains){.buckets_count = 1, .room = room};
    chains->buckets = mem_reserve((size_t)room * sizeof *chains->buckets);
}

void chains_fini(struct chains *chains)
{
    check(chains->count == 0);
    mem_unreserve(chains->buckets, (size_t)chains->room * sizeof *chains->buckets);
    *chains = (struct chains){0};
}

static uint32_t *bucket_of(const struct chains *chains, uint64_t hash)
{
    uint32_t count = chains->buckets_count;
    uint32_t mask = count <= 1 ? 0 : UINT32_MAX >> __builtin_clz(count - 1);
    uint32_t at = (uint32_t)hash & mask;
    if (at >= count) at &= mask >> 1;
    return &chains->buckets[at];
}

/* One bucket more: shares the objects of its lower twin. */
static void split_one(struct chains *chains, const struct chains_owner *owner)
{
    if (chains->count <= chains->buckets_count || chains->buckets_count == chains->room) return;
    uint32_t fresh = chains->buckets_count;
    uint32_t twin = fresh & ~(1u << (31 - __builtin_clz(fresh)));
    chains->buckets_count++;
    uint32_t number = chains->buckets[twin];
    chains->buckets[twin] = chains->buckets[fresh] = 0;
    while (number != 0) {
        uint32_t *link = owner->link(owner->context, number), next = *link;
        uint32_t *bucket = bucket_of(chains, owner->hash(owner->context, number));
        check(bucket == &chains->buckets[twin] || bucket == &chains->buckets[fresh]);
        *link = *bucket;
        *bucket = number;
        number = next;
    }
}

uint32_t chains_find(const struct chains *chains, const struct chains_owner *owner, uint64_t hash,
                     const void *key)
{
    if (chains->count == 0) return 0;
    uint32_t number = *bucket_of(chains, hash);
    while (number != 0 && !owner->is(owner->context, number, key))
        number = *owner->link(owner->context, number);
    return number;
}

void chains_add(struct chains *chains, const struct chains_owner *owner, uint32_t number)
{
    check(number != 0);
    uint32_t *bucket = bucket_of(chains, owner->hash(owner->context, number));
    *owner->link(owner->context, number) = *bucket;
    *bucket = number;
    chains->count++;
    split_one(chains, owner);
}

void chains_remove(struct chains *chains, const struct chains_owner *owner, uint32_t number)
{
    check(number != 0);
    uint32_t *at = bucket_of(chains, owner->hash(owner->context, number));
    while (*at != number) {
        check(*at != 0); /* it must be there */
        at = owner->link(owner->context, *at);
    }
    *at = *owner->link(owner->context, number);
    *owner->link(owner->context, number) = 0;
    chains->count--;
}

void chains_verify(const struct chains *chains, const struct chains_owner *owner)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < chains->buckets_count && count <= chains->count; i++)
        for (uint32_t at = chains->buckets[i]; at != 0 && count <= chains->count; count++) {
            uint64_t hash = owner->hash(owner->context, at);
            check(bucket_of(chains, hash) == &chains->buckets[i]);
            at = *owner->link(owner->context, at);
        }
    check(count == chains->count); /* more: a ring */
}
