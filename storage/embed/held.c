/* Names that are to lead to the files that are open; the story stands in held.h. */
#include "storage/embed/held.h"

#include <errno.h>
#include <stdio.h>

#include "core/disk.h"
#include "core/log.h"
#include "storage/embed/log.h"

enum err held_open(struct held *held, const char *path)
{
    check(held->count < HELD_FILES);
    int file = disk_open(path, DISK_READ);
    if (file < 0) {
        log_error("file of the data directory cannot be opened file=%s error=\"%s\"", path,
                  strerrordesc_np(-file));
        return ERR_IO;
    }
    held->paths[held->count] = path;
    held->files[held->count++] = file;
    return ERR_OK;
}

void held_close(struct held *held)
{
    while (held->count > 0) disk_close(held->files[--held->count]);
}

const char *held_missing(const struct held *held)
{
    for (uint32_t i = 0; i < held->count; i++) {
        if (!disk_is_at(held->files[i], held->paths[i])) return held->paths[i];
    }
    return NULL;
}

void held_tell(const char *missing)
{
    log_error("data directory, or a file in it, was removed, moved or replaced while in use; what "
              "was acknowledged last may be missing after a restart, publications are refused; "
              "stop, put it back or restore a backup, and start file=%s",
              missing);
}

/* No other error tells that there is none. */
static bool is_missing(const char *path)
{
    int64_t size = disk_size_at(path);
    return size == -ENOENT || size == -ENOTDIR;
}

/* Nobody else makes or removes files of this log while its job runs. */
void held_look(struct log_files *files)
{
    const struct shardlog *log = files->log;
    const struct made *told = &files->told;
    const struct segment *open = files->open;
    if (files->is_gone) return;
    const char *missing = log->held == NULL ? NULL : held_missing(log->held);
    bool is_open = missing == NULL && open != NULL;
    if (is_open && !disk_is_at(open->file, open->path)) missing = open->path;
    files->is_gone = missing != NULL;
    if (missing != NULL) snprintf(files->gone, sizeof files->gone, "%s", missing);
    if (told->generation == 0) return;
    for (uint64_t number = told->first; number <= told->last && !files->is_gone; number++) {
        segment_path(files->gone, log->directory, told->generation, log->env->shard, number);
        files->is_gone = is_missing(files->gone);
    }
}
