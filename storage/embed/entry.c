/* The layout stands in entry.h. */
#include "storage/embed/entry.h"

#include "core/check.h"

#define ENTRY_FIXED (1 + 1 + 1 + 1 + 2 + 2 + 8 + 4 + 8 + 8 + 8)

size_t entry_size(const struct entry *entry, size_t body_size)
{
    return 4 + ENTRY_FIXED + entry->name.size + entry->epoch.size + entry->scope.size +
           entry->key.size + body_size;
}

void entry_write(struct writer *writer, const struct entry *entry, size_t body_size)
{
    check(entry->name.size <= UINT8_MAX && entry->epoch.size <= UINT8_MAX);
    check(entry->scope.size <= UINT16_MAX && entry->key.size <= UINT16_MAX);
    write_u32(writer, (uint32_t)(entry_size(entry, body_size) - 4));
    write_u8(writer, (uint8_t)entry->type);
    write_u8(writer, 0);
    write_u8(writer, (uint8_t)entry->name.size);
    write_bytes(writer, entry->name);
    write_u8(writer, (uint8_t)entry->epoch.size);
    write_bytes(writer, entry->epoch);
    write_u16(writer, (uint16_t)entry->scope.size);
    write_bytes(writer, entry->scope);
    write_u16(writer, (uint16_t)entry->key.size);
    write_bytes(writer, entry->key);
    write_u64(writer, entry->time_ms);
    write_u32(writer, entry->history_size);
    write_u64(writer, entry->history_ttl_ms);
    write_u64(writer, entry->meta_ttl_ms);
    write_u64(writer, entry->offset);
}

enum err entry_read(struct reader *reader, struct entry *entry)
{
    *entry = (struct entry){0};
    struct reader own = reader_of(read_sized(reader));
    if (reader->failed) return ERR_STORE_CORRUPT;
    uint8_t type = read_u8(&own);
    uint8_t zero = read_u8(&own);
    entry->type = (enum record_type)type;
    entry->name = read_bytes(&own, read_u8(&own));
    entry->epoch = read_bytes(&own, read_u8(&own));
    entry->scope = read_bytes(&own, read_u16(&own));
    entry->key = read_bytes(&own, read_u16(&own));
    entry->time_ms = read_u64(&own);
    entry->history_size = read_u32(&own);
    entry->history_ttl_ms = read_u64(&own);
    entry->meta_ttl_ms = read_u64(&own);
    entry->offset = read_u64(&own);
    entry->body = bytes_of(own.at, own.left);
    bool is_known = type >= RECORD_PUBLICATION && type <= RECORD_KEY && zero == 0;
    return own.failed || !is_known ? ERR_STORE_CORRUPT : ERR_OK;
}

bool entry_user(struct reader *body, struct bytes *user)
{
    if (body->left == 0) return false;
    *user = read_sized(body);
    return !body->failed;
}
