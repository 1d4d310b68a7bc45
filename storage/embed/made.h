/*
 * made: which log files there must be and how far they reach, so that a start misses
 * what is gone.
 *
 * A log tells by itself that something in its middle is missing or damaged: later batches
 * know that it was durable.  Of its last batch, of its newest files or of all, nothing
 * in the logs would tell.  DIR/made does: two sectors for each shard, one in either half
 * of the file, written in turn and synced by a job, so that a write that fails half way
 * spoils what it was to replace and never what counts until then:
 *
 *   "SLUICEMD" · u32 version (3) · u32 shard · u64 generation · u64 first · u64 last
 *   · u64 acked · u32 turn · u32 CRC32C, then zeroes up to 512 bytes
 *
 * The newer one counts, by generation, then turn; where one is spoilt, the other.
 *
 * A file is made first, then told here, then written to; one that is not needed any
 * more is told here first and then removed or renamed.  So a crash in between leaves
 * a file too many, never one too few.  `acked` follows when the log has been idle for
 * LOG_MARK_MS, with each change of files, and each 10 s under load: a sync more for
 * each commit would double what a commit costs.
 *
 * A start tells anew of every shard, in both, so zeroes are damage.  The numbers of another
 * generation mean nothing: that its logs were applied was on disk before the next one began.
 *
 * Who knows that files are gone and wants to go on makes DIR/accept-loss: the start
 * removes it and gives every channel a new epoch, so that what is lost is told.
 *
 * Thread:  any; blocks.
 * Tests:   tests/unit/storage/test_embed_made.c
 */
#pragma once

#include "core/err.h"
#include "core/limits.h"
#include "storage/embed/segment.h"

#define MADE_NAME        "made"
#define MADE_ACCEPT_NAME "accept-loss"

/* Of one log. */
struct made {
    uint64_t generation, first, last; /* its files; none: last < first */
    uint64_t acked;                   /* batches up to this one were acknowledged */
};

/* `acked` of every log of a generation. */
struct made_acked {
    uint64_t generation;
    uint64_t logs[SHARDS_MAX];
};

/* Tells that no log of `generation` has a file, durable with its directory; makes the
 * file when it is not there.  ERR_IO, ERR_DISK_FULL: told in the log. */
must_use enum err made_begin(const char *path, const char *directory, uint64_t generation);
/* On disk when it returns.  ERR_IO, ERR_DISK_FULL: told in the log. */
must_use enum err made_put(const char *path, uint32_t shard, const struct made *made);
/* True when every file that `generation` must have is in log_directory and no newer generation
 * is told of; then *acked is of it.  `is_clean`: the life before left nothing in its logs,
 * so DIR/made may be gone.  False: told in the log. */
must_use bool made_check(const char *path, const char *log_directory, uint64_t generation,
                         bool is_clean, struct made_acked *acked);
