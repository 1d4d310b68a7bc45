/*
 * made: which log files there must be, so that a start misses one that is gone.
 *
 * A log tells by itself that a file in its middle is missing; of its newest files,
 * or of all, nothing in the directory would tell.  DIR/made does: a sector for each
 * shard, written in place and synced by the job that makes or removes a file:
 *
 *   "SLUICEMD" · u32 version (1) · u32 shard · u64 generation · u64 first · u64 last
 *   · u32 0 · u32 CRC32C, then zeroes up to 512 bytes
 *
 * A file is made first, then told here, then written to; one that is not needed any
 * more is told here first and then removed or renamed.  So a crash in between leaves
 * a file too many, never one too few.  The numbers of another generation mean
 * nothing: that its logs were applied was on disk before the next one began.
 *
 * Who knows that files are gone and wants to go on makes DIR/accept-loss: the start
 * removes it and gives every channel a new epoch, so that what is lost is told.
 *
 * Thread:  any; blocks.
 * Tests:   tests/unit/storage/test_embed_made.c
 */
#pragma once

#include "core/err.h"
#include "storage/embed/segment.h"

#define MADE_NAME        "made"
#define MADE_ACCEPT_NAME "accept-loss"

/* Of one log; nothing: last < first. */
struct made {
    uint64_t generation, first, last;
};

/* Makes the file when it is not there, durable with its directory; is_anew: it tells
 * nothing then.  ERR_IO: told in the log. */
must_use enum err made_prepare(const char *path, const char *directory, bool is_anew);
/* On disk when it returns.  ERR_IO: told in the log. */
must_use enum err made_put(const char *path, uint32_t shard, const struct made *made);
/* True when every file that `generation` must have is in log_directory and no newer generation
 * is told of.  `is_wanted`: DIR/made itself must be there; `is_clean`: the life before
 * left nothing in its logs.  False: told in the log. */
must_use bool made_check(const char *path, const char *log_directory, uint64_t generation,
                         bool is_wanted, bool is_clean);
