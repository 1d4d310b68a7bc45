/*
 * cursor_count: who has read a message: how many, which ones, all of them.
 *
 * One pass serves readers and non-readers: a range of cursors, 64 slots to a word of
 * bits, from which who joined late is taken out.  Holes and hidden members are in
 * neither range.
 *
 * A list takes one match more than it was asked for, so that its last page says that it
 * is the last.
 */
#include "core/check.h"
#include "storage/cursor_parts.h"

/* A token is the version and the slot to go on with: 32 and 20 bits, below 2^53. */
#define TOKEN_SLOT_BITS 20
static_assert(MEMBERS_MAX * 4 < 1u << TOKEN_SLOT_BITS, "a slot of two lists, holes included, fits");

/* May `offset` be asked about? */
static enum err offset_check(const struct cursor_index *index, uint64_t offset)
{
    if (offset == 0 || offset > index->head) return ERR_BAD_REQUEST;
    if (index->head - offset >= index->rules.window) return ERR_RECEIPT_TOO_OLD;
    return cursor_is_deleted(index, offset) ? ERR_RECEIPT_DELETED : ERR_OK;
}

/* The slot that a sender's message asks nobody about, or ROSTER_NONE: hidden members and
 * those who joined after it are in no range anyway. */
static uint32_t sender_slot(const struct cursor_index *index, struct bytes sender, uint64_t offset)
{
    if (sender.size == 0) return ROSTER_NONE;
    uint32_t slot = roster_find(&index->roster, sender);
    if (slot == ROSTER_NONE || index->reads.values[slot] == LANE_HOLE) return ROSTER_NONE;
    bool is_late = offset < index->joined_max && late_joined(index->late, slot) > offset;
    return is_late ? ROSTER_NONE : slot;
}

/* ── counts ── */

/* Members whose cursor is at `offset` or above, who are not hidden. */
static uint32_t reached_count(const struct cursor_index *index, uint64_t offset)
{
    if (index->tally != NULL) return tally_from(index->tally, offset);
    check(offset > index->origin);
    return index->scan->count(index->reads.values, index->roster.slots,
                              (uint16_t)(offset - index->origin), LANE_MAX);
}

enum err cursor_counts(const struct cursor_index *index, uint64_t offset, struct bytes sender,
                       uint32_t *readers, uint32_t *eligible)
{
    TRY(offset_check(index, offset));
    uint32_t late = offset < index->joined_max ? late_count(index->late, offset) : 0;
    uint32_t reached = reached_count(index, offset);
    check(reached >= late); /* a late joiner's cursor is at its join or above */
    *readers = reached - late;
    *eligible = cursor_members(index) - hidden_count(index->hidden) - late;
    uint32_t slot = sender_slot(index, sender, offset);
    if (slot != ROSTER_NONE) {
        *eligible -= 1;
        *readers -= cursor_read_of(index, slot) >= offset;
    }
    check(*readers <= *eligible);
    return ERR_OK;
}

/* ── words of slots ── */

struct words {
    const struct cursor_index *index;
    uint16_t low, high; /* of the cursors */
    uint32_t sender;    /* or ROSTER_NONE */
    bool has_late;
    struct late_reader late;
};

static struct words words_of(const struct cursor_index *index, enum cursor_side side,
                             uint64_t offset, struct bytes sender)
{
    check(side == CURSOR_READERS || side == CURSOR_NONREADERS);
    check(offset > index->origin);
    uint16_t least = (uint16_t)(offset - index->origin);
    struct words words = {.index = index, .low = least, .high = LANE_MAX};
    if (side == CURSOR_NONREADERS) {
        words.low = 0;
        words.high = (uint16_t)(least - 1);
    }
    words.sender = sender_slot(index, sender, offset);
    /* A late joiner's cursor is above: no non-reader is one. */
    words.has_late = side == CURSOR_READERS && offset < index->joined_max;
    if (words.has_late) words.late = late_reader_of(index->late, offset);
    return words;
}

/* The first word from `word` on that has somebody in range, or one behind the last. */
static uint32_t words_skip(const struct words *words, uint32_t word)
{
    const struct cursor_index *index = words->index;
    uint32_t first = word * SCAN_WORD, slots = index->roster.slots;
    if (first >= slots) return word;
    uint32_t passed =
        index->scan->pass(index->reads.values + first, slots - first, words->low, words->high);
    return (first + passed + SCAN_WORD - 1) / SCAN_WORD;
}

/* Which of the slots 64 * word + i are meant; words come in ascending order. */
static uint64_t words_at(struct words *words, uint32_t word)
{
    const struct cursor_index *index = words->index;
    uint32_t first = word * SCAN_WORD;
    uint32_t count = (uint32_t)min_u64(SCAN_WORD, index->roster.slots - first);
    uint64_t bits = index->scan->mask(index->reads.values + first, count, words->low, words->high);
    if (bits == 0) return 0;
    if (words->has_late) bits &= ~late_reader_word(&words->late, word);
    if (words->sender / SCAN_WORD == word) bits &= ~(UINT64_C(1) << words->sender % SCAN_WORD);
    return bits;
}

/* Goes on with the next word that has somebody: 0 behind the last. */
static uint64_t words_next(struct words *words, uint32_t *word)
{
    uint32_t end = (words->index->roster.slots + SCAN_WORD - 1) / SCAN_WORD;
    for (; *word < end; ++*word) {
        uint64_t bits = words_at(words, *word);
        if (bits != 0) return bits;
        *word = words_skip(words, *word + 1) - 1;
    }
    return 0;
}

/* ── lists ── */

uint32_t cursor_version(const struct cursor_index *index)
{
    return index->version;
}

/* Where the page begins. */
static enum err list_first(const struct cursor_index *index, uint64_t after, uint32_t *slot)
{
    *slot = 0;
    if (after == 0) return ERR_OK;
    if (after >> TOKEN_SLOT_BITS != index->version) return ERR_RECEIPT_PAGE;
    *slot = after & ((1u << TOKEN_SLOT_BITS) - 1);
    return *slot < index->roster.slots ? ERR_OK : ERR_RECEIPT_PAGE;
}

/* Takes a slot in; false when the page is full, and knows that there is more. */
static bool list_take(const struct cursor_index *index, struct cursor_list *list, uint32_t slot)
{
    if (list->count == list->limit) {
        list->next = (uint64_t)index->version << TOKEN_SLOT_BITS | slot;
        return false;
    }
    list->slots[list->count++] = slot;
    return true;
}

static void list_everybody(const struct cursor_index *index, struct cursor_list *list,
                           uint32_t slot)
{
    for (; slot < index->roster.slots; slot++)
        if (roster_name(&index->roster, slot).size > 0 && !list_take(index, list, slot)) return;
}

enum err cursor_list(const struct cursor_index *index, struct cursor_list *list)
{
    check(list->limit > 0 && list->slots != NULL);
    list->count = 0;
    list->next = 0;
    uint32_t slot;
    if (list->side == CURSOR_EVERYBODY) {
        TRY(list_first(index, list->after, &slot));
        list_everybody(index, list, slot);
        return ERR_OK;
    }
    TRY(offset_check(index, list->offset));
    if (cursor_members(index) > index->rules.lists_max) return ERR_CHANNEL_TOO_BIG;
    TRY(list_first(index, list->after, &slot));
    struct words words = words_of(index, list->side, list->offset, list->sender);
    uint32_t word = slot / SCAN_WORD, first = word;
    for (uint64_t bits; (bits = words_next(&words, &word)) != 0; word++) {
        if (word == first) bits &= ~UINT64_C(0) << slot % SCAN_WORD;
        for (; bits != 0; bits &= bits - 1)
            if (!list_take(index, list, word * SCAN_WORD + (uint32_t)__builtin_ctzll(bits)))
                return ERR_OK;
    }
    return ERR_OK;
}

/* ── sets ── */

static void set_everybody(const struct cursor_index *index, struct bitmap *set)
{
    for (uint32_t slot = 0; slot < index->roster.slots; slot++)
        if (roster_name(&index->roster, slot).size > 0) bitmap_add(set, slot);
}

enum err cursor_set(const struct cursor_index *index, enum cursor_side side, uint64_t offset,
                    struct bytes sender, struct bitmap **set)
{
    *set = NULL;
    if (side == CURSOR_EVERYBODY) {
        *set = bitmap_create();
        set_everybody(index, *set);
        return ERR_OK;
    }
    TRY(offset_check(index, offset));
    *set = bitmap_create();
    struct words words = words_of(index, side, offset, sender);
    uint32_t word = 0;
    for (uint64_t bits; (bits = words_next(&words, &word)) != 0; word++)
        bitmap_add_word(*set, word, bits);
    return ERR_OK;
}
