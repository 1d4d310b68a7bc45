/*
 * slab: fixed-size objects of one shard, named by generation handles.
 *
 * One reserved range of address space, objects side by side, a free list of
 * indexes.  `get` gives zeroed memory or NULL at the limit; `put` bumps the
 * generation, so a stale handle finds nothing, and that is a normal answer.
 * The ASan twin (slab_asan.c) poisons what is free.
 *
 * Thread:  owner shard only.
 * Bound:   all O(1).
 * Tests:   tests/unit/core/test_slab.c, tests/prop/prop_slab.c
 */
#pragma once

#include "core/base.h"

/* Names an object across time and shards.  bits 0 is never a valid handle. */
struct handle {
    uint32_t index;
    uint32_t generation; /* odd while the object is taken; 0 never is */
};

struct slab {
    const char *name; /* for metrics and the crash report */
    uint8_t *objects;
    uint32_t *generations;
    uint32_t *free_next; /* intrusive free list by index */
    uint32_t object_size;
    uint32_t count_max;
    uint32_t count;   /* taken now */
    uint32_t touched; /* objects ever handed out: the high-water mark */
    uint32_t free_first;
};

/* `object_size` is rounded up to 8; `count_max` < 2^32 - 1. */
void slab_init(struct slab *slab, const char *name, uint32_t object_size, uint32_t count_max);
/* Every object must be home. */
void slab_fini(struct slab *slab);
must_use void *slab_get(struct slab *slab, struct handle *handle);
/* The same with whatever its memory holds, for what is written before it is read: zeroing
 * a buffer of 4 KiB costs more than most that is written to one. */
must_use void *slab_get_unset(struct slab *slab, struct handle *handle);
/* Takes the object of exactly this index, which must be free: for pools whose
 * index another authority gives (a socket's slot). */
must_use void *slab_get_at(struct slab *slab, uint32_t index, struct handle *handle);
void slab_put(struct slab *slab, void *object);
/* NULL when the handle is stale. */
void *slab_find(const struct slab *slab, struct handle handle);
/* The taken object at `index`, or NULL when free. */
void *slab_at(const struct slab *slab, uint32_t index);
struct handle slab_handle(const struct slab *slab, const void *object);
/* The object at `index` will be wanted soon: two lines of it. */
static inline void slab_prefetch(const struct slab *slab, uint32_t index)
{
    const uint8_t *object = slab->objects + (size_t)index * slab->object_size;
    __builtin_prefetch(object, 1);
    __builtin_prefetch(object + CACHE_LINE, 1);
}
void slab_verify(const struct slab *slab);
