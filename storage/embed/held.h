/*
 * held: notices that the names in the data directory lead somewhere else.
 *
 * A handle outlives its name.  Where the directory is removed, moved away, or put back from
 * somewhere under a running gateway, each write and sync goes on well, into files that the
 * next start does not find.  So the lock, DIR/made and index.db are held open, and each
 * LOG_LOOK_MS every shard asks whether their names still lead to them, and whether the
 * files that its log counts on are there.  If not its log has failed: what is asked from
 * then on is refused, what was on its way is unknown.
 *
 * What was acknowledged between the removal and the look is where the handles are; asking
 * before each answer would cost a call of the kernel for each commit.
 *
 * Thread:  held_open, held_close: the main thread, before and after the shards; the others any.
 * Tests:   tests/unit/storage/test_embed_held.c, tests/conformance/disk.test.mjs
 */
#pragma once

#include "core/bytes.h"
#include "core/err.h"

struct log_files;

#define HELD_FILES 3

struct held {
    const char *paths[HELD_FILES]; /* the owner's */
    int files[HELD_FILES];
    uint32_t count;
};

/* Opens the file at `path` for as long as `held` lasts.  ERR_IO: told in the log. */
must_use enum err held_open(struct held *held, const char *path);
/* Accepts a zeroed one. */
void held_close(struct held *held);
/* The first path that leads to another file or to none; NULL: all stand. */
const char *held_missing(const struct held *held);
/* Says in the log that this file is missing, and what to do. */
cold void held_tell(const char *missing);
/* The same of what this log needs, into files->gone; on the thread of their job.  What is gone
 * stays so. */
void held_look(struct log_files *files);
