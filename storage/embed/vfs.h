/*
 * vfs: SQLite's files on core/disk.h.
 *
 * Files go through disk.h, time through clock.h, randomness through entropy.h,
 * so the simulator owns everything that SQLite touches.  The data directory is
 * locked for one process (disk_lock), therefore file locks and the WAL's shared
 * memory live in this process, guarded by one mutex.  Temporary files are never
 * asked for: PRAGMA temp_store keeps them in memory.
 *
 * A page of the database ends with 8 bytes of ours, a CRC32C of the rest seeded
 * with its number, and a mark; written on the way to the disk, checked on the way
 * back, so that a bit that changed there is an error and never an answer.  SQLite's
 * own log has sums of its own.
 *
 * Thread:  any.
 * Source:  sqlite.org/vfs.html, sqlite.org/walformat.html (shared-memory locks)
 * Tests:   tests/unit/storage/test_index.c
 */
#pragma once

#define VFS_NAME        "sluice"
/* SQLITE_FCNTL_RESERVE_BYTES of a database that is made. */
#define VFS_PAGE_TAIL   8
/* File controls: uint32_t *, size of the pages that end so, 0 when they do not.  To
 * be set for a file whose first page will not be the first that is written; else
 * that page tells. */
#define VFS_CHECKED_GET 0x534c0001
#define VFS_CHECKED_SET 0x534c0002

/* Makes this the default VFS, so that SQLite seeds itself from it too.  Again
 * after sqlite3_shutdown.  Returns an SQLite code. */
int vfs_register(void);
/* Forgets every file without closing it: for a simulated crash. */
void vfs_forget(void);
