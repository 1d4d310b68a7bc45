/*
 * cursor: the read index of one channel.
 *
 *            origin                 head - 1023            head
 *   offsets ───┼──────────────────────┼──────────────────────┤
 *   cursor     0 (or below)           │◀── window: counts ──▶│     0xffff: hole
 *
 * cursors[slot] is the member's cursor minus `origin`.  0 is the origin or, for
 * a slot in `behind`, something lower that `behind` keeps exactly; so nobody's
 * unread count is ever wrong, and the hot array stays at two bytes a member.
 * When head - origin passes SPAN_MAX the origin is moved up in one pass.
 *
 *   invariant   origin <= head - RECEIPT_WINDOW, or origin == 0
 *               cursor >= joined - 1: what was posted before a member joined
 *               counts as read, so readers = (cursors >= offset) - (joins > offset)
 *
 * With CURSOR_SCAN_MAX slots or fewer both counts are a scan; above, two rings
 * count cursors and joins per offset of the window, with sums per block of 32,
 * so a count adds at most 31 + 31 + 31 numbers.
 *
 * Joins were tried as a sorted vector with a bitmap over it when long: restoring
 * members in another order than that of their joins costs a shift for each, and
 * a member's leave another.  A second ring is 4 KiB and none of that.
 */
#include "storage/cursor.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "core/check.h"
#include "core/entropy.h"
#include "core/mem.h"
#include "storage/roster.h"

#define CURSOR_SCAN_MAX (VERIFY ? 8 : 256)
#define HOLE            UINT16_MAX
/* Below 65,534 with room; each rebase costs a pass, about 100 µs for 100,000
 * members every 58,000 offsets. */
#define SPAN_MAX        (VERIFY ? 4000 : 60000)
#define SPAN_KEPT       (2 * RECEIPT_WINDOW)
#define BLOCK           32u
/* Holes are closed above this many and a quarter of the slots. */
#define HOLES_MAX       (VERIFY ? 2 : 32)

static_assert((RECEIPT_WINDOW & (RECEIPT_WINDOW - 1)) == 0, "the ring is addressed by mask");
static_assert(SPAN_MAX > SPAN_KEPT && SPAN_MAX < HOLE, "a rebase makes room and cursors fit");

/* How many members have each of the values top - RECEIPT_WINDOW + 1 .. top. */
struct ring {
    uint64_t top;
    uint32_t sum; /* of all counts */
    uint32_t counts[RECEIPT_WINDOW];
    uint32_t blocks[RECEIPT_WINDOW / BLOCK];
};

struct behind {
    uint64_t read;
    uint32_t slot;
};

struct cursor_index {
    uint64_t head;
    uint64_t origin;
    struct roster roster;
    uint32_t slots_max;    /* of the two arrays */
    uint16_t *cursors;     /* per slot */
    uint64_t *joined;      /* per slot; 0 for a hole */
    uint64_t joined_max;   /* nobody joined later */
    struct ring *reads;    /* cursors up to head; NULL exactly when counts are scans */
    struct ring *joins;    /* joined up to head + 1; as above */
    struct behind *behind; /* by slot; cursor below origin */
    uint32_t behind_count, behind_max;
};

/* ── rings ── */

static uint64_t ring_low(const struct ring *ring)
{
    return ring->top < RECEIPT_WINDOW ? 0 : ring->top - RECEIPT_WINDOW + 1;
}

static void ring_change(struct ring *ring, uint64_t value, int32_t by)
{
    check(value <= ring->top);
    if (value < ring_low(ring)) return;
    uint32_t at = value % RECEIPT_WINDOW;
    ring->counts[at] += (uint32_t)by;
    ring->blocks[at / BLOCK] += (uint32_t)by;
    ring->sum += (uint32_t)by;
}

static void ring_advance(struct ring *ring, uint64_t top)
{
    check(top >= ring->top);
    if (top - ring->top >= RECEIPT_WINDOW) {
        memset(ring, 0, sizeof *ring);
        ring->top = top;
        return;
    }
    for (uint64_t value = ring->top + 1; value <= top; value++) {
        uint32_t at = value % RECEIPT_WINDOW;
        ring->blocks[at / BLOCK] -= ring->counts[at];
        ring->sum -= ring->counts[at];
        ring->counts[at] = 0;
    }
    ring->top = top;
}

/* Sum over values first .. last, which lie in the window. */
static uint32_t ring_sum(const struct ring *ring, uint64_t first, uint64_t last)
{
    uint32_t sum = 0;
    uint64_t value = first;
    for (; value <= last && value % BLOCK != 0; value++)
        sum += ring->counts[value % RECEIPT_WINDOW];
    for (; value + BLOCK - 1 <= last; value += BLOCK)
        sum += ring->blocks[value % RECEIPT_WINDOW / BLOCK];
    for (; value <= last; value++) sum += ring->counts[value % RECEIPT_WINDOW];
    return sum;
}

/* How many have `value` or more; `value` lies in the window or one above. */
static uint32_t ring_from(const struct ring *ring, uint64_t value)
{
    uint64_t low = ring_low(ring);
    check(value >= low);
    if (value > ring->top) return 0;
    if (ring->top - value < value - low) return ring_sum(ring, value, ring->top);
    return value == low ? ring->sum : ring->sum - ring_sum(ring, low, value - 1);
}

/* ── scans ── */

/* How many of cursors[count] are `least` or more, holes included. */
static uint32_t scan_plain(const uint16_t *cursors, uint32_t count, uint16_t least)
{
    uint32_t sum = 0;
    for (uint32_t i = 0; i < count; i++) sum += cursors[i] >= least;
    return sum;
}

#if defined(__x86_64__)
/* 16 cursors a step.  A lane counts at most count / 16 matches, so that 16 bits
 * suffice for a million slots. */
__attribute__((target("avx2"))) static uint32_t scan_avx2(const uint16_t *cursors, uint32_t count,
                                                          uint16_t least)
{
    static_assert(MEMBERS_MAX * 2 / 16 < INT16_MAX, "lanes do not overflow");
    __m256i want = _mm256_set1_epi16((short)least), lanes = _mm256_setzero_si256();
    uint32_t i = 0;
    for (; count - i >= 16; i += 16) {
        __m256i have = _mm256_loadu_si256((const __m256i *)(const void *)(cursors + i));
        __m256i hit = _mm256_cmpeq_epi16(_mm256_max_epu16(have, want), have);
        lanes = _mm256_sub_epi16(lanes, hit);
    }
    __m256i pairs = _mm256_madd_epi16(lanes, _mm256_set1_epi16(1));
    __m128i sums = _mm_add_epi32(_mm256_castsi256_si128(pairs), _mm256_extracti128_si256(pairs, 1));
    sums = _mm_add_epi32(sums, _mm_shuffle_epi32(sums, 0x4e));
    sums = _mm_add_epi32(sums, _mm_shuffle_epi32(sums, 0xb1));
    return (uint32_t)_mm_cvtsi128_si32(sums) + scan_plain(cursors + i, count - i, least);
}
#endif

static uint32_t scan(const uint16_t *cursors, uint32_t count, uint16_t least)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2")) return scan_avx2(cursors, count, least);
#endif
    return scan_plain(cursors, count, least);
}

/* ── cursors below the origin ── */

/* The first entry of `slot` or a later one. */
static uint32_t behind_find(const struct cursor_index *index, uint32_t slot)
{
    uint32_t first = 0, after = index->behind_count;
    while (first < after) {
        uint32_t middle = first + (after - first) / 2;
        if (index->behind[middle].slot < slot)
            first = middle + 1;
        else
            after = middle;
    }
    return first;
}

static bool behind_has(const struct cursor_index *index, uint32_t at, uint32_t slot)
{
    return at < index->behind_count && index->behind[at].slot == slot;
}

static void behind_put(struct cursor_index *index, uint32_t slot, uint64_t read)
{
    uint32_t count = index->behind_count;
    bool is_last = count == 0 || index->behind[count - 1].slot < slot; /* as in a rebase */
    uint32_t at = is_last ? count : behind_find(index, slot);
    if (behind_has(index, at, slot)) {
        index->behind[at].read = read;
        return;
    }
    if (count == index->behind_max) {
        index->behind_max = count == 0 ? 4 : count * 2;
        index->behind = mem_resize(index->behind, index->behind_max * sizeof *index->behind);
    }
    memmove(index->behind + at + 1, index->behind + at, (count - at) * sizeof *index->behind);
    index->behind[at] = (struct behind){read, slot};
    index->behind_count++;
}

static void behind_remove(struct cursor_index *index, uint32_t slot)
{
    uint32_t at = behind_find(index, slot);
    if (!behind_has(index, at, slot)) return;
    index->behind_count--;
    memmove(index->behind + at, index->behind + at + 1,
            (index->behind_count - at) * sizeof *index->behind);
}

static uint64_t slot_read(const struct cursor_index *index, uint32_t slot)
{
    check(index->cursors[slot] != HOLE);
    if (index->cursors[slot] == 0) {
        uint32_t at = behind_find(index, slot);
        if (behind_has(index, at, slot)) return index->behind[at].read;
    }
    return index->origin + index->cursors[slot];
}

/* ── life ── */

struct cursor_index *cursor_create(uint64_t head)
{
    struct cursor_index *index = mem_alloc(sizeof *index);
    uint64_t seed;
    entropy_fill(&seed, sizeof seed);
    roster_init(&index->roster, seed);
    index->head = head;
    index->origin = head < SPAN_KEPT ? 0 : head - SPAN_KEPT;
    return index;
}

static void rings_drop(struct cursor_index *index)
{
    mem_free(index->reads);
    mem_free(index->joins);
    index->reads = index->joins = NULL;
}

void cursor_destroy(struct cursor_index *index)
{
    if (index == NULL) return;
    rings_drop(index);
    roster_fini(&index->roster);
    mem_free(index->cursors);
    mem_free(index->joined);
    mem_free(index->behind);
    mem_free(index);
}

/* ── members ── */

static void rings_change(struct cursor_index *index, uint32_t slot, int32_t by)
{
    if (index->reads == NULL) return;
    ring_change(index->reads, slot_read(index, slot), by);
    ring_change(index->joins, index->joined[slot], by);
}

static void rings_build(struct cursor_index *index)
{
    check(index->reads == NULL);
    index->reads = mem_alloc(sizeof *index->reads);
    index->joins = mem_alloc(sizeof *index->joins);
    index->reads->top = index->head;
    index->joins->top = index->head + 1;
    for (uint32_t slot = 0; slot < index->roster.slots; slot++)
        if (index->cursors[slot] != HOLE) rings_change(index, slot, 1);
}

static void arrays_grow(struct cursor_index *index)
{
    if (index->roster.slots < index->slots_max) return;
    index->slots_max = index->slots_max == 0 ? 4 : index->slots_max + index->slots_max / 2;
    index->cursors = mem_resize(index->cursors, index->slots_max * sizeof *index->cursors);
    index->joined = mem_resize(index->joined, index->slots_max * sizeof *index->joined);
}

enum err cursor_join(struct cursor_index *index, struct bytes user, uint64_t joined_offset,
                     uint64_t read)
{
    if (user.size == 0 || user.size > USER_ID_MAX) return ERR_BAD_REQUEST;
    if (cursor_is_member(index, user)) return ERR_CONFLICT;
    if (cursor_members(index) >= MEMBERS_MAX) return ERR_LIMIT_MEMBERS;

    uint64_t joined = min_u64(max_u64(joined_offset, 1), index->head + 1);
    read = max_u64(min_u64(read, index->head), joined - 1);
    arrays_grow(index);
    uint32_t slot = roster_add(&index->roster, user);
    check(slot < index->slots_max);
    index->joined[slot] = joined;
    index->joined_max = max_u64(index->joined_max, joined);
    if (read < index->origin) {
        index->cursors[slot] = 0;
        behind_put(index, slot, read);
    } else {
        index->cursors[slot] = (uint16_t)(read - index->origin);
    }
    if (index->reads == NULL && index->roster.slots > CURSOR_SCAN_MAX)
        rings_build(index); /* counts the new slot too */
    else
        rings_change(index, slot, 1);
    return ERR_OK;
}

/* Closes the holes of all per-slot data; the order of slots stays. */
static void cursor_compact(struct cursor_index *index)
{
    uint32_t to = 0, behind = 0;
    for (uint32_t from = 0; from < index->roster.slots; from++) {
        if (index->cursors[from] == HOLE) continue;
        if (behind_has(index, behind, from)) index->behind[behind++].slot = to;
        index->cursors[to] = index->cursors[from];
        index->joined[to] = index->joined[from];
        to++;
    }
    check(behind == index->behind_count);
    roster_compact(&index->roster);
    check(index->roster.slots == to);
    if (to <= CURSOR_SCAN_MAX / 2) rings_drop(index);
}

enum err cursor_leave(struct cursor_index *index, struct bytes user)
{
    uint32_t slot = roster_find(&index->roster, user);
    if (slot == ROSTER_NONE) return ERR_NOT_MEMBER;
    rings_change(index, slot, -1);
    behind_remove(index, slot);
    index->cursors[slot] = HOLE;
    index->joined[slot] = 0;
    roster_remove(&index->roster, slot);
    uint32_t holes = index->roster.holes;
    if (holes > HOLES_MAX && holes > index->roster.slots / 4) cursor_compact(index);
    return ERR_OK;
}

bool cursor_is_member(const struct cursor_index *index, struct bytes user)
{
    return roster_find(&index->roster, user) != ROSTER_NONE;
}

uint32_t cursor_members(const struct cursor_index *index)
{
    return index->roster.slots - index->roster.holes;
}

/* ── posts and moves ── */

/* Moves the origin up to SPAN_KEPT below the head. */
static void cursor_rebase(struct cursor_index *index)
{
    uint64_t origin = index->head - SPAN_KEPT;
    check(origin > index->origin);
    uint64_t by = origin - index->origin;

    struct behind *old = index->behind;
    uint32_t old_count = index->behind_count, next = 0;
    index->behind = NULL;
    index->behind_count = index->behind_max = 0;
    for (uint32_t slot = 0; slot < index->roster.slots; slot++) {
        uint16_t cursor = index->cursors[slot];
        if (cursor == HOLE) continue;
        if (cursor >= by) {
            index->cursors[slot] = (uint16_t)(cursor - by);
            continue;
        }
        uint64_t read = index->origin + cursor;
        if (next < old_count && old[next].slot == slot) read = old[next++].read;
        index->cursors[slot] = 0;
        behind_put(index, slot, read);
    }
    check(next == old_count);
    mem_free(old);
    index->origin = origin;
}

void cursor_post(struct cursor_index *index, uint64_t head)
{
    if (head <= index->head) return;
    index->head = head;
    if (index->reads != NULL) {
        ring_advance(index->reads, head);
        ring_advance(index->joins, head + 1);
    }
    if (head - index->origin > SPAN_MAX) cursor_rebase(index);
}

uint64_t cursor_head(const struct cursor_index *index)
{
    return index->head;
}

enum err cursor_move(struct cursor_index *index, struct bytes user, uint64_t offset,
                     uint64_t *before, uint64_t *after)
{
    uint32_t slot = roster_find(&index->roster, user);
    if (slot == ROSTER_NONE) return ERR_NOT_MEMBER;
    *before = slot_read(index, slot);
    *after = max_u64(*before, min_u64(offset, index->head));
    if (*after == *before) return ERR_OK;

    if (index->reads != NULL) {
        ring_change(index->reads, *before, -1);
        ring_change(index->reads, *after, 1);
    }
    if (*after < index->origin) {
        check(index->cursors[slot] == 0);
        behind_put(index, slot, *after);
        return ERR_OK;
    }
    if (*before < index->origin) behind_remove(index, slot);
    index->cursors[slot] = (uint16_t)(*after - index->origin);
    check(index->cursors[slot] != HOLE);
    return ERR_OK;
}

enum err cursor_read(const struct cursor_index *index, struct bytes user, uint64_t *offset)
{
    uint32_t slot = roster_find(&index->roster, user);
    if (slot == ROSTER_NONE) return ERR_NOT_MEMBER;
    *offset = slot_read(index, slot);
    return ERR_OK;
}

/* ── counts ── */

/* Members who joined after `offset`. */
static uint32_t late_count(const struct cursor_index *index, uint64_t offset)
{
    if (offset >= index->joined_max) return 0; /* as in most channels at most times */
    if (index->joins != NULL) return ring_from(index->joins, offset + 1);
    uint32_t late = 0;
    for (uint32_t slot = 0; slot < index->roster.slots; slot++)
        late += index->joined[slot] > offset;
    return late;
}

/* Members whose cursor is at `offset` or above. */
static uint32_t reached_count(const struct cursor_index *index, uint64_t offset)
{
    if (index->reads != NULL) return ring_from(index->reads, offset);
    check(offset > index->origin);
    uint32_t reached =
        scan(index->cursors, index->roster.slots, (uint16_t)(offset - index->origin));
    check(reached >= index->roster.holes); /* a hole is above every cursor */
    return reached - index->roster.holes;
}

enum err cursor_counts(const struct cursor_index *index, uint64_t offset, struct bytes sender,
                       uint32_t *readers, uint32_t *eligible)
{
    if (offset == 0 || offset > index->head) return ERR_BAD_REQUEST;
    if (index->head - offset >= RECEIPT_WINDOW) return ERR_RECEIPT_TOO_OLD;

    uint32_t late = late_count(index, offset), reached = reached_count(index, offset);
    check(reached >= late); /* a late joiner's cursor is at its join or above */
    *readers = reached - late;
    *eligible = cursor_members(index) - late;
    uint32_t slot = sender.size == 0 ? ROSTER_NONE : roster_find(&index->roster, sender);
    if (slot != ROSTER_NONE && index->joined[slot] <= offset) {
        *eligible -= 1;
        *readers -= slot_read(index, slot) >= offset;
    }
    check(*readers <= *eligible);
    return ERR_OK;
}

void cursor_each(const struct cursor_index *index, cursor_each_fn each, void *context)
{
    for (uint32_t slot = 0; slot < index->roster.slots; slot++) {
        if (index->cursors[slot] == HOLE) continue;
        each(context, roster_name(&index->roster, slot), index->joined[slot],
             slot_read(index, slot));
    }
}

size_t cursor_bytes(const struct cursor_index *index)
{
    size_t bytes = sizeof *index + roster_bytes(&index->roster);
    bytes += index->slots_max * (sizeof *index->cursors + sizeof *index->joined);
    bytes += index->behind_max * sizeof *index->behind;
    if (index->reads != NULL) bytes += 2 * sizeof(struct ring);
    return bytes;
}

/* ── verifier ── */

static void ring_verify(const struct ring *ring, const struct ring *model)
{
    check(ring->top == model->top);
    check(ring->sum == model->sum);
    check(memcmp(ring->counts, model->counts, sizeof ring->counts) == 0);
    check(memcmp(ring->blocks, model->blocks, sizeof ring->blocks) == 0);
}

void cursor_verify(const struct cursor_index *index)
{
    roster_verify(&index->roster);
    check(index->origin == 0 || index->origin + RECEIPT_WINDOW <= index->head);
    check(index->head - index->origin <= SPAN_MAX);
    check(index->roster.slots <= index->slots_max);
    uint32_t behind = 0;
    for (uint32_t slot = 0; slot < index->roster.slots; slot++) {
        bool is_hole = roster_name(&index->roster, slot).size == 0;
        check(is_hole == (index->cursors[slot] == HOLE));
        check(is_hole == (index->joined[slot] == 0));
        check(index->joined[slot] <= index->joined_max);
        if (is_hole) continue;
        uint64_t read = slot_read(index, slot);
        check(read <= index->head);
        check(read + 1 >= index->joined[slot]);
        if (read < index->origin) check(behind_has(index, behind++, slot));
    }
    check(behind == index->behind_count);
    check((index->reads == NULL) == (index->joins == NULL));
    if (index->reads == NULL) {
        check(index->roster.slots <= CURSOR_SCAN_MAX);
        return;
    }
    struct cursor_index model = *index;
    model.reads = model.joins = NULL;
    rings_build(&model);
    ring_verify(index->reads, model.reads);
    ring_verify(index->joins, model.joins);
    rings_drop(&model);
}
