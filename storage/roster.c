/*
 * roster: linear probing over 8-byte cells, as core/map.c does over pointers.
 *
 * core/map.h would cost 40 bytes a cell and a heap block per member: 1.1 MB for
 * 10,000 members with names of 13 bytes against 0.36 MB here.
 */
#include "storage/roster.h"

#include "core/check.h"
#include "core/hash.h"
#include "core/limits.h"
#include "core/mem.h"

#define CELLS_FIRST 16
#define SLOTS_FIRST 2
#define NAMES_FIRST 48
#define NAME_HEAD   1 /* its size */

/* Two lists of MEMBERS_MAX names, with a quarter of holes, fit 70 MB. */
#define NAMES_MOST ((1u << 27) - 1024)
#define SLOTS_MOST (1u << 19)
static_assert(2 * MEMBERS_MAX < SLOTS_MOST / 4 * 3, "a cell has room for every slot");
static_assert(sizeof(struct roster_cell) == 8, "eight to a line");

static_assert(CELLS_FIRST * 3 / 4 > ROSTER_FEW, "the first table holds them all");

void roster_init(struct roster *roster, uint64_t seed)
{
    *roster = (struct roster){.seed = seed};
}

void roster_fini(struct roster *roster)
{
    mem_free(roster->name_at);
    mem_free(roster->names);
    mem_free(roster->cells);
    *roster = (struct roster){.seed = roster->seed};
}

static uint64_t name_hash(const struct roster *roster, struct bytes name)
{
    return hash_bytes(name, roster->seed);
}

/* Its upper bits: the lower ones say where the cell stands. */
static uint32_t tag_of(uint64_t hash)
{
    return (uint32_t)(hash >> 46);
}

static struct bytes name_read(const struct roster *roster, uint32_t at)
{
    check(at + NAME_HEAD < roster->names_used);
    return bytes_of(roster->names + at + NAME_HEAD, roster->names[at]);
}

struct bytes roster_name(const struct roster *roster, uint32_t slot)
{
    check(slot < roster->slots);
    uint32_t at = roster->name_at[slot];
    return at == ROSTER_NONE ? BYTES_NONE : name_read(roster, at);
}

/* The cell of `name` and its slot, or the free cell where it would go and ROSTER_NONE. */
static struct roster_cell *roster_probe(const struct roster *roster, struct bytes name,
                                        uint64_t hash, uint32_t *slot)
{
    uint32_t mask = roster->cells_count - 1;
    for (uint32_t i = (uint32_t)hash & mask;; i = (i + 1) & mask) {
        struct roster_cell *cell = &roster->cells[i];
        if (cell->at_plus_one != 0) {
            if (cell->tag != tag_of(hash)) continue;
            if (!bytes_equal(name_read(roster, cell->at_plus_one - 1u), name)) continue;
            *slot = cell->slot;
            return cell;
        }
        *slot = ROSTER_NONE;
        return cell;
    }
}

static void cells_insert(struct roster *roster, uint32_t slot, uint64_t hash)
{
    uint32_t mask = roster->cells_count - 1, i = (uint32_t)hash & mask;
    while (roster->cells[i].at_plus_one != 0) i = (i + 1) & mask;
    roster->cells[i] = (struct roster_cell){
        .at_plus_one = roster->name_at[slot] + 1u, .slot = slot, .tag = tag_of(hash)};
}

/* A new table of those who are there. */
static void cells_make(struct roster *roster, uint32_t count)
{
    mem_free(roster->cells);
    roster->cells_count = count;
    roster->cells = mem_alloc(count * sizeof *roster->cells);
    for (uint32_t slot = 0; slot < roster->slots; slot++) {
        struct bytes name = roster_name(roster, slot);
        if (name.size > 0) cells_insert(roster, slot, name_hash(roster, name));
    }
}

/* Room for one more cell at three quarters full. */
static void cells_grow(struct roster *roster)
{
    if (roster->cells_count == 0) {
        if (roster->slots >= ROSTER_FEW) cells_make(roster, CELLS_FIRST);
        return;
    }
    uint64_t members = roster->slots - roster->holes;
    if ((members + 1) * 4 <= (uint64_t)roster->cells_count * 3) return;
    cells_make(roster, roster->cells_count * 2);
}

uint32_t roster_find(const struct roster *roster, struct bytes name)
{
    uint32_t slot = ROSTER_NONE;
    if (roster->cells_count > 0) {
        roster_probe(roster, name, name_hash(roster, name), &slot);
        return slot;
    }
    for (slot = 0; slot < roster->slots; slot++)
        if (name.size > 0 && bytes_equal(roster_name(roster, slot), name)) return slot;
    return ROSTER_NONE;
}

uint32_t roster_add(struct roster *roster, struct bytes name)
{
    check(name.size > 0 && name.size <= UINT8_MAX);
    cells_grow(roster);
    if (roster->slots == roster->slots_max) {
        roster->slots_max =
            roster->slots_max == 0 ? SLOTS_FIRST : roster->slots_max + roster->slots_max / 2;
        roster->name_at = mem_resize(roster->name_at, roster->slots_max * sizeof(uint32_t));
    }
    uint32_t size = (uint32_t)name.size + NAME_HEAD;
    check(roster->names_used < NAMES_MOST && roster->slots < SLOTS_MOST);
    while (roster->names_size - roster->names_used < size) {
        roster->names_size =
            roster->names_size == 0 ? NAMES_FIRST : roster->names_size + roster->names_size / 2;
        roster->names = mem_resize(roster->names, roster->names_size);
    }

    uint32_t slot = roster->slots++, at = roster->names_used;
    roster->names[at] = (uint8_t)name.size;
    memcpy(roster->names + at + NAME_HEAD, name.at, name.size);
    roster->names_used += size;
    roster->name_at[slot] = at;
    if (roster->cells_count > 0) cells_insert(roster, slot, name_hash(roster, name));
    return slot;
}

void roster_remove(struct roster *roster, uint32_t slot)
{
    struct bytes name = roster_name(roster, slot);
    check(name.size > 0);
    roster->name_at[slot] = ROSTER_NONE;
    roster->holes++;
    if (roster->cells_count == 0) return;
    uint32_t found;
    struct roster_cell *cell = roster_probe(roster, name, name_hash(roster, name), &found);
    check(found == slot);

    /* Move back what may sit nearer to its home, as core/map.c does. */
    uint32_t mask = roster->cells_count - 1, gap = (uint32_t)(cell - roster->cells);
    for (uint32_t i = (gap + 1) & mask; roster->cells[i].at_plus_one != 0; i = (i + 1) & mask) {
        uint32_t home =
            (uint32_t)name_hash(roster, roster_name(roster, roster->cells[i].slot)) & mask;
        if (((i - home) & mask) < ((i - gap) & mask)) continue;
        roster->cells[gap] = roster->cells[i];
        gap = i;
    }
    roster->cells[gap] = (struct roster_cell){0};
}

void roster_compact(struct roster *roster)
{
    struct roster old = *roster;
    uint32_t members = old.slots - old.holes;
    roster_init(roster, old.seed);
    for (uint32_t slot = 0; slot < old.slots; slot++) {
        struct bytes name = roster_name(&old, slot);
        if (name.size > 0) roster_add(roster, name);
    }
    check(roster->slots == members);
    roster_fini(&old);
}

size_t roster_bytes(const struct roster *roster)
{
    return roster->slots_max * sizeof *roster->name_at + roster->names_size +
           roster->cells_count * sizeof *roster->cells;
}

void roster_verify(const struct roster *roster)
{
    check(roster->slots <= roster->slots_max);
    check(roster->names_used <= roster->names_size);
    uint32_t holes = 0, cells = 0;
    for (uint32_t slot = 0; slot < roster->slots; slot++) {
        struct bytes name = roster_name(roster, slot);
        holes += name.size == 0;
        if (name.size > 0) check(roster_find(roster, name) == slot);
    }
    check(holes == roster->holes);
    for (uint32_t i = 0; i < roster->cells_count; i++) cells += roster->cells[i].at_plus_one != 0;
    check(roster->cells_count == 0 || cells == roster->slots - holes);
    check(roster->cells_count > 0 || roster->slots <= ROSTER_FEW);
}
