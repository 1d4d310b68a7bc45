/* The bytes of a publication; the layout stands in record.h. */
#include "storage/record.h"

#include "core/check.h"

#define PUBLICATION_VERSION     1
#define PUBLICATION_HAS_INFO    1
#define PUBLICATION_IS_OPAQUE   2
#define PUBLICATION_HAS_VERSION 4
#define PUBLICATION_HAS_CHAN    8 /* an info with a chan_info: few have one */
#define PUBLICATION_DELETES     16
#define PUBLICATION_IS_DELETED  32
#define PUBLICATION_FLAGS       63 /* all of them */
#define PUBLICATION_FIXED       (1 + 1 + 8 + 8)

void publication_bury(struct publication *publication)
{
    *publication = (struct publication){.offset = publication->offset,
                                        .time_ms = publication->time_ms,
                                        .taken_ms = publication->taken_ms,
                                        .data = BYTES_LITERAL(DELETED_DATA),
                                        .tags = BYTES_LITERAL(DELETED_TAGS),
                                        .is_deleted = true};
}

size_t publication_size(const struct publication *publication)
{
    check(publication != NULL);
    if (publication->is_deleted) return PUBLICATION_FIXED + 4 + 4;
    size_t size = PUBLICATION_FIXED + 4 + publication->data.size + 4 + publication->tags.size;
    if (publication->has_info) {
        size += sizeof publication->client + 4 + publication->user.size + 4 +
                publication->conn_info.size;
        if (publication->chan_info.size > 0) size += 4 + publication->chan_info.size;
    }
    if (publication->version > 0) size += 8 + 4 + publication->version_epoch.size;
    if (publication->deletes > 0) size += 8;
    return size;
}

/* Of one that was deleted: nothing of it but its place. */
static void deleted_write(struct writer *writer, const struct publication *publication)
{
    write_u8(writer, PUBLICATION_VERSION);
    write_u8(writer, PUBLICATION_IS_DELETED);
    write_u64(writer, publication->offset);
    write_u64(writer, publication->time_ms);
    write_sized(writer, BYTES_NONE);
    write_sized(writer, BYTES_NONE);
}

void publication_write(struct writer *writer, const struct publication *publication)
{
    size_t used = writer->used;
    if (publication->is_deleted) {
        deleted_write(writer, publication);
        return;
    }
    write_u8(writer, PUBLICATION_VERSION);
    bool has_chan = publication->has_info && publication->chan_info.size > 0;
    write_u8(writer, (publication->has_info ? PUBLICATION_HAS_INFO : 0) |
                         (publication->is_opaque ? PUBLICATION_IS_OPAQUE : 0) |
                         (publication->version > 0 ? PUBLICATION_HAS_VERSION : 0) |
                         (has_chan ? PUBLICATION_HAS_CHAN : 0) |
                         (publication->deletes > 0 ? PUBLICATION_DELETES : 0));
    write_u64(writer, publication->offset);
    write_u64(writer, publication->time_ms);
    write_sized(writer, publication->data);
    write_sized(writer, publication->tags);
    if (publication->has_info) {
        write_bytes(writer, bytes_of(publication->client, sizeof publication->client));
        write_sized(writer, publication->user);
        write_sized(writer, publication->conn_info);
        if (has_chan) write_sized(writer, publication->chan_info);
    }
    if (publication->version > 0) {
        write_u64(writer, publication->version);
        write_sized(writer, publication->version_epoch);
    }
    if (publication->deletes > 0) write_u64(writer, publication->deletes);
    if (!writer->failed) check(writer->used - used == publication_size(publication));
}

enum err publication_read(struct reader *reader, struct publication *publication)
{
    *publication = (struct publication){0};
    uint8_t version = read_u8(reader);
    uint8_t flags = read_u8(reader);
    /* A flag that this version does not know changes what follows. */
    if (reader->failed || version != PUBLICATION_VERSION || (flags & ~PUBLICATION_FLAGS) != 0) {
        return ERR_STORE_CORRUPT;
    }
    bool has_info = flags & PUBLICATION_HAS_INFO, has_chan = flags & PUBLICATION_HAS_CHAN;
    if (has_chan && !has_info) return ERR_STORE_CORRUPT;
    bool is_deleted = (flags & PUBLICATION_IS_DELETED) != 0;
    if (is_deleted && flags != PUBLICATION_IS_DELETED) return ERR_STORE_CORRUPT;
    publication->is_opaque = (flags & PUBLICATION_IS_OPAQUE) != 0;
    publication->offset = read_u64(reader);
    publication->time_ms = publication->taken_ms = read_u64(reader);
    publication->data = read_sized(reader);
    publication->tags = read_sized(reader);
    if (is_deleted) {
        bool is_empty = publication->data.size == 0 && publication->tags.size == 0;
        if (reader->failed || !is_empty) return ERR_STORE_CORRUPT;
        publication_bury(publication);
        return ERR_OK;
    }
    if (has_info) {
        struct bytes client = read_bytes(reader, sizeof publication->client);
        publication->has_info = true;
        if (client.size > 0) memcpy(publication->client, client.at, client.size);
        publication->user = read_sized(reader);
        publication->conn_info = read_sized(reader);
        if (has_chan) publication->chan_info = read_sized(reader);
        /* A flag without what it announces is nothing that was written. */
        if (has_chan && publication->chan_info.size == 0) return ERR_STORE_CORRUPT;
    }
    if ((flags & PUBLICATION_HAS_VERSION) != 0) {
        publication->version = read_u64(reader);
        publication->version_epoch = read_sized(reader);
        if (publication->version == 0) return ERR_STORE_CORRUPT;
    }
    if ((flags & PUBLICATION_DELETES) != 0) {
        publication->deletes = read_u64(reader);
        bool is_earlier = publication->deletes > 0 && publication->deletes <= publication->offset;
        if (!is_earlier) return ERR_STORE_CORRUPT;
    }
    return reader->failed ? ERR_STORE_CORRUPT : ERR_OK;
}
