/*
 * disk: every file call of the house.
 *
 * Thin names over the kernel's calls, so that the simulator can replace the
 * whole disk at link time: start-up, recovery, the log's files and SQLite
 * (through the VFS in storage/embed/vfs.c) all come through here.  Only a
 * shard's log append goes another way: loop_write_sync of core/loop.h, on a
 * handle opened here.
 *
 * Results: >= 0, or -errno.  Short reads at the end of a file return what was
 * there; short writes are continued inside, so a write returns all or -errno.
 *
 * Thread:  any; blocking.  Shards call it only before their first turn.
 * Source:  disk_os.c; tests/sim/disk_sim.c
 */
#pragma once

#include <errno.h>

#include "core/base.h"

enum disk_flags {
    DISK_READ = 1,
    DISK_WRITE = 2,
    DISK_CREATE = 4,
    DISK_EXCLUSIVE = 8, /* with CREATE: fail with -EEXIST when it exists */
};

/* Is this result one of a disk, or a share of one, on which there is no room? */
static inline bool disk_is_full(int64_t result)
{
    return result == -ENOSPC || result == -EDQUOT;
}

/* A handle; close-on-exec. */
must_use int disk_open(const char *path, unsigned flags);
int disk_close(int file);
must_use int64_t disk_read(int file, void *at, size_t size, uint64_t offset);
must_use int64_t disk_write(int file, const void *at, size_t size, uint64_t offset);
/* fdatasync. */
must_use int disk_sync(int file);
/* Sends what was written there on its way to the device, and waits until it has taken
 * it.  Nothing is durable for that; but an error that the wait tells, no later sync of
 * this handle tells again. */
void disk_ease_begin(int file, uint64_t offset, uint64_t size);
must_use int disk_ease_end(int file, uint64_t offset, uint64_t size);
/* From now on what is written goes to the device past the page cache: memory, offset and
 * size of every write are multiples of DISK_SECTOR.  Nothing changes, and -EOPNOTSUPP
 * says so, where the file system wants larger ones or always keeps pages. */
#define DISK_SECTOR 512
int disk_direct(int file);
must_use int disk_truncate(int file, uint64_t size);
/* Makes `size` bytes of real, zeroed blocks, so that later writes need no growth. */
must_use int disk_allocate(int file, uint64_t size);
must_use int64_t disk_size(int file);
/* Size of the file at `path`, or -ENOENT. */
must_use int64_t disk_size_at(const char *path);
/* False when `path` leads to no file, or to another one than the handle; true also where
 * that cannot be told. */
must_use bool disk_is_at(int file, const char *path);
/* True when the file or directory at `path` is `directory` or below it, or would be once it
 * is made; through links too. */
must_use bool disk_is_inside(const char *path, const char *directory);
/* The mode of the file at `path` when others than its owner may read or write it, else 0, or
 * -errno.  Where another user owns it, its group is no other: it is how we may read it. */
must_use int disk_mode_shared(const char *path);
must_use int disk_rename(const char *from, const char *to);
must_use int disk_unlink(const char *path);
/* Makes the directory and its parents; an existing one is fine. */
must_use int disk_mkdir(const char *path);
/* Makes creations, renames and removals in `path` durable. */
must_use int disk_sync_dir(const char *path);
/* Calls `each` with every name in the directory, sorted. */
must_use int disk_list(const char *path, void (*each)(void *context, const char *name),
                       void *context);
/* Takes the one lock of a data directory for this process; -EWOULDBLOCK when
 * another process has it.  Returns a handle to keep open. */
must_use int disk_lock(const char *path);
/* Bytes free on the file system of `path`. */
must_use int64_t disk_free(const char *path);
/* An id that changes when the machine restarts; 16 bytes. */
must_use int disk_boot_id(uint8_t id[16]);
