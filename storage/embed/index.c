/* The life of the index: schema, meta rows, positions, checkpoints. */
#include "storage/embed/index_private.h"

#include "core/check.h"
#include "core/crypt.h"
#include "core/hash.h"
#include "core/log.h"
#include "core/mem.h"

/* Those before need no table but meta. */
#define STATEMENTS_OF_TABLES STATEMENT_APPLIED_GET

static const char schema_meta[] =
    "CREATE TABLE IF NOT EXISTS meta(name TEXT PRIMARY KEY, value BLOB) WITHOUT ROWID;"
    "CREATE TABLE IF NOT EXISTS seals(generation INTEGER PRIMARY KEY, salt BLOB NOT NULL,"
    " key BLOB NOT NULL);"
    "CREATE TABLE IF NOT EXISTS bodies(id INTEGER PRIMARY KEY, body BLOB NOT NULL);"
    "CREATE TABLE IF NOT EXISTS removals(channel INTEGER PRIMARY KEY, offset INTEGER NOT NULL);"
    "CREATE TABLE IF NOT EXISTS key_bodies(id INTEGER PRIMARY KEY, body BLOB NOT NULL);"
    "CREATE TABLE IF NOT EXISTS policies(channel INTEGER PRIMARY KEY, policy INTEGER NOT NULL);"
    "CREATE TABLE IF NOT EXISTS live_keys(channel INTEGER, number INTEGER,"
    " time_ms INTEGER NOT NULL, scope BLOB, key BLOB, PRIMARY KEY(channel, number)) WITHOUT ROWID;";

/* Keys stand in the order of their offsets, which is that of their times: they
 * are added at the end of their channel, loaded newest first without a sort, and
 * what is over is the beginning. */
#define KEYS_TABLE                                                                                 \
    "CREATE TABLE keys(channel INTEGER, offset INTEGER, time_ms INTEGER NOT NULL, scope BLOB,"     \
    " key BLOB, PRIMARY KEY(channel, offset)) WITHOUT ROWID;"

/* The moves of a user stand together, by offset; they end by time. */
#define MOVES_TABLE                                                                                \
    "CREATE TABLE moves(channel INTEGER, user BLOB, mark INTEGER, offset INTEGER,"                 \
    " time_ms INTEGER NOT NULL, PRIMARY KEY(channel, user, mark, offset)) WITHOUT ROWID;"          \
    "CREATE INDEX moves_by_time ON moves(time_ms);"                                                \
    "CREATE INDEX members_by_user ON members(user, channel);"

static const char schema[] =
    "CREATE TABLE applied(log INTEGER PRIMARY KEY, batch INTEGER NOT NULL);"
    "CREATE TABLE channels(id INTEGER PRIMARY KEY, name BLOB NOT NULL UNIQUE,"
    " epoch TEXT NOT NULL, head INTEGER NOT NULL, time_ms INTEGER NOT NULL,"
    " history_size INTEGER NOT NULL, ttl_ms INTEGER NOT NULL, meta_ttl_ms INTEGER NOT NULL,"
    " floor INTEGER NOT NULL);"
    "CREATE TABLE publications(channel INTEGER, offset INTEGER, time_ms INTEGER NOT NULL,"
    " body BLOB NOT NULL, PRIMARY KEY(channel, offset)) WITHOUT ROWID;"
    "CREATE TABLE members(channel INTEGER, user BLOB, joined INTEGER NOT NULL,"
    " read INTEGER NOT NULL, round INTEGER NOT NULL, delivered INTEGER NOT NULL,"
    " unread_from INTEGER NOT NULL, hidden INTEGER NOT NULL, PRIMARY KEY(channel, user))"
    " WITHOUT ROWID;"
    "CREATE TABLE forgets(bucket INTEGER PRIMARY KEY, count INTEGER NOT NULL);" KEYS_TABLE
        MOVES_TABLE;

/* From format 1. */
static const char schema_from_1[] =
    "ALTER TABLE channels ADD COLUMN floor INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE keys RENAME TO keys_1;" KEYS_TABLE
    "INSERT OR IGNORE INTO keys SELECT channel, offset, time_ms, scope, key FROM keys_1;"
    "DROP TABLE keys_1;";

/* From formats 2 to 5. */
static const char schema_from_5[] =
    "ALTER TABLE members ADD COLUMN delivered INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE members ADD COLUMN unread_from INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE members ADD COLUMN hidden INTEGER NOT NULL DEFAULT 0;"
    "UPDATE members SET delivered=read;" MOVES_TABLE;

static const char *const statement_texts[] = {
#define STATEMENT(id, text) text,
#include "storage/embed/statement.def"
#undef STATEMENT
};

static int on_commit(void *context, sqlite3 *db, const char *name, int pages)
{
    (void)db, (void)name;
    struct index *index = context;
    index->wal_pages = (uint32_t)pages;
    return SQLITE_OK;
}

static enum err index_prepare(struct index *index, enum statement first, enum statement after)
{
    for (enum statement i = first; i < after; i++) {
        TRY(sql_prepare(index->db, statement_texts[i], &index->statements[i]));
    }
    return ERR_OK;
}

/* Brings the tables to our format, all or nothing.  2, and 3 that seals, had no chunks:
 * their rows are rows of ours.  4, and 5 that seals, knew less of members.  6, and 7 that
 * seals, had every key in its row. */
static enum err index_reform(struct index *index, uint64_t format)
{
    const bool is_sealed = format == 3 || format == 5 || format == 7;
    const uint64_t own = is_sealed ? INDEX_FORMAT_SEALED : INDEX_FORMAT;
    if (format > INDEX_FORMAT_SEALED) {
        log_error("data directory was written by a newer release; start that one, or restore a "
                  "backup format=%llu known=%d",
                  (unsigned long long)format, INDEX_FORMAT_SEALED);
        return ERR_UNSUPPORTED;
    }
    if (format >= INDEX_FORMAT) return ERR_OK;
    TRY(sql_do(index->statements[STATEMENT_BEGIN]));
    if (format == 0) TRY(sql_run(index->db, schema));
    if (format == 1) TRY(sql_run(index->db, schema_from_1));
    if (format >= 1 && format <= 5) TRY(sql_run(index->db, schema_from_5));
    TRY(index_meta_put(index, "format", &own, sizeof own));
    return sql_do(index->statements[STATEMENT_COMMIT]);
}

static enum err index_setup(struct index *index)
{
    enum err err;
    uint64_t format = 0;
    sqlite3_stmt *mode;
    TRY(sql_run(index->db, schema_meta));
    TRY(index_prepare(index, 0, STATEMENTS_OF_TABLES));
    TRY(index_meta_get(index, "format", &format, sizeof format));
    TRY(index_reform(index, format));
    TRY(index_prepare(index, STATEMENTS_OF_TABLES, STATEMENT_COUNT));
    TRY(sql_prepare(index->db, "PRAGMA auto_vacuum", &mode));
    index->is_shrinkable = sql_row(mode, &err) && sql_u64(mode, 0) == 2;
    sqlite3_finalize(mode);
    return err;
}

enum err index_format_put(struct index *index, uint64_t format)
{
    return index_meta_put(index, "format", &format, sizeof format);
}

enum err index_open(const char *path, struct index **index)
{
    *index = NULL;
    TRY(sql_start());
    struct index *opened = mem_alloc(sizeof *opened);
    enum err err = sql_open(path, true, &opened->db);
    if (err == ERR_OK) {
        sqlite3_wal_hook(opened->db, on_commit, opened);
        err = index_setup(opened);
    }
    if (err != ERR_OK) {
        index_close(opened);
        return err;
    }
    *index = opened;
    return ERR_OK;
}

void index_close(struct index *index)
{
    if (index == NULL) return;
    for (int i = 0; i < STATEMENT_COUNT; i++) sqlite3_finalize(index->statements[i]);
    sql_close(index->db);
    mem_free(index->groups);
    mem_free(index->items);
    mem_free(index->scratch);
    mem_free(index);
    sql_stop();
}

enum err index_meta_get(struct index *index, const char *name, void *value, size_t size)
{
    enum err err;
    sqlite3_stmt *get = index->statements[STATEMENT_META_GET];
    sqlite3_bind_text(get, 1, name, -1, SQLITE_STATIC);
    if (!sql_row(get, &err)) return err;
    struct bytes found = sql_bytes(get, 0);
    if (found.size == size) memcpy(value, found.at, size);
    sqlite3_reset(get);
    return ERR_OK;
}

enum err index_meta_put(struct index *index, const char *name, const void *value, size_t size)
{
    sqlite3_stmt *put = index->statements[STATEMENT_META_PUT];
    sqlite3_bind_text(put, 1, name, -1, SQLITE_STATIC);
    sql_bind_bytes(put, 2, bytes_of(value, size));
    return sql_do(put);
}

enum err index_applied(struct index *index, uint64_t log, uint64_t *number)
{
    enum err err;
    sqlite3_stmt *get = index->statements[STATEMENT_APPLIED_GET];
    *number = 0;
    sql_bind(get, 1, log);
    if (!sql_row(get, &err)) return err;
    *number = sql_u64(get, 0);
    sqlite3_reset(get);
    return ERR_OK;
}

enum err index_applied_clear(struct index *index)
{
    return sql_run(index->db, "DELETE FROM applied");
}

enum err index_epochs_clear(struct index *index)
{
    return sql_do(index->statements[STATEMENT_EPOCHS_CLEAR]);
}

uint64_t index_wal_bytes(const struct index *index)
{
    return (uint64_t)index->wal_pages * INDEX_PAGE_SIZE;
}

enum err index_checkpoint(struct index *index, bool is_truncating, bool *is_whole)
{
    int pages = 0, moved = 0;
    int mode = is_truncating ? SQLITE_CHECKPOINT_TRUNCATE : SQLITE_CHECKPOINT_PASSIVE;
    int rc = sqlite3_wal_checkpoint_v2(index->db, NULL, mode, &pages, &moved);
    *is_whole = rc == SQLITE_OK && pages == moved;
    /* BUSY: a reader stands in the way; what could be moved was. */
    if (rc != SQLITE_OK && rc != SQLITE_BUSY) return sql_failed(index->db, "checkpoint");
    return ERR_OK;
}

uint64_t index_bucket(struct bytes name)
{
    return hash_bytes(name, 0) % FORGETS_BUCKETS;
}

void index_epoch(const uint8_t incarnation[16], uint64_t forgets, struct bytes name,
                 char epoch[EPOCH_MAX + 1])
{
    uint8_t mac[32], text[8 + CHANNEL_NAME_MAX];
    struct writer writer = writer_of(text, sizeof text);
    write_u64(&writer, forgets);
    write_bytes(&writer, name);
    check(!writer.failed);
    crypt_hmac_sha256(bytes_of(incarnation, 16), writer_bytes(&writer), mac);
    for (int i = 0; i < 8; i++) {
        /* Two bytes a letter: the bias of % 52 is below one in a thousand. */
        uint32_t letter = (uint32_t)(mac[2 * i] << 8 | mac[2 * i + 1]) % 52;
        epoch[i] = (char)(letter < 26 ? 'a' + letter : 'A' + letter - 26);
    }
    epoch[8] = '\0';
}
