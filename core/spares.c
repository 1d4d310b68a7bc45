/*
 * spares: lists of letters by size class, in front of the heap.
 */
#include "core/spares.h"

#include "core/check.h"
#include "core/mem.h"

/* Payload bytes of each size class, and how many spare letters of it a shard
 * keeps: 2 MiB, 2 MiB and 1 MiB.  The rest goes back to the heap, so that a
 * burst does not stay for ever. */
static const struct {
    uint32_t payload_max, spares_max;
} classes[SPARES_CLASSES] = {{96, 16384}, {LETTER_INLINE_MAX, 4096}, {4064, 256}};
#define CLASS_HEAP SPARES_CLASSES

/* Under ASan every letter is its own heap block, so that a touch after it went
 * home is reported. */
#ifndef __has_feature
#define __has_feature(name) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)
#define LETTERS_ARE_RECYCLED 0
#else
#define LETTERS_ARE_RECYCLED 1
#endif

void spares_fini(struct spares *spares)
{
    for (uint32_t size_class = 0; size_class < CLASS_HEAP; size_class++) {
        while (spares->first[size_class] != NULL) {
            struct letter *letter = spares->first[size_class];
            spares->first[size_class] = letter->next;
            mem_free(letter);
        }
        spares->count[size_class] = 0;
    }
}

struct letter *spares_take(struct spares *spares, uint32_t size)
{
    uint32_t size_class = 0;
    while (size_class < CLASS_HEAP && size > classes[size_class].payload_max) size_class++;
    struct letter *letter;
    if (size_class < CLASS_HEAP && spares->first[size_class] != NULL) {
        check(spares->count[size_class] > 0);
        letter = spares->first[size_class];
        spares->first[size_class] = letter->next;
        spares->count[size_class]--;
        memset(letter, 0, sizeof *letter + size);
    } else {
        bool is_whole = size_class < CLASS_HEAP && LETTERS_ARE_RECYCLED;
        letter = mem_alloc(sizeof *letter + (is_whole ? classes[size_class].payload_max : size));
    }
    letter->size_class = (uint8_t)size_class;
    letter->size = size;
    return letter;
}

void spares_give(struct spares *spares, struct letter *letter)
{
    uint32_t size_class = letter->size_class;
    check(size_class <= CLASS_HEAP);
    if (!LETTERS_ARE_RECYCLED || size_class == CLASS_HEAP ||
        spares->count[size_class] == classes[size_class].spares_max) {
        mem_free(letter);
        return;
    }
    letter->next = spares->first[size_class];
    spares->first[size_class] = letter;
    spares->count[size_class]++;
}
