/* Backups while the gateway runs; the story stands in backup.h. */
#include "storage/embed/backup_private.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>

#include "core/clock.h"
#include "core/disk.h"
#include "core/log.h"
#include "core/mem.h"

#define SAY_NS       250000000ull
/* Room that must stay on the disk beside what is copied. */
#define ROOM_LEAST   (16u << 20)
#define REQUEST_SIZE (BACKUP_PATH_MAX + 64)

/* ---- what is told ---- */

/* Replaces backup.status; nobody reads half of it. */
static void backup_say(struct embed_node *node, const char *state, const char *text)
{
    const struct backup *backup = &node->backup;
    char now[BACKUP_PATH_SIZE], next[BACKUP_PATH_SIZE], line[BACKUP_TEXT_MAX];
    path_in(now, node->path, BACKUP_STATUS);
    path_in(next, node->path, BACKUP_STATUS ".next");
    int size = snprintf(line, sizeof line, "%" PRIu64 " %s %" PRIu64 " %" PRIu64 "\n%s\n",
                        backup->id, state, backup->done_bytes, backup->all_bytes, text);
    check(size > 0 && (size_t)size < sizeof line);
    int file = disk_open(next, DISK_WRITE | DISK_CREATE);
    if (file < 0) return;
    bool is_written =
        disk_truncate(file, 0) >= 0 && disk_write(file, line, (size_t)size, 0) == size;
    disk_close(file);
    if (is_written) (void)!disk_rename(next, now);
}

printf_like(2, 3) enum err backup_fail(struct embed_node *node, const char *format, ...)
{
    char text[BACKUP_TEXT_MAX / 2];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    backup_say(node, BACKUP_FAILED, text);
    if (!node->backup.is_still)
        log_error("backup failed target=%s reason=\"%s\"", node->backup.target, text);
    return ERR_IO;
}

/* ---- the logs ---- */

struct log_copy {
    struct embed_node *node;
    enum err err;
    uint64_t log, last; /* the log under way, and the newest batch of it that was copied */
    bool is_ended;      /* nothing later of it fits behind `last` */
};

static void on_log_unlink(void *context, const char *name)
{
    char path[BACKUP_PATH_SIZE];
    path_in(path, context, name);
    (void)!disk_unlink(path);
}

/* The next batch at `at` of the file, whole, into *bytes; false: there is none. */
static bool batch_read(int file, uint64_t at, uint64_t log, uint8_t **bytes,
                       struct batch_head *head)
{
    uint8_t first[BATCH_HEAD];
    if (disk_read(file, first, sizeof first, at) != sizeof first) return false;
    struct reader reader = reader_of(bytes_of(first, sizeof first));
    (void)read_u32(&reader);
    uint32_t payload_size = read_u32(&reader);
    int64_t file_size = disk_size(file);
    if (file_size < 0 || payload_size > (uint64_t)file_size - at) return false;
    uint32_t size = batch_size(payload_size);
    *bytes = mem_resize(*bytes, size);
    if (disk_read(file, *bytes, size, at) != size) return false;
    return batch_open(bytes_of(*bytes, size), log, head);
}

static void segment_version(struct segment *segment, int from)
{
    uint8_t head[SEGMENT_HEAD];
    int64_t got = disk_read(from, head, sizeof head, 0);
    segment_read_version(segment, bytes_of(head, got > 0 ? (size_t)got : 0));
}

/* The number of the last batch that follows from the one before the file. */
static uint64_t segment_newest(const struct log_copy *logs, const struct segment *segment, int from)
{
    uint64_t at = segment_first(segment), last = logs->last;
    struct batch_head head;
    uint8_t *bytes = NULL;
    while (batch_read(from, at, logs->log, &bytes, &head) && head.number > last) {
        last = head.number;
        at = segment_place(segment, at + batch_size(head.payload_size));
    }
    mem_free(bytes);
    return last;
}

/* Copies the head and every batch that follows from what was copied before. */
static enum err segment_copy(struct log_copy *logs, const struct segment *segment, int from, int to)
{
    uint64_t applied = logs->node->applied[segment->shard], at = segment_first(segment);
    uint8_t head_bytes[SEGMENT_STEP], *bytes = NULL;
    struct batch_head head;
    int64_t result = disk_read(from, head_bytes, at, 0);
    if (result == (int64_t)at) result = disk_write(to, head_bytes, at, 0);
    while (result >= 0 && batch_read(from, at, logs->log, &bytes, &head)) {
        if (head.number <= logs->last) break; /* of the file's life before */
        if (head.number > max_u64(logs->last, applied) + 1) {
            logs->is_ended = true;
            break;
        }
        uint32_t size = batch_size(head.payload_size);
        result = disk_write(to, bytes, size, at);
        at = segment_place(segment, at + size);
        logs->last = head.number;
        logs->node->backup.log_bytes += size;
    }
    mem_free(bytes);
    if (result >= 0) result = disk_sync(to);
    if (result >= 0) return ERR_OK;
    return backup_fail(logs->node, "a log file cannot be copied: %s",
                       strerrordesc_np((int)-result));
}

static enum err segment_copy_to(struct log_copy *logs, const struct segment *segment, int from,
                                const char *target)
{
    int to = disk_open(target, DISK_WRITE | DISK_CREATE | DISK_EXCLUSIVE);
    if (to < 0)
        return backup_fail(logs->node, "%s cannot be made: %s", target, strerrordesc_np(-to));
    enum err err = segment_copy(logs, segment, from, to);
    disk_close(to);
    logs->node->backup.log_files++;
    return err;
}

/* One file.  What the copied index has everything of is not needed, and may become
 * another file while it is read: only its own life's numbers count. */
static void on_log(void *context, const char *name)
{
    struct log_copy *logs = context;
    struct embed_node *node = logs->node;
    struct segment segment = {.file = -1};
    char path[BACKUP_PATH_SIZE], target[BACKUP_PATH_SIZE];
    if (logs->err != ERR_OK ||
        !segment_parse(name, &segment.generation, &segment.shard, &segment.number))
        return;
    segment.salt = seals_salt(&node->seals, segment.generation);
    uint64_t log = log_id(segment.generation, segment.shard);
    if (log != logs->log) {
        logs->log = log;
        logs->last = 0;
        logs->is_ended = false;
    }
    if (logs->is_ended || segment.generation != node->generation) return;
    path_in(path, node->log_path, name);
    snprintf(target, sizeof target, "%s/log/%s", node->backup.target, name);
    int from = disk_open(path, DISK_READ);
    if (from < 0) return; /* recycled or removed: not needed */
    segment_version(&segment, from);
    uint64_t newest = segment_newest(logs, &segment, from);
    bool is_there = disk_size_at(path) >= 0; /* else it was renamed while it was read */
    if (newest > node->applied[segment.shard] && is_there)
        logs->err = segment_copy_to(logs, &segment, from, target);
    else if (is_there)
        logs->last = newest;
    disk_close(from);
}

static enum err backup_logs(struct embed_node *node)
{
    struct log_copy logs = {.node = node};
    char path[BACKUP_PATH_SIZE];
    int result = disk_list(node->log_path, on_log, &logs);
    if (result < 0) return backup_fail(node, "the logs cannot be listed");
    TRY(logs.err);
    path_in(path, node->backup.target, "log");
    result = disk_sync_dir(path);
    return result < 0 ? backup_fail(node, "%s cannot be synced", path) : ERR_OK;
}

/* ---- begin, go on, end ---- */

/* Gives the room back.  BACKUP_PART stays, empty: without it a gateway that is given the
 * directory of what failed would begin a store there, with nothing in it. */
void backup_clean(struct embed_node *node)
{
    static const char *const names[] = {BACKUP_PART "-wal", BACKUP_PART "-journal"};
    char path[BACKUP_PATH_SIZE];
    path_in(path, node->backup.target, BACKUP_PART);
    int part = disk_open(path, DISK_WRITE | DISK_CREATE);
    if (part >= 0) {
        (void)!disk_truncate(part, 0);
        disk_close(part);
    }
    for (uint32_t i = 0; i < array_count(names); i++) {
        path_in(path, node->backup.target, names[i]);
        (void)!disk_unlink(path);
    }
    path_in(path, node->backup.target, "log");
    (void)!disk_list(path, on_log_unlink, path);
}

enum err backup_mark(struct embed_node *node, const char *path)
{
    struct index *index;
    uint64_t is_backup = 1;
    bool is_whole = false;
    enum err err = index_open(path, &index);
    if (err == ERR_OK) {
        err = index_meta_put(index, "backup", &is_backup, sizeof is_backup);
        if (err == ERR_OK) err = index_checkpoint(index, true, &is_whole);
        index_close(index);
    }
    if (err != ERR_OK || !is_whole) return backup_fail(node, "the copy cannot be finished");
    return ERR_OK;
}

enum err backup_name(struct embed_node *node)
{
    struct backup *backup = &node->backup;
    char part[BACKUP_PATH_SIZE], path[BACKUP_PATH_SIZE];
    path_in(part, backup->target, BACKUP_PART);
    path_in(path, backup->target, "index.db");
    int file = disk_open(part, DISK_READ | DISK_WRITE);
    int result = file < 0 ? file : disk_sync(file);
    if (file >= 0) disk_close(file);
    if (result >= 0) result = disk_rename(part, path);
    if (result >= 0) result = disk_sync_dir(backup->target);
    if (result < 0)
        return backup_fail(node, "%s cannot be made: %s", path, strerrordesc_np(-result));
    char text[BACKUP_PATH_MAX + 100];
    snprintf(text, sizeof text, "%" PRIu64 " log files with %" PRIu64 " bytes", backup->log_files,
             backup->log_bytes);
    backup->done_bytes = backup->all_bytes;
    backup_say(node, BACKUP_DONE, text);
    return ERR_OK;
}

/* The database is copied; no transaction runs before this returns. */
static enum err backup_finish(struct embed_node *node)
{
    struct backup *backup = &node->backup;
    char part[BACKUP_PATH_SIZE];
    path_in(part, backup->target, BACKUP_PART);
    index_copy_end(backup->copy);
    backup->copy = NULL;
    TRY(backup_mark(node, part));
    TRY(backup_logs(node));
    TRY(backup_name(node));
    log_info("backup is complete target=%s bytes=%" PRIu64 " log_files=%" PRIu64
             " log_bytes=%" PRIu64 " ms=%" PRIu64,
             backup->target, backup->all_bytes, backup->log_files, backup->log_bytes,
             (clock_mono_ns() - backup->began_ns) / 1000000);
    return ERR_OK;
}
static void backup_slice(struct embed_node *node)
{
    struct backup *backup = &node->backup;
    uint64_t start_ns = clock_mono_ns();
    enum err err = ERR_OK;
    bool is_done = false;
    do {
        err = index_copy_step(backup->copy, BACKUP_STEP_PAGES, &is_done);
    } while (err == ERR_OK && !is_done && clock_mono_ns() - start_ns < BACKUP_SLICE_NS);
    index_copy_progress(backup->copy, &backup->done_bytes, &backup->all_bytes);
    if (err != ERR_OK)
        err = backup_fail(node, "the database cannot be copied: %s", err_text(err));
    else if (is_done)
        err = backup_finish(node);
    if (err != ERR_OK) {
        index_copy_end(backup->copy);
        backup->copy = NULL;
        backup_clean(node);
    } else if (!is_done && start_ns - backup->said_ns >= SAY_NS) {
        backup->said_ns = start_ns;
        backup_say(node, BACKUP_COPYING, "");
    }
}

/* An empty BACKUP_PART in `directory`, which is made; 0 or -errno. */
static int part_make(const char *directory)
{
    char part[BACKUP_PATH_SIZE];
    path_in(part, directory, BACKUP_PART);
    int result = disk_mkdir(directory);
    if (result < 0) return result;
    int file = disk_open(part, DISK_WRITE | DISK_CREATE);
    if (file >= 0) disk_close(file);
    return file < 0 ? file : 0;
}

/* The directory with an empty BACKUP_PART before anything else: at no moment is there an
 * empty one that we made. */
static enum err backup_target_make(struct embed_node *node)
{
    const char *target = node->backup.target;
    char next[BACKUP_PATH_SIZE], path[BACKUP_PATH_SIZE];
    snprintf(next, sizeof next, "%s.next", target);
    path_in(path, target, "log");
    bool is_there = disk_size_at(target) >= 0;
    int result = part_make(is_there ? target : next);
    if (result >= 0 && !is_there) result = disk_rename(next, target);
    if (result >= 0) result = disk_mkdir(path);
    if (result >= 0) result = disk_sync_dir(target);
    if (result >= 0) return ERR_OK;
    return backup_fail(node, "%s cannot be made: %s", path, strerrordesc_np(-result));
}

enum err backup_target(struct embed_node *node)
{
    static const char *const names[] = {"index.db", "lock"};
    const char *target = node->backup.target;
    char path[BACKUP_PATH_SIZE];
    if (target[0] != '/') return backup_fail(node, "the path must be absolute");
    for (uint32_t i = 0; i < array_count(names); i++) {
        path_in(path, target, names[i]);
        if (disk_size_at(path) >= 0) return backup_fail(node, "%s is there already", path);
    }
    if (disk_is_inside(target, node->path))
        return backup_fail(node, "a copy inside the data directory would go with it; give a "
                                 "directory outside of it");
    /* Empty: one that failed, and left nothing. */
    path_in(path, target, BACKUP_PART);
    if (disk_size_at(path) > 0)
        return backup_fail(node, "%s is there already, of a backup that was not completed", path);
    TRY(backup_target_make(node));
    int64_t database = disk_size_at(node->index_path), room = disk_free(target);
    if (database >= 0 && room >= 0 && room < database + (int64_t)ROOM_LEAST)
        return backup_fail(node, "not enough room: %" PRId64 " MiB are free, %" PRId64 " needed",
                           room >> 20, (database + (int64_t)ROOM_LEAST) >> 20);
    return ERR_OK;
}

static void backup_begin(struct embed_node *node)
{
    struct backup *backup = &node->backup;
    char part[BACKUP_PATH_SIZE];
    if (backup_target(node) != ERR_OK) return;
    path_in(part, backup->target, BACKUP_PART);
    if (index_copy_begin(node->index, part, &backup->copy) != ERR_OK) {
        backup->copy = NULL;
        (void)!backup_fail(node, "%s cannot be written", part);
        backup_clean(node);
        return;
    }
    log_info("backup begins target=%s", backup->target);
    backup_say(node, BACKUP_COPYING, "");
}

/* Takes the request when there is one. */
static bool backup_asked(struct embed_node *node)
{
    char path[BACKUP_PATH_SIZE], text[REQUEST_SIZE];
    path_in(path, node->path, BACKUP_REQUEST);
    if (disk_size_at(path) < 0) return false;
    int file = disk_open(path, DISK_READ);
    int64_t got = file < 0 ? file : disk_read(file, text, sizeof text - 1, 0);
    if (file >= 0) disk_close(file);
    if (got < 0) {
        log_warn("a backup is asked for by a file that cannot be read; run the command as the "
                 "user of the gateway file=%s error=\"%s\"",
                 path, strerrordesc_np((int)-got));
        (void)!disk_unlink(path);
        return false;
    }
    text[got] = 0;
    struct backup *backup = &node->backup;
    char *line = strchr(text, '\n');
    *backup = (struct backup){.began_ns = clock_mono_ns()};
    (void)!disk_unlink(path);
    if (line == NULL || !bytes_to_u64(bytes_of(text, (size_t)(line - text)), &backup->id))
        return false;
    int size = snprintf(backup->target, sizeof backup->target, "%s", line + 1);
    if (size > 0 && (size_t)size < sizeof backup->target) return true;
    (void)!backup_fail(node, "the path is empty or too long");
    return false;
}

bool embed_backup_run(struct embed_node *node)
{
    struct backup *backup = &node->backup;
    if (backup->copy != NULL)
        backup_slice(node);
    else if (backup_asked(node))
        backup_begin(node);
    return backup->copy != NULL;
}

void embed_backup_forget(struct embed_node *node)
{
    static const char *const names[] = {BACKUP_REQUEST, BACKUP_STATUS, BACKUP_STATUS ".next",
                                        BACKUP_LOCK};
    char path[BACKUP_PATH_SIZE];
    check(node->backup.copy == NULL);
    for (uint32_t i = 0; i < array_count(names); i++) {
        path_in(path, node->path, names[i]);
        (void)!disk_unlink(path);
    }
}

void embed_backup_end(struct embed_node *node)
{
    if (node->backup.copy == NULL) return;
    (void)!backup_fail(node, "the gateway ended");
    index_copy_end(node->backup.copy);
    node->backup.copy = NULL;
    backup_clean(node);
}

enum err embed_backup_check(const struct embed_node *node)
{
    char path[BACKUP_PATH_SIZE];
    path_in(path, node->path, BACKUP_PART);
    if (disk_size_at(path) < 0) return ERR_OK;
    log_error("data directory is a backup that was not completed; start on another, or remove it "
              "path=%s",
              node->path);
    return ERR_CONFLICT;
}
