/*
 * vfs: SQLite's files on core/disk.h.
 *
 * Files go through disk.h, time through clock.h, randomness through entropy.h,
 * so the simulator owns everything that SQLite touches.  The data directory is
 * locked for one process (disk_lock), therefore file locks and the WAL's shared
 * memory live in this process, guarded by one mutex.  Temporary files are never
 * asked for: PRAGMA temp_store keeps them in memory.
 *
 * Thread:  any.
 * Source:  sqlite.org/vfs.html, sqlite.org/walformat.html (shared-memory locks)
 * Tests:   tests/unit/storage/test_index.c
 */
#pragma once

#define VFS_NAME "sluice"

/* Makes this the default VFS, so that SQLite seeds itself from it too.  Again
 * after sqlite3_shutdown.  Returns an SQLite code. */
int vfs_register(void);
/* Forgets every file without closing it: for a simulated crash. */
void vfs_forget(void);
