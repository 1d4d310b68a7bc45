/*
 * Slabs against an array of handles: objects taken from the list and by index,
 * filled with a pattern of their handle, given back in any order; stale handles
 * find nothing, live ones find their pattern.
 */
#include <string.h>

#include "core/slab.h"
#include "prop.h"

#define OBJECTS_MAX 100
#define WORDS       5

static struct {
    struct handle handle;
    uint64_t *object; /* NULL when not taken */
} taken[OBJECTS_MAX];

static void pattern_fill(uint64_t *object, struct handle handle)
{
    for (uint32_t i = 0; i < WORDS; i++) {
        expect(object[i] == 0);
        object[i] = (uint64_t)handle.generation << 32 | (handle.index + i);
    }
}

static void pattern_check(const uint64_t *object, struct handle handle)
{
    for (uint32_t i = 0; i < WORDS; i++)
        expect(object[i] == ((uint64_t)handle.generation << 32 | (handle.index + i)));
}

static void take(struct slab *slab, struct rng *rng)
{
    struct handle handle;
    uint64_t *object;
    if (rng_chance(rng, 30)) {
        uint32_t index = (uint32_t)rng_below(rng, slab->count_max);
        if (taken[index].object != NULL) return;
        object = slab_get_at(slab, index, &handle);
        expect(handle.index == index);
    } else {
        bool is_full = slab->count == slab->count_max;
        object = slab_get(slab, &handle);
        expect((object == NULL) == is_full);
        if (is_full) return;
    }
    expect(taken[handle.index].object == NULL);
    expect(handle.generation % 2 == 1);
    expect(handle.generation > taken[handle.index].handle.generation);
    pattern_fill(object, handle);
    taken[handle.index].object = object;
    taken[handle.index].handle = handle;
}

static void whole_compare(const struct slab *slab)
{
    slab_verify(slab);
    uint32_t count = 0;
    for (uint32_t i = 0; i < slab->count_max; i++) {
        uint64_t *object = taken[i].object;
        expect(slab_at(slab, i) == object);
        expect(slab_find(slab, taken[i].handle) == object);
        if (object == NULL) continue;
        count++;
        pattern_check(object, taken[i].handle);
        expect(slab_handle(slab, object).index == i);
    }
    expect(slab->count == count);
}

static void round_slab(struct rng *rng)
{
    struct slab slab;
    memset(taken, 0, sizeof taken);
    slab_init(&slab, "prop", WORDS * 8, (uint32_t)rng_below(rng, OBJECTS_MAX) + 1);
    uint32_t takes = (uint32_t)rng_below(rng, 60) + 20;
    for (uint32_t step = 0; step < 2000; step++) {
        uint32_t i = (uint32_t)rng_below(rng, slab.count_max);
        if (rng_chance(rng, takes)) {
            take(&slab, rng);
        } else if (taken[i].object != NULL) {
            slab_put(&slab, taken[i].object);
            taken[i].object = NULL;
        }
        if (step % 50 == 0) whole_compare(&slab);
    }
    for (uint32_t i = 0; i < slab.count_max; i++)
        if (taken[i].object != NULL) slab_put(&slab, taken[i].object);
    slab_fini(&slab);
}

int main(int argc, char **argv)
{
    return prop_main(argc, argv, 60, round_slab);
}
