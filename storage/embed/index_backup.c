/* A copy of the whole database while it is written: SQLite's online backup on the
 * writer's own connection, which carries every later commit over to pages that are
 * copied already, so the copy is the database as it is when the last page is done. */
#include "core/check.h"
#include "core/disk.h"
#include "core/mem.h"
#include "storage/embed/backup.h"
#include "storage/embed/index_private.h"
#include "storage/embed/vfs.h"

struct index_copy {
    sqlite3 *to;
    sqlite3_backup *backup;
};

enum err index_copy_begin(struct index *index, const char *path, struct index_copy **copy)
{
    struct index_copy *begun = mem_alloc(sizeof *begun);
    enum err err = sql_open_plain(path, &begun->to);
    uint32_t page_size = 0;
    if (err == ERR_OK) {
        /* The sums of the copy are its own, from whichever page comes first. */
        sqlite3_file_control(index->db, "main", VFS_CHECKED_GET, &page_size);
        sqlite3_file_control(begun->to, "main", VFS_CHECKED_SET, &page_size);
        begun->backup = sqlite3_backup_init(begun->to, "main", index->db, "main");
        if (begun->backup == NULL) err = sql_failed(begun->to, "backup");
    }
    if (err != ERR_OK) {
        index_copy_end(begun);
        return err;
    }
    *copy = begun;
    return ERR_OK;
}

enum err index_copy_step(struct index_copy *copy, uint32_t pages, bool *is_done)
{
    int rc = sqlite3_backup_step(copy->backup, (int)pages);
    *is_done = rc == SQLITE_DONE;
    /* BUSY and LOCKED pass. */
    bool is_fine = rc == SQLITE_DONE || rc == SQLITE_OK || rc == SQLITE_BUSY || rc == SQLITE_LOCKED;
    return is_fine ? ERR_OK : sql_failed(copy->to, "backup");
}

void index_copy_progress(const struct index_copy *copy, uint64_t *done_bytes, uint64_t *all_bytes)
{
    uint64_t all = (uint64_t)sqlite3_backup_pagecount(copy->backup);
    uint64_t left = (uint64_t)sqlite3_backup_remaining(copy->backup);
    *all_bytes = all * INDEX_PAGE_SIZE;
    *done_bytes = (all - min_u64(all, left)) * INDEX_PAGE_SIZE;
}

void index_copy_end(struct index_copy *copy)
{
    if (copy == NULL) return;
    if (copy->backup != NULL) sqlite3_backup_finish(copy->backup);
    sql_close(copy->to);
    mem_free(copy);
}
