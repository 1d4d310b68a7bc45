/* The layout stands in chunk.h. */
#include "storage/embed/chunk.h"

#include "core/check.h"

#define CHUNK_HEAD 2
#define ITEM_HEAD  (4 + 4 + 2 + 4)

static size_t item_size(const struct chunk_item *item)
{
    return ITEM_HEAD + item->scope.size + item->bytes.size;
}

void chunk_clear(struct chunk *chunk)
{
    chunk->count = 0;
    chunk->size = CHUNK_HEAD;
}

bool chunk_takes(const struct chunk *chunk, const struct chunk_item *item, size_t size_max)
{
    if (chunk->count == 0) return true;
    if (chunk->count == CHUNK_ITEMS_MAX) return false;
    if (chunk->size + item_size(item) > size_max) return false;
    const struct chunk_item *first = &chunk->items[0], *last = chunk_last(chunk);
    if (item->offset < last->offset || item->time_ms < last->time_ms) return false;
    return item->offset - first->offset <= UINT32_MAX &&
           item->time_ms - first->time_ms <= UINT32_MAX;
}

void chunk_add(struct chunk *chunk, const struct chunk_item *item)
{
    check(chunk->count < CHUNK_ITEMS_MAX && item->scope.size <= UINT16_MAX);
    if (chunk->count == 0) chunk->size = CHUNK_HEAD;
    chunk->items[chunk->count++] = *item;
    chunk->size += item_size(item);
}

void chunk_write(const struct chunk *chunk, struct writer *writer)
{
    size_t used = writer->used;
    check(chunk->count >= 2);
    const struct chunk_item *last = chunk_last(chunk);
    write_u8(writer, CHUNK_VERSION);
    write_u8(writer, (uint8_t)chunk->count);
    for (uint32_t i = 0; i < chunk->count; i++) {
        const struct chunk_item *item = &chunk->items[i];
        write_u32(writer, (uint32_t)(last->offset - item->offset));
        write_u32(writer, (uint32_t)(last->time_ms - item->time_ms));
        write_u16(writer, (uint16_t)item->scope.size);
        write_bytes(writer, item->scope);
        write_u32(writer, (uint32_t)item->bytes.size);
        write_bytes(writer, item->bytes);
    }
    if (!writer->failed) check(writer->used - used == chunk->size);
}

enum err chunk_read(struct bytes bytes, uint64_t offset, uint64_t time_ms, struct chunk *chunk)
{
    struct reader reader = reader_of(bytes);
    uint8_t version = read_u8(&reader), count = read_u8(&reader);
    chunk_clear(chunk);
    if (reader.failed || version != CHUNK_VERSION || count < 2 || count > CHUNK_ITEMS_MAX) {
        return ERR_STORE_CORRUPT;
    }
    uint32_t offset_before = UINT32_MAX, time_before = UINT32_MAX;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t offset_back = read_u32(&reader), time_back = read_u32(&reader);
        struct chunk_item item = {.offset = offset - offset_back, .time_ms = time_ms - time_back};
        item.scope = read_bytes(&reader, read_u16(&reader));
        item.bytes = read_sized(&reader);
        /* They ascend, and none lies before the beginning of all. */
        if (reader.failed || offset_back > offset || time_back > time_ms) return ERR_STORE_CORRUPT;
        if (offset_back > offset_before || time_back > time_before) return ERR_STORE_CORRUPT;
        offset_before = offset_back;
        time_before = time_back;
        chunk_add(chunk, &item);
    }
    bool is_ended = reader.left == 0 && offset_before == 0 && time_before == 0;
    return is_ended ? ERR_OK : ERR_STORE_CORRUPT;
}
