/*
 * cursor_unread: what is new for a member.
 *
 * Never a stored counter, so there is none that could go wrong: head minus cursor,
 * minus what is no message, from a bit for each offset of the window.  The member's own
 * messages need no look: each moved the cursor past itself (cursor_send).
 */
#include <string.h>

#include "core/check.h"
#include "core/mem.h"
#include "storage/cursor_parts.h"

/* ── marks ── */

/* The first entry of `slot` or a later one. */
static uint32_t mark_find(const struct cursor_marks *marks, uint32_t slot)
{
    uint32_t first = 0, after = marks->count;
    while (first < after) {
        uint32_t middle = first + (after - first) / 2;
        if (marks->list[middle].slot < slot)
            first = middle + 1;
        else
            after = middle;
    }
    return first;
}

uint64_t cursor_mark_of(const struct cursor_marks *marks, uint32_t slot)
{
    uint32_t at = mark_find(marks, slot);
    if (at == marks->count || marks->list[at].slot != slot) return 0;
    return marks->list[at].offset;
}

static void mark_insert(struct cursor_marks *marks, uint32_t at, uint32_t slot)
{
    if (marks->count == marks->max) {
        marks->max += 4 + marks->max / 2;
        marks->list = mem_resize(marks->list, marks->max * sizeof *marks->list);
    }
    memmove(marks->list + at + 1, marks->list + at, (marks->count - at) * sizeof *marks->list);
    marks->list[at].slot = slot;
    marks->count++;
}

void cursor_mark_put(struct cursor_marks *marks, uint32_t slot, uint64_t offset)
{
    uint32_t at = mark_find(marks, slot);
    bool is_there = at < marks->count && marks->list[at].slot == slot;
    if (offset > 0) {
        if (!is_there) mark_insert(marks, at, slot);
        marks->list[at].offset = offset;
    } else if (is_there) {
        marks->count--;
        memmove(marks->list + at, marks->list + at + 1, (marks->count - at) * sizeof *marks->list);
    }
}

void cursor_marks_renumber(struct cursor_marks *marks, const uint32_t *renumbered)
{
    for (uint32_t i = 0; i < marks->count; i++) {
        uint32_t slot = renumbered[marks->list[i].slot];
        check(slot <= marks->list[i].slot); /* who left has no mark any more */
        marks->list[i].slot = slot;
    }
}

void cursor_marks_clear(struct cursor_marks *marks)
{
    mem_free(marks->list);
    *marks = (struct cursor_marks){0};
}

enum err cursor_mark_unread(struct cursor_index *index, struct bytes user, uint64_t offset)
{
    uint32_t slot = roster_find(&index->roster, user);
    if (slot == ROSTER_NONE) return ERR_NOT_MEMBER;
    if (offset > 0) offset = max_u64(offset, cursor_joined_of(index, slot));
    cursor_mark_put(&index->marks, slot, offset > cursor_read_of(index, slot) ? 0 : offset);
    return ERR_OK;
}

/* ── messages that are none ── */

static bool bit_has(const uint64_t *bits, uint64_t offset)
{
    return bits[offset % RECEIPT_WINDOW / 64] >> offset % 64 & 1;
}

static void bit_set(uint64_t *bits, uint64_t offset)
{
    bits[offset % RECEIPT_WINDOW / 64] |= UINT64_C(1) << offset % 64;
}

static void bit_clear(uint64_t *bits, uint64_t offset)
{
    bits[offset % RECEIPT_WINDOW / 64] &= ~(UINT64_C(1) << offset % 64);
}

void cursor_voids_advance(struct cursor_index *index, uint64_t before)
{
    if (index->head - before >= RECEIPT_WINDOW) {
        mem_free(index->voids);
        index->voids = NULL;
        return;
    }
    for (uint64_t offset = before + 1; offset <= index->head; offset++) {
        bit_clear(index->voids->deleted, offset);
        bit_clear(index->voids->uncounted, offset);
    }
}

/* The bits of the ring, or NULL when `offset` is none of its. */
static struct cursor_voids *voids_at(struct cursor_index *index, uint64_t offset)
{
    if (offset < cursor_low(index) || offset > index->head) return NULL;
    if (index->voids == NULL) index->voids = mem_alloc(sizeof *index->voids);
    return index->voids;
}

void cursor_delete(struct cursor_index *index, uint64_t offset)
{
    struct cursor_voids *voids = voids_at(index, offset);
    if (voids != NULL) bit_set(voids->deleted, offset);
}

void cursor_keep_from(struct cursor_index *index, uint64_t offset)
{
    index->kept_from = max_u64(index->kept_from, offset);
}

void cursor_delete_to(struct cursor_index *index, uint64_t offset)
{
    index->floor = max_u64(index->floor, min_u64(offset, index->head));
}

void cursor_uncount(struct cursor_index *index, uint64_t offset)
{
    struct cursor_voids *voids = voids_at(index, offset);
    if (voids != NULL) bit_set(voids->uncounted, offset);
}

bool cursor_is_deleted(const struct cursor_index *index, uint64_t offset)
{
    if (offset <= index->floor) return true;
    return index->voids != NULL && offset >= cursor_low(index) &&
           bit_has(index->voids->deleted, offset);
}

/* ── unread ── */

/* The offsets of the 64 that `offset` stands among which are unread for nobody. */
static uint64_t void_word(const struct cursor_index *index, uint64_t offset)
{
    uint64_t at = offset % RECEIPT_WINDOW / 64;
    uint64_t bits = index->voids->uncounted[at];
    return index->rules.deleted_is_unread ? bits : bits | index->voids->deleted[at];
}

/* How many of first .. head are unread for nobody; `*counting` is the first that is not
 * one of them, head + 1 for none. */
static uint64_t voids_count(const struct cursor_index *index, uint64_t first, uint64_t *counting)
{
    uint64_t window = index->rules.window, low = max_u64(cursor_low(index), index->kept_from);
    if (index->head > window) low = max_u64(low, index->head - window + 1);
    uint64_t count = 0, from = max_u64(first, low);
    *counting = first < from ? first : 0;
    for (uint64_t offset = from; offset <= index->head;) {
        uint64_t end = min_u64(offset | 63, index->head); /* of this word */
        uint64_t mask = (~UINT64_C(0) << offset % 64) & (~UINT64_C(0) >> (63 - end % 64));
        uint64_t bits = void_word(index, offset) & mask, left = mask & ~bits;
        count += index->scan->ones(bits);
        if (*counting == 0 && left != 0)
            *counting = (offset & ~UINT64_C(63)) + (uint64_t)__builtin_ctzll(left);
        offset = end + 1;
    }
    if (*counting == 0) *counting = index->head + 1;
    return count;
}

enum err cursor_unread(const struct cursor_index *index, struct bytes user,
                       struct cursor_unread *unread)
{
    uint32_t slot = roster_find(&index->roster, user);
    if (slot == ROSTER_NONE) return ERR_NOT_MEMBER;
    uint64_t read = cursor_read_of(index, slot);
    uint64_t mark = index->marks.count == 0 ? 0 : cursor_mark_of(&index->marks, slot);
    check(mark <= read);
    uint64_t seen = mark > 0 ? mark - 1 : read;
    if (!index->rules.deleted_is_unread) seen = max_u64(seen, index->floor);
    uint64_t first = seen + 1, voids = 0;
    if (index->voids != NULL) voids = voids_count(index, seen + 1, &first);
    check(seen + voids <= index->head);
    *unread = (struct cursor_unread){
        .head = index->head,
        .read = read,
        .delivered = cursor_delivered_of(index, slot),
        .unread = index->head - seen - voids,
        .first = first <= index->head ? first : 0,
    };
    return ERR_OK;
}
