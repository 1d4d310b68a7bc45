/* One snapshot, one answer: what a reader job brings home. */
#include "storage/embed/index.h"

#include "core/check.h"
#include "core/hash.h"
#include "core/mem.h"
#include "storage/embed/index_private.h"

#define BLOCK_SIZE (64u << 10)

/* Bytes of an answer, in a chain: views into it stay where they are. */
struct query_block {
    struct query_block *next;
    size_t used, size;
    uint8_t bytes[];
};

enum read_statement {
    READ_BEGIN,
    READ_END,
    READ_APPLIED,
    READ_CHANNEL,
    READ_FORGETS,
    READ_FORWARD,
    READ_REVERSE,
    READ_MEMBERS,
    READ_KEYS,
    READ_LIVE_KEYS,
    READ_MOVE,
    READ_MEMBER,
    READ_MEMBERS_COUNT,
    READ_MEMBERSHIPS,
    READ_POLICY,
    READ_REMOVAL,
    READ_COUNT,
};

static const char *const read_texts[READ_COUNT] = {
    [READ_BEGIN] = "BEGIN",
    [READ_END] = "COMMIT",
    [READ_APPLIED] = "SELECT batch FROM applied WHERE log=?1",
    [READ_CHANNEL] = "SELECT id, head, time_ms, epoch, floor FROM channels WHERE name=?1",
    [READ_FORGETS] = "SELECT count FROM forgets WHERE bucket=?1",
    [READ_FORWARD] =
        "SELECT coalesce(bodies.body, publications.body), time_ms, offset FROM publications "
        "LEFT JOIN bodies ON bodies.id=publications.body WHERE channel=?1 AND offset>?2 AND "
        "time_ms>=?3 ORDER BY offset LIMIT ?4",
    [READ_REVERSE] =
        "SELECT coalesce(bodies.body, publications.body), time_ms, offset FROM publications "
        "LEFT JOIN bodies ON bodies.id=publications.body WHERE channel=?1 AND offset>?2 AND "
        "time_ms>=?3 AND offset<=coalesce((SELECT offset FROM publications WHERE channel=?1 AND "
        "offset>=?5 ORDER BY offset LIMIT 1),?5) ORDER BY offset DESC LIMIT ?4",
    [READ_MEMBERS] = "SELECT user, joined, read, delivered, unread_from, hidden FROM members"
                     " WHERE channel=?1",
    [READ_KEYS] = "SELECT scope, coalesce(key_bodies.body, key), offset, time_ms FROM keys"
                  " LEFT JOIN key_bodies ON key_bodies.id=key WHERE channel=?1 AND time_ms>=?2"
                  " ORDER BY offset DESC LIMIT ?3",
    [READ_LIVE_KEYS] = "SELECT scope, key, 0, time_ms FROM live_keys WHERE channel=?1 AND"
                       " time_ms>=?2 ORDER BY number DESC LIMIT ?3",
    [READ_MOVE] = "SELECT time_ms FROM moves WHERE channel=?1 AND user=?2 AND mark=?3 AND"
                  " offset>=?4 ORDER BY offset LIMIT 1",
    [READ_MEMBER] = "SELECT user, joined, read, delivered, unread_from, hidden FROM members"
                    " WHERE channel=?1 AND user=?2",
    [READ_MEMBERS_COUNT] =
        "SELECT count(*) FROM (SELECT 1 FROM members WHERE channel=?1 LIMIT 257)",
    [READ_REMOVAL] = "SELECT offset FROM removals WHERE channel=?1",
    [READ_MEMBERSHIPS] = "SELECT name FROM members JOIN channels ON id=channel WHERE user=?1 AND"
                         " name>?2 ORDER BY name LIMIT ?3",
    [READ_POLICY] = "SELECT policy FROM policies WHERE channel=?1",
};

struct index_reader {
    sqlite3 *db;
    sqlite3_stmt *statements[READ_COUNT];
    struct opener opener;
    struct chunk chunks[2]; /* of the rows that are read */
};

enum err index_reader_open(const char *path, struct index_reader **reader)
{
    *reader = NULL;
    TRY(sql_start());
    struct index_reader *opened = mem_alloc(sizeof *opened);
    enum err err = sql_open(path, false, &opened->db);
    for (int i = 0; i < READ_COUNT && err == ERR_OK; i++) {
        err = sql_prepare(opened->db, read_texts[i], &opened->statements[i]);
    }
    if (err != ERR_OK) {
        index_reader_close(opened);
        return err;
    }
    *reader = opened;
    return ERR_OK;
}

void index_reader_unseal(struct index_reader *reader, seal_find_fn find, void *context)
{
    opener_fini(&reader->opener);
    opener_init(&reader->opener, find, context);
}

void index_reader_close(struct index_reader *reader)
{
    if (reader == NULL) return;
    opener_fini(&reader->opener);
    for (int i = 0; i < READ_COUNT; i++) sqlite3_finalize(reader->statements[i]);
    sql_close(reader->db);
    mem_free(reader);
    sql_stop();
}

static uint8_t *query_room(struct query *query, size_t wanted)
{
    struct query_block *block = query->blocks;
    if (block == NULL || block->size - block->used < wanted) {
        size_t size = max_u64(BLOCK_SIZE, wanted);
        block = mem_alloc(sizeof *block + size);
        block->size = size;
        block->next = query->blocks;
        query->blocks = block;
    }
    uint8_t *at = block->bytes + block->used;
    block->used += wanted;
    return at;
}

static struct bytes query_keep(struct query *query, struct bytes bytes)
{
    uint8_t *at = query_room(query, bytes.size);
    if (bytes.size > 0) memcpy(at, bytes.at, bytes.size);
    return bytes_of(at, bytes.size);
}

/* A copy of what was stored, opened. */
static enum err query_publication(struct index_reader *reader, struct query *query,
                                  struct bytes body, struct publication *publication)
{
    uint8_t *room = NULL;
    if (seal_is_on(body))
        room = query_room(query, body.size);
    else
        body = query_keep(query, body);
    return publication_open(&reader->opener, query->name, body, room, publication);
}

/* Room for one more of `item_size` in an array that doubles. */
static void *query_grow(void *items, uint32_t count, uint32_t *room, size_t item_size)
{
    if (count < *room) return items;
    *room = max_u32(16, *room * 2);
    return mem_resize(items, *room * item_size);
}

static enum err query_item(struct index_reader *reader, struct query *query,
                           const struct chunk_item *item)
{
    query->publications = query_grow(query->publications, query->publications_count,
                                     &query->publications_room, sizeof *query->publications);
    struct publication *publication = &query->publications[query->publications_count];
    TRY(query_publication(reader, query, item->bytes, publication));
    if (publication->offset != item->offset) return ERR_STORE_CORRUPT;
    publication->taken_ms = item->time_ms;
    query->publications_count++;
    query->bytes += item->bytes.size;
    return ERR_OK;
}

/* What a row holds with an offset in (above, below), until the answer is full. */
static enum err query_row(struct index_reader *reader, struct query *query, sqlite3_stmt *row,
                          uint64_t above, uint64_t below)
{
    struct chunk *chunk = &reader->chunks[0];
    struct bytes body = sql_bytes(row, 0);
    struct chunk_item alone = {.offset = sql_u64(row, 2), .time_ms = sql_u64(row, 1)};
    alone.bytes = body;
    chunk_clear(chunk);
    if (chunk_is_on(body))
        TRY(chunk_read(body, alone.offset, alone.time_ms, chunk));
    else
        chunk_add(chunk, &alone);
    for (uint32_t i = 0; i < chunk->count; i++) {
        const struct chunk_item *item = &chunk->items[query->is_reverse ? chunk->count - 1 - i : i];
        if (item->offset <= above || item->offset >= below) continue;
        if (item->time_ms < query->time_min_ms) continue;
        if (query->publications_count == query->limit) return ERR_OK;
        if (query->bytes + item->bytes.size > query->bytes_max && query->publications_count > 0) {
            query->is_cut = true;
            return ERR_OK;
        }
        TRY(query_item(reader, query, item));
    }
    return ERR_OK;
}

static enum err query_publications(struct index_reader *reader, struct query *query,
                                   uint64_t channel, uint64_t floor)
{
    enum err err;
    sqlite3_stmt *rows = reader->statements[query->is_reverse ? READ_REVERSE : READ_FORWARD];
    uint64_t above = max_u64(floor, query->floor), below = INT64_MAX;
    if (!query->is_reverse) above = max_u64(above, query->since);
    if (query->is_reverse && query->since > 0) below = min_u64(query->since, INT64_MAX);
    sql_bind(rows, 1, channel);
    sql_bind(rows, 2, min_u64(above, INT64_MAX));
    sql_bind(rows, 3, query->time_min_ms);
    /* Of the first row on the way back all may lie at or beyond `since`. */
    sql_bind(rows, 4, (uint64_t)query->limit + query->is_reverse);
    if (query->is_reverse) sql_bind(rows, 5, below - 1);
    while (query->publications_count < query->limit && sql_row(rows, &err)) {
        err = query_row(reader, query, rows, above, below);
        if (err != ERR_OK || query->is_cut) break;
    }
    sqlite3_reset(rows);
    return err;
}

static enum err query_rows_of_members(struct query *query, sqlite3_stmt *rows)
{
    enum err err;
    while (sql_row(rows, &err)) {
        query->members = query_grow(query->members, query->members_count, &query->members_room,
                                    sizeof *query->members);
        query->members[query->members_count++] =
            (struct store_member){.user = query_keep(query, sql_bytes(rows, 0)),
                                  .joined = sql_u64(rows, 1),
                                  .read = sql_u64(rows, 2),
                                  .delivered = sql_u64(rows, 3),
                                  .unread_from = sql_u64(rows, 4),
                                  .is_hidden = sql_u64(rows, 5) != 0};
    }
    return err;
}

/* The newest of a row's keys that was not taken yet is that of the last item left. */
struct key_rows {
    sqlite3_stmt *rows;
    struct chunk *chunk; /* empty at the end */
};

static enum err key_rows_next(struct key_rows *keys)
{
    enum err err;
    chunk_clear(keys->chunk);
    if (!sql_row(keys->rows, &err)) return err;
    struct chunk_item alone = {.offset = sql_u64(keys->rows, 2),
                               .time_ms = sql_u64(keys->rows, 3),
                               .scope = sql_bytes(keys->rows, 0),
                               .bytes = sql_bytes(keys->rows, 1)};
    if (sqlite3_column_type(keys->rows, 0) == SQLITE_NULL)
        return chunk_read(alone.bytes, alone.offset, alone.time_ms, keys->chunk);
    chunk_add(keys->chunk, &alone);
    return ERR_OK;
}

static enum err query_key(struct query *query, struct key_rows *keys)
{
    const struct chunk_item *item = chunk_last(keys->chunk);
    if (item->time_ms >= query->key_time_ms) {
        query->keys =
            query_grow(query->keys, query->keys_count, &query->keys_room, sizeof *query->keys);
        query->keys[query->keys_count++] =
            (struct index_key){.scope = query_keep(query, item->scope),
                               .key = query_keep(query, item->bytes),
                               .offset = item->offset,
                               .time_ms = item->time_ms};
    }
    return --keys->chunk->count > 0 ? ERR_OK : key_rows_next(keys);
}

/* Both tables have theirs newest first, and so has the answer. */
static enum err query_keys(struct index_reader *reader, struct query *query, uint64_t channel)
{
    enum err err = ERR_OK;
    struct key_rows keys[2] = {{reader->statements[READ_KEYS], &reader->chunks[0]},
                               {reader->statements[READ_LIVE_KEYS], &reader->chunks[1]}};
    for (int i = 0; i < 2 && err == ERR_OK; i++) {
        sql_bind(keys[i].rows, 1, channel);
        sql_bind(keys[i].rows, 2, query->key_time_ms);
        sql_bind(keys[i].rows, 3, query->keys_max);
        err = key_rows_next(&keys[i]);
    }
    while (err == ERR_OK && query->keys_count < query->keys_max) {
        const struct chunk *kept = keys[0].chunk, *live = keys[1].chunk;
        if (kept->count == 0 && live->count == 0) break;
        bool is_live = kept->count == 0 ||
                       (live->count > 0 && chunk_last(live)->time_ms > chunk_last(kept)->time_ms);
        err = query_key(query, &keys[is_live]);
    }
    for (int i = 0; i < 2; i++) sqlite3_reset(keys[i].rows);
    return err;
}

/* One number of one row, 0 when there is none. */
static enum err query_number(sqlite3_stmt *get, uint64_t by, uint64_t *number)
{
    enum err err;
    *number = 0;
    sql_bind(get, 1, by);
    if (!sql_row(get, &err)) return err;
    *number = sql_u64(get, 0);
    sqlite3_reset(get);
    return ERR_OK;
}

static_assert(STORE_MOVES_MEMBERS_MAX == 256, "READ_MEMBERS_COUNT tells whether there are more");

/* The first move of each of the users, and where they stand. */
static enum err query_moves(struct index_reader *reader, struct query *query, uint64_t channel)
{
    enum err err;
    uint64_t count;
    TRY(query_number(reader->statements[READ_MEMBERS_COUNT], channel, &count));
    query->is_cut = count > STORE_MOVES_MEMBERS_MAX;
    for (uint32_t i = 0; i < query->users_count; i++) {
        sqlite3_stmt *rows = reader->statements[READ_MEMBER];
        sql_bind(rows, 1, channel);
        sql_bind_bytes(rows, 2, query->users[i]);
        TRY(query_rows_of_members(query, rows));
    }
    sqlite3_stmt *get = reader->statements[READ_MOVE];
    for (uint32_t i = 0; i < query->users_count; i++) {
        for (uint32_t mark = CURSOR_READ; mark <= CURSOR_DELIVERED; mark++) {
            sql_bind(get, 1, channel);
            sql_bind_bytes(get, 2, query->users[i]);
            sql_bind(get, 3, mark);
            sql_bind(get, 4, min_u64(query->since, INT64_MAX));
            if (sql_row(get, &err))
                moved_note(&query->moved[i], (enum cursor_mark)mark, sql_u64(get, 0));
            else
                TRY(err);
            sqlite3_reset(get);
        }
    }
    return ERR_OK;
}

static enum err query_memberships(struct index_reader *reader, struct query *query)
{
    enum err err;
    sqlite3_stmt *rows = reader->statements[READ_MEMBERSHIPS];
    sql_bind_bytes(rows, 1, query->user);
    sql_bind_bytes(rows, 2, query->name);
    sql_bind(rows, 3, query->limit + 1u); /* one more tells whether there are more */
    while (sql_row(rows, &err)) {
        query->is_cut = query->channels_count == query->limit;
        if (query->is_cut) break;
        query->channels = query_grow(query->channels, query->channels_count, &query->channels_room,
                                     sizeof *query->channels);
        query->channels[query->channels_count++] = query_keep(query, sql_bytes(rows, 0));
    }
    sqlite3_reset(rows);
    return err;
}

static enum err query_all(struct index_reader *reader, struct query *query)
{
    enum err err;
    if (query->user.size > 0) return query_memberships(reader, query);
    TRY(query_number(reader->statements[READ_APPLIED], query->log, &query->applied));
    TRY(query_number(reader->statements[READ_FORGETS], index_bucket(query->name), &query->forgets));
    sqlite3_stmt *get = reader->statements[READ_CHANNEL];
    sql_bind_bytes(get, 1, query->name);
    if (!sql_row(get, &err)) return err;
    uint64_t channel = sql_u64(get, 0);
    query->is_known = true;
    query->head = sql_u64(get, 1);
    query->time_ms = sql_u64(get, 2);
    struct bytes epoch = sql_bytes(get, 3);
    if (epoch.size <= EPOCH_MAX && epoch.size > 0) memcpy(query->epoch, epoch.at, epoch.size);
    uint64_t floor = sql_u64(get, 4);
    sqlite3_reset(get);
    if (query->users != NULL) return query_moves(reader, query, channel);
    if (query->limit > 0) TRY(query_publications(reader, query, channel, floor));
    if (!query->is_open) return ERR_OK;
    TRY(query_number(reader->statements[READ_REMOVAL], channel, &query->removed));
    sql_bind(reader->statements[READ_MEMBERS], 1, channel);
    TRY(query_rows_of_members(query, reader->statements[READ_MEMBERS]));
    TRY(query_number(reader->statements[READ_POLICY], channel, &query->policy));
    return query_keys(reader, query, channel);
}

enum err index_query(struct index_reader *reader, struct query *query)
{
    check(query->blocks == NULL && query->publications_count == 0);
    TRY(sql_do(reader->statements[READ_BEGIN]));
    enum err err = query_all(reader, query);
    enum err end = sql_do(reader->statements[READ_END]);
    return err != ERR_OK ? err : end;
}

void query_ask_moves(struct query *query, const struct bytes *users, uint32_t users_count)
{
    size_t size = users_count * (sizeof *query->moved + sizeof *query->users) + 1;
    for (uint32_t i = 0; i < users_count; i++) size += users[i].size;
    query->moved = mem_alloc(size);
    query->users = (struct bytes *)(void *)(query->moved + users_count);
    uint8_t *text = (uint8_t *)(void *)(query->users + users_count);
    for (uint32_t i = 0; i < users_count; i++) {
        if (users[i].size > 0) memcpy(text, users[i].at, users[i].size);
        query->users[i] = bytes_of(text, users[i].size);
        text += users[i].size;
    }
    query->users_count = users_count;
}

void query_fini(struct query *query)
{
    query_clear(query);
    mem_free(query->moved); /* the users stand behind it */
    *query = (struct query){0};
}

void query_clear(struct query *query)
{
    while (query->blocks != NULL) {
        struct query_block *block = query->blocks;
        query->blocks = block->next;
        mem_free(block);
    }
    mem_free(query->publications);
    mem_free(query->members);
    mem_free(query->keys);
    mem_free(query->channels);
    query->channels = NULL;
    query->channels_count = query->channels_room = 0;
    for (uint32_t i = 0; i < query->users_count; i++) query->moved[i] = (struct store_moved){0};
    query->publications = NULL;
    query->members = NULL;
    query->keys = NULL;
    query->publications_count = query->members_count = query->keys_count = 0;
    query->publications_room = query->members_room = query->keys_room = 0;
    query->bytes = 0;
    query->is_known = query->is_cut = false;
    memset(query->epoch, 0, sizeof query->epoch);
    query->head = query->time_ms = query->forgets = query->applied = query->policy = 0;
    query->removed = 0;
}
