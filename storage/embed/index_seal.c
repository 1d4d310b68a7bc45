/* Rows of seals, and what was sealed with an older key, or not at all, sealed anew. */
#include "core/check.h"
#include "core/log.h"
#include "core/mem.h"
#include "storage/embed/index_private.h"
#include "storage/embed/seals.h"

/* meta: the key under which everything is known to be sealed. */
#define META_SEALED "sealed"

enum err index_seals_each(struct index *index,
                          enum err (*each)(void *context, uint64_t generation, struct bytes salt,
                                           struct bytes key),
                          void *context)
{
    enum err err;
    sqlite3_stmt *rows = index->statements[STATEMENT_SEALS];
    while (sql_row(rows, &err)) {
        err = each(context, sql_u64(rows, 0), sql_bytes(rows, 1), sql_bytes(rows, 2));
        if (err != ERR_OK) break;
    }
    sqlite3_reset(rows);
    return err;
}

enum err index_seal_put(struct index *index, uint64_t generation, struct bytes salt,
                        struct bytes key)
{
    sqlite3_stmt *put = index->statements[STATEMENT_SEAL_PUT];
    sql_bind(put, 1, generation);
    sql_bind_bytes(put, 2, salt);
    sql_bind_bytes(put, 3, key);
    TRY(index_format_put(index, INDEX_FORMAT_SEALED));
    return sql_do(put);
}

enum err index_seals_keep(struct index *index, struct bytes key)
{
    sqlite3_stmt *keep = index->statements[STATEMENT_SEALS_KEEP];
    sql_bind_bytes(keep, 1, key);
    return sql_do(keep);
}

enum err reseal_init(struct reseal *reseal, const struct seals *seals, struct index *index)
{
    char sealed[SEAL_ID] = "";
    *reseal = (struct reseal){.seals = seals};
    if (seals->generation == 0) return ERR_OK;
    TRY(index_meta_get(index, META_SEALED, sealed, sizeof sealed));
    reseal->is_needed = memcmp(sealed, seals->keyring.keys[0].id, SEAL_ID) != 0;
    if (!reseal->is_needed) return ERR_OK;
    seals_sealer(seals, SEAL_SHARD_INDEX, &reseal->sealer);
    opener_init(&reseal->opener, seals_find, (void *)(uintptr_t)seals);
    /* What stood there is overwritten, and not only let go of. */
    return sql_run(index->db, "PRAGMA secure_delete=ON");
}

void reseal_fini(struct reseal *reseal)
{
    sealer_fini(&reseal->sealer);
    opener_fini(&reseal->opener);
    reseal->is_needed = false;
}

/* The bytes of one publication, sealed with the key of this boot, in memory of the caller;
 * `*sealed` stays as it is when they are that already, or damaged. */
static enum err item_reseal(struct reseal *reseal, struct bytes channel, struct bytes body,
                            uint8_t **sealed, size_t *size)
{
    struct publication publication;
    struct seal_head head = {0};
    if (seals_is_current(reseal->seals, body)) return ERR_OK;
    if (seal_is_on(body)) TRY(seal_head_read(body, &head));
    uint8_t *room = mem_alloc(body.size);
    enum err err = publication_open(&reseal->opener, channel, body, room, &publication);
    if (err == ERR_OK) {
        *size = sealed_size(&reseal->sealer, &publication, head.key);
        *sealed = mem_alloc(*size);
        struct writer writer = writer_of(*sealed, *size);
        sealed_write(&reseal->sealer, &writer, &publication, channel, head.key);
        check(!writer.failed && writer.used == *size);
        reseal->records++;
    }
    mem_free(room);
    return err;
}

static enum err row_put(struct index *index, const struct reseal *reseal, struct bytes body)
{
    sqlite3_stmt *put =
        index->statements[reseal->has_body ? STATEMENT_RESEAL_BODY_PUT : STATEMENT_RESEAL_PUT];
    sql_bind(put, 1, reseal->channel);
    sql_bind(put, 2, reseal->offset);
    sql_bind_bytes(put, 3, body);
    return sql_do(put);
}

static enum err chunk_put(struct index *index, const struct reseal *reseal,
                          const struct chunk *items)
{
    struct chunk *chunk = mem_alloc(sizeof *chunk);
    for (uint32_t i = 0; i < items->count; i++) chunk_add(chunk, &items->items[i]);
    uint8_t *bytes = mem_alloc(chunk->size);
    struct writer writer = writer_of(bytes, chunk->size);
    chunk_write(chunk, &writer);
    enum err err = row_put(index, reseal, writer_bytes(&writer));
    mem_free(bytes);
    mem_free(chunk);
    return err;
}

static void reseal_warn(uint64_t offset)
{
    log_warn("publication is damaged and cannot be sealed anew offset=%llu",
             (unsigned long long)offset);
}

/* What is damaged stays as it is: reads of it say so, as they did before. */
static enum err row_reseal(struct index *index, struct reseal *reseal, struct bytes channel,
                           struct chunk *items, bool is_chunk)
{
    uint8_t *sealed[CHUNK_ITEMS_MAX] = {NULL};
    uint64_t records = reseal->records;
    enum err err = ERR_OK;
    for (uint32_t i = 0; i < items->count && err == ERR_OK; i++) {
        struct chunk_item *item = &items->items[i];
        size_t size = 0;
        err = item_reseal(reseal, channel, item->bytes, &sealed[i], &size);
        if (sealed[i] != NULL) item->bytes = bytes_of(sealed[i], size);
        if (err != ERR_STORE_CORRUPT) continue;
        reseal_warn(item->offset);
        err = ERR_OK;
    }
    if (err == ERR_OK && reseal->records > records)
        err = is_chunk ? chunk_put(index, reseal, items)
                       : row_put(index, reseal, items->items[0].bytes);
    for (uint32_t i = 0; i < items->count; i++) mem_free(sealed[i]);
    return err;
}

/* Everything is sealed with the key of this boot. */
static enum err reseal_end(struct index *index, struct reseal *reseal)
{
    const char *id = reseal->seals->keyring.keys[0].id;
    TRY(index_seals_keep(index, bytes_of_text(id)));
    TRY(index_meta_put(index, META_SEALED, id, SEAL_ID));
    reseal->is_needed = false;
    return ERR_OK;
}

static enum err reseal_row(struct index *index, struct reseal *reseal, sqlite3_stmt *row,
                           uint32_t *items_count)
{
    struct chunk *items = &index->publications;
    struct chunk_item alone = {.offset = reseal->offset, .bytes = sql_bytes(row, 2)};
    bool is_chunk = chunk_is_on(alone.bytes);
    chunk_clear(items);
    *items_count = 1;
    if (!is_chunk) {
        chunk_add(items, &alone);
    } else if (chunk_read(alone.bytes, alone.offset, sql_u64(row, 4), items) != ERR_OK) {
        reseal_warn(alone.offset);
        return ERR_OK;
    }
    *items_count = items->count;
    return row_reseal(index, reseal, sql_bytes(row, 3), items, is_chunk);
}

static enum err reseal_slice(struct index *index, struct reseal *reseal, uint32_t items_max)
{
    enum err err = ERR_OK;
    sqlite3_stmt *next = index->statements[STATEMENT_RESEAL_NEXT];
    for (uint32_t i = 0, count; i < items_max; i += count) {
        sql_bind(next, 1, reseal->channel);
        sql_bind(next, 2, reseal->offset);
        if (!sql_row(next, &err)) return err == ERR_OK ? reseal_end(index, reseal) : err;
        reseal->channel = sql_u64(next, 0);
        reseal->offset = sql_u64(next, 1);
        reseal->has_body = sql_u64(next, 5) != 0;
        err = reseal_row(index, reseal, next, &count);
        sqlite3_reset(next);
        TRY(err);
    }
    return ERR_OK;
}

enum err index_reseal(struct index *index, struct reseal *reseal, uint32_t items_max)
{
    uint64_t channel = reseal->channel, offset = reseal->offset;
    check(reseal->is_needed && items_max > 0);
    TRY(sql_do(index->statements[STATEMENT_BEGIN]));
    enum err err = reseal_slice(index, reseal, items_max);
    if (err == ERR_OK) err = sql_do(index->statements[STATEMENT_COMMIT]);
    if (err != ERR_OK && sqlite3_get_autocommit(index->db) == 0) {
        enum err undo = sql_do(index->statements[STATEMENT_ROLLBACK]);
        if (undo != ERR_OK) err = undo;
    }
    if (err != ERR_OK) {
        reseal->channel = channel;
        reseal->offset = offset;
        reseal->is_needed = true;
        return err;
    }
    if (reseal->is_needed) return ERR_OK;
    log_info("everything stored is sealed with storage.key; previous keys are not needed any more "
             "sealed_anew=%llu",
             (unsigned long long)reseal->records);
    return sql_run(index->db, "PRAGMA secure_delete=OFF");
}
