/* The rule of the last entry decides, as it does when entries are applied. */
#include "storage/embed/floors.h"

#include "core/check.h"
#include "core/mem.h"
#include "storage/embed/entry.h"

struct floor_item {
    uint64_t head, removed;
    uint32_t history_size;
    uint32_t name_size;
    uint8_t name[];
};

void floors_init(struct floors *floors)
{
    map_init(&floors->map, 0);
}

void floors_fini(struct floors *floors)
{
    uint32_t at = 0;
    for (struct floor_item *item; (item = map_next(&floors->map, &at)) != NULL;) mem_free(item);
    map_fini(&floors->map);
}

static struct floor_item *floors_item(struct floors *floors, struct bytes name)
{
    struct floor_item *item = map_find(&floors->map, name);
    if (item != NULL) return item;
    item = mem_alloc(sizeof *item + name.size);
    item->name_size = (uint32_t)name.size;
    if (name.size > 0) memcpy(item->name, name.at, name.size);
    map_put(&floors->map, bytes_of(item->name, name.size), item);
    return item;
}

enum err floors_note(struct floors *floors, struct bytes payload)
{
    struct reader reader = reader_of(payload);
    while (reader.left > 0) {
        struct entry entry;
        TRY(entry_read(&reader, &entry));
        struct floor_item *item = floors_item(floors, entry.name);
        item->history_size = entry.history_size;
        if (entry.type == RECORD_PUBLICATION) item->head = max_u64(item->head, entry.offset);
        if (entry.type == RECORD_REMOVE) item->removed = max_u64(item->removed, entry.offset);
    }
    return ERR_OK;
}

uint64_t floors_find(const struct floors *floors, struct bytes name)
{
    const struct floor_item *item = map_find(&floors->map, name);
    if (item == NULL) return 0;
    uint64_t by_size = item->head > item->history_size ? item->head - item->history_size : 0;
    return max_u64(by_size, item->removed);
}
