/*
 * A message that was deleted: its row keeps its place, and what it said is written over.
 *
 * The row is found by the offset of its last item, for it may hold several (chunk.h).
 * What stands in the place is not sealed, because there is nothing to hide; what it said is
 * still in the log until its file is used again, and in unused pages of the database.
 */
#include "core/check.h"
#include "core/mem.h"
#include "storage/embed/index_private.h"

/* Version, flags and offset stand before the time, sealed or not (storage/record.h). */
#define RECORD_TIME_AT 10

struct grave_row {
    uint64_t offset, time_ms; /* of its last item */
    bool has_body;            /* in `bodies` */
};

static enum err grave_put(struct index *index, uint64_t channel, const struct grave_row *row,
                          struct bytes body)
{
    sqlite3_stmt *put =
        index->statements[row->has_body ? STATEMENT_RESEAL_BODY_PUT : STATEMENT_RESEAL_PUT];
    sql_bind(put, 1, channel);
    sql_bind(put, 2, row->offset);
    sql_bind_bytes(put, 3, body);
    return sql_do(put);
}

/* What stands in its place; `bytes` has room for it. */
static enum err item_bury(struct chunk_item *item, uint8_t *bytes, size_t room)
{
    struct reader reader = reader_of(item->bytes);
    struct publication publication = {.offset = item->offset};
    (void)read_bytes(&reader, RECORD_TIME_AT);
    publication.time_ms = read_u64(&reader);
    if (reader.failed) return ERR_STORE_CORRUPT;
    publication_bury(&publication);
    struct writer writer = writer_of(bytes, room);
    publication_write(&writer, &publication);
    check(!writer.failed);
    item->bytes = writer_bytes(&writer);
    return ERR_OK;
}

/* `body`: of the row, whose statement is read on while it is rewritten. */
static enum err row_bury(struct index *index, uint64_t channel, const struct grave_row *row,
                         struct bytes body, uint64_t offset)
{
    uint8_t grave[64];
    struct chunk *items = &index->publications;
    struct chunk_item alone = {.offset = row->offset, .time_ms = row->time_ms, .bytes = body};
    chunk_clear(items);
    if (!chunk_is_on(body)) {
        if (row->offset != offset) return ERR_OK; /* it is over */
        TRY(item_bury(&alone, grave, sizeof grave));
        return grave_put(index, channel, row, alone.bytes);
    }
    TRY(chunk_read(body, row->offset, row->time_ms, items));
    struct chunk *chunk = mem_alloc(sizeof *chunk);
    enum err err = ERR_OK;
    bool is_there = false;
    chunk_clear(chunk);
    for (uint32_t i = 0; i < items->count && err == ERR_OK; i++) {
        struct chunk_item item = items->items[i];
        if (item.offset == offset) {
            err = item_bury(&item, grave, sizeof grave);
            is_there = true;
        }
        chunk_add(chunk, &item);
    }
    if (err == ERR_OK && is_there) {
        uint8_t *bytes = mem_alloc(chunk->size);
        struct writer writer = writer_of(bytes, chunk->size);
        chunk_write(chunk, &writer);
        err = grave_put(index, channel, row, writer_bytes(&writer));
        mem_free(bytes);
    }
    mem_free(chunk);
    chunk_clear(items);
    return err;
}

enum err index_bury(struct index *index, uint64_t channel, uint64_t offset)
{
    enum err err;
    sqlite3_stmt *get = index->statements[STATEMENT_ROW_OF];
    check(index->publications.count == 0); /* its chunk is lent */
    sql_bind(get, 1, channel);
    sql_bind(get, 2, offset);
    if (!sql_row(get, &err)) return err;
    struct grave_row row = {sql_u64(get, 0), sql_u64(get, 1), sql_u64(get, 3) != 0};
    err = row_bury(index, channel, &row, sql_bytes(get, 2), offset);
    sqlite3_reset(get);
    return err;
}
