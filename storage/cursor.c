/*
 * cursor: members and their moves.
 *
 * When head - origin passes SPAN_MAX the origin is moved up in one pass, to SPAN_KEPT
 * below the head: half the range, so that members who stay away for 30,000 messages
 * cost two bytes like everybody, at a pass of 61 µs for 100,000 members every 30,000
 * posts.
 *
 * Everything a slot counts in is taken out before a change and put in after it
 * (slot_leave, slot_enter), so that there is one place that knows what that is.
 */
#include "storage/cursor_parts.h"

#include <string.h>

#include "core/check.h"
#include "core/entropy.h"
#include "core/mem.h"

#define SPAN_MAX  (VERIFY ? 4000u : 60000u)
#define SPAN_KEPT (VERIFY ? 2u * RECEIPT_WINDOW : 30000u)
/* Holes are closed above this many and a quarter of the slots. */
#define HOLES_MAX (VERIFY ? 2u : 32u)

static_assert(SPAN_KEPT >= RECEIPT_WINDOW && SPAN_MAX > SPAN_KEPT, "a rebase makes room");
static_assert(SPAN_MAX < LANE_MAX, "cursors, and joins above the head, fit two bytes");

/* ── one slot ── */

uint64_t cursor_read_of(const struct cursor_index *index, uint32_t slot)
{
    if (unlikely(index->reads.values[slot] == LANE_HOLE))
        return hidden_at(index->hidden, slot)->read;
    return lane_get(&index->reads, index->origin, slot);
}

uint64_t cursor_joined_of(const struct cursor_index *index, uint32_t slot)
{
    uint64_t joined = 0;
    if (index->reads.values[slot] == LANE_HOLE)
        joined = hidden_at(index->hidden, slot)->joined;
    else if (index->late != NULL)
        joined = late_joined(index->late, slot);
    return joined <= cursor_low(index) ? 1 : joined;
}

/* Lets a member with these numbers count. */
static void slot_enter(struct cursor_index *index, uint32_t slot, uint64_t joined, uint64_t read)
{
    check(read <= index->head && read + 1 >= joined);
    lane_put(&index->reads, index->origin, slot, read);
    if (index->tally != NULL) tally_change(index->tally, read, 1);
    if (joined <= cursor_low(index)) return; /* for everything that can be asked about */
    if (index->late == NULL) index->late = late_create(index->origin, index->scan);
    late_add(index->late, index->head, slot, joined);
    index->joined_max = max_u64(index->joined_max, joined);
}

/* The opposite. */
static void slot_leave(struct cursor_index *index, uint32_t slot)
{
    if (index->tally != NULL) tally_change(index->tally, cursor_read_of(index, slot), -1);
    if (index->late != NULL) late_strike(index->late, slot);
    lane_put_hole(&index->reads, slot);
}

/* ── life ── */

struct cursor_index *cursor_create(uint64_t head)
{
    struct cursor_index *index = mem_alloc(sizeof *index);
    uint64_t seed;
    entropy_fill(&seed, sizeof seed);
    roster_init(&index->roster, seed);
    /* So that a page of another life of this index is found out. */
    entropy_fill(&index->version, sizeof index->version);
    index->scan = scan_best();
    index->rules = (struct cursor_rules){RECEIPT_WINDOW, 2000, 256, false, false};
    index->head = head;
    index->origin = head < SPAN_KEPT ? 0 : head - SPAN_KEPT;
    index->slots_max = LANE_FEW;
    lane_init(&index->reads);
    return index;
}

void cursor_destroy(struct cursor_index *index)
{
    if (index == NULL) return;
    cursor_delivered_free(index);
    lane_fini(&index->reads);
    tally_destroy(index->tally);
    late_destroy(index->late);
    hidden_destroy(index->hidden);
    cursor_marks_clear(&index->marks);
    mem_free(index->voids);
    roster_fini(&index->roster);
    mem_free(index);
}

void cursor_configure(struct cursor_index *index, const struct cursor_rules *rules)
{
    check(rules->window >= 1 && rules->window <= RECEIPT_WINDOW);
    index->rules = *rules;
    cursor_delivered_fit(index);
}

const struct cursor_rules *cursor_rules(const struct cursor_index *index)
{
    return &index->rules;
}

static void slots_grow(struct cursor_index *index, uint32_t slots_max)
{
    if (slots_max <= index->slots_max) return;
    lane_grow(&index->reads, index->roster.slots, slots_max);
    if (index->delivered != NULL) lane_grow(index->delivered, index->roster.slots, slots_max);
    index->slots_max = slots_max;
}

void cursor_reserve(struct cursor_index *index, uint32_t members)
{
    slots_grow(index, index->roster.slots + members);
}

/* ── members ── */

bool cursor_is_member(const struct cursor_index *index, struct bytes user)
{
    return roster_find(&index->roster, user) != ROSTER_NONE;
}

uint32_t cursor_members(const struct cursor_index *index)
{
    return index->roster.slots - index->roster.holes;
}

/* Counts by ring above CURSOR_SCAN_MAX slots, in cells that are wide enough. */
static void tally_fit(struct cursor_index *index)
{
    uint32_t slots = index->roster.slots;
    if (slots <= CURSOR_SCAN_MAX) return;
    if (index->tally != NULL && tally_holds(index->tally, slots)) return;
    tally_destroy(index->tally);
    index->tally = tally_create(index->head, slots);
    for (uint32_t slot = 0; slot < slots; slot++)
        if (index->reads.values[slot] != LANE_HOLE)
            tally_change(index->tally, lane_get(&index->reads, index->origin, slot), 1);
}

enum err cursor_add(struct cursor_index *index, const struct cursor_member *member)
{
    if (member->user.size == 0 || member->user.size > USER_ID_MAX) return ERR_BAD_REQUEST;
    if (cursor_is_member(index, member->user)) return ERR_CONFLICT;
    uint32_t most = index->rules.holds_two_lists ? 2 * MEMBERS_MAX : MEMBERS_MAX;
    if (cursor_members(index) >= most) return ERR_LIMIT_MEMBERS;

    /* Doubling would leave up to 20 KB over at 10,000 members; this copies 512 bytes a
     * join instead, 20 ns. */
    if (index->roster.slots == index->slots_max)
        slots_grow(index, index->slots_max + 8 + index->slots_max / 256);
    uint32_t slot = roster_add(&index->roster, member->user);
    check(slot < index->slots_max);
    lane_put_hole(&index->reads, slot);
    tally_fit(index);

    uint64_t joined = min_u64(max_u64(member->joined, 1), index->head + 1);
    uint64_t read = max_u64(min_u64(member->read, index->head), joined - 1);
    slot_enter(index, slot, joined, read);
    cursor_delivered_put(index, slot, max_u64(read, min_u64(member->delivered, index->head)));
    cursor_delivered_fit(index);
    if (member->unread_from != 0) TRY(cursor_mark_unread(index, member->user, member->unread_from));
    return member->is_hidden ? cursor_hide(index, member->user, true) : ERR_OK;
}

enum err cursor_join(struct cursor_index *index, struct bytes user, uint64_t joined_offset,
                     uint64_t read)
{
    struct cursor_member member = {.user = user, .joined = joined_offset, .read = read};
    return cursor_add(index, &member);
}

/* Numbers the slots anew without the holes; their order stays. */
static void cursor_compact(struct cursor_index *index)
{
    uint32_t slots = index->roster.slots, to = 0;
    uint32_t *renumbered = mem_alloc(slots * sizeof *renumbered);
    for (uint32_t from = 0; from < slots; from++) {
        bool is_hole = roster_name(&index->roster, from).size == 0;
        renumbered[from] = is_hole ? UINT32_MAX : to++;
    }
    lane_renumber(&index->reads, slots, renumbered);
    if (index->delivered != NULL) lane_renumber(index->delivered, slots, renumbered);
    if (index->late != NULL) late_renumber(index->late, renumbered);
    if (index->hidden != NULL) hidden_renumber(index->hidden, renumbered);
    cursor_marks_renumber(&index->marks, renumbered);
    cursor_marks_renumber(&index->delivered_still, renumbered);
    mem_free(renumbered);
    roster_compact(&index->roster);
    check(index->roster.slots == to);
    index->version++;
    if (to > CURSOR_SCAN_MAX / 2) return;
    tally_destroy(index->tally);
    index->tally = NULL;
}

static void slot_reveal(struct cursor_index *index, uint32_t slot)
{
    struct hidden_member member = *hidden_at(index->hidden, slot);
    if (!hidden_remove(index->hidden, slot)) {
        hidden_destroy(index->hidden);
        index->hidden = NULL;
    }
    slot_enter(index, slot, member.joined, member.read);
}

enum err cursor_leave(struct cursor_index *index, struct bytes user)
{
    uint32_t slot = roster_find(&index->roster, user);
    if (slot == ROSTER_NONE) return ERR_NOT_MEMBER;
    if (hidden_has(index->hidden, slot)) slot_reveal(index, slot);
    slot_leave(index, slot);
    cursor_mark_put(&index->marks, slot, 0);
    cursor_mark_put(&index->delivered_still, slot, 0);
    if (index->delivered != NULL) lane_put_hole(index->delivered, slot);
    roster_remove(&index->roster, slot);
    cursor_delivered_fit(index);
    uint32_t holes = index->roster.holes;
    if (holes > HOLES_MAX && holes > index->roster.slots / 4) cursor_compact(index);
    return ERR_OK;
}

enum err cursor_hide(struct cursor_index *index, struct bytes user, bool is_hidden)
{
    uint32_t slot = roster_find(&index->roster, user);
    if (slot == ROSTER_NONE) return ERR_NOT_MEMBER;
    if (hidden_has(index->hidden, slot) == is_hidden) return ERR_OK;
    if (!is_hidden) {
        slot_reveal(index, slot);
        return ERR_OK;
    }
    struct hidden_member member = {.read = cursor_read_of(index, slot),
                                   .joined = cursor_joined_of(index, slot)};
    slot_leave(index, slot);
    if (index->hidden == NULL) index->hidden = hidden_create();
    hidden_add(index->hidden, slot, member);
    return ERR_OK;
}

void cursor_at(const struct cursor_index *index, uint32_t slot, struct cursor_member *member)
{
    *member = (struct cursor_member){
        .user = roster_name(&index->roster, slot),
        .joined = cursor_joined_of(index, slot),
        .read = cursor_read_of(index, slot),
        .delivered = cursor_delivered_of(index, slot),
        .unread_from = cursor_mark_of(&index->marks, slot),
        .is_hidden = hidden_has(index->hidden, slot),
    };
    check(member->user.size > 0);
}

enum err cursor_find(const struct cursor_index *index, struct bytes user,
                     struct cursor_member *member)
{
    uint32_t slot = roster_find(&index->roster, user);
    if (slot == ROSTER_NONE) return ERR_NOT_MEMBER;
    cursor_at(index, slot, member);
    return ERR_OK;
}

void cursor_each(const struct cursor_index *index, cursor_each_fn each, void *context)
{
    for (uint32_t slot = 0; slot < index->roster.slots; slot++) {
        if (roster_name(&index->roster, slot).size == 0) continue;
        struct cursor_member member;
        cursor_at(index, slot, &member);
        each(context, &member);
    }
}

/* ── posts and moves ── */

static void cursor_rebase(struct cursor_index *index)
{
    uint64_t before = index->origin;
    index->origin = index->head - SPAN_KEPT;
    check(index->origin > before);
    lane_rebase(&index->reads, index->roster.slots, before, index->origin);
    if (index->delivered != NULL)
        lane_rebase(index->delivered, index->roster.slots, before, index->origin);
    if (index->late != NULL) late_rebase(index->late, index->origin);
}

void cursor_post(struct cursor_index *index, uint64_t head)
{
    if (head <= index->head) return;
    uint64_t before = index->head;
    index->head = head;
    if (index->tally != NULL) tally_advance(index->tally, head);
    if (index->late != NULL && !late_advance(index->late, head)) {
        late_destroy(index->late);
        index->late = NULL;
        index->joined_max = 0;
    }
    if (index->voids != NULL) cursor_voids_advance(index, before);
    if (head - index->origin > SPAN_MAX) cursor_rebase(index);
}

uint64_t cursor_head(const struct cursor_index *index)
{
    return index->head;
}

static void slot_move(struct cursor_index *index, uint32_t slot, uint64_t offset, uint64_t *before,
                      uint64_t *after)
{
    check(offset <= index->head);
    if (unlikely(index->marks.count > 0) && cursor_mark_of(&index->marks, slot) <= offset)
        cursor_mark_put(&index->marks, slot, 0);
    *before = cursor_read_of(index, slot);
    *after = max_u64(*before, offset);
    if (*after == *before) return;
    if (unlikely(index->reads.values[slot] == LANE_HOLE)) {
        hidden_at(index->hidden, slot)->read = *after;
        return;
    }
    lane_put(&index->reads, index->origin, slot, *after);
    if (index->tally == NULL) return;
    tally_change(index->tally, *before, -1);
    tally_change(index->tally, *after, 1);
}

enum err cursor_move(struct cursor_index *index, struct bytes user, uint64_t offset,
                     uint64_t *before, uint64_t *after)
{
    if (index->tally != NULL) tally_expect(index->tally, min_u64(offset, index->head));
    uint32_t slot = roster_find(&index->roster, user);
    if (slot == ROSTER_NONE) return ERR_NOT_MEMBER;
    slot_move(index, slot, min_u64(offset, index->head), before, after);
    return ERR_OK;
}

void cursor_send(struct cursor_index *index, uint64_t offset, struct bytes sender)
{
    cursor_post(index, offset);
    uint32_t slot = sender.size == 0 ? ROSTER_NONE : roster_find(&index->roster, sender);
    uint64_t before, after;
    if (slot != ROSTER_NONE) slot_move(index, slot, min_u64(offset, index->head), &before, &after);
}

enum err cursor_read(const struct cursor_index *index, struct bytes user, uint64_t *offset)
{
    uint32_t slot = roster_find(&index->roster, user);
    if (slot == ROSTER_NONE) return ERR_NOT_MEMBER;
    *offset = cursor_read_of(index, slot);
    return ERR_OK;
}

/* ── sizes and checks ── */

size_t cursor_bytes(const struct cursor_index *index)
{
    size_t bytes = sizeof *index - sizeof index->roster;
    bytes += lane_bytes(&index->reads, index->slots_max);
    if (index->delivered != NULL)
        bytes += sizeof *index->delivered + lane_bytes(index->delivered, index->slots_max);
    if (index->tally != NULL) bytes += tally_bytes(index->tally);
    if (index->late != NULL) bytes += late_bytes(index->late);
    if (index->hidden != NULL) bytes += hidden_bytes(index->hidden);
    if (index->voids != NULL) bytes += sizeof *index->voids;
    bytes += index->delivered_still.max * sizeof *index->delivered_still.list;
    return bytes + index->marks.max * sizeof *index->marks.list;
}

size_t cursor_directory_bytes(const struct cursor_index *index)
{
    return sizeof index->roster + roster_bytes(&index->roster);
}

static void slot_verify(const struct cursor_index *index, uint32_t slot)
{
    bool is_hidden = hidden_has(index->hidden, slot);
    check(is_hidden == (index->reads.values[slot] == LANE_HOLE));
    uint64_t read = cursor_read_of(index, slot), joined = cursor_joined_of(index, slot);
    check(read <= index->head);
    check(read + 1 >= joined);
    check(cursor_delivered_of(index, slot) <= index->head);
    check(cursor_mark_of(&index->marks, slot) <= read);
    check(joined == 1 || is_hidden || joined <= index->joined_max);
    if (is_hidden && index->late != NULL) check(late_joined(index->late, slot) == 0);
}

void cursor_verify(const struct cursor_index *index)
{
    uint32_t slots = index->roster.slots, hidden = 0;
    roster_verify(&index->roster);
    check(index->origin == 0 || index->origin + RECEIPT_WINDOW <= index->head);
    check(index->head - index->origin <= SPAN_MAX);
    check(slots <= index->slots_max);
    check((index->late == NULL) == (index->joined_max == 0));
    lane_verify(&index->reads, slots);
    if (index->delivered != NULL) lane_verify(index->delivered, slots);
    if (index->late != NULL) late_verify(index->late, index->head, slots);
    for (uint32_t slot = 0; slot < slots; slot++) {
        hidden += hidden_has(index->hidden, slot);
        if (roster_name(&index->roster, slot).size == 0) {
            check(index->reads.values[slot] == LANE_HOLE);
            check(!hidden_has(index->hidden, slot));
        } else {
            slot_verify(index, slot);
        }
    }
    check(hidden == hidden_count(index->hidden));
    if (index->tally == NULL) {
        check(slots <= CURSOR_SCAN_MAX);
        return;
    }
    struct tally *model = tally_create(index->head, slots);
    for (uint32_t slot = 0; slot < slots; slot++)
        if (index->reads.values[slot] != LANE_HOLE)
            tally_change(model, cursor_read_of(index, slot), 1);
    check(tally_equal(model, index->tally));
    tally_destroy(model);
}
