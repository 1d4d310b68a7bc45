/*
 * One `struct shared` per path: what the connections of this process share,
 * the five-step file lock and the WAL's index.  All under one mutex; SQLite
 * holds it for a few instructions only.
 */
#include "storage/embed/vfs.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

#include "core/check.h"
#include "core/clock.h"
#include "core/disk.h"
#include "core/entropy.h"
#include "core/hash.h"
#include "core/log.h"
#include "core/mem.h"
#include "storage/embed/ease.h"
#include "storage/embed/sql.h"

#define PATH_SIZE       512
#define PAGE_SIZE_MAX   8192
#define PAGE_MARK       0x31474350u /* "PCG1" */
/* Where page 1 says how big pages are, big-endian, and how many bytes at the end of
 * each are not SQLite's. */
#define HEAD_PAGE       16
#define HEAD_RESERVED   20
#define HEAD_SIZE       24
#define SHM_REGIONS_MAX 4096 /* of 32 KiB: a WAL of 16 million pages */

struct shared {
    struct shared *next;
    uint32_t users;
    uint32_t page_size;    /* of pages that end with our sum; 0: they do not */
    uint32_t readers;      /* connections at SHARED or above */
    const void *writer;    /* holds RESERVED or more */
    const void *exclusive; /* holds PENDING or EXCLUSIVE */
    uint32_t shm_readers[SQLITE_SHM_NLOCK];
    const void *shm_writer[SQLITE_SHM_NLOCK];
    void **shm_regions;
    uint32_t shm_count;
    char path[PATH_SIZE];
};

struct vfs_file {
    sqlite3_file file; /* first */
    int handle;
    int level;            /* SQLITE_LOCK_ */
    const char *unsynced; /* path, as long as the name may not be durable */
    struct ease ease;
    uint32_t shm_shared, shm_exclusive; /* bits of the locks held */
    struct shared *shared;              /* of the main database only */
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct shared *shared_first;

static struct vfs_file *file_of(sqlite3_file *file)
{
    return (struct vfs_file *)file;
}

static struct shared *shared_get(const char *path)
{
    pthread_mutex_lock(&mutex);
    struct shared *shared = shared_first;
    while (shared != NULL && strcmp(shared->path, path) != 0) shared = shared->next;
    if (shared == NULL) {
        shared = mem_alloc(sizeof *shared);
        snprintf(shared->path, sizeof shared->path, "%s", path);
        shared->next = shared_first;
        shared_first = shared;
    }
    shared->users++;
    pthread_mutex_unlock(&mutex);
    return shared;
}

static void shared_put(struct shared *shared)
{
    pthread_mutex_lock(&mutex);
    check(shared->users > 0);
    if (--shared->users == 0) {
        struct shared **link = &shared_first;
        while (*link != shared) link = &(*link)->next;
        *link = shared->next;
        for (uint32_t i = 0; i < shared->shm_count; i++) mem_free(shared->shm_regions[i]);
        mem_free(shared->shm_regions);
        mem_free(shared);
    }
    pthread_mutex_unlock(&mutex);
}

void vfs_forget(void)
{
    pthread_mutex_lock(&mutex);
    shared_first = NULL;
    pthread_mutex_unlock(&mutex);
}

static int file_close(sqlite3_file *file)
{
    struct vfs_file *own = file_of(file);
    if (own->shared != NULL) {
        file->pMethods->xUnlock(file, SQLITE_LOCK_NONE);
        shared_put(own->shared);
    }
    own->shared = NULL;
    return disk_close(own->handle) < 0 ? SQLITE_IOERR_CLOSE : SQLITE_OK;
}

static uint32_t shared_page_size(struct shared *shared)
{
    pthread_mutex_lock(&mutex);
    uint32_t page_size = shared->page_size;
    pthread_mutex_unlock(&mutex);
    return page_size;
}

static void shared_check(struct shared *shared, uint32_t page_size)
{
    pthread_mutex_lock(&mutex);
    shared->page_size = page_size;
    pthread_mutex_unlock(&mutex);
}

/* What the beginning of page 1 says of pages that end with our sum. */
static uint32_t head_page_size(const uint8_t *head)
{
    uint32_t page_size = (uint32_t)head[HEAD_PAGE] << 8 | head[HEAD_PAGE + 1];
    return head[HEAD_RESERVED] == VFS_PAGE_TAIL && page_size <= PAGE_SIZE_MAX ? page_size : 0;
}

static uint32_t page_sum(const uint8_t *page, size_t size, uint64_t offset)
{
    return hash_crc32c((uint32_t)(offset / size), page, size - VFS_PAGE_TAIL);
}

/* A page that SQLite never wrote, between others, is zeroes. */
static bool page_is_whole(const uint8_t *page, size_t size, uint64_t offset)
{
    static const uint8_t zeroes[PAGE_SIZE_MAX];
    struct reader tail = reader_of(bytes_of(page + size - VFS_PAGE_TAIL, VFS_PAGE_TAIL));
    uint32_t sum = read_u32(&tail);
    if (read_u32(&tail) == PAGE_MARK) return sum == page_sum(page, size, offset);
    return memcmp(page, zeroes, size) == 0;
}

static int page_check(struct vfs_file *own, const uint8_t *page, size_t size, uint64_t offset)
{
    if (size != shared_page_size(own->shared)) return SQLITE_OK; /* not a page, or not ours */
    if (page_is_whole(page, size, offset)) return SQLITE_OK;
    log_error("page of the index is not what was written; restore the data directory from a "
              "backup file=%s offset=%llu",
              own->shared->path, (unsigned long long)offset);
    return SQLITE_IOERR_DATA;
}

static int file_read(sqlite3_file *file, void *at, int size, sqlite3_int64 offset)
{
    int64_t got = disk_read(file_of(file)->handle, at, (size_t)size, (uint64_t)offset);
    struct vfs_file *own = file_of(file);
    if (got == size) {
        if (own->shared == NULL) return SQLITE_OK;
        return page_check(own, at, (size_t)size, (uint64_t)offset);
    }
    if (got < 0) return SQLITE_IOERR_READ;
    /* SQLite wants zeroes past the end. */
    memset((uint8_t *)at + got, 0, (size_t)(size - got));
    return SQLITE_IOERR_SHORT_READ;
}

/* The page with its sum, in `copy`: the bytes given are SQLite's. */
static const void *page_seal(struct vfs_file *own, const uint8_t *page, size_t size,
                             uint64_t offset, uint8_t copy[PAGE_SIZE_MAX])
{
    if (offset == 0 && size >= HEAD_SIZE) shared_check(own->shared, head_page_size(page));
    if (size != shared_page_size(own->shared)) return page;
    memcpy(copy, page, size - VFS_PAGE_TAIL);
    struct writer tail = writer_of(copy + size - VFS_PAGE_TAIL, VFS_PAGE_TAIL);
    write_u32(&tail, page_sum(page, size, offset));
    write_u32(&tail, PAGE_MARK);
    return copy;
}

static int file_write(sqlite3_file *file, const void *at, int size, sqlite3_int64 offset)
{
    uint8_t copy[PAGE_SIZE_MAX];
    struct vfs_file *own = file_of(file);
    if (own->shared != NULL) at = page_seal(own, at, (size_t)size, (uint64_t)offset, copy);
    int64_t put = disk_write(own->handle, at, (size_t)size, (uint64_t)offset);
    if (put == size) put = ease_note(&own->ease, own->handle, (uint64_t)offset, (uint32_t)size);
    if (put >= 0) return SQLITE_OK;
    return disk_is_full(put) ? SQLITE_FULL : SQLITE_IOERR_WRITE;
}

static int file_truncate(sqlite3_file *file, sqlite3_int64 size)
{
    return disk_truncate(file_of(file)->handle, (uint64_t)size) < 0 ? SQLITE_IOERR_TRUNCATE
                                                                    : SQLITE_OK;
}

/* The directory of `path`, made durable. */
static int directory_sync(const char *path)
{
    char directory[PATH_SIZE];
    snprintf(directory, sizeof directory, "%s", path);
    char *slash = strrchr(directory, '/');
    if (slash == NULL) return disk_sync_dir(".");
    *slash = '\0';
    return disk_sync_dir(slash == directory ? "/" : directory);
}

/* The first sync makes the name durable too, also of a file that was there: the
 * process that made it may have been killed before it got so far.  For a WAL
 * that also settles the removal of the one before: were that undone by a crash,
 * its old pages would be played over newer ones. */
static int file_sync(sqlite3_file *file, int flags)
{
    (void)flags;
    struct vfs_file *own = file_of(file);
    if (disk_sync(own->handle) < 0) return SQLITE_IOERR_FSYNC;
    if (own->unsynced == NULL) return SQLITE_OK;
    if (directory_sync(own->unsynced) < 0) return SQLITE_IOERR_DIR_FSYNC;
    own->unsynced = NULL;
    return SQLITE_OK;
}

static int file_size(sqlite3_file *file, sqlite3_int64 *size)
{
    *size = disk_size(file_of(file)->handle);
    return *size < 0 ? SQLITE_IOERR_FSTAT : SQLITE_OK;
}

/* Tries to rise by the steps of sqlite.org/lockingv3.html. */
static int lock_rise(struct vfs_file *own, int level)
{
    struct shared *shared = own->shared;
    if (own->level == SQLITE_LOCK_NONE) {
        if (shared->exclusive != NULL) return SQLITE_BUSY;
        shared->readers++;
        own->level = SQLITE_LOCK_SHARED;
    }
    if (level >= SQLITE_LOCK_RESERVED && own->level < SQLITE_LOCK_RESERVED) {
        if (shared->writer != NULL && shared->writer != own) return SQLITE_BUSY;
        shared->writer = own;
        own->level = SQLITE_LOCK_RESERVED;
    }
    if (level == SQLITE_LOCK_EXCLUSIVE && own->level < SQLITE_LOCK_EXCLUSIVE) {
        if (shared->exclusive != NULL && shared->exclusive != own) return SQLITE_BUSY;
        shared->exclusive = own; /* PENDING: no new readers */
        own->level = SQLITE_LOCK_PENDING;
        if (shared->readers > 1) return SQLITE_BUSY;
        own->level = SQLITE_LOCK_EXCLUSIVE;
    }
    return SQLITE_OK;
}

static int file_lock(sqlite3_file *file, int level)
{
    struct vfs_file *own = file_of(file);
    if (own->shared == NULL || own->level >= level) return SQLITE_OK;
    pthread_mutex_lock(&mutex);
    int rc = lock_rise(own, level);
    pthread_mutex_unlock(&mutex);
    return rc;
}

static int file_unlock(sqlite3_file *file, int level)
{
    struct vfs_file *own = file_of(file);
    if (own->shared == NULL || own->level <= level) return SQLITE_OK;
    pthread_mutex_lock(&mutex);
    struct shared *shared = own->shared;
    if (shared->exclusive == own) shared->exclusive = NULL;
    if (shared->writer == own) shared->writer = NULL;
    if (level == SQLITE_LOCK_NONE) {
        check(shared->readers > 0);
        shared->readers--;
    }
    own->level = level;
    pthread_mutex_unlock(&mutex);
    return SQLITE_OK;
}

static int file_is_reserved(sqlite3_file *file, int *is_reserved)
{
    struct vfs_file *own = file_of(file);
    pthread_mutex_lock(&mutex);
    *is_reserved = own->shared != NULL && own->shared->writer != NULL;
    pthread_mutex_unlock(&mutex);
    return SQLITE_OK;
}

static int file_control(sqlite3_file *file, int op, void *argument)
{
    struct vfs_file *own = file_of(file);
    if (own->shared == NULL) return SQLITE_NOTFOUND;
    if (op == VFS_CHECKED_GET)
        *(uint32_t *)argument = shared_page_size(own->shared);
    else if (op == VFS_CHECKED_SET)
        shared_check(own->shared, *(const uint32_t *)argument);
    else
        return SQLITE_NOTFOUND;
    return SQLITE_OK;
}

static int file_sector(sqlite3_file *file)
{
    (void)file;
    return 4096;
}

static int file_device(sqlite3_file *file)
{
    (void)file;
    return SQLITE_IOCAP_POWERSAFE_OVERWRITE | SQLITE_IOCAP_UNDELETABLE_WHEN_OPEN;
}

static int shm_map(sqlite3_file *file, int region, int size, int extend, void volatile **at)
{
    struct shared *shared = file_of(file)->shared;
    check(shared != NULL && region >= 0);
    *at = NULL;
    if (region >= SHM_REGIONS_MAX) return SQLITE_IOERR_SHMSIZE;
    pthread_mutex_lock(&mutex);
    if (extend && (uint32_t)region >= shared->shm_count) {
        uint32_t count = (uint32_t)region + 1;
        shared->shm_regions = mem_resize(shared->shm_regions, count * sizeof(void *));
        while (shared->shm_count < count) {
            shared->shm_regions[shared->shm_count++] = mem_alloc((size_t)size);
        }
    }
    if ((uint32_t)region < shared->shm_count) *at = shared->shm_regions[region];
    pthread_mutex_unlock(&mutex);
    return SQLITE_OK;
}

static bool shm_may_lock(const struct vfs_file *own, uint32_t mask, bool is_exclusive)
{
    const struct shared *shared = own->shared;
    for (uint32_t i = 0; i < SQLITE_SHM_NLOCK; i++) {
        if ((mask & (1u << i)) == 0) continue;
        if (shared->shm_writer[i] != NULL && shared->shm_writer[i] != own) return false;
        uint32_t mine = (own->shm_shared >> i) & 1;
        if (is_exclusive && shared->shm_readers[i] > mine) return false;
    }
    return true;
}

static void shm_take(struct vfs_file *own, uint32_t mask, bool is_exclusive)
{
    for (uint32_t i = 0; i < SQLITE_SHM_NLOCK; i++) {
        if ((mask & (1u << i)) == 0) continue;
        if (is_exclusive)
            own->shared->shm_writer[i] = own;
        else if ((own->shm_shared & (1u << i)) == 0)
            own->shared->shm_readers[i]++;
    }
    if (is_exclusive)
        own->shm_exclusive |= mask;
    else
        own->shm_shared |= mask;
}

static void shm_give(struct vfs_file *own, uint32_t mask)
{
    for (uint32_t i = 0; i < SQLITE_SHM_NLOCK; i++) {
        if ((mask & (1u << i)) == 0) continue;
        if (own->shared->shm_writer[i] == own) own->shared->shm_writer[i] = NULL;
        if ((own->shm_shared & (1u << i)) != 0) own->shared->shm_readers[i]--;
    }
    own->shm_exclusive &= ~mask;
    own->shm_shared &= ~mask;
}

static int shm_lock(sqlite3_file *file, int first, int count, int flags)
{
    struct vfs_file *own = file_of(file);
    uint32_t mask = ((1u << count) - 1) << first;
    bool is_exclusive = (flags & SQLITE_SHM_EXCLUSIVE) != 0;
    int rc = SQLITE_OK;
    pthread_mutex_lock(&mutex);
    if ((flags & SQLITE_SHM_UNLOCK) != 0)
        shm_give(own, mask);
    else if (shm_may_lock(own, mask, is_exclusive))
        shm_take(own, mask, is_exclusive);
    else
        rc = SQLITE_BUSY;
    pthread_mutex_unlock(&mutex);
    return rc;
}

/* A lock's two sides order memory for everyone who takes it. */
static void shm_barrier(sqlite3_file *file)
{
    (void)file;
    pthread_mutex_lock(&mutex);
    pthread_mutex_unlock(&mutex);
}

static int shm_unmap(sqlite3_file *file, int is_deleted)
{
    (void)is_deleted; /* the memory goes with the last connection */
    struct vfs_file *own = file_of(file);
    pthread_mutex_lock(&mutex);
    shm_give(own, own->shm_shared | own->shm_exclusive);
    pthread_mutex_unlock(&mutex);
    return SQLITE_OK;
}

static const sqlite3_io_methods methods = {
    .iVersion = 2,
    .xClose = file_close,
    .xRead = file_read,
    .xWrite = file_write,
    .xTruncate = file_truncate,
    .xSync = file_sync,
    .xFileSize = file_size,
    .xLock = file_lock,
    .xUnlock = file_unlock,
    .xCheckReservedLock = file_is_reserved,
    .xFileControl = file_control,
    .xSectorSize = file_sector,
    .xDeviceCharacteristics = file_device,
    .xShmMap = shm_map,
    .xShmLock = shm_lock,
    .xShmBarrier = shm_barrier,
    .xShmUnmap = shm_unmap,
};

static int vfs_open(sqlite3_vfs *vfs, sqlite3_filename path, sqlite3_file *file, int flags,
                    int *flags_out)
{
    (void)vfs;
    struct vfs_file *own = file_of(file);
    *own = (struct vfs_file){.handle = -1};
    if (path == NULL || strlen(path) >= PATH_SIZE) return SQLITE_CANTOPEN;
    unsigned disk_flags = DISK_READ | DISK_WRITE;
    if ((flags & SQLITE_OPEN_CREATE) != 0) {
        disk_flags |= DISK_CREATE;
        own->unsynced = path; /* SQLite keeps it until the close */
    }
    own->handle = disk_open(path, disk_flags);
    if (own->handle < 0) return disk_is_full(own->handle) ? SQLITE_FULL : SQLITE_CANTOPEN;
    uint8_t head[HEAD_SIZE];
    if ((flags & SQLITE_OPEN_MAIN_DB) != 0) {
        own->shared = shared_get(path);
        if (disk_read(own->handle, head, sizeof head, 0) == sizeof head)
            shared_check(own->shared, head_page_size(head));
    }
    file->pMethods = &methods;
    if (flags_out != NULL) *flags_out = flags;
    return SQLITE_OK;
}

static int vfs_delete(sqlite3_vfs *vfs, const char *path, int is_synced)
{
    (void)vfs;
    int result = disk_unlink(path);
    if (result == -ENOENT) return SQLITE_IOERR_DELETE_NOENT;
    if (result < 0) return SQLITE_IOERR_DELETE;
    if (is_synced && directory_sync(path) < 0) return SQLITE_IOERR_DIR_FSYNC;
    return SQLITE_OK;
}

static int vfs_access(sqlite3_vfs *vfs, const char *path, int flags, int *answer)
{
    (void)vfs;
    int64_t size = disk_size_at(path);
    /* An empty journal is as good as none. */
    *answer = flags == SQLITE_ACCESS_EXISTS ? size > 0 : size >= 0;
    return SQLITE_OK;
}

static int vfs_full_path(sqlite3_vfs *vfs, const char *path, int size, char *full)
{
    (void)vfs;
    return snprintf(full, (size_t)size, "%s", path) < size ? SQLITE_OK : SQLITE_CANTOPEN;
}

static int vfs_randomness(sqlite3_vfs *vfs, int size, char *at)
{
    (void)vfs;
    entropy_fill(at, (size_t)size);
    return size;
}

/* Called while another connection holds a lock, for a few milliseconds. */
static int vfs_sleep(sqlite3_vfs *vfs, int microseconds)
{
    (void)vfs;
    usleep((useconds_t)microseconds);
    return microseconds;
}

static int vfs_time_ms(sqlite3_vfs *vfs, sqlite3_int64 *julian_ms)
{
    (void)vfs;
    static const sqlite3_int64 unix_epoch_ms = 24405875ll * 8640000;
    *julian_ms = unix_epoch_ms + (sqlite3_int64)clock_wall_ms();
    return SQLITE_OK;
}

static int vfs_time(sqlite3_vfs *vfs, double *julian)
{
    sqlite3_int64 ms = 0;
    int rc = vfs_time_ms(vfs, &ms);
    *julian = (double)ms / 86400000.0;
    return rc;
}

static int vfs_last_error(sqlite3_vfs *vfs, int size, char *text)
{
    (void)vfs, (void)size, (void)text;
    return 0;
}

int vfs_register(void)
{
    static sqlite3_vfs vfs = {
        .iVersion = 2,
        .szOsFile = sizeof(struct vfs_file),
        .mxPathname = PATH_SIZE,
        .zName = VFS_NAME,
        .xOpen = vfs_open,
        .xDelete = vfs_delete,
        .xAccess = vfs_access,
        .xFullPathname = vfs_full_path,
        .xRandomness = vfs_randomness,
        .xSleep = vfs_sleep,
        .xCurrentTime = vfs_time,
        .xGetLastError = vfs_last_error,
        .xCurrentTimeInt64 = vfs_time_ms,
    };
    return sqlite3_vfs_register(&vfs, 1);
}
