/* The copy that the command makes while no gateway runs: files, byte by byte. */
#include <errno.h>

#include "core/disk.h"
#include "core/mem.h"
#include "storage/embed/backup_private.h"

#define STILL_BLOCK (1u << 20)

/* Byte by byte: what is damaged stays so, and a start on the copy says it. */
static enum err still_file(struct embed_node *node, const char *path, const char *target,
                           uint64_t *copied_bytes)
{
    int from = disk_open(path, DISK_READ);
    if (from < 0) return backup_fail(node, "%s cannot be read: %s", path, strerrordesc_np(-from));
    int to = disk_open(target, DISK_WRITE | DISK_CREATE);
    uint8_t *bytes = mem_alloc(STILL_BLOCK);
    int64_t result = to;
    for (uint64_t at = 0; result >= 0;) {
        result = disk_read(from, bytes, STILL_BLOCK, at);
        if (result <= 0) break;
        size_t size = (size_t)result;
        result = disk_write(to, bytes, size, at);
        at += size;
        *copied_bytes += size;
    }
    if (result >= 0) result = disk_sync(to);
    mem_free(bytes);
    if (to >= 0) disk_close(to);
    disk_close(from);
    if (result >= 0) return ERR_OK;
    return backup_fail(node, "%s cannot be copied to %s: %s", path, target,
                       strerrordesc_np((int)-result));
}

struct still_logs {
    struct embed_node *node;
    enum err err;
};

static void on_still_log(void *context, const char *name)
{
    struct still_logs *logs = context;
    struct backup *backup = &logs->node->backup;
    struct segment segment;
    char path[BACKUP_PATH_SIZE], target[BACKUP_PATH_SIZE];
    if (logs->err != ERR_OK ||
        !segment_parse(name, &segment.generation, &segment.shard, &segment.number))
        return;
    path_in(path, logs->node->log_path, name);
    snprintf(target, sizeof target, "%s/log/%s", backup->target, name);
    logs->err = still_file(logs->node, path, target, &backup->log_bytes);
    backup->log_files++;
}

/* SQLite's own log too: opening the copy brings it in. */
static enum err still_copy(struct embed_node *node)
{
    struct backup *backup = &node->backup;
    struct still_logs logs = {.node = node};
    char part[BACKUP_PATH_SIZE], path[BACKUP_PATH_SIZE], wal[BACKUP_PATH_SIZE];
    path_in(part, backup->target, BACKUP_PART);
    path_in(path, backup->target, BACKUP_PART "-wal");
    path_in(wal, node->path, "index.db-wal");
    TRY(still_file(node, node->index_path, part, &backup->all_bytes));
    if (disk_size_at(wal) > 0) TRY(still_file(node, wal, path, &backup->all_bytes));
    int result = disk_list(node->log_path, on_still_log, &logs);
    TRY(logs.err);
    path_in(path, backup->target, "log");
    if (result >= 0) result = disk_sync_dir(path);
    if (result < 0) return backup_fail(node, "the logs cannot be copied");
    TRY(backup_mark(node, part));
    return backup_name(node);
}

static enum err still_run(struct embed_node *node)
{
    char path[BACKUP_PATH_SIZE];
    path_in(path, node->path, BACKUP_PART);
    if (disk_size_at(path) >= 0)
        return backup_fail(node, "%s is a backup that was not completed", node->path);
    TRY(backup_target(node));
    enum err err = still_copy(node);
    if (err != ERR_OK) backup_clean(node);
    return err;
}

enum err embed_backup_still(const char *data, uint64_t id, const char *target)
{
    char path[BACKUP_PATH_SIZE];
    path_in(path, data, "index.db");
    if (disk_size_at(path) < 0) return ERR_NOT_FOUND;
    struct embed_node *node = mem_alloc(sizeof *node);
    enum err err = ERR_LIMIT_SIZE;
    int lock = -1;
    int data_size = snprintf(node->path, sizeof node->path, "%s", data);
    int target_size = snprintf(node->backup.target, BACKUP_PATH_MAX, "%s", target);
    if ((size_t)data_size < sizeof node->path && target_size < BACKUP_PATH_MAX) {
        snprintf(node->log_path, sizeof node->log_path, "%s/log", node->path);
        snprintf(node->index_path, sizeof node->index_path, "%s/index.db", node->path);
        node->backup.id = id;
        node->backup.is_still = true;
        path_in(path, data, "lock");
        lock = disk_lock(path);
        err = lock == -EWOULDBLOCK ? ERR_CONFLICT : ERR_DENIED;
        if (lock >= 0) err = still_run(node);
    }
    if (lock >= 0) disk_close(lock);
    mem_free(node);
    return err;
}
