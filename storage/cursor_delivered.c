/*
 * cursor_delivered: what is on a device, where that is above what is read.
 *
 * A lane like that of the read cursors, for as many members as the rules say.  Beyond,
 * nothing moves: the few that stood above what is read are kept as they are.
 */
#include "core/check.h"
#include "core/mem.h"
#include "storage/cursor_parts.h"

uint64_t cursor_delivered_of(const struct cursor_index *index, uint32_t slot)
{
    uint64_t read = cursor_read_of(index, slot);
    if (index->delivered == NULL)
        return max_u64(read, cursor_mark_of(&index->delivered_still, slot));
    return max_u64(read, lane_get(index->delivered, index->origin, slot));
}

void cursor_delivered_free(struct cursor_index *index)
{
    if (index->delivered != NULL) lane_fini(index->delivered);
    mem_free(index->delivered);
    index->delivered = NULL;
    cursor_marks_clear(&index->delivered_still);
}

void cursor_delivered_put(struct cursor_index *index, uint32_t slot, uint64_t offset)
{
    if (index->delivered != NULL)
        lane_put(index->delivered, index->origin, slot, offset);
    else if (offset > cursor_read_of(index, slot))
        cursor_mark_put(&index->delivered_still, slot, offset);
}

/* Too many members for a lane.  The log has these cursors on, so they are not forgotten; but
 * none moves any more, so they are few, and fewer as members read. */
static void delivered_stop(struct cursor_index *index)
{
    struct cursor_marks still = {0};
    for (uint32_t slot = 0; slot < index->roster.slots; slot++) {
        if (roster_name(&index->roster, slot).size == 0) continue;
        uint64_t offset = cursor_delivered_of(index, slot);
        if (offset > cursor_read_of(index, slot)) cursor_mark_put(&still, slot, offset);
    }
    cursor_delivered_free(index);
    index->delivered_still = still;
}

static void delivered_start(struct cursor_index *index)
{
    struct lane *lane = mem_alloc(sizeof *lane);
    lane_init(lane);
    lane_grow(lane, 0, index->slots_max);
    for (uint32_t slot = 0; slot < index->roster.slots; slot++) {
        if (roster_name(&index->roster, slot).size == 0)
            lane_put_hole(lane, slot);
        else
            lane_put(lane, index->origin, slot, cursor_delivered_of(index, slot));
    }
    cursor_delivered_free(index);
    index->delivered = lane;
}

void cursor_delivered_fit(struct cursor_index *index)
{
    uint32_t members = cursor_members(index);
    if (members == 0)
        cursor_delivered_free(index);
    else if (members > index->rules.delivered_max && index->delivered != NULL)
        delivered_stop(index);
    else if (members <= index->rules.delivered_max && index->delivered == NULL)
        delivered_start(index);
}

enum err cursor_deliver(struct cursor_index *index, struct bytes user, uint64_t offset,
                        uint64_t *before, uint64_t *after)
{
    uint32_t slot = roster_find(&index->roster, user);
    if (slot == ROSTER_NONE) return ERR_NOT_MEMBER;
    if (index->delivered == NULL) return ERR_CHANNEL_TOO_BIG;
    *before = cursor_delivered_of(index, slot);
    *after = max_u64(*before, min_u64(offset, index->head));
    if (*after > *before) lane_put(index->delivered, index->origin, slot, *after);
    return ERR_OK;
}
