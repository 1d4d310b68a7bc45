/*
 * intern: size classes, and a set over all of them.
 */
#include "core/intern.h"

#include "core/check.h"
#include "core/hash.h"
#include "core/mem.h"

#define CLASS_BITS 4
#define CLASS_LONG (INTERN_CLASSES - 1)
#define USES_MAX   ((1u << 24) - 1)

/* A cell begins so; the bytes follow. */
struct head {
    uint32_t uses : 24, size : 8;
};
struct long_cell {
    struct head head; /* size unused */
    uint32_t size;
    uint8_t *at;
};
static_assert(sizeof(struct head) == 4, "a 12-byte id fits 16 bytes");
static_assert(INTERN_CLASSES <= 1 << CLASS_BITS, "a class is four bits of a name");

static const uint32_t cell_sizes[INTERN_CLASSES] = {
    16, 24, 32, 40, 64, 96, 128, 192, 256, sizeof(struct long_cell),
};

struct key {
    struct bytes text;
};

static uint32_t class_of_size(size_t size)
{
    for (uint32_t class = 0; class < CLASS_LONG; class ++)
        if (size + sizeof(struct head) <= cell_sizes[class]) return class;
    return CLASS_LONG;
}

static struct head *head_of(const struct intern *intern, uint32_t name)
{
    uint32_t class = (name & ((1u << CLASS_BITS) - 1)) - 1;
    check(class < INTERN_CLASSES);
    return cells_at(&intern->classes[class], name >> CLASS_BITS);
}

static bool is_long(uint32_t name)
{
    return (name & ((1u << CLASS_BITS) - 1)) == CLASS_LONG + 1;
}

struct bytes intern_text(const struct intern *intern, uint32_t name)
{
    if (name == 0) return BYTES_NONE;
    const struct head *head = head_of(intern, name);
    check(head->uses > 0);
    if (!is_long(name)) return bytes_of(head + 1, head->size);
    const struct long_cell *cell = (const void *)head;
    return bytes_of(cell->at, cell->size);
}

static uint32_t hash_of(const struct intern *intern, struct bytes text)
{
    return (uint32_t)(hash_bytes(text, intern->seed) >> 32);
}

static uint32_t owner_hash(const void *context, uint32_t name)
{
    const struct intern *intern = context;
    return hash_of(intern, intern_text(intern, name));
}

/* Same content, and room for one more use. */
static bool owner_is_open(const void *context, uint32_t name, const void *key)
{
    const struct intern *intern = context;
    return head_of(intern, name)->uses < USES_MAX &&
           bytes_equal(intern_text(intern, name), ((const struct key *)key)->text);
}

static bool owner_is_name(const void *context, uint32_t name, const void *key)
{
    (void)context;
    return name == *(const uint32_t *)key;
}

void intern_init(struct intern *intern, uint64_t seed)
{
    *intern = (struct intern){.seed = seed};
    for (uint32_t i = 0; i < INTERN_CLASSES; i++) cells_init(&intern->classes[i], cell_sizes[i]);
}

void intern_fini(struct intern *intern)
{
    check(intern->names.count == 0);
    compact_fini(&intern->names);
    for (uint32_t i = 0; i < INTERN_CLASSES; i++) cells_fini(&intern->classes[i]);
}

static uint32_t intern_make(struct intern *intern, struct bytes text)
{
    check(text.size <= UINT32_MAX);
    uint32_t class = class_of_size(text.size);
    uint32_t index = cells_take(&intern->classes[class]);
    struct head *head = cells_at(&intern->classes[class], index);
    head->uses = 1;
    if (class == CLASS_LONG) {
        struct long_cell *cell = (void *)head;
        cell->size = (uint32_t)text.size;
        cell->at = mem_alloc(text.size);
        memcpy(cell->at, text.at, text.size);
    } else {
        head->size = (uint8_t)text.size;
        memcpy(head + 1, text.at, text.size);
    }
    return index << CLASS_BITS | (class + 1);
}

uint32_t intern_take(struct intern *intern, struct bytes text)
{
    if (text.size == 0) return 0;
    struct compact_owner owner = {intern, owner_hash, owner_is_open};
    uint32_t hash = hash_of(intern, text);
    const uint32_t *found = compact_find(&intern->names, &owner, hash, &(struct key){text});
    if (found != NULL) {
        head_of(intern, *found)->uses++;
        return *found;
    }
    uint32_t name = intern_make(intern, text);
    compact_add(&intern->names, &owner, hash, name);
    return name;
}

void intern_give(struct intern *intern, uint32_t name)
{
    if (name == 0) return;
    struct head *head = head_of(intern, name);
    check(head->uses > 0);
    if (head->uses > 1) {
        head->uses--;
        return;
    }
    struct compact_owner owner = {intern, owner_hash, owner_is_name};
    uint32_t *slot = compact_find(&intern->names, &owner, owner_hash(intern, name), &name);
    check(slot != NULL);
    compact_remove(&intern->names, &owner, slot);
    if (is_long(name)) mem_free(((struct long_cell *)(void *)head)->at);
    cells_give(&intern->classes[(name & ((1u << CLASS_BITS) - 1)) - 1], name >> CLASS_BITS);
}

void intern_verify(const struct intern *intern)
{
    uint32_t at = 0, count = 0, cells = 0;
    struct compact_owner owner = {intern, owner_hash, owner_is_name};
    for (uint32_t name; (name = compact_next(&intern->names, &at)) != 0; count++) {
        check(intern_text(intern, name).size > 0);
        check(compact_find(&intern->names, &owner, owner_hash(intern, name), &name) != NULL);
    }
    for (uint32_t i = 0; i < INTERN_CLASSES; i++) cells += intern->classes[i].count;
    check(count == intern->names.count);
    check(count == cells);
}
