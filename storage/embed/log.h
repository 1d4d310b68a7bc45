/*
 * log: the write-ahead log of one shard; what a turn decided becomes one batch.
 *
 * Entries are written once, where they will be written to disk from, fed from
 * and applied from.  Memory comes in chunks that hold consecutive batches:
 *
 *   chunk  [ batch 7 | batch 8 | batch 9 … collecting ]   chunk [ …
 *            applied?  durable    on its way    ▲ next entry
 *
 * One commit is in flight; what comes meanwhile collects into the next batch,
 * so the disk's own pace sets the size (no timer).  A batch stays in memory
 * until the index has it, because reads are answered from it; then its part of
 * the chunk is free, and a chunk whose batches are all gone is used again.
 *
 *   COLLECTING ─ shardlog_submit ─▶ WRITING ─ on_durable ─▶ kept ─ shardlog_applied ─▶ gone
 *        └──────────────── on_failed ◀─┘
 *
 * Files are made and removed by jobs on the index readers, ahead of need.  A
 * failed write or sync ends the log: what was under way is unknown, everything
 * later is refused.  A file that cannot be made is tried again a second later, and
 * refuses what does not fit into the current one.
 *
 * Thread:  owner shard.
 * Tests:   tests/unit/storage/test_embed_log.c, tests/crash/
 */
#pragma once

#include "core/check.h"
#include "core/loop.h"
#include "storage/embed/held.h"
#include "storage/embed/made.h"
#include "storage/embed/segment.h"
#include "storage/store.h"

#define LOG_CHUNK      (VERIFY ? 16u << 10 : 1u << 20)
/* A collecting batch that is this big is closed and the next one begun. */
#define LOG_BATCH_MAX  (VERIFY ? 4u << 10 : 1u << 20)
#define LOG_RETRY_MS   1000
/* After so long without a commit it is put on disk which batch was acknowledged last. */
#define LOG_MARK_MS    (VERIFY ? 20 : 200)
/* So often it is asked whether the files are still where a start looks for them. */
#define LOG_LOOK_MS    (VERIFY ? 200 : 2000)
/* With less than that in the current file, and no next one to be had, not every
 * append finds room. */
#define LOG_SHORT      LOG_BATCH_MAX
/* Files kept to be used again: with the current one, the next one and what waits for
 * a checkpoint, a shard under load makes no new file once it has these.  Making one
 * writes 64 MiB beside the commits. */
#define LOG_SPARES_MAX 3
/* So many shardlog_rest make a period of rest; what was not needed in one goes: at 10 s each
 * a file is kept for a minute.  Where less than the least file was written in it, the
 * large current and next file go too, and files grow from the least size again. */
#define LOG_REST_CALLS 6
/* Chunks kept for the next batches: under load the index lets go of three dozen at a
 * time, and giving them to the kernel and taking them back cost a shard 8 % of a burst. */
#define LOG_IDLE_MAX   40

struct log_chunk {
    void *memory;   /* heap block that holds … */
    uint8_t *bytes; /* … these, at a multiple of SEGMENT_STEP, as batches in it are */
    size_t size;
    size_t used;      /* up to the end of the newest batch */
    uint32_t batches; /* that are still needed */
    struct log_chunk *next_idle;
};

struct log_batch {
    struct list link;
    struct log_chunk *chunk;
    size_t at;         /* in the chunk; the head is there, then the payload */
    size_t size;       /* head and payload so far */
    uint64_t number;   /* given when its commit starts */
    struct list items; /* the owner's, in order */
};

struct shardlog;

struct log_hooks {
    void *context;
    /* Each takes the batch's items; in on_durable the batch stays. */
    void (*on_durable)(void *context, struct log_batch *batch);
    /* `is_unknown`: some of its bytes may be on the disk. */
    void (*on_failed)(void *context, struct log_batch *batch, bool is_unknown);
};

/* A job that makes or removes files, or only tells what was acknowledged.  Each looks whether
 * the files are still there. */
struct log_files {
    struct job job;
    struct shardlog *log;
    struct segment *made;     /* to prepare; NULL: only remove */
    struct segment *recycled; /* to make it from, or NULL */
    struct segment *removed;  /* to remove, or NULL */
    struct segment *open;     /* the current one, or NULL */
    struct made told;         /* as it is on disk; the job's own */
    uint64_t first;           /* files below are not needed any more */
    uint64_t acked;           /* the last batch that was acknowledged */
    uint64_t named;           /* the newest file that the record may name */
    enum err err;
    bool is_under_way;
    bool is_gone; /* the file `gone` is not where it was made, or was not; for good */
    char gone[SEGMENT_PATH_SIZE];
};

struct shardlog {
    const struct store_env *env;
    struct log_hooks hooks;
    const char *directory;
    const uint8_t *incarnation;
    uint64_t generation;
    const char *made_path;   /* where it is told which files there are; set after the init */
    const struct held *held; /* what else must be where it was; the same */
    uint64_t first;          /* files below are not needed any more */
    const uint8_t *salt;     /* of what is sealed in it, else NULL; set after the init */
    bool is_durable;         /* false: "written" */
    bool is_failed;          /* a write failed, or files are gone: no more writes */
    bool is_gone;            /* the latter; `files.gone` says which */
    bool is_retrying;        /* a file could not be made; refused until retry_ms */
    uint64_t retry_ms;
    struct list waiting; /* batches; the last one collects */
    struct log_batch *writing;
    struct list kept; /* durable, not applied, ascending */
    uint64_t number;  /* last given */
    uint64_t durable; /* last known to be on the disk */
    uint64_t acked;   /* last acknowledged; made_path tells of it up to `marked` */
    uint64_t marked;
    uint64_t quiet_ms; /* when that was; turn's time */
    struct segment *current, *next;
    struct list full;  /* segments, ascending, until recycled */
    struct list spare; /* LOG_SPARES_MAX at most, of the largest size */
    uint32_t spares;
    uint32_t spares_least;           /* in this period of rest */
    uint32_t growth;                 /* files made since they had the least size */
    uint32_t rest_calls, rest_files; /* files: that may go */
    uint64_t rest_bytes;             /* committed in this period */
    bool is_quiet;                   /* in the period before less than the least file was */
    struct log_chunk *chunk;         /* the newest */
    struct log_chunk *idle;          /* empty chunks of LOG_CHUNK bytes, LOG_IDLE_MAX at most */
    uint32_t idle_count;
    uint32_t idle_least; /* since shardlog_rest */
    uint64_t waiting_bytes, kept_bytes;
    uint64_t commit_ns, latency_us;
    struct write_op write;
    struct log_files files;
};

void shardlog_init(struct shardlog *log, const struct store_env *env, const struct log_hooks *hooks,
                   const char *directory, const uint8_t *incarnation, uint64_t generation);
/* Nothing waits or is under way; `kept` was taken by the owner. */
void shardlog_fini(struct shardlog *log);
/* `left` takes the memory of the batches that the owner took from `kept`; only
 * log_batch_free and shardlog_left_fini may be called on it. */
void shardlog_leave(struct shardlog *log, struct shardlog *left);
void shardlog_left_fini(struct shardlog *left);

/* Room for an entry of `size` bytes in the collecting batch; `*at` is its place
 * after the batch's start.  The bytes may move until the batch is on its way. */
must_use struct log_batch *shardlog_reserve(struct shardlog *log, size_t size, size_t *at);
static inline uint8_t *log_batch_at(const struct log_batch *batch, size_t at)
{
    return batch->chunk->bytes + batch->at + at;
}

/* True when the disk is full and the current file nearly so. */
bool shardlog_is_short(const struct shardlog *log);
/* True when an append would be refused, and with what. */
must_use bool shardlog_refuses(const struct shardlog *log, enum err *err);
/* Starts the next commit when none is under way. */
void shardlog_submit(struct shardlog *log);
/* The oldest kept batch has been applied and is freed. */
void shardlog_applied(struct shardlog *log, struct log_batch *batch);
void log_batch_free(struct shardlog *log, struct log_batch *batch);
/* Everything up to batch `number` is in a checkpoint on disk. */
void shardlog_recycle(struct shardlog *log, uint64_t number);
/* True while made_path does not tell all that was acknowledged. */
static inline bool shardlog_is_unmarked(const struct shardlog *log)
{
    return log->marked < log->acked;
}
/* True when the job under way, or one before, tells all of it. */
static inline bool shardlog_is_marking(const struct shardlog *log)
{
    const struct log_files *files = &log->files;
    return files->is_under_way ? files->acked == log->acked : !shardlog_is_unmarked(log);
}
/* Looks, by a job, whether the files are where they were made; does nothing while another
 * runs.  And puts on disk what was acknowledged, up to batch `acked`: with log->marked that
 * is nothing. */
void shardlog_look(struct shardlog *log, uint64_t acked);
static inline void shardlog_mark(struct shardlog *log)
{
    if (shardlog_is_unmarked(log)) shardlog_look(log, log->acked);
}
/* True while files wait to be recycled. */
static inline bool shardlog_has_full(const struct shardlog *log)
{
    return !list_is_empty(&log->full);
}
/* The last batch in the first of them. */
static inline uint64_t shardlog_full_last(const struct shardlog *log)
{
    check(shardlog_has_full(log));
    return container_of(log->full.next, struct segment, link)->last;
}
/* Gives back memory that was not used since the last call, and files that were not used for
 * LOG_REST_CALLS of them; once in a while. */
void shardlog_rest(struct shardlog *log);
/* Writes and jobs under way. */
uint32_t shardlog_pending(const struct shardlog *log);
static inline uint64_t shardlog_id(const struct shardlog *log)
{
    return log_id(log->generation, log->env->shard);
}
