/*
 * map: bytes → pointer, open addressing with linear probing.
 *
 * Keys are borrowed: the value owns its key and must outlive its entry.
 * Iteration order depends on the seed; nobody may depend on it.
 *
 * Thread:  owner shard only.
 * Bound:   lookups O(1); growth doubles at 75 %, amortised O(1).
 * Tests:   tests/unit/core/test_map.c, tests/prop/prop_map.c
 */
#pragma once

#include "core/bytes.h"

struct map_slot {
    uint64_t hash;
    struct bytes key;
    void *value; /* NULL exactly when the slot is free */
};

struct map {
    struct map_slot *slots;
    uint32_t slots_count; /* power of two, or 0 before the first put */
    uint32_t count;
    uint64_t seed;
};

void map_init(struct map *map, uint64_t seed);
/* Frees the table, not the values. */
void map_fini(struct map *map);
void *map_find(const struct map *map, struct bytes key);
/* `key` must not be present; `value` is non-NULL. */
void map_put(struct map *map, struct bytes key, void *value);
/* Returns the removed value or NULL. */
void *map_remove(struct map *map, struct bytes key);
/* Begin with `*at` = 0; returns values until NULL.  No change of the map meanwhile. */
void *map_next(const struct map *map, uint32_t *at);
void map_verify(const struct map *map);
