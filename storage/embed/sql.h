/*
 * sql: the little of SQLite's interface that the index uses; the one include of
 * sqlite3.h.
 *
 * Errors come back as `enum err` with the reason in the log; a statement is
 * reset by every call that ends it.
 *
 * A simulated crash: call embed_sqlite_forget() before the memory of the life
 * that ends is forgotten; nothing of SQLite may be used between the two.  The
 * next store_node_open sets everything up again.
 *
 * Thread:  a connection belongs to one thread at a time; sql_start and sql_stop
 *          are counted and may be called from any.
 */
#pragma once

#include <sqlite3.h>

#include "core/bytes.h"
#include "core/err.h"

/* Points SQLite's heap at core/mem.h and its files at vfs.h; counted. */
must_use enum err sql_start(void);
void sql_stop(void);
void embed_sqlite_forget(void);

/* Opens with the pragmas of the house; a reader cannot change anything. */
must_use enum err sql_open(const char *path, bool is_writer, sqlite3 **db);
/* A file that is worth nothing until it is complete: no journal, no sync. */
must_use enum err sql_open_plain(const char *path, sqlite3 **db);
/* Accepts NULL. */
void sql_close(sqlite3 *db);

/* The error of the last call on this connection, told once in the log. */
cold enum err sql_failed(sqlite3 *db, const char *what);

/* Statements without results. */
must_use enum err sql_run(sqlite3 *db, const char *text);
must_use enum err sql_prepare(sqlite3 *db, const char *text, sqlite3_stmt **statement);

void sql_bind(sqlite3_stmt *statement, int at, uint64_t value);
/* Borrowed until the statement is reset. */
void sql_bind_bytes(sqlite3_stmt *statement, int at, struct bytes bytes);

/* Runs to the end; resets. */
must_use enum err sql_do(sqlite3_stmt *statement);
/* True: a row is there.  False: the end or an error, in *err; reset. */
must_use bool sql_row(sqlite3_stmt *statement, enum err *err);

static inline uint64_t sql_u64(sqlite3_stmt *statement, int column)
{
    return (uint64_t)sqlite3_column_int64(statement, column);
}
/* Borrowed until the next step. */
static inline struct bytes sql_bytes(sqlite3_stmt *statement, int column)
{
    const void *at = sqlite3_column_blob(statement, column);
    return bytes_of(at, (size_t)sqlite3_column_bytes(statement, column));
}
