/* A bitmap of slots, and a member for each in their order. */
#include "storage/hidden.h"

#include <string.h>

#include "core/check.h"
#include "core/mem.h"

struct hidden {
    struct bitmap *bitmap;
    struct hidden_member *members; /* by rank */
    uint32_t count, max;
};

struct hidden *hidden_create(void)
{
    struct hidden *hidden = mem_alloc(sizeof *hidden);
    hidden->bitmap = bitmap_create();
    return hidden;
}

void hidden_destroy(struct hidden *hidden)
{
    if (hidden == NULL) return;
    bitmap_destroy(hidden->bitmap);
    mem_free(hidden->members);
    mem_free(hidden);
}

void hidden_add(struct hidden *hidden, uint32_t slot, struct hidden_member member)
{
    check(!bitmap_has(hidden->bitmap, slot));
    if (hidden->count == hidden->max) {
        hidden->max += 4 + hidden->max / 4;
        hidden->members = mem_resize(hidden->members, hidden->max * sizeof *hidden->members);
    }
    uint32_t rank = bitmap_rank(hidden->bitmap, slot);
    memmove(hidden->members + rank + 1, hidden->members + rank,
            (hidden->count - rank) * sizeof *hidden->members);
    hidden->members[rank] = member;
    hidden->count++;
    bitmap_add(hidden->bitmap, slot);
}

struct hidden_member *hidden_at(const struct hidden *hidden, uint32_t slot)
{
    check(hidden_has(hidden, slot));
    return &hidden->members[bitmap_rank(hidden->bitmap, slot)];
}

bool hidden_remove(struct hidden *hidden, uint32_t slot)
{
    check(hidden_has(hidden, slot));
    uint32_t rank = bitmap_rank(hidden->bitmap, slot);
    hidden->count--;
    memmove(hidden->members + rank, hidden->members + rank + 1,
            (hidden->count - rank) * sizeof *hidden->members);
    bitmap_remove(hidden->bitmap, slot);
    return hidden->count > 0;
}

bool hidden_has(const struct hidden *hidden, uint32_t slot)
{
    return hidden != NULL && bitmap_has(hidden->bitmap, slot);
}

uint32_t hidden_count(const struct hidden *hidden)
{
    return hidden == NULL ? 0 : hidden->count;
}

void hidden_renumber(struct hidden *hidden, const uint32_t *renumbered)
{
    uint32_t *slots = mem_alloc((hidden->count + 1) * sizeof *slots);
    bitmap_list(hidden->bitmap, slots);
    bitmap_destroy(hidden->bitmap);
    hidden->bitmap = bitmap_create();
    for (uint32_t i = 0; i < hidden->count; i++) {
        check(renumbered[slots[i]] <= slots[i]);
        bitmap_add(hidden->bitmap, renumbered[slots[i]]);
    }
    mem_free(slots);
}

size_t hidden_bytes(const struct hidden *hidden)
{
    return sizeof *hidden + bitmap_bytes(hidden->bitmap) + hidden->max * sizeof *hidden->members;
}
