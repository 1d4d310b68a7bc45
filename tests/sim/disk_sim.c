/*
 * disk, simulated: the calls of core/disk.h.  Files and names and what a
 * crash does to them are in disk_state.c.
 */
#include "disk_sim.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "disk_state.h"
#include "fiber.h"
#include "world.h"

#define HANDLES_MAX  512
#define HANDLE_FIRST 100 /* not to be taken for a small number of another kind */

enum { CALL_OPEN, CALL_READ, CALL_WRITE, CALL_SYNC, CALL_TRUNCATE, CALL_NAMES };

static struct {
    struct disk_sim_options options;
    struct handle_sim {
        struct file *file; /* NULL when free */
        unsigned flags;
        bool is_lock;
    } handles[HANDLES_MAX];
    uint64_t boots;
    enum disk_trouble trouble;
    uint32_t permille;
    bool has_struck;
} disk;

void disk_sim_trouble(enum disk_trouble trouble, uint32_t permille)
{
    world_note(TRACE_TROUBLE, trouble, permille, 0);
    disk.trouble = trouble;
    disk.permille = permille;
}

bool disk_sim_has_struck(void)
{
    return disk.has_struck;
}

/* The result of a call of that kind: 0 or -errno. */
static int trouble_of(int call, bool needs_blocks)
{
    int error = 0;
    if (disk.trouble == TROUBLE_FULL && needs_blocks)
        error = ENOSPC;
    else if ((disk.trouble == TROUBLE_ERRORS ||
              (disk.trouble == TROUBLE_SYNCS && call == CALL_SYNC)) &&
             rng_below(&world.rng_disk, 1000) < disk.permille)
        error = EIO;
    if (error == 0) return 0;
    disk.has_struck = true;
    world_note(TRACE_STRUCK, (uint64_t)call, (uint64_t)error, 0);
    return -error;
}

int disk_sim_write_error(void)
{
    /* The log's blocks are there before a byte is written. */
    return -trouble_of(CALL_WRITE, false);
}

void disk_sim_init(const struct disk_sim_options *options)
{
    memset(&disk, 0, sizeof(disk));
    disk.options = *options;
    state_init();
}

void disk_sim_fini(void)
{
    disk_sim_kill(false);
    state_fini();
}

void disk_sim_kill(bool is_machine)
{
    for (uint32_t i = 0; i < HANDLES_MAX; i++) {
        struct file *file = disk.handles[i].file;
        disk.handles[i] = (struct handle_sim){0};
        if (file != NULL) file_drop(file);
    }
    disk.has_struck = false;
    if (!is_machine) return;
    disk.boots++;
    state_crash();
}

/* A call takes time now and then; what it does happens at the end of it. */
static void pause_for(int call, uint64_t file, uint64_t bytes)
{
    world_note(TRACE_DISK, (uint64_t)call, file, bytes);
    if (fiber_self() == NULL || !rng_chance(&world.rng_disk, disk.options.pause_percent)) return;
    fiber_wait(world.now_ns + 1000 + chance_skewed(&world.rng_disk, 0, disk.options.pause_ns_max));
}

bool disk_sim_is_open(int handle)
{
    check(handle >= HANDLE_FIRST && handle < HANDLE_FIRST + HANDLES_MAX);
    return disk.handles[handle - HANDLE_FIRST].file != NULL;
}

static struct file *file_of(int handle)
{
    check(handle >= HANDLE_FIRST && handle < HANDLE_FIRST + HANDLES_MAX);
    struct file *file = disk.handles[handle - HANDLE_FIRST].file;
    check(file != NULL);
    return file;
}

static int handle_new(struct file *file, unsigned flags)
{
    for (int i = 0; i < HANDLES_MAX; i++) {
        if (disk.handles[i].file != NULL) continue;
        disk.handles[i] = (struct handle_sim){file, flags, false};
        file->handles++;
        return HANDLE_FIRST + i;
    }
    return -EMFILE;
}

int disk_open(const char *path, unsigned flags)
{
    pause_for(CALL_OPEN, 0, flags);
    struct file *file = state_find(path);
    int error = trouble_of(CALL_OPEN, file == NULL && (flags & DISK_CREATE));
    if (error < 0) return error;
    if (file != NULL && (flags & DISK_CREATE) && (flags & DISK_EXCLUSIVE)) return -EEXIST;
    if (file == NULL) {
        if (state_is_directory(path)) return -EISDIR;
        if (!(flags & DISK_CREATE)) return -ENOENT;
        if (!state_has_parent(path)) return -ENOENT;
        file = state_create(path);
    }
    return handle_new(file, flags);
}

int disk_close(int handle)
{
    struct file *file = file_of(handle);
    disk.handles[handle - HANDLE_FIRST] = (struct handle_sim){0};
    file_drop(file);
    return 0;
}

int64_t disk_read(int handle, void *at, size_t size, uint64_t offset)
{
    pause_for(CALL_READ, file_of(handle)->number, size);
    check(disk.handles[handle - HANDLE_FIRST].flags & DISK_READ);
    int error = trouble_of(CALL_READ, false);
    if (error < 0) return error;
    return (int64_t)file_read(file_of(handle), at, size, offset);
}

int64_t disk_write(int handle, const void *at, size_t size, uint64_t offset)
{
    check(disk.handles[handle - HANDLE_FIRST].flags & DISK_WRITE);
    size_t first = 0;
    int error = trouble_of(CALL_WRITE, offset + size > file_of(handle)->size);
    if (error < 0) { /* a part of it is written */
        first = rng_below(&world.rng_disk, size + 1);
        if (error == -ENOSPC && offset + first > file_of(handle)->size) first = 0;
        file_write(file_of(handle), at, first, offset);
        return error;
    }
    if (size > SECTOR && fiber_self() != NULL &&
        rng_chance(&world.rng_disk, disk.options.pause_percent)) {
        /* The kernel copies in pieces: a kill may come between two. */
        first = rng_below(&world.rng_disk, size / SECTOR + 1) * SECTOR;
        file_write(file_of(handle), at, first, offset);
    }
    pause_for(CALL_WRITE, file_of(handle)->number, size);
    disk_sim_put(handle, (const uint8_t *)at + first, (uint32_t)(size - first), offset + first);
    return (int64_t)size;
}

void disk_sim_put(int handle, const uint8_t *data, uint32_t size, uint64_t offset)
{
    struct file *file = file_of(handle);
    file_write(file, data, size, offset);
    if (rng_chance(&world.rng_disk, disk.options.writeback_percent)) file_writeback(file);
}

uint64_t disk_sim_sync_begin(int handle)
{
    (void)file_of(handle);
    return state_ticket();
}

void disk_sim_sync_end(int handle, uint64_t ticket)
{
    file_sync(file_of(handle), ticket);
}
void disk_sim_sync_fail(int handle)
{
    file_sync_fail(file_of(handle));
}

uint64_t disk_sim_sync_ns(void)
{
    return chance_skewed(&world.rng_disk, disk.options.sync_ns_min, disk.options.sync_ns_max);
}

int disk_sync(int handle)
{
    world_note(TRACE_DISK, CALL_SYNC, file_of(handle)->number, 0);
    uint64_t ticket = state_ticket();
    if (fiber_self() != NULL) fiber_wait(world.now_ns + disk_sim_sync_ns());
    int error = trouble_of(CALL_SYNC, false);
    if (error < 0)
        file_sync_fail(file_of(handle));
    else
        file_sync(file_of(handle), ticket);
    return error;
}

/* What is not synced may be lost either way. */
void disk_ease_begin(int handle, uint64_t offset, uint64_t size)
{
    (void)handle, (void)offset, (void)size;
}
int disk_ease_end(int handle, uint64_t offset, uint64_t size)
{
    (void)handle, (void)offset, (void)size;
    return 0;
}

int disk_direct(int handle)
{
    (void)handle;
    return 0;
}

int disk_truncate(int handle, uint64_t size)
{
    pause_for(CALL_TRUNCATE, file_of(handle)->number, size);
    int error = trouble_of(CALL_TRUNCATE, false);
    if (error == 0) file_resize(file_of(handle), size);
    return error;
}

int disk_allocate(int handle, uint64_t size)
{
    pause_for(CALL_TRUNCATE, file_of(handle)->number, size);
    struct file *file = file_of(handle);
    int error = trouble_of(CALL_TRUNCATE, file->size < size);
    if (error == 0 && file->size < size) file_resize(file, size);
    return error;
}

int64_t disk_size(int handle)
{
    return (int64_t)file_of(handle)->size;
}

int64_t disk_size_at(const char *path)
{
    const struct file *file = state_find(path);
    return file == NULL ? -ENOENT : (int64_t)file->size;
}

bool disk_is_at(int handle, const char *path)
{
    return state_find(path) == file_of(handle);
}

bool disk_is_inside(const char *path, const char *directory)
{
    size_t size = strlen(directory);
    return strncmp(path, directory, size) == 0 && (path[size] == 0 || path[size] == '/');
}

int disk_mode_shared(const char *path)
{
    return state_find(path) == NULL ? -ENOENT : 0;
}

int disk_rename(const char *from, const char *to)
{
    pause_for(CALL_NAMES, 0, 0);
    int error = trouble_of(CALL_NAMES, false);
    return error < 0 ? error : state_rename(from, to);
}

int disk_unlink(const char *path)
{
    pause_for(CALL_NAMES, 0, 1);
    int error = trouble_of(CALL_NAMES, false);
    return error < 0 ? error : state_unlink(path);
}

int disk_mkdir(const char *path)
{
    pause_for(CALL_NAMES, 0, 2);
    state_mkdir(path);
    return 0;
}

int disk_sync_dir(const char *path)
{
    pause_for(CALL_NAMES, 0, 3);
    if (!state_is_directory(path)) return -ENOENT;
    int error = trouble_of(CALL_SYNC, false);
    if (error == 0) state_sync_dir(path);
    return error;
}

int disk_list(const char *path, void (*each)(void *context, const char *name), void *context)
{
    pause_for(CALL_NAMES, 0, 4);
    if (!state_is_directory(path)) return -ENOENT;
    return state_list(path, each, context);
}

int disk_lock(const char *path)
{
    int handle = disk_open(path, DISK_READ | DISK_WRITE | DISK_CREATE);
    if (handle < 0) return handle;
    struct file *file = file_of(handle);
    for (uint32_t i = 0; i < HANDLES_MAX; i++) {
        if (disk.handles[i].file != file || !disk.handles[i].is_lock) continue;
        disk_close(handle);
        return -EWOULDBLOCK;
    }
    disk.handles[handle - HANDLE_FIRST].is_lock = true;
    return handle;
}

int64_t disk_free(const char *path)
{
    (void)path;
    return (int64_t)1 << 40;
}

int disk_boot_id(uint8_t id[16])
{
    memset(id, 0, 16);
    memcpy(id, &world.seed, 8);
    memcpy(id + 8, &disk.boots, 8);
    return 0;
}

uint32_t disk_sim_dirty(void)
{
    return state_dirty();
}
uint32_t disk_sim_files(void)
{
    return state_files();
}
