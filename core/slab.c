/*
 * slab: objects side by side in one reserved range.
 *
 * The free list is by index, in an array of its own, so that a free object's
 * memory is not touched.  Zeroed pages must be an empty list, hence the code:
 *
 *    free_next[i]   0           i is not on the list
 *                   UINT32_MAX  i is the last on the list
 *                   n + 1       n follows
 *
 * An object taken by index (slab_get_at) stays on the list; whoever pops it
 * sees that it is taken and goes on.  Given back meanwhile, it is on the list
 * already.  So each operation is O(1), amortised.
 *
 * slab_asan.c includes this file with other memory under it.
 */
#include "core/slab.h"

#include <string.h>

#include "core/check.h"
#include "core/mem.h"

#define LIST_END UINT32_MAX

#ifndef SLAB_OTHER_MEMORY
static size_t memory_size(const struct slab *slab)
{
    return (size_t)slab->object_size * slab->count_max;
}
static void *memory_at(const struct slab *slab, uint32_t index)
{
    return slab->objects + (size_t)index * slab->object_size;
}
static uint32_t memory_index(const struct slab *slab, const void *object)
{
    size_t distance = (size_t)((const uint8_t *)object - slab->objects);
    check(distance % slab->object_size == 0);
    return (uint32_t)min_u64(distance / slab->object_size, UINT32_MAX);
}
/* The object's memory; `is_fine` as it is: never handed out before, or about to be written. */
static void *memory_take(struct slab *slab, uint32_t index, bool is_fine)
{
    void *object = memory_at(slab, index);
    if (!is_fine) memset(object, 0, slab->object_size);
    return object;
}
static void memory_give(struct slab *slab, uint32_t index)
{
    /* In VERIFY builds a stale pointer reads nonsense. */
    if (VERIFY) memset(memory_at(slab, index), 0xa5, slab->object_size);
}
#endif

static size_t indexes_size(const struct slab *slab)
{
    return slab->count_max * sizeof(uint32_t);
}
static bool is_taken(const struct slab *slab, uint32_t index)
{
    return slab->generations[index] & 1;
}

void slab_init(struct slab *slab, const char *name, uint32_t object_size, uint32_t count_max)
{
    check(name != NULL);
    check(object_size > 0 && object_size <= UINT32_MAX - 8);
    check(count_max > 0 && count_max < UINT32_MAX);
    *slab = (struct slab){.name = name, .count_max = count_max, .free_first = LIST_END};
    slab->object_size = (uint32_t)round_up(object_size, 8);
    slab->objects = mem_reserve(memory_size(slab));
    slab->generations = mem_reserve(indexes_size(slab));
    slab->free_next = mem_reserve(indexes_size(slab));
}

void slab_fini(struct slab *slab)
{
    check(slab->count == 0);
    if (slab->objects != NULL) {
        mem_unreserve(slab->objects, memory_size(slab));
        mem_unreserve(slab->generations, indexes_size(slab));
        mem_unreserve(slab->free_next, indexes_size(slab));
    }
    *slab = (struct slab){0};
}

static void list_push(struct slab *slab, uint32_t index)
{
    if (slab->free_next[index] != 0) return; /* there already */
    slab->free_next[index] = slab->free_first == LIST_END ? LIST_END : slab->free_first + 1;
    slab->free_first = index;
}

/* A free index, or LIST_END. */
static uint32_t list_pop(struct slab *slab)
{
    while (slab->free_first != LIST_END) {
        uint32_t index = slab->free_first, next = slab->free_next[index];
        check(next != 0);
        slab->free_first = next == LIST_END ? LIST_END : next - 1;
        slab->free_next[index] = 0;
        if (!is_taken(slab, index)) return index;
    }
    return LIST_END;
}

static void *slab_take(struct slab *slab, uint32_t index, bool is_fine, struct handle *handle)
{
    check(!is_taken(slab, index));
    slab->generations[index]++;
    slab->count++;
    if (handle != NULL) *handle = (struct handle){index, slab->generations[index]};
    return memory_take(slab, index, is_fine);
}

static void *slab_pop(struct slab *slab, bool is_fine, struct handle *handle)
{
    check(slab->objects != NULL);
    uint32_t index = list_pop(slab);
    if (index != LIST_END) return slab_take(slab, index, is_fine, handle);
    if (slab->touched == slab->count_max) return NULL;
    return slab_take(slab, slab->touched++, true, handle);
}

void *slab_get(struct slab *slab, struct handle *handle)
{
    return slab_pop(slab, false, handle);
}

void *slab_get_unset(struct slab *slab, struct handle *handle)
{
    return slab_pop(slab, true, handle);
}

void *slab_get_at(struct slab *slab, uint32_t index, struct handle *handle)
{
    check(slab->objects != NULL);
    check(index < slab->count_max);
    if (index < slab->touched) return slab_take(slab, index, false, handle);
    for (; slab->touched < index; slab->touched++) list_push(slab, slab->touched);
    slab->touched++;
    return slab_take(slab, index, true, handle);
}

void slab_put(struct slab *slab, void *object)
{
    uint32_t index = memory_index(slab, object);
    check(index < slab->touched);
    check(is_taken(slab, index));
    memory_give(slab, index);
    slab->generations[index]++; /* wraps from 2^32 - 1 to 0, which is even: free */
    slab->count--;
    list_push(slab, index);
}

void *slab_find(const struct slab *slab, struct handle handle)
{
    if (handle.index >= slab->touched) return NULL;
    if ((handle.generation & 1) == 0) return NULL;
    if (slab->generations[handle.index] != handle.generation) return NULL;
    return memory_at(slab, handle.index);
}

void *slab_at(const struct slab *slab, uint32_t index)
{
    if (index >= slab->touched || !is_taken(slab, index)) return NULL;
    return memory_at(slab, index);
}

struct handle slab_handle(const struct slab *slab, const void *object)
{
    uint32_t index = memory_index(slab, object);
    check(index < slab->touched);
    check(is_taken(slab, index));
    return (struct handle){index, slab->generations[index]};
}

void slab_verify(const struct slab *slab)
{
    check(slab->touched <= slab->count_max);
    uint32_t taken = 0, listed = 0, free_listed = 0, unlisted = 0;
    for (uint32_t i = 0; i < slab->touched; i++) {
        taken += is_taken(slab, i);
        listed += slab->free_next[i] != 0;
        unlisted += !is_taken(slab, i) && slab->free_next[i] == 0;
    }
    check(taken == slab->count);
    check(unlisted == 0); /* each free object can be found again */
    uint32_t walked = 0;
    for (uint32_t i = slab->free_first; i != LIST_END; walked++) {
        check(i < slab->touched);
        check(walked < listed); /* no ring */
        free_listed += !is_taken(slab, i);
        uint32_t next = slab->free_next[i];
        check(next != 0);
        i = next == LIST_END ? LIST_END : next - 1;
    }
    check(walked == listed);
    check(free_listed + taken == slab->touched);
}
