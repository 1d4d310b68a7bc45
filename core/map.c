/*
 * map: linear probing, with entries moved back on removal.
 *
 * No tombstones: a removal closes the gap by moving back each entry of the run
 * that may sit nearer to its home.  So a lookup may stop at the first free slot,
 * and a map that sees many keys come and go never slows down.
 *
 * Invariant: between an entry's home slot and its own no slot is free.
 */
#include "core/map.h"

#include "core/check.h"
#include "core/hash.h"
#include "core/mem.h"

#define SLOTS_FIRST 8

void map_init(struct map *map, uint64_t seed)
{
    *map = (struct map){.seed = seed};
}

void map_fini(struct map *map)
{
    mem_free(map->slots);
    *map = (struct map){.seed = map->seed};
}

/* The slot of `key`, or the free slot where it would go. */
static struct map_slot *map_probe(const struct map *map, struct bytes key, uint64_t hash)
{
    check(map->count < map->slots_count); /* a free slot ends every probe */
    uint32_t mask = map->slots_count - 1;
    for (uint32_t i = (uint32_t)hash & mask;; i = (i + 1) & mask) {
        struct map_slot *slot = &map->slots[i];
        if (slot->value == NULL) return slot;
        if (slot->hash == hash && bytes_equal(slot->key, key)) return slot;
    }
}

static void map_grow(struct map *map)
{
    struct map_slot *old = map->slots;
    uint32_t old_count = map->slots_count;
    check(old_count <= UINT32_MAX / 2);
    map->slots_count = old_count == 0 ? SLOTS_FIRST : old_count * 2;
    map->slots = mem_alloc((size_t)map->slots_count * sizeof *map->slots);

    uint32_t mask = map->slots_count - 1;
    for (uint32_t from = 0; from < old_count; from++) {
        if (old[from].value == NULL) continue;
        uint32_t i = (uint32_t)old[from].hash & mask;
        while (map->slots[i].value != NULL) i = (i + 1) & mask;
        map->slots[i] = old[from];
    }
    mem_free(old);
}

void *map_find(const struct map *map, struct bytes key)
{
    if (map->count == 0) return NULL;
    return map_probe(map, key, hash_bytes(key, map->seed))->value;
}

void map_put(struct map *map, struct bytes key, void *value)
{
    check(value != NULL);
    if ((uint64_t)(map->count + 1) * 4 > (uint64_t)map->slots_count * 3) map_grow(map);
    uint64_t hash = hash_bytes(key, map->seed);
    struct map_slot *slot = map_probe(map, key, hash);
    check(slot->value == NULL); /* the key must not be present */
    *slot = (struct map_slot){hash, key, value};
    map->count++;
}

void *map_remove(struct map *map, struct bytes key)
{
    if (map->count == 0) return NULL;
    struct map_slot *slot = map_probe(map, key, hash_bytes(key, map->seed));
    void *value = slot->value;
    if (value == NULL) return NULL;

    uint32_t mask = map->slots_count - 1;
    uint32_t gap = (uint32_t)(slot - map->slots);
    for (uint32_t i = (gap + 1) & mask; map->slots[i].value != NULL; i = (i + 1) & mask) {
        uint32_t home = (uint32_t)map->slots[i].hash & mask;
        /* It may move to the gap when the gap lies between its home and it. */
        if (((i - home) & mask) < ((i - gap) & mask)) continue;
        map->slots[gap] = map->slots[i];
        gap = i;
    }
    map->slots[gap] = (struct map_slot){0};
    map->count--;
    return value;
}

void *map_next(const struct map *map, uint32_t *at)
{
    while (*at < map->slots_count) {
        void *value = map->slots[(*at)++].value;
        if (value != NULL) return value;
    }
    return NULL;
}

void map_verify(const struct map *map)
{
    check((map->slots_count & (map->slots_count - 1)) == 0);
    check((uint64_t)map->count * 4 <= (uint64_t)map->slots_count * 3);
    uint32_t count = 0, mask = map->slots_count - 1;
    for (uint32_t i = 0; i < map->slots_count; i++) {
        const struct map_slot *slot = &map->slots[i];
        if (slot->value == NULL) continue;
        count++;
        check(slot->hash == hash_bytes(slot->key, map->seed));
        check(map_probe(map, slot->key, slot->hash) == slot);
        for (uint32_t j = (uint32_t)slot->hash & mask; j != i; j = (j + 1) & mask)
            check(map->slots[j].value != NULL);
    }
    check(count == map->count);
}
