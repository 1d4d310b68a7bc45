/*
 * compact: linear probing over bare numbers.
 *
 * A number's home is its hash scaled to the table (hash * slots / 2^32), so the
 * table may have any size.  Invariant: between a number's home and its place no
 * slot is free.
 */
#include "core/compact.h"

#include "core/check.h"
#include "core/mem.h"

#define SLOTS_FIRST 4

static uint32_t home_of(const struct compact *set, uint32_t hash)
{
    return (uint32_t)((uint64_t)hash * set->slots_count >> 32);
}

static uint32_t after(const struct compact *set, uint32_t at)
{
    return at + 1 == set->slots_count ? 0 : at + 1;
}

static void put(struct compact *set, uint32_t hash, uint32_t number)
{
    uint32_t at = home_of(set, hash);
    while (set->slots[at] != 0) at = after(set, at);
    set->slots[at] = number;
}

static void resize(struct compact *set, const struct compact_owner *owner, uint32_t slots_count)
{
    check(slots_count > set->count);
    struct compact old = *set;
    set->slots_count = slots_count;
    set->slots = mem_alloc((size_t)slots_count * sizeof set->slots[0]);
    for (uint32_t i = 0; i < old.slots_count; i++)
        if (old.slots[i] != 0) put(set, owner->hash(owner->context, old.slots[i]), old.slots[i]);
    mem_free(old.slots);
}

void compact_fini(struct compact *set)
{
    mem_free(set->slots);
    *set = (struct compact){0};
}

uint32_t *compact_find(const struct compact *set, const struct compact_owner *owner, uint32_t hash,
                       const void *key)
{
    if (set->count == 0) return NULL;
    check(set->count < set->slots_count); /* a free slot ends every probe */
    for (uint32_t at = home_of(set, hash); set->slots[at] != 0; at = after(set, at))
        if (owner->is(owner->context, set->slots[at], key)) return &set->slots[at];
    return NULL;
}

void compact_add(struct compact *set, const struct compact_owner *owner, uint32_t hash,
                 uint32_t number)
{
    check(number != 0);
    if ((uint64_t)(set->count + 1) * 8 > (uint64_t)set->slots_count * 7) {
        check(set->slots_count < UINT32_MAX / 2);
        resize(set, owner,
               set->slots_count == 0 ? SLOTS_FIRST : set->slots_count + set->slots_count / 4 + 1);
    }
    put(set, hash, number);
    set->count++;
}

/* How far `to` lies behind `from`, round the end. */
static uint32_t distance(const struct compact *set, uint32_t from, uint32_t to)
{
    return to >= from ? to - from : to + set->slots_count - from;
}

/* Below a third it shrinks to a half, so that a crowd that left costs nothing. */
static void shrink(struct compact *set, const struct compact_owner *owner)
{
    if (set->count == 0)
        compact_fini(set);
    else if (set->slots_count > 16 && set->count < set->slots_count / 3)
        resize(set, owner, set->slots_count / 2);
}

void compact_remove(struct compact *set, const struct compact_owner *owner, uint32_t *slot)
{
    check(slot >= set->slots && slot < set->slots + set->slots_count);
    check(*slot != 0);
    uint32_t gap = (uint32_t)(slot - set->slots);
    for (uint32_t at = after(set, gap); set->slots[at] != 0; at = after(set, at)) {
        uint32_t home = home_of(set, owner->hash(owner->context, set->slots[at]));
        /* It may move to the gap when the gap lies between its home and it. */
        if (distance(set, home, at) < distance(set, gap, at)) continue;
        set->slots[gap] = set->slots[at];
        gap = at;
    }
    set->slots[gap] = 0;
    set->count--;
    shrink(set, owner);
}

uint32_t compact_next(const struct compact *set, uint32_t *at)
{
    while (*at < set->slots_count) {
        uint32_t number = set->slots[(*at)++];
        if (number != 0) return number;
    }
    return 0;
}
