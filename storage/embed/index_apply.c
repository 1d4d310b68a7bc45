/*
 * Batches into rows.
 *
 * Entries are gathered by channel, channels sorted by their row id, so the B-trees
 * are walked once from left to right: 220,000 rows a second against 60,000 unsorted.
 * What a channel got in one transaction shares rows (chunk.h).
 * A publication that its own batch already pushes out of the history, or removes,
 * is not written at all.  What the batch pushes out of the rows that were there
 * goes with it, unless that would make the transaction long: then only the
 * channel's floor rises, and the sweep follows.
 */
#include "storage/embed/index_private.h"

#include <stdlib.h>

#include "core/check.h"
#include "core/map.h"
#include "core/mem.h"
#include "storage/embed/entry.h"
#include "storage/embed/floors.h"

/* Rows that one channel may lose in a transaction beyond those it gains. */
#define CUT_ROWS_MAX (VERIFY ? 8u : 4096u)
/* A channel's rows go when about a quarter of its history is over, and this many at
 * most: each time costs it a page or two, whatever the number. */
#define CUT_STEP_MAX (VERIFY ? 8u : 256u)

/* What a cell keeps in its own page, and for publications two pages behind it: more
 * would leave a page mostly empty. */
#define KEYS_SIZE_MAX         1900u
#define PUBLICATIONS_SIZE_MAX 18000u
/* Two cells of keys that stand apart from their rows share a page. */
#define KEYS_APART_MAX        4000u

/* Bytes of a large transaction. */
#define LARGE_SIZE (VERIFY ? 1u << 10 : 1u << 20)

#define ITEM_NONE UINT32_MAX

/* One entry, and the next of its channel in the log. */
struct index_item {
    struct entry entry;
    uint32_t next;
};

/* The entries of one channel, in the order of the log. */
struct index_group {
    uint64_t channel, head, time_ms;
    uint64_t floor;    /* of the row: at or below it nothing is kept */
    uint64_t rows_end; /* head of the row: above it there are no rows yet */
    uint32_t first, last, count;
    bool has_deletes; /* some of them delete an earlier publication */
};

static int group_compare(const void *a, const void *b)
{
    const struct index_group *left = a, *right = b;
    return left->channel < right->channel ? -1 : left->channel > right->channel;
}

static void items_reserve(struct index *index, size_t count)
{
    if (count <= index->items_max) return;
    index->items_max = max_u64(1024, count * 2);
    index->items = mem_resize(index->items, index->items_max * sizeof *index->items);
    index->groups = mem_resize(index->groups, index->items_max * sizeof *index->groups);
}

/* Entries of a channel are linked, the group's place found by the name: sorting
 * them by name took a fifth of a start. */
static void item_gather(struct index *index, struct map *names, uint32_t at)
{
    struct index_item *item = &index->items[at];
    uintptr_t number = (uintptr_t)map_find(names, item->entry.name); /* from 1 */
    item->next = ITEM_NONE;
    if (number == 0) {
        number = names->count + 1u;
        map_put(names, item->entry.name, (void *)number);
        index->groups[number - 1] = (struct index_group){.first = at, .last = at, .count = 1};
        return;
    }
    struct index_group *group = &index->groups[number - 1];
    index->items[group->last].next = at;
    group->last = at;
    group->count++;
}

static enum err items_read(struct index *index, struct map *names,
                           const struct index_batch *batches, uint32_t batches_count)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < batches_count; i++) {
        struct reader reader = reader_of(batches[i].payload);
        while (reader.left > 0) {
            items_reserve(index, count + 1u);
            TRY(entry_read(&reader, &index->items[count].entry));
            item_gather(index, names, count++);
        }
    }
    return ERR_OK;
}

static enum err group_find(struct index *index, struct bytes name, struct index_group *group)
{
    enum err err;
    sqlite3_stmt *get = index->statements[STATEMENT_CHANNEL_GET];
    sql_bind_bytes(get, 1, name);
    if (sql_row(get, &err)) {
        group->channel = sql_u64(get, 0);
        group->head = group->rows_end = sql_u64(get, 1);
        group->time_ms = sql_u64(get, 2);
        group->floor = sql_u64(get, 3);
        sqlite3_reset(get);
        return ERR_OK;
    }
    TRY(err);
    sqlite3_stmt *add = index->statements[STATEMENT_CHANNEL_ADD];
    sql_bind_bytes(add, 1, name);
    TRY(sql_do(add));
    group->channel = (uint64_t)sqlite3_last_insert_rowid(index->db);
    group->head = group->rows_end = group->time_ms = group->floor = 0;
    return ERR_OK;
}

static enum err groups_make(struct index *index, const struct index_batch *batches,
                            uint32_t batches_count, uint32_t *groups_count)
{
    struct map names;
    map_init(&names, 0);
    enum err err = items_read(index, &names, batches, batches_count);
    *groups_count = names.count;
    map_fini(&names);
    for (uint32_t i = 0; i < *groups_count && err == ERR_OK; i++) {
        struct index_group *group = &index->groups[i];
        err = group_find(index, index->items[group->first].entry.name, group);
    }
    if (err == ERR_OK && *groups_count > 0) {
        qsort(index->groups, *groups_count, sizeof *index->groups, group_compare);
    }
    return err;
}

/* What `put` binds as the content of a row: bare, or several in one. */
static struct bytes chunk_bytes(struct index *index, const struct chunk *chunk)
{
    if (chunk->count == 1) return chunk->items[0].bytes;
    if (chunk->size > index->scratch_size) {
        index->scratch_size = chunk->size * 2;
        index->scratch = mem_resize(index->scratch, index->scratch_size);
    }
    struct writer writer = writer_of(index->scratch, chunk->size);
    chunk_write(chunk, &writer);
    return writer_bytes(&writer);
}

/* A NULL scope says that the key is a chunk. */
static void chunk_bind_keys(struct index *index, sqlite3_stmt *put, int at,
                            const struct chunk *chunk)
{
    if (chunk->count == 1)
        sql_bind_bytes(put, at, chunk->items[0].scope);
    else
        sqlite3_bind_null(put, at);
    sql_bind_bytes(put, at + 1, chunk_bytes(index, chunk));
}

/* A large transaction brings something for most channels: put where it belongs, each
 * would write a page or two anew, and of keys the pages above them too, for these hold
 * whole rows.  So it goes behind one another into `bodies` or `key_bodies`, and the row
 * has its number at `at`. */
static enum err body_put(struct index *index, enum statement statement, sqlite3_stmt *row, int at,
                         const struct chunk *chunk)
{
    sqlite3_stmt *put = index->statements[statement];
    sql_bind_bytes(put, 1, chunk_bytes(index, chunk));
    TRY(sql_do(put));
    sql_bind(row, at, (uint64_t)sqlite3_last_insert_rowid(index->db));
    return ERR_OK;
}

/* What `put` says of a key or several: a lone one stands in its row. */
static enum err keys_put(struct index *index, sqlite3_stmt *put, const struct chunk *chunk)
{
    if (!index->is_large || chunk->count == 1) {
        chunk_bind_keys(index, put, 4, chunk);
        return ERR_OK;
    }
    sqlite3_bind_null(put, 4);
    return body_put(index, STATEMENT_KEY_BODY_PUT, put, 5, chunk);
}

/* The row of what was gathered, if anything was. */
static enum err chunk_put(struct index *index, uint64_t channel, enum statement statement,
                          struct chunk *chunk)
{
    sqlite3_stmt *put = index->statements[statement];
    if (chunk->count == 0) return ERR_OK;
    sql_bind(put, 1, channel);
    if (statement == STATEMENT_LIVE_KEY_PUT) {
        sql_bind(put, 2, chunk_last(chunk)->time_ms);
        chunk_bind_keys(index, put, 3, chunk);
    } else {
        sql_bind(put, 2, chunk_last(chunk)->offset);
        sql_bind(put, 3, chunk_last(chunk)->time_ms);
        if (statement == STATEMENT_KEY_PUT)
            TRY(keys_put(index, put, chunk));
        else if (index->is_large)
            TRY(body_put(index, STATEMENT_BODY_PUT, put, 4, chunk));
        else
            sql_bind_bytes(put, 4, chunk_bytes(index, chunk));
    }
    chunk_clear(chunk);
    return sql_do(put);
}

static enum err chunk_gather(struct index *index, uint64_t channel, enum statement statement,
                             const struct chunk_item *item)
{
    bool is_publication = statement == STATEMENT_PUBLICATION_PUT;
    struct chunk *chunk = is_publication                        ? &index->publications
                          : statement == STATEMENT_LIVE_KEY_PUT ? &index->live_keys
                                                                : &index->keys;
    size_t size_max = is_publication ? PUBLICATIONS_SIZE_MAX : KEYS_SIZE_MAX;
    if (index->is_large && statement == STATEMENT_KEY_PUT) size_max = KEYS_APART_MAX;
    if (!chunk_takes(chunk, item, size_max)) {
        TRY(chunk_put(index, channel, statement, chunk));
    }
    chunk_add(chunk, item);
    return ERR_OK;
}

static enum err apply_publication(struct index *index, const struct index_group *group,
                                  const struct entry *entry, uint64_t floor)
{
    struct chunk_item item = {.offset = entry->offset, .time_ms = entry->time_ms};
    if (entry->offset <= group->rows_end) return ERR_OK; /* it is there, in whatever row */
    if (entry->key.size > 0) {
        item.scope = entry->scope;
        item.bytes = entry->key;
        TRY(chunk_gather(index, group->channel, STATEMENT_KEY_PUT, &item));
    }
    if (entry->offset <= floor) return ERR_OK;
    item.scope = BYTES_NONE;
    item.bytes = entry->body;
    return chunk_gather(index, group->channel, STATEMENT_PUBLICATION_PUT, &item);
}

static enum err apply_live_key(struct index *index, const struct index_group *group,
                               const struct entry *entry)
{
    struct chunk_item item = {
        .time_ms = entry->time_ms, .scope = entry->scope, .bytes = entry->key};
    if (entry->key.size == 0) return ERR_STORE_CORRUPT;
    return chunk_gather(index, group->channel, STATEMENT_LIVE_KEY_PUT, &item);
}

enum err index_cut(struct index *index, enum statement statement, uint64_t channel, uint64_t first,
                   uint64_t last)
{
    bool is_key = statement == STATEMENT_KEY_CUT;
    enum statement cuts[2] = {is_key ? STATEMENT_KEY_BODY_CUT : STATEMENT_BODY_CUT, statement};
    for (int i = is_key || statement == STATEMENT_PUBLICATION_CUT ? 0 : 1; i < 2; i++) {
        sqlite3_stmt *cut = index->statements[cuts[i]];
        sql_bind(cut, 1, channel);
        sql_bind(cut, 2, first);
        sql_bind(cut, 3, last);
        TRY(sql_do(cut));
    }
    return ERR_OK;
}

/* Rows up to `last_over` are over.  They go in steps: everything up to the last step
 * before the old floor went before, or with the sweep, which takes the rest. */
static enum err group_cut(struct index *index, const struct index_group *group,
                          uint32_t history_size, uint64_t last_over)
{
    uint64_t step = 1;
    while (step * 2 <= min_u32(history_size / 4, CUT_STEP_MAX)) step *= 2;
    uint64_t first = group->floor - group->floor % step, last = last_over - last_over % step;
    if (last_over == group->rows_end) last = last_over; /* nothing is left, or it was removed */
    if (last <= first || last - first > CUT_ROWS_MAX + group->count) return ERR_OK;
    return index_cut(index, STATEMENT_PUBLICATION_CUT, group->channel, first, last);
}

/* The row of the channel, and what its history rule no longer keeps. */
static enum err group_end(struct index *index, const struct index_group *group,
                          const struct entry *last, uint64_t floor)
{
    sqlite3_stmt *put = index->statements[STATEMENT_CHANNEL_PUT];
    sql_bind(put, 1, group->channel);
    sqlite3_bind_text(put, 2, (const char *)last->epoch.at, (int)last->epoch.size, SQLITE_STATIC);
    sql_bind(put, 3, group->head);
    sql_bind(put, 4, group->time_ms);
    sql_bind(put, 5, last->history_size);
    sql_bind(put, 6, last->history_ttl_ms);
    sql_bind(put, 7, last->meta_ttl_ms);
    sql_bind(put, 8, max_u64(group->floor, min_u64(floor, group->head)));
    TRY(sql_do(put));
    return group_cut(index, group, last->history_size, min_u64(floor, group->rows_end));
}

static enum err apply_removal(struct index *index, const struct index_group *group,
                              const struct entry *entry)
{
    sqlite3_stmt *put = index->statements[STATEMENT_REMOVAL_PUT];
    sql_bind(put, 1, group->channel);
    sql_bind(put, 2, entry->offset);
    return sql_do(put);
}

/* Messages that were deleted, when the rows of all are there: of this batch, or before. */
static enum err group_bury(struct index *index, const struct index_group *group, uint64_t floor)
{
    const struct index_item *items = index->items;
    for (uint32_t i = group->first; i != ITEM_NONE; i = items[i].next) {
        uint64_t offset = items[i].entry.deletes;
        if (offset > floor) TRY(index_bury(index, group->channel, offset));
    }
    return ERR_OK;
}

static enum err group_apply(struct index *index, struct index_group *group)
{
    const struct index_item *items = index->items;
    const struct entry *last = &items[group->last].entry;
    uint64_t floor = group->floor;
    for (uint32_t i = group->first; i != ITEM_NONE; i = items[i].next) {
        if (items[i].entry.type == RECORD_REMOVE) floor = max_u64(floor, items[i].entry.offset);
        if (items[i].entry.type != RECORD_PUBLICATION) continue;
        /* A gap would mean that a batch was left out. */
        if (items[i].entry.offset > group->head + 1 && group->head > 0) {
            return ERR_STORE_CORRUPT;
        }
        group->head = max_u64(group->head, items[i].entry.offset);
        if (items[i].entry.deletes > 0) group->has_deletes = true;
    }
    if (group->head > last->history_size) {
        floor = max_u64(floor, group->head - last->history_size);
    }
    if (index->floors != NULL) floor = max_u64(floor, floors_find(index->floors, last->name));
    struct index_people people = {.channel = group->channel, .head = group->head};
    for (uint32_t i = group->first; i != ITEM_NONE; i = items[i].next) {
        const struct entry *entry = &items[i].entry;
        group->time_ms = max_u64(group->time_ms, entry->time_ms);
        if (entry->type == RECORD_PUBLICATION) {
            TRY(apply_publication(index, group, entry, floor));
            TRY(index_move_apply(index, &people, entry));
        } else if (entry->type == RECORD_MEMBERS) {
            TRY(index_members_apply(index, &people, entry));
        } else if (entry->type == RECORD_CURSOR) {
            TRY(index_move_apply(index, &people, entry));
        } else if (entry->type == RECORD_KEY) {
            TRY(apply_live_key(index, group, entry));
        } else if (entry->type == RECORD_REMOVE) {
            TRY(apply_removal(index, group, entry));
        }
    }
    TRY(chunk_put(index, group->channel, STATEMENT_PUBLICATION_PUT, &index->publications));
    TRY(chunk_put(index, group->channel, STATEMENT_KEY_PUT, &index->keys));
    TRY(chunk_put(index, group->channel, STATEMENT_LIVE_KEY_PUT, &index->live_keys));
    if (group->has_deletes) TRY(group_bury(index, group, floor));
    return group_end(index, group, last, floor);
}

static enum err apply_all(struct index *index, uint64_t log, const struct index_batch *batches,
                          uint32_t batches_count)
{
    uint32_t groups_count;
    TRY(groups_make(index, batches, batches_count, &groups_count));
    for (uint32_t i = 0; i < groups_count; i++) TRY(group_apply(index, &index->groups[i]));
    sqlite3_stmt *put = index->statements[STATEMENT_APPLIED_PUT];
    sql_bind(put, 1, log);
    sql_bind(put, 2, batches[batches_count - 1].number);
    return sql_do(put);
}

void index_expect(struct index *index, const struct floors *floors)
{
    index->floors = floors;
}

enum err index_apply(struct index *index, uint64_t log, const struct index_batch *batches,
                     uint32_t batches_count)
{
    check(batches_count > 0 && log > 0);
    size_t size = 0;
    for (uint32_t i = 0; i < batches_count; i++) size += batches[i].payload.size;
    index->is_large = size >= LARGE_SIZE;
    /* A transaction that failed may have left some. */
    chunk_clear(&index->publications);
    chunk_clear(&index->keys);
    chunk_clear(&index->live_keys);
    TRY(sql_do(index->statements[STATEMENT_BEGIN]));
    enum err err = apply_all(index, log, batches, batches_count);
    if (err == ERR_OK) err = sql_do(index->statements[STATEMENT_COMMIT]);
    /* An error may have ended the transaction already. */
    if (err != ERR_OK && sqlite3_get_autocommit(index->db) == 0) {
        enum err undo = sql_do(index->statements[STATEMENT_ROLLBACK]);
        if (undo != ERR_OK) err = undo;
    }
    return err;
}
