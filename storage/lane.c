/* Values near the origin, and an ordered list of those far behind it. */
#include "storage/lane.h"

#include <string.h>

#include "core/check.h"
#include "core/mem.h"

void lane_init(struct lane *lane)
{
    *lane = (struct lane){0};
    lane->values = lane->few;
}

void lane_fini(struct lane *lane)
{
    if (lane->values != lane->few) mem_free(lane->values);
    mem_free(lane->behind);
    mem_free(lane->behind_values);
    *lane = (struct lane){0};
}

void lane_grow(struct lane *lane, uint32_t slots_before, uint32_t slots_max)
{
    check(slots_max >= slots_before && slots_max >= LANE_FEW);
    if (slots_max == LANE_FEW) return;
    if (lane->values != lane->few) {
        lane->values = mem_resize(lane->values, slots_max * sizeof *lane->values);
        return;
    }
    lane->values = mem_alloc(slots_max * sizeof *lane->values);
    memcpy(lane->values, lane->few, min_u64(slots_before, LANE_FEW) * sizeof *lane->values);
}

/* ── behind the origin ── */

/* The first entry of `slot` or a later one. */
static uint32_t behind_find(const struct lane *lane, uint32_t slot)
{
    uint32_t first = 0, after = lane->behind_count;
    while (first < after) {
        uint32_t middle = first + (after - first) / 2;
        if (lane->behind[middle] < slot)
            first = middle + 1;
        else
            after = middle;
    }
    return first;
}

static bool behind_has(const struct lane *lane, uint32_t at, uint32_t slot)
{
    return at < lane->behind_count && lane->behind[at] == slot;
}

/* Room for exactly that many. */
static void behind_room(struct lane *lane, uint32_t max)
{
    lane->behind_max = max;
    lane->behind = mem_resize(lane->behind, max * sizeof *lane->behind);
    lane->behind_values = mem_resize(lane->behind_values, max * sizeof *lane->behind_values);
}

static void behind_put(struct lane *lane, uint32_t slot, uint64_t value)
{
    uint32_t count = lane->behind_count;
    bool is_last = count == 0 || lane->behind[count - 1] < slot; /* as when restored */
    uint32_t at = is_last ? count : behind_find(lane, slot);
    if (behind_has(lane, at, slot)) {
        lane->behind_values[at] = value;
        return;
    }
    if (count == lane->behind_max) behind_room(lane, count + 4 + count / 4);
    memmove(lane->behind + at + 1, lane->behind + at, (count - at) * sizeof *lane->behind);
    memmove(lane->behind_values + at + 1, lane->behind_values + at,
            (count - at) * sizeof *lane->behind_values);
    lane->behind[at] = slot;
    lane->behind_values[at] = value;
    lane->behind_count++;
}

/* ── one slot ── */

uint64_t lane_get(const struct lane *lane, uint64_t origin, uint32_t slot)
{
    uint16_t value = lane->values[slot];
    check(value != LANE_HOLE);
    if (unlikely(value == 0 && lane->behind_count > 0)) {
        uint32_t at = behind_find(lane, slot);
        if (behind_has(lane, at, slot)) return lane->behind_values[at];
    }
    return origin + value;
}

void lane_put(struct lane *lane, uint64_t origin, uint32_t slot, uint64_t value)
{
    check(value <= origin + LANE_MAX);
    if (likely(value > origin)) {
        lane->values[slot] = (uint16_t)(value - origin);
        return;
    }
    lane->values[slot] = 0;
    /* An entry of old would say otherwise. */
    if (value < origin || behind_has(lane, behind_find(lane, slot), slot))
        behind_put(lane, slot, value);
}

void lane_put_hole(struct lane *lane, uint32_t slot)
{
    lane->values[slot] = LANE_HOLE;
}

/* ── all slots ── */

/* How many cursors will be behind an origin that is `by` higher. */
static uint32_t behind_after(const struct lane *lane, uint32_t slots, uint64_t by)
{
    uint32_t count = 0;
    for (uint32_t slot = 0; slot < slots; slot++)
        count += lane->values[slot] != LANE_HOLE && lane->values[slot] < by;
    return count;
}

void lane_rebase(struct lane *lane, uint32_t slots, uint64_t before, uint64_t origin)
{
    check(origin > before);
    uint64_t by = origin - before;
    struct lane old = *lane;
    uint32_t next = 0, max = behind_after(lane, slots, by);
    lane->behind = NULL;
    lane->behind_values = NULL;
    lane->behind_count = lane->behind_max = 0;
    if (max > 0) behind_room(lane, max);
    for (uint32_t slot = 0; slot < slots; slot++) {
        uint16_t value = lane->values[slot];
        if (value == LANE_HOLE) continue;
        if (value >= by) {
            lane->values[slot] = (uint16_t)(value - by);
            continue;
        }
        uint64_t exact = before + value;
        while (next < old.behind_count && old.behind[next] < slot) next++;
        if (value == 0 && next < old.behind_count && old.behind[next] == slot)
            exact = old.behind_values[next];
        lane->values[slot] = 0;
        behind_put(lane, slot, exact);
    }
    check(lane->behind_count == max);
    mem_free(old.behind);
    mem_free(old.behind_values);
}

void lane_renumber(struct lane *lane, uint32_t slots, const uint32_t *renumbered)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < lane->behind_count; i++) {
        uint32_t slot = lane->behind[i];
        if (renumbered[slot] == UINT32_MAX || lane->values[slot] != 0) continue;
        lane->behind[count] = renumbered[slot];
        lane->behind_values[count++] = lane->behind_values[i];
    }
    lane->behind_count = count;
    for (uint32_t slot = 0; slot < slots; slot++) {
        if (renumbered[slot] == UINT32_MAX) continue;
        check(renumbered[slot] <= slot);
        lane->values[renumbered[slot]] = lane->values[slot];
    }
}

size_t lane_bytes(const struct lane *lane, uint32_t slots_max)
{
    if (lane->values == NULL) return 0;
    return (lane->values == lane->few ? 0 : slots_max * sizeof *lane->values) +
           lane->behind_max * (sizeof *lane->behind + sizeof *lane->behind_values);
}

void lane_verify(const struct lane *lane, uint32_t slots)
{
    check(lane->behind_count <= lane->behind_max);
    for (uint32_t i = 0; i < lane->behind_count; i++) {
        check(lane->behind[i] < slots);
        if (i > 0) check(lane->behind[i - 1] < lane->behind[i]);
    }
}
