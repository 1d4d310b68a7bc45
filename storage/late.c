/* Slots, as a vector or a bitmap, and values by rank: joined - base, 0 when struck out. */
#include "storage/late.h"

#include <string.h>

#include "core/check.h"
#include "core/mem.h"

#define VECTOR_MAX (VERIFY ? 4u : 64u)
#define COUNT_MAX  (VERIFY ? 8u : 256u) /* beyond, a tally counts */

struct late {
    const struct scan *scan;
    uint64_t base;
    uint64_t swept;      /* the head at the last sweep */
    uint32_t count, max; /* entries, struck-out ones included; their room */
    uint32_t *slots;     /* ascending; NULL exactly when `bitmap` has them */
    struct bitmap *bitmap;
    uint16_t *values; /* by rank */
    struct tally *tally;
};

struct late *late_create(uint64_t base, const struct scan *scan)
{
    struct late *late = mem_alloc(sizeof *late);
    late->scan = scan;
    late->base = base;
    return late;
}

void late_destroy(struct late *late)
{
    if (late == NULL) return;
    mem_free(late->slots);
    bitmap_destroy(late->bitmap);
    mem_free(late->values);
    tally_destroy(late->tally);
    mem_free(late);
}

/* Below this offset of the window nobody can be late any more. */
static uint64_t window_low(uint64_t head)
{
    return head < RECEIPT_WINDOW ? 1 : head - RECEIPT_WINDOW + 1;
}

/* ── slots ── */

/* The rank of the first entry of `slot` or a later one. */
static uint32_t rank_of(const struct late *late, uint32_t slot)
{
    if (late->bitmap != NULL) return bitmap_rank(late->bitmap, slot);
    uint32_t rank = 0;
    while (rank < late->count && late->slots[rank] < slot) rank++;
    return rank;
}

static bool slot_has(const struct late *late, uint32_t rank, uint32_t slot)
{
    if (late->bitmap != NULL) return bitmap_has(late->bitmap, slot);
    return rank < late->count && late->slots[rank] == slot;
}

static void slots_to_bitmap(struct late *late)
{
    late->bitmap = bitmap_create();
    for (uint32_t i = 0; i < late->count; i++) bitmap_add(late->bitmap, late->slots[i]);
    mem_free(late->slots);
    late->slots = NULL;
}

static void slots_insert(struct late *late, uint32_t rank, uint32_t slot)
{
    if (late->bitmap == NULL && late->count == VECTOR_MAX) slots_to_bitmap(late);
    if (late->bitmap != NULL) {
        bitmap_add(late->bitmap, slot);
        return;
    }
    late->slots = mem_resize(late->slots, (late->count + 1) * sizeof *late->slots);
    memmove(late->slots + rank + 1, late->slots + rank, (late->count - rank) * sizeof *late->slots);
    late->slots[rank] = slot;
}

/* All of them, ascending; the caller frees it. */
static uint32_t *slots_list(const struct late *late)
{
    uint32_t *slots = mem_alloc((late->count + 1) * sizeof *slots);
    if (late->bitmap != NULL)
        bitmap_list(late->bitmap, slots);
    else if (late->count > 0)
        memcpy(slots, late->slots, late->count * sizeof *slots);
    return slots;
}

/* Takes all of them out, to be put in anew: as slots_list, and how many. */
static uint32_t *slots_take(struct late *late, uint32_t *count)
{
    uint32_t *slots = slots_list(late);
    *count = late->count;
    bitmap_destroy(late->bitmap);
    late->bitmap = NULL;
    mem_free(late->slots);
    late->slots = NULL;
    late->count = 0;
    return slots;
}

/* ── counting ── */

static void late_tally(struct late *late, uint64_t head)
{
    check(late->tally == NULL);
    late->tally = tally_create(head + 1, MEMBERS_MAX);
    for (uint32_t i = 0; i < late->count; i++)
        if (late->values[i] != 0) tally_change(late->tally, late->base + late->values[i], 1);
}

uint32_t late_count(const struct late *late, uint64_t offset)
{
    if (late->tally != NULL) return tally_from(late->tally, offset + 1);
    check(offset >= late->base && offset - late->base < UINT16_MAX);
    uint16_t low = (uint16_t)(offset - late->base + 1);
    return late->scan->count(late->values, late->count, low, UINT16_MAX);
}

/* ── entries ── */

/* Keeps the entries that count for some offset from `low` on. */
static void late_sweep(struct late *late, uint64_t low)
{
    uint32_t old_count, *slots = slots_take(late, &old_count);
    for (uint32_t i = 0; i < old_count; i++) {
        uint16_t value = late->values[i];
        if (value == 0 || late->base + value <= low) continue;
        slots_insert(late, late->count, slots[i]);
        late->values[late->count++] = value;
    }
    mem_free(slots);
    if (late->count <= COUNT_MAX) {
        tally_destroy(late->tally);
        late->tally = NULL;
    }
    uint32_t spare = late->max - late->count;
    if (late->count > 0 && spare > late->count && spare > VECTOR_MAX) {
        late->max = late->count;
        late->values = mem_resize(late->values, late->max * sizeof *late->values);
    }
}

static void values_grow(struct late *late)
{
    if (late->count < late->max) return;
    late->max += 4 + late->max / 8;
    late->values = mem_resize(late->values, late->max * sizeof *late->values);
}

void late_add(struct late *late, uint64_t head, uint32_t slot, uint64_t joined)
{
    check(joined > late->base && joined - late->base <= UINT16_MAX);
    check(joined <= head + 1 && joined > window_low(head));
    if (late->count == VECTOR_MAX && late->bitmap == NULL) late_sweep(late, window_low(head));

    uint32_t rank = rank_of(late, slot);
    if (slot_has(late, rank, slot)) {
        check(late->values[rank] == 0);
    } else {
        values_grow(late);
        slots_insert(late, rank, slot);
        memmove(late->values + rank + 1, late->values + rank,
                (late->count - rank) * sizeof *late->values);
        late->count++;
    }
    late->values[rank] = (uint16_t)(joined - late->base);
    if (late->tally != NULL)
        tally_change(late->tally, joined, 1);
    else if (late->count > COUNT_MAX)
        late_tally(late, head); /* counts the new one too */
}

void late_strike(struct late *late, uint32_t slot)
{
    uint32_t rank = rank_of(late, slot);
    if (!slot_has(late, rank, slot) || late->values[rank] == 0) return;
    if (late->tally != NULL) tally_change(late->tally, late->base + late->values[rank], -1);
    late->values[rank] = 0;
}

uint64_t late_joined(const struct late *late, uint32_t slot)
{
    uint32_t rank = rank_of(late, slot);
    if (!slot_has(late, rank, slot) || late->values[rank] == 0) return 0;
    return late->base + late->values[rank];
}

/* ── time ── */

bool late_advance(struct late *late, uint64_t head)
{
    if (late->tally != NULL) tally_advance(late->tally, head + 1);
    if (head - late->swept >= RECEIPT_WINDOW) {
        late->swept = head;
        late_sweep(late, window_low(head));
    }
    return late->count > 0;
}

void late_rebase(struct late *late, uint64_t base)
{
    check(base >= late->base);
    uint64_t by = base - late->base;
    for (uint32_t i = 0; i < late->count; i++)
        late->values[i] = late->values[i] > by ? (uint16_t)(late->values[i] - by) : 0;
    late->base = base;
}

void late_renumber(struct late *late, const uint32_t *renumbered)
{
    uint32_t old_count, *slots = slots_take(late, &old_count);
    for (uint32_t i = 0; i < old_count; i++) {
        uint32_t slot = renumbered[slots[i]];
        if (slot == UINT32_MAX) continue;
        slots_insert(late, late->count, slot);
        late->values[late->count++] = late->values[i];
    }
    mem_free(slots);
}

/* ── the reader ── */

struct late_reader late_reader_of(const struct late *late, uint64_t offset)
{
    check(offset >= late->base && offset - late->base < UINT16_MAX);
    struct late_reader reader = {.late = late, .above = (uint16_t)(offset - late->base)};
    if (late->bitmap != NULL) reader.reader = bitmap_reader_of(late->bitmap, late->scan);
    return reader;
}

uint64_t late_reader_word(struct late_reader *reader, uint32_t word)
{
    const struct late *late = reader->late;
    uint16_t low = (uint16_t)(reader->above + 1);
    if (late->bitmap != NULL) {
        uint64_t members = bitmap_reader_word(&reader->reader, word);
        if (members == 0) return 0;
        uint64_t after = late->scan->mask(late->values + reader->reader.rank,
                                          late->scan->ones(members), low, UINT16_MAX);
        return late->scan->expand(after, members);
    }
    uint64_t bits = 0;
    for (; reader->at < late->count && late->slots[reader->at] / SCAN_WORD <= word; reader->at++) {
        uint32_t slot = late->slots[reader->at];
        if (slot / SCAN_WORD == word && late->values[reader->at] >= low)
            bits |= UINT64_C(1) << slot % SCAN_WORD;
    }
    return bits;
}

/* ── sizes and checks ── */

size_t late_bytes(const struct late *late)
{
    size_t bytes = sizeof *late + late->max * sizeof *late->values;
    bytes += late->bitmap != NULL ? bitmap_bytes(late->bitmap) : late->count * sizeof *late->slots;
    return bytes + (late->tally == NULL ? 0 : tally_bytes(late->tally));
}

void late_verify(const struct late *late, uint64_t head, uint32_t slots)
{
    check(late->count <= late->max);
    check(late->bitmap == NULL || late->slots == NULL);
    check(late->bitmap != NULL || late->count <= VECTOR_MAX);
    check((late->tally != NULL) || late->count <= COUNT_MAX);
    uint32_t *list = slots_list(late);
    for (uint32_t i = 0; i < late->count; i++) {
        check(list[i] < slots);
        if (i > 0) check(list[i - 1] < list[i]);
        check(late->values[i] == 0 || late->base + late->values[i] <= head + 1);
    }
    mem_free(list);
    if (late->tally == NULL) return;
    struct late model = *late;
    model.tally = NULL;
    late_tally(&model, head);
    check(tally_equal(model.tally, late->tally));
    tally_destroy(model.tally);
}
