/* The layout stands in entry.h. */
#include "storage/embed/entry.h"

#include "core/check.h"
#include "storage/seal.h"

/* The variant of a publication that deletes another one. */
#define ENTRY_DELETES 1

#define ENTRY_FIXED (1 + 1 + 1 + 1 + 2 + 2 + 8 + 4 + 8 + 8 + 8)

size_t entry_size(const struct entry *entry, size_t body_size)
{
    return 4 + ENTRY_FIXED + entry->name.size + entry->epoch.size + entry->scope.size +
           entry->key.size + (entry->deletes > 0 ? 8 : 0) + body_size;
}

void entry_write(struct writer *writer, const struct entry *entry, size_t body_size)
{
    check(entry->name.size <= UINT8_MAX && entry->epoch.size <= UINT8_MAX);
    check(entry->scope.size <= UINT16_MAX && entry->key.size <= UINT16_MAX);
    check(entry->deletes == 0 || (entry->type == RECORD_PUBLICATION && entry->variant == 0));
    write_u32(writer, (uint32_t)(entry_size(entry, body_size) - 4));
    write_u8(writer, (uint8_t)entry->type);
    write_u8(writer, entry->deletes > 0 ? ENTRY_DELETES : entry->variant);
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
    if (entry->deletes > 0) write_u64(writer, entry->deletes);
}

enum err entry_read(struct reader *reader, struct entry *entry)
{
    *entry = (struct entry){0};
    struct reader own = reader_of(read_sized(reader));
    if (reader->failed) return ERR_STORE_CORRUPT;
    uint8_t type = read_u8(&own);
    entry->variant = read_u8(&own);
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
    uint8_t variants = 1;
    if (type == RECORD_PUBLICATION) {
        variants = ENTRY_DELETES + 1;
        if (entry->variant == ENTRY_DELETES) {
            entry->deletes = read_u64(&own);
            own.failed = own.failed || entry->deletes == 0 || entry->deletes >= entry->offset;
            entry->variant = 0;
        }
    }
    entry->body = bytes_of(own.at, own.left);
    if (type == RECORD_MEMBERS) variants = MEMBERS_STATE + 1;
    if (type == RECORD_CURSOR) variants = CURSOR_MARKS;
    bool is_known = type >= RECORD_PUBLICATION && type <= RECORD_KEY && entry->variant < variants;
    return own.failed || !is_known ? ERR_STORE_CORRUPT : ERR_OK;
}

enum err entry_members(const struct entry *entry, struct members_change *change)
{
    check(entry->type == RECORD_MEMBERS);
    if (entry->variant > 0) {
        enum members_kind kind = (enum members_kind)(entry->variant - 1);
        return members_change_read(entry->body, kind, entry->offset, change);
    }
    struct reader body = reader_of(entry->body);
    uint32_t count = read_u32(&body);
    if (body.failed) return ERR_STORE_CORRUPT;
    struct bytes users = bytes_of(body.at, body.left);
    TRY(members_change_read(users, MEMBERS_SET, entry->offset, change));
    if (change->count == count) return ERR_OK;
    members_change_fini(change);
    return ERR_STORE_CORRUPT;
}

/* Who published, without opening what is sealed. */
static struct bytes publication_user(struct bytes body)
{
    struct seal_head head;
    struct publication publication;
    struct reader reader = reader_of(body);
    bool has_info = body.size > 1 && (body.at[1] & 1) != 0; /* a flag of storage/record.h */
    if (!has_info) return BYTES_NONE;                       /* sealed or not; most have none */
    if (seal_is_on(body)) return seal_head_read(body, &head) == ERR_OK ? head.user : BYTES_NONE;
    if (publication_read(&reader, &publication) != ERR_OK) return BYTES_NONE;
    return publication_mover(&publication);
}

struct entry_move entry_move(const struct entry *entry)
{
    struct entry_move move = {.mark = CURSOR_READ, .offset = entry->offset};
    if (entry->type == RECORD_CURSOR) {
        move.user = entry->body;
        move.mark = (enum cursor_mark)entry->variant;
    } else if (entry->type == RECORD_PUBLICATION) {
        move.user = publication_user(entry->body);
    }
    return move;
}
