/*
 * disk_os: the real disk.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "core/check.h"
#include "core/disk.h"
#include "core/mem.h"

#define FILE_MODE      0640
#define DIRECTORY_MODE 0750
#define ZEROS_SIZE     (256u << 10)

int disk_open(const char *path, unsigned flags)
{
    check((flags & (DISK_READ | DISK_WRITE)) != 0);
    int mode = O_RDONLY;
    if (flags & DISK_WRITE) mode = flags & DISK_READ ? O_RDWR : O_WRONLY;
    if (flags & DISK_CREATE) mode |= O_CREAT;
    if (flags & DISK_EXCLUSIVE) mode |= O_EXCL;
    int file = open(path, mode | O_CLOEXEC, FILE_MODE);
    return file >= 0 ? file : -errno;
}

/* After EINTR the descriptor is gone all the same (Linux). */
int disk_close(int file)
{
    if (close(file) == 0 || errno == EINTR) return 0;
    return -errno;
}

int64_t disk_read(int file, void *at, size_t size, uint64_t offset)
{
    size_t done = 0;
    while (done < size) {
        ssize_t got = pread(file, (uint8_t *)at + done, size - done, (off_t)(offset + done));
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return -errno;
        if (got == 0) break;
        done += (size_t)got;
    }
    return (int64_t)done;
}

int64_t disk_write(int file, const void *at, size_t size, uint64_t offset)
{
    size_t done = 0;
    while (done < size) {
        ssize_t put = pwrite(file, (const uint8_t *)at + done, size - done, (off_t)(offset + done));
        if (put < 0 && errno == EINTR) continue;
        if (put < 0) return -errno;
        if (put == 0) return -EIO;
        done += (size_t)put;
    }
    return (int64_t)done;
}

/* Never repeated, not after EINTR either: a failed sync marks pages clean that
 * are not on the disk, and a second one would say all is well. */
int disk_sync(int file)
{
    return fdatasync(file) == 0 ? 0 : -errno;
}

void disk_ease_begin(int file, uint64_t offset, uint64_t size)
{
    (void)sync_file_range(file, (off_t)offset, (off_t)size, SYNC_FILE_RANGE_WRITE);
}

int disk_ease_end(int file, uint64_t offset, uint64_t size)
{
    if (size == 0) return 0; /* the call would take it for everything */
    if (sync_file_range(file, (off_t)offset, (off_t)size, SYNC_FILE_RANGE_WAIT_BEFORE) == 0)
        return 0;
    /* Not every file system knows it. */
    return errno == EIO || errno == ENOSPC || errno == EDQUOT ? -errno : 0;
}

int disk_direct(int file)
{
    struct statx info;
    if (statx(file, "", AT_EMPTY_PATH, STATX_DIOALIGN, &info) != 0) return -errno;
    bool is_told = (info.stx_mask & STATX_DIOALIGN) != 0 && info.stx_dio_offset_align > 0;
    bool is_fine =
        info.stx_dio_offset_align <= DISK_SECTOR && info.stx_dio_mem_align <= DISK_SECTOR;
    if (!is_told || !is_fine) return -EOPNOTSUPP;
    int flags = fcntl(file, F_GETFL);
    if (flags < 0 || fcntl(file, F_SETFL, flags | O_DIRECT) != 0) return -errno;
    return 0;
}

int disk_truncate(int file, uint64_t size)
{
    while (ftruncate(file, (off_t)size) != 0)
        if (errno != EINTR) return -errno;
    return 0;
}

/* Room first, so that a full disk is told before anything is written; then
 * zeros, because blocks that were only reserved make each later sync write the
 * file system's journal as well.  In portions, for a commit that waits behind 64 MiB
 * of zeros waits for half a second. */
int disk_allocate(int file, uint64_t size)
{
    int64_t had = disk_size(file);
    if (had < 0) return (int)had;
    if ((uint64_t)had >= size) return 0;
    uint64_t from = (uint64_t)had;
    while (fallocate(file, 0, (off_t)from, (off_t)(size - from)) != 0) {
        if (errno == EINTR) continue;
        if (errno == EOPNOTSUPP) break;
        return -errno;
    }
    uint8_t *zeros = mem_alloc(ZEROS_SIZE);
    int64_t put = 0;
    while (from < size && put >= 0) {
        size_t piece = size - from < ZEROS_SIZE ? (size_t)(size - from) : ZEROS_SIZE;
        put = disk_write(file, zeros, piece, from);
        if (put < 0) break;
        disk_ease_begin(file, from, piece);
        if (from >= (uint64_t)had + ZEROS_SIZE)
            put = disk_ease_end(file, from - ZEROS_SIZE, ZEROS_SIZE);
        from += piece;
    }
    mem_free(zeros);
    return put < 0 ? (int)put : 0;
}

int64_t disk_size(int file)
{
    struct stat info;
    return fstat(file, &info) == 0 ? (int64_t)info.st_size : -errno;
}

int64_t disk_size_at(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 ? (int64_t)info.st_size : -errno;
}

bool disk_is_at(int file, const char *path)
{
    struct stat open, named;
    if (stat(path, &named) != 0) return errno != ENOENT && errno != ENOTDIR;
    if (fstat(file, &open) != 0) return true;
    return open.st_ino == named.st_ino && open.st_dev == named.st_dev;
}

/* The deepest directory of `path` that is there, into `found`; false: there is none, or the
 * path leads through a file. */
static bool directory_found(const char *path, char found[PATH_MAX], struct stat *info)
{
    size_t size = strlen(path);
    if (size == 0 || size >= PATH_MAX) return false;
    memcpy(found, path, size + 1);
    while (stat(found, info) != 0) {
        char *slash = strrchr(found, '/');
        if (strcmp(found, "/") == 0 || strcmp(found, ".") == 0) return false;
        if (slash == NULL)
            memcpy(found, ".", 2);
        else
            slash[slash == found] = '\0';
    }
    return S_ISDIR(info->st_mode);
}

bool disk_is_inside(const char *path, const char *directory)
{
    char at[PATH_MAX];
    struct stat outer, inner, above;
    if (stat(directory, &outer) != 0 || !directory_found(path, at, &inner)) return false;
    for (;;) {
        if (inner.st_ino == outer.st_ino && inner.st_dev == outer.st_dev) return true;
        size_t size = strlen(at);
        if (size + 4 > sizeof at) return false;
        memcpy(at + size, "/..", 4);
        if (stat(at, &above) != 0) return false;
        if (above.st_ino == inner.st_ino && above.st_dev == inner.st_dev)
            return false; /* the root */
        inner = above;
    }
}

int disk_mode_shared(const char *path)
{
    struct stat info;
    if (stat(path, &info) != 0) return -errno;
    mode_t others = info.st_uid == geteuid() ? 0066 : 0006;
    return (info.st_mode & others) != 0 ? (int)(info.st_mode & 0777) : 0;
}

int disk_rename(const char *from, const char *to)
{
    return rename(from, to) == 0 ? 0 : -errno;
}
int disk_unlink(const char *path)
{
    return unlink(path) == 0 ? 0 : -errno;
}

static int disk_mkdir_one(const char *path)
{
    struct stat info;
    if (mkdir(path, DIRECTORY_MODE) == 0) return 0;
    if (errno != EEXIST) return -errno;
    if (stat(path, &info) != 0) return -errno;
    return S_ISDIR(info.st_mode) ? 0 : -ENOTDIR;
}

int disk_mkdir(const char *path)
{
    char part[PATH_MAX];
    size_t size = strlen(path);
    if (size == 0) return -ENOENT;
    if (size >= sizeof part) return -ENAMETOOLONG;
    memcpy(part, path, size + 1);
    for (size_t i = 1; i < size; i++) {
        if (part[i] != '/' || part[i - 1] == '/') continue;
        part[i] = '\0';
        int result = disk_mkdir_one(part);
        if (result < 0) return result;
        part[i] = '/';
    }
    return disk_mkdir_one(path);
}

int disk_sync_dir(const char *path)
{
    int directory = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (directory < 0) return -errno;
    int result = fsync(directory) == 0 ? 0 : -errno;
    close(directory);
    return result;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Read whole before the first call: `each` may change the directory. */
int disk_list(const char *path, void (*each)(void *context, const char *name), void *context)
{
    DIR *directory = opendir(path);
    if (directory == NULL) return -errno;
    char **names = NULL;
    size_t count = 0, room = 0;
    struct dirent *entry;
    while (errno = 0, (entry = readdir(directory)) != NULL) {
        const char *name = entry->d_name;
        if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0) continue;
        if (count == room) {
            room = room == 0 ? 32 : 2 * room;
            names = mem_resize(names, room * sizeof *names);
        }
        names[count++] = mem_text(name, strlen(name));
    }
    int result = -errno;
    closedir(directory);
    if (count > 0) qsort(names, count, sizeof *names, compare_names);
    for (size_t i = 0; i < count; i++) {
        if (result == 0) each(context, names[i]);
        mem_free(names[i]);
    }
    mem_free(names);
    return result;
}

int disk_lock(const char *path)
{
    int file = disk_open(path, DISK_READ | DISK_WRITE | DISK_CREATE);
    if (file < 0) return file;
    while (flock(file, LOCK_EX | LOCK_NB) != 0) {
        if (errno == EINTR) continue;
        int error = errno;
        close(file);
        return -error;
    }
    return file;
}

int64_t disk_free(const char *path)
{
    struct statvfs info;
    if (statvfs(path, &info) != 0) return -errno;
    return (int64_t)(info.f_bavail * info.f_frsize);
}

int disk_boot_id(uint8_t id[16])
{
    char text[37] = "";
    int file = disk_open("/proc/sys/kernel/random/boot_id", DISK_READ);
    if (file < 0) return file;
    int64_t size = disk_read(file, text, sizeof text - 1, 0);
    disk_close(file);
    if (size < 36) return size < 0 ? (int)size : -EIO;

    size_t at = 0;
    for (size_t i = 0; i < 16; i++) {
        unsigned byte;
        if (text[at] == '-') at++;
        if (sscanf(text + at, "%2x", &byte) != 1) return -EIO;
        id[i] = (uint8_t)byte;
        at += 2;
    }
    return 0;
}
