/* Cells are the counts by value modulo the window, then the sums of the blocks. */
#include "storage/tally.h"

#include <string.h>

#include "core/check.h"
#include "core/mem.h"

#define BLOCK 32u
#define CELLS (RECEIPT_WINDOW + RECEIPT_WINDOW / BLOCK)

/* Numbers that cells of 16 bits hold for certain, all with one value. */
#define NARROW_MAX (VERIFY ? 40u : (uint32_t)UINT16_MAX)

static_assert((RECEIPT_WINDOW & (RECEIPT_WINDOW - 1)) == 0, "the ring is addressed by mask");

struct tally {
    uint64_t top;
    uint32_t sum; /* of all counts */
    bool is_wide; /* true exactly when cells have 32 bits */
    _Alignas(8) uint16_t cells[];
};

static uint32_t *wide(const struct tally *tally)
{
    return (uint32_t *)(uintptr_t)tally->cells;
}

static uint32_t cell(const struct tally *tally, uint32_t at)
{
    return tally->is_wide ? wide(tally)[at] : tally->cells[at];
}

static void cell_add(struct tally *tally, uint32_t at, uint32_t by)
{
    if (tally->is_wide)
        wide(tally)[at] += by;
    else
        tally->cells[at] = (uint16_t)(tally->cells[at] + by);
}

static uint32_t block_of(uint32_t at)
{
    return RECEIPT_WINDOW + at / BLOCK;
}

static size_t cells_bytes(bool is_wide)
{
    return CELLS * (is_wide ? sizeof(uint32_t) : sizeof(uint16_t));
}

struct tally *tally_create(uint64_t top, uint32_t numbers_max)
{
    bool is_wide = numbers_max > NARROW_MAX;
    struct tally *tally = mem_alloc(sizeof *tally + cells_bytes(is_wide));
    tally->top = top;
    tally->is_wide = is_wide;
    return tally;
}

void tally_destroy(struct tally *tally)
{
    mem_free(tally);
}

bool tally_holds(const struct tally *tally, uint32_t numbers)
{
    return tally->is_wide || numbers <= NARROW_MAX;
}

static uint64_t tally_low(const struct tally *tally)
{
    return tally->top < RECEIPT_WINDOW ? 0 : tally->top - RECEIPT_WINDOW + 1;
}

void tally_change(struct tally *tally, uint64_t value, int32_t by)
{
    check(value <= tally->top);
    if (value < tally_low(tally)) return;
    uint32_t at = value % RECEIPT_WINDOW;
    cell_add(tally, at, (uint32_t)by);
    cell_add(tally, block_of(at), (uint32_t)by);
    tally->sum += (uint32_t)by;
}

void tally_expect(const struct tally *tally, uint64_t value)
{
    uint32_t at = value % RECEIPT_WINDOW, size = tally->is_wide ? 2 : 1;
    __builtin_prefetch(tally->cells + at * size, 1);
    __builtin_prefetch(tally->cells + block_of(at) * size, 1);
}

void tally_advance(struct tally *tally, uint64_t top)
{
    check(top >= tally->top);
    if (top - tally->top >= RECEIPT_WINDOW) {
        memset(tally->cells, 0, cells_bytes(tally->is_wide));
        tally->top = top;
        tally->sum = 0;
        return;
    }
    for (uint64_t value = tally->top + 1; value <= top; value++) {
        uint32_t at = value % RECEIPT_WINDOW, old = cell(tally, at);
        if (old == 0) continue;
        cell_add(tally, at, -old);
        cell_add(tally, block_of(at), -old);
        tally->sum -= old;
    }
    tally->top = top;
}

/* Sum over values first .. last, which lie in the window. */
static uint32_t tally_sum(const struct tally *tally, uint64_t first, uint64_t last)
{
    uint32_t sum = 0;
    uint64_t value = first;
    for (; value <= last && value % BLOCK != 0; value++) sum += cell(tally, value % RECEIPT_WINDOW);
    for (; value + BLOCK - 1 <= last; value += BLOCK)
        sum += cell(tally, block_of(value % RECEIPT_WINDOW));
    for (; value <= last; value++) sum += cell(tally, value % RECEIPT_WINDOW);
    return sum;
}

uint32_t tally_from(const struct tally *tally, uint64_t value)
{
    uint64_t low = tally_low(tally);
    check(value >= low);
    if (value > tally->top) return 0;
    if (tally->top - value < value - low) return tally_sum(tally, value, tally->top);
    return value == low ? tally->sum : tally->sum - tally_sum(tally, low, value - 1);
}

size_t tally_bytes(const struct tally *tally)
{
    return sizeof *tally + cells_bytes(tally->is_wide);
}

bool tally_equal(const struct tally *a, const struct tally *b)
{
    if (a->top != b->top || a->sum != b->sum) return false;
    for (uint32_t at = 0; at < CELLS; at++)
        if (cell(a, at) != cell(b, at)) return false;
    return true;
}
