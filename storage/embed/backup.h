/*
 * backup: a copy of the data directory, made while the gateway runs, or while none does.
 *
 * `sluice backup DIR` asks by a file in the data directory, so whoever may write there
 * may ask, and nobody else:
 *
 *   backup.request   "<id>\n<absolute path>"               written by the command, taken here
 *   backup.status    "<id> <state> <done> <all>\n<text>"   written here; bytes of the database
 *   backup.lock      empty; locked by a command until it ends, so that one asks at a time
 *
 * The index writer looks for it each second and works in slices of 20 ms between its
 * transactions: first the database into DIR/index.db.part, then, without a transaction
 * in between, the log files with what the copy lacks, then the name that a start wants.
 * So a backup holds everything that was acknowledged when it was asked for, and most of
 * what came meanwhile.  What was begun and not completed does not start: DIR/index.db.part is
 * there first, and stays, empty, where it failed.
 *
 * While no gateway runs the command takes the directory's lock and copies the files itself.
 *
 * A backup is a data directory: a gateway starts on it.  The first time it takes an
 * incarnation, and with it epochs, of its own: its channels part from the original's.
 * What was sealed stays sealed, with the same key.
 *
 * Thread:  the index writer's; the next three: the main thread, before and after; the last:
 *          the command's.
 * Source:  backup.c, backup_still.c, index_backup.c; shards/cli_backup.c asks
 * Tests:   tests/unit/storage/test_embed_backup.c, tests/conformance/backup.test.mjs
 */
#pragma once

#include "core/bytes.h"
#include "core/err.h"

struct embed_node;
struct index;

#define BACKUP_REQUEST    "backup.request"
#define BACKUP_STATUS     "backup.status"
#define BACKUP_LOCK       "backup.lock"
#define BACKUP_PART       "index.db.part"
#define BACKUP_PATH_MAX   400
#define BACKUP_TEXT_MAX   1024
#define BACKUP_SLICE_NS   (VERIFY ? 1u : 20000000u)
#define BACKUP_SLICE_MS   5 /* of rest between two */
#define BACKUP_STEP_PAGES (VERIFY ? 2 : 64)
#define BACKUP_LOOK_MS    1000

/* The words of backup.status. */
#define BACKUP_COPYING "copying"
#define BACKUP_DONE    "done"
#define BACKUP_FAILED  "failed"

struct backup {
    struct index_copy *copy; /* NULL: none is under way */
    uint64_t id;
    uint64_t log_files, log_bytes;
    uint64_t done_bytes, all_bytes;
    uint64_t began_ns, said_ns;
    bool is_still; /* made by the command: it says itself what failed */
    char target[BACKUP_PATH_MAX];
};

/* Looks for a request, or does the next slice of one; never fails for the caller.  True:
 * there is more to do, soon. */
bool embed_backup_run(struct embed_node *node);
/* Removes what a life before left of questions and answers. */
void embed_backup_forget(struct embed_node *node);
/* Gives up what is under way, because the gateway ends. */
void embed_backup_end(struct embed_node *node);
/* ERR_CONFLICT, and said: `path` is a backup that was not completed. */
must_use enum err embed_backup_check(const struct embed_node *node);
/* The same copy of a data directory that no gateway has open; blocking.  ERR_NOT_FOUND:
 * nothing is stored there; ERR_CONFLICT: a gateway has it; ERR_DENIED: its lock cannot be
 * had; else backup.status says of `id` what came of it. */
must_use enum err embed_backup_still(const char *data, uint64_t id, const char *target);

struct index_copy;
must_use enum err index_copy_begin(struct index *index, const char *path, struct index_copy **copy);
/* *is_done: the copy is whole, and stays so until the next transaction. */
must_use enum err index_copy_step(struct index_copy *copy, uint32_t pages, bool *is_done);
void index_copy_progress(const struct index_copy *copy, uint64_t *done_bytes, uint64_t *all_bytes);
/* Accepts NULL. */
void index_copy_end(struct index_copy *copy);
