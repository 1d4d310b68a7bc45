/* SQLite set up for the house. */
#include "storage/embed/sql.h"

#include <pthread.h>

#include "core/check.h"
#include "core/log.h"
#include "core/mem.h"
#include "storage/embed/vfs.h"

/* SQLite asks for the size of a block; core/mem.h does not tell, so it stands
 * before the block.  16 keeps the alignment. */
#define HEAP_HEAD       16
#define LOOKASIDE_SIZE  1200
#define LOOKASIDE_COUNT 200

static pthread_mutex_t users_mutex = PTHREAD_MUTEX_INITIALIZER;
static uint32_t users;

static void *heap_malloc(int size)
{
    uint64_t *at = mem_resize(NULL, (size_t)size + HEAP_HEAD); /* SQLite wants no zeroes */
    at[0] = (uint64_t)size;
    return (uint8_t *)at + HEAP_HEAD;
}

static uint64_t *heap_head(void *at)
{
    return (uint64_t *)(void *)((uint8_t *)at - HEAP_HEAD);
}

static void heap_free(void *at)
{
    mem_free(heap_head(at));
}

static void *heap_realloc(void *at, int size)
{
    uint64_t *grown = mem_resize(heap_head(at), (size_t)size + HEAP_HEAD);
    grown[0] = (uint64_t)size;
    return (uint8_t *)grown + HEAP_HEAD;
}

static int heap_size(void *at)
{
    return at == NULL ? 0 : (int)heap_head(at)[0];
}

static int heap_roundup(int size)
{
    return (int)round_up((size_t)size, 8);
}

static int heap_init(void *context)
{
    (void)context;
    return SQLITE_OK;
}

static void heap_shutdown(void *context)
{
    (void)context;
}

static void on_sqlite_log(void *context, int code, const char *text)
{
    (void)context;
    /* Recovering the WAL after a kill and statements prepared anew are daily life. */
    if (code == SQLITE_SCHEMA || code == SQLITE_NOTICE_RECOVER_WAL) return;
    log_warn("sqlite says code=%d text=\"%s\"", code, text);
}

static int sql_configure(void)
{
    static const sqlite3_mem_methods heap = {heap_malloc,  heap_free, heap_realloc,  heap_size,
                                             heap_roundup, heap_init, heap_shutdown, NULL};
    int rc = sqlite3_config(SQLITE_CONFIG_MALLOC, &heap);
    /* Connections belong to one thread at a time; counting memory would put one
     * mutex under all of them. */
    if (rc == SQLITE_OK) rc = sqlite3_config(SQLITE_CONFIG_MULTITHREAD);
    if (rc == SQLITE_OK) rc = sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
    if (rc == SQLITE_OK) rc = sqlite3_config(SQLITE_CONFIG_LOG, on_sqlite_log, NULL);
    if (rc == SQLITE_OK) rc = sqlite3_initialize();
    if (rc == SQLITE_OK) rc = vfs_register();
    return rc;
}

enum err sql_start(void)
{
    pthread_mutex_lock(&users_mutex);
    int rc = users > 0 ? SQLITE_OK : sql_configure();
    if (rc == SQLITE_OK) users++;
    pthread_mutex_unlock(&users_mutex);
    if (rc == SQLITE_OK) return ERR_OK;
    log_error("sqlite cannot be set up code=%d", rc);
    return ERR_UNSUPPORTED;
}

void sql_stop(void)
{
    pthread_mutex_lock(&users_mutex);
    check(users > 0);
    if (--users == 0) {
        sqlite3_randomness(0, NULL); /* the next start draws a new seed */
        sqlite3_shutdown();
    }
    pthread_mutex_unlock(&users_mutex);
}

void embed_sqlite_forget(void)
{
    pthread_mutex_lock(&users_mutex);
    if (users > 0) {
        sqlite3_randomness(0, NULL);
        sqlite3_shutdown(); /* drops its globals, touches no connection */
    }
    users = 0;
    vfs_forget();
    pthread_mutex_unlock(&users_mutex);
}

static enum err failed_at(sqlite3 *db, const char *what, const char *path)
{
    int code = sqlite3_extended_errcode(db);
    bool is_full = (code & 0xff) == SQLITE_FULL;
    log_error("sqlite failed%s code=%d text=\"%s\" file=%s at=\"%s\"",
              is_full ? ", its disk is full: make room there; if the gateway ended, start it again"
                      : "",
              code, sqlite3_errmsg(db), path == NULL ? "" : path, what);
    if (is_full) return ERR_DISK_FULL;
    bool is_corrupt = (code & 0xff) == SQLITE_CORRUPT || (code & 0xff) == SQLITE_NOTADB ||
                      code == SQLITE_IOERR_DATA;
    return is_corrupt ? ERR_STORE_CORRUPT : ERR_IO;
}

enum err sql_failed(sqlite3 *db, const char *what)
{
    return failed_at(db, what, sqlite3_db_filename(db, "main"));
}

static enum err sql_open_file(const char *path, bool is_made, sqlite3 **db)
{
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
    if (is_made) flags |= SQLITE_OPEN_CREATE;
    if (sqlite3_open_v2(path, db, flags, VFS_NAME) == SQLITE_OK) return ERR_OK;
    enum err err = failed_at(*db, "open", path);
    sqlite3_close(*db);
    *db = NULL;
    return err;
}

enum err sql_open_plain(const char *path, sqlite3 **db)
{
    TRY(sql_open_file(path, true, db));
    enum err err = sql_run(*db, "PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF;"
                                "PRAGMA cache_size=-1024;");
    if (err == ERR_OK) return ERR_OK;
    sqlite3_close(*db);
    *db = NULL;
    return err;
}

enum err sql_open(const char *path, bool is_writer, sqlite3 **db)
{
    TRY(sql_open_file(path, is_writer, db));
    sqlite3_busy_timeout(*db, 2000);
    /* Two dozen prepared statements use up the forty slots of small memory that a
     * connection has, and then each row that is written allocates. */
    sqlite3_db_config(*db, SQLITE_DBCONFIG_LOOKASIDE, NULL, LOOKASIDE_SIZE, LOOKASIDE_COUNT);
    /* The log is the durable part: NORMAL syncs at checkpoints only. */
    enum err err = ERR_OK;
    /* Before the first page is written; a reader that said it would write, too.
     * What is above a quarter of a page goes to pages of its own: with 4 KiB a
     * publication of 1 KB took 4.5. */
    int tail = VFS_PAGE_TAIL;
    if (is_writer) sqlite3_file_control(*db, "main", SQLITE_FCNTL_RESERVE_BYTES, &tail);
    if (is_writer) err = sql_run(*db, "PRAGMA page_size=8192; PRAGMA auto_vacuum=INCREMENTAL;");
    if (err == ERR_OK)
        err = sql_run(*db, "PRAGMA journal_mode=WAL;"
                           "PRAGMA synchronous=NORMAL; PRAGMA wal_autocheckpoint=0;"
                           "PRAGMA temp_store=MEMORY; PRAGMA foreign_keys=OFF;"
                           "PRAGMA journal_size_limit=268435456;");
    if (err == ERR_OK) {
        err = sql_run(*db, is_writer ? "PRAGMA cache_size=-98304;"
                                     : "PRAGMA cache_size=-8192; PRAGMA query_only=ON;");
    }
    if (err == ERR_OK) return ERR_OK;
    sqlite3_close(*db);
    *db = NULL;
    return err;
}

void sql_close(sqlite3 *db)
{
    if (db == NULL) return;
    int rc = sqlite3_close(db);
    check(rc == SQLITE_OK); /* every statement was finalised before */
}

enum err sql_run(sqlite3 *db, const char *text)
{
    if (sqlite3_exec(db, text, NULL, NULL, NULL) == SQLITE_OK) return ERR_OK;
    return sql_failed(db, text);
}

enum err sql_prepare(sqlite3 *db, const char *text, sqlite3_stmt **statement)
{
    int rc = sqlite3_prepare_v3(db, text, -1, SQLITE_PREPARE_PERSISTENT, statement, NULL);
    return rc == SQLITE_OK ? ERR_OK : sql_failed(db, text);
}

void sql_bind(sqlite3_stmt *statement, int at, uint64_t value)
{
    check(value <= INT64_MAX);
    int rc = sqlite3_bind_int64(statement, at, (sqlite3_int64)value);
    check(rc == SQLITE_OK);
}

void sql_bind_bytes(sqlite3_stmt *statement, int at, struct bytes bytes)
{
    /* A NULL pointer would bind NULL, not an empty value. */
    const void *from = bytes.size == 0 ? "" : (const void *)bytes.at;
    int rc = sqlite3_bind_blob64(statement, at, from, bytes.size, SQLITE_STATIC);
    check(rc == SQLITE_OK);
}

enum err sql_do(sqlite3_stmt *statement)
{
    int rc = sqlite3_step(statement);
    enum err err = ERR_OK;
    if (rc != SQLITE_DONE && rc != SQLITE_ROW) {
        err = sql_failed(sqlite3_db_handle(statement), sqlite3_sql(statement));
    }
    sqlite3_reset(statement);
    return err;
}

bool sql_row(sqlite3_stmt *statement, enum err *err)
{
    int rc = sqlite3_step(statement);
    *err = ERR_OK;
    if (rc == SQLITE_ROW) return true;
    if (rc != SQLITE_DONE) *err = sql_failed(sqlite3_db_handle(statement), sqlite3_sql(statement));
    sqlite3_reset(statement);
    return false;
}
