/*
 * The map against an array of flags; half of the rounds aim all keys at few
 * home slots by drawing keys until their hash fits, so that runs are long and
 * wrap around the end of the table.
 */
#include <string.h>

#include "core/hash.h"
#include "core/map.h"
#include "prop.h"

#define KEYS 300

static struct entry {
    uint64_t key;
    bool is_in;
} entries[KEYS];

static struct bytes key_of(const struct entry *entry)
{
    return bytes_of(&entry->key, sizeof entry->key);
}

static void whole_compare(const struct map *map)
{
    map_verify(map);
    uint32_t count = 0, seen = 0, at = 0;
    for (uint32_t i = 0; i < KEYS; i++) {
        expect(map_find(map, key_of(&entries[i])) == (entries[i].is_in ? &entries[i] : NULL));
        count += entries[i].is_in;
    }
    expect(map->count == count);
    for (const struct entry *entry; (entry = map_next(map, &at)) != NULL; seen++)
        expect(entry->is_in);
    expect(seen == count);
}

static void round_map(struct rng *rng)
{
    struct map map;
    map_init(&map, rng_next(rng));
    bool is_crowded = rng_chance(rng, 50);
    for (uint32_t i = 0; i < KEYS; i++) {
        entries[i].is_in = false;
        do entries[i].key = rng_next(rng) << 9 | i;
        while (is_crowded && (hash_bytes(key_of(&entries[i]), map.seed) + 8) % 512 > 32);
    }
    uint32_t puts = (uint32_t)rng_below(rng, 60) + 20;
    for (uint32_t step = 0; step < 3000; step++) {
        struct entry *entry = &entries[rng_below(rng, KEYS)];
        if (rng_chance(rng, puts)) {
            if (entry->is_in) continue;
            map_put(&map, key_of(entry), entry);
            entry->is_in = true;
        } else {
            expect(map_remove(&map, key_of(entry)) == (entry->is_in ? entry : NULL));
            entry->is_in = false;
        }
        if (step % 100 == 0) whole_compare(&map);
    }
    whole_compare(&map);
    map_fini(&map);
}

int main(int argc, char **argv)
{
    return prop_main(argc, argv, 60, round_map);
}
