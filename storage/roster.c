/*
 * roster: linear probing over 8-byte cells, as core/map.c does over pointers.
 *
 * core/map.h would cost 40 bytes a cell and a heap block per member: 1.1 MB for
 * 10,000 members with names of 13 bytes against 0.36 MB here.
 */
#include "storage/roster.h"

#include "core/check.h"
#include "core/hash.h"
#include "core/mem.h"

#define CELLS_FIRST 16
#define SLOTS_FIRST 2
#define NAMES_FIRST 48
#define NAME_HEAD   (sizeof(uint32_t) + 1) /* slot and size */

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

static uint32_t name_hash(const struct roster *roster, struct bytes name)
{
    return (uint32_t)hash_bytes(name, roster->seed);
}

/* The name that stands at `at`, and whose it is. */
static struct bytes name_read(const struct roster *roster, uint32_t at, uint32_t *slot)
{
    check(at + NAME_HEAD < roster->names_used);
    memcpy(slot, roster->names + at, sizeof *slot);
    return bytes_of(roster->names + at + NAME_HEAD, roster->names[at + sizeof *slot]);
}

struct bytes roster_name(const struct roster *roster, uint32_t slot)
{
    check(slot < roster->slots);
    uint32_t at = roster->name_at[slot], whose;
    if (at == ROSTER_NONE) return BYTES_NONE;
    struct bytes name = name_read(roster, at, &whose);
    check(whose == slot);
    return name;
}

/* The cell of `name` and its slot, or the free cell where it would go and ROSTER_NONE. */
static struct roster_cell *roster_probe(const struct roster *roster, struct bytes name,
                                        uint32_t hash, uint32_t *slot)
{
    uint32_t mask = roster->cells_count - 1;
    for (uint32_t i = hash & mask;; i = (i + 1) & mask) {
        struct roster_cell *cell = &roster->cells[i];
        if (cell->at_plus_one != 0) {
            if (cell->hash != hash) continue;
            if (!bytes_equal(name_read(roster, cell->at_plus_one - 1, slot), name)) continue;
            return cell;
        }
        *slot = ROSTER_NONE;
        return cell;
    }
}

static void cells_insert(struct roster *roster, struct roster_cell cell)
{
    uint32_t mask = roster->cells_count - 1, i = cell.hash & mask;
    while (roster->cells[i].at_plus_one != 0) i = (i + 1) & mask;
    roster->cells[i] = cell;
}

/* A first table of those who are there. */
static void cells_begin(struct roster *roster)
{
    roster->cells_count = CELLS_FIRST;
    roster->cells = mem_alloc(CELLS_FIRST * sizeof *roster->cells);
    for (uint32_t slot = 0; slot < roster->slots; slot++) {
        struct bytes name = roster_name(roster, slot);
        if (name.size == 0) continue;
        cells_insert(roster,
                     (struct roster_cell){name_hash(roster, name), roster->name_at[slot] + 1});
    }
}

/* Room for one more cell at three quarters full. */
static void cells_grow(struct roster *roster)
{
    if (roster->cells_count == 0) {
        if (roster->slots >= ROSTER_FEW) cells_begin(roster);
        return;
    }
    uint64_t members = roster->slots - roster->holes;
    if ((members + 1) * 4 <= (uint64_t)roster->cells_count * 3) return;
    struct roster_cell *old = roster->cells;
    uint32_t old_count = roster->cells_count;
    roster->cells_count = old_count * 2;
    roster->cells = mem_alloc(roster->cells_count * sizeof *roster->cells);
    for (uint32_t i = 0; i < old_count; i++)
        if (old[i].at_plus_one != 0) cells_insert(roster, old[i]);
    mem_free(old);
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
    check(roster->names_used <= UINT32_MAX / 2); /* two lists of MEMBERS_MAX names fit 70 MB */
    while (roster->names_size - roster->names_used < size) {
        roster->names_size =
            roster->names_size == 0 ? NAMES_FIRST : roster->names_size + roster->names_size / 2;
        roster->names = mem_resize(roster->names, roster->names_size);
    }

    uint32_t slot = roster->slots++, at = roster->names_used;
    memcpy(roster->names + at, &slot, sizeof slot);
    roster->names[at + sizeof slot] = (uint8_t)name.size;
    memcpy(roster->names + at + NAME_HEAD, name.at, name.size);
    roster->names_used += size;
    roster->name_at[slot] = at;
    if (roster->cells_count > 0)
        cells_insert(roster, (struct roster_cell){name_hash(roster, name), at + 1});
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
        uint32_t home = roster->cells[i].hash & mask;
        if (((i - home) & mask) < ((i - gap) & mask)) continue;
        roster->cells[gap] = roster->cells[i];
        gap = i;
    }
    roster->cells[gap] = (struct roster_cell){0, 0};
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
