/*
 * slab, the twin of AddressSanitizer builds: a heap block per object.
 *
 * Pooling hides a use after free and a write past the end; here each object is
 * its own block, with red zones around it and quarantine after it.  The range
 * of objects is a range of pointers, and the index stands before the object.
 */
#define SLAB_OTHER_MEMORY

#include <stddef.h>

#include "core/check.h"
#include "core/mem.h"
#include "core/slab.h"

struct block {
    _Alignas(16) const struct slab *slab;
    uint32_t index;
    _Alignas(16) uint8_t object[];
};

static size_t memory_size(const struct slab *slab)
{
    return sizeof(void *) * slab->count_max;
}

static struct block **blocks(const struct slab *slab)
{
    return (struct block **)(void *)slab->objects;
}

static void *memory_at(const struct slab *slab, uint32_t index)
{
    struct block *block = blocks(slab)[index];
    check(block != NULL);
    return block->object;
}

static uint32_t memory_index(const struct slab *slab, const void *object)
{
    const struct block *block =
        (const struct block *)(const void *)((const uint8_t *)object -
                                             offsetof(struct block, object));
    check(block->slab == slab);
    return block->index;
}

static void *memory_take(struct slab *slab, uint32_t index, bool is_fine)
{
    (void)is_fine;
    check(blocks(slab)[index] == NULL);
    struct block *block = mem_alloc(offsetof(struct block, object) + slab->object_size);
    block->slab = slab;
    block->index = index;
    blocks(slab)[index] = block;
    return block->object;
}

static void memory_give(struct slab *slab, uint32_t index)
{
    mem_free(blocks(slab)[index]);
    blocks(slab)[index] = NULL;
}

#include "core/slab.c"
