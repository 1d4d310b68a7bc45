/*
 * embed: the embedded engine: a log per shard in front of SQLite.
 *
 *   append ─▶ record in the collecting batch ─ commit ─▶ feed ─▶ kept in memory
 *                                                                   │ apply job
 *   read, open ◀── merge ◀── what is kept ◀─────────────────────────┤
 *                    ▲                                              ▼
 *                    └──────────── query job ◀────────────────── SQLite
 *
 * A query says which batch of this log its snapshot has; the shard adds what it
 * keeps beyond.  When it has let go of something that the snapshot lacks, the
 * query is asked again.
 *
 * Private to storage/embed; files: embed.c (append, feed, submit), embed_read.c
 * (open, close, read), embed_members.c (who belongs where), embed_apply.c (the index
 * follows), embed_seal.c (bytes of publications), embed_node.c (start, end), recover.c.
 *
 * Thread:  struct embed_store: owner shard.  struct embed_node: `index`, `applied`,
 *          `checkpointed`, `reseal`, `backup` and the sweep belong to the index writer's thread
 *          while there are shards, else to the main thread; `readers` one per thread.
 */
#pragma once

#include "core/arena.h"
#include "core/slab.h"
#include "storage/embed/backup.h"
#include "storage/embed/entry.h"
#include "storage/embed/index.h"
#include "storage/embed/log.h"
#include "storage/embed/seals.h"
#include "storage/engines.h"
#include "storage/keys.h"
#include "storage/members.h"

#define EMBED_READERS_MAX       8
/* Records that may wait for the index; 1 Mi of about 100 bytes each. */
#define EMBED_RECORDS_MAX       (VERIFY ? 4096u : 1u << 20)
/* The index is fed when this much waits, or after this time.  A transaction writes
 * whole pages, so one with a few rows a channel writes many times what it was given. */
#define EMBED_APPLY_BYTES       (VERIFY ? 4u << 10 : 24u << 20)
#define EMBED_APPLY_MS          (VERIFY ? 50 : 2000)
/* One transaction takes at most this much; its pages, two to three times that, fit in
 * SQLite's cache (sql.c). */
#define EMBED_APPLY_BYTES_MAX   (32u << 20)
#define EMBED_APPLY_BATCHES_MAX 8192
/* Who waits for the index (embed_settle) lets so much come together for one transaction. */
#define EMBED_SETTLE_MS         20
/* After the index failed, and while a worker's queue is full. */
#define EMBED_RETRY_MS          1000
#define EMBED_BUSY_MS           2
/* SQLite's WAL is moved into the database from the first size on, and waits for
 * its readers to end from the second on. */
#define EMBED_WAL_PASSIVE       (192u << 20)
#define EMBED_WAL_TRUNCATE      (512u << 20)
/* A WAL file above that gets empty when less than the second was applied since the sweep
 * before: what is moved leaves the file as long as it ever was. */
#define EMBED_WAL_REST          (4u << 20)
#define EMBED_QUIET_BYTES       (1u << 20)
/* Housekeeping of one shard, and of the index. */
#define EMBED_SWEEP_MS          10000
#define EMBED_SWEEP_CHANNELS    256 /* in one transaction */
#define EMBED_SWEEP_SLICES      16
#define EMBED_SWEEP_NS          20000000ull
#define EMBED_RESEAL_NS         100000000ull
#define EMBED_RESEAL_ROWS       512 /* in one transaction */
#define EMBED_SHRINK_PAGES      256 /* in one transaction */
/* Less room than that on the disk is named as what stopped a start. */
#define EMBED_FREE_MIN          (1 << 20)
/* At most that much of the time between two lives counts for ages when the machine was
 * started anew: nothing but its clock tells how long it was, and one that jumped would end
 * everything that has an age. */
#define EMBED_AWAY_MAX_MS       86400000

/* What detached shards left to apply, in order. */
struct embed_left {
    struct shardlog *log;
    struct list batches;
    struct made told; /* what is to be told of its files when they stay */
    bool is_failed;   /* its log is, so files stay */
};

struct embed_node {
    struct store_node node; /* first */
    const struct config *config;
    struct workers *workers;
    uint32_t shards_count;
    char path[SEGMENT_PATH_SIZE / 2], log_path[SEGMENT_PATH_SIZE / 2 + 8],
        index_path[SEGMENT_PATH_SIZE / 2 + 16], wal_path[SEGMENT_PATH_SIZE / 2 + 16],
        made_path[SEGMENT_PATH_SIZE / 2 + 8], lock_path[SEGMENT_PATH_SIZE / 2 + 8];
    int lock;
    uint8_t incarnation[16];
    uint64_t generation;
    struct made_acked acked; /* by the life before */
    uint64_t horizon_ms;
    uint64_t age_base_ms; /* store time minus monotonic time; constant after the start */
    struct held held;
    struct seals seals;
    struct reseal reseal;
    struct backup backup;
    struct index *index;
    struct index_reader *readers[EMBED_READERS_MAX];
    uint64_t applied[SHARDS_MAX];      /* newest batch committed to the index */
    uint64_t checkpointed[SHARDS_MAX]; /* the same, on disk; <= applied */
    uint64_t sweep_ns;                 /* when the last sweep began */
    uint32_t sweep_slices;             /* that it may still begin */
    bool is_sweeping;                  /* it is not over */
    bool is_shrunk;                    /* pages were given back since the last whole checkpoint */
    bool is_resting;                   /* the WAL is to get empty */
    uint64_t quiet_bytes;              /* applied since the last sweep began */
    struct embed_left left[SHARDS_MAX];
    bool is_failed; /* something could not be written: the logs stay */
};

struct embed_channel {
    struct bytes name;
    struct store_channel *open; /* NULL while nobody has it open */
    bool is_loaded;
    bool is_refused; /* a key's fate is unknown: stays until the store is closed */
    char epoch[EPOCH_MAX + 1];
    uint64_t assigned; /* last offset given; head <= assigned */
    uint64_t head;     /* last offset that is durable and was fed */
    uint64_t removed;  /* offsets up to it were removed */
    uint64_t time_ms;
    uint64_t meta_ttl_ms;
    uint64_t dropped;    /* newest batch of which a record left memory */
    uint32_t deletes;    /* records that delete a publication */
    struct list records; /* not applied, in order */
    uint32_t pins;       /* queries under way, callbacks running */
    struct key_owner keys;
    uint8_t text[];
};

/* An entry in a batch, and what waits for it. */
struct embed_record {
    struct list in_batch, in_channel;
    struct embed_channel *channel;
    struct log_batch *batch;
    size_t at; /* of the entry, in the batch */
    size_t size;
    enum record_type type;
    uint64_t offset;
    uint64_t deletes;        /* the offset of an earlier publication; 0: none */
    struct store_append *op; /* NULL once answered */
    struct embed_live *live; /* RECORD_KEY: NULL once fed */
    struct key_entry *key;
};

/* A publication that waits for its key to be durable, and then is kept nowhere. */
struct embed_live {
    size_t size;
    uint8_t bytes[]; /* as in storage/record.h */
};

/* An answer that needs no disk, given by the next submit. */
struct embed_answer {
    struct list link;
    struct store_append *append;
    struct store_read *read;
    struct embed_channel *channel;
    enum err err;
    uint64_t offset;
    bool is_repeat;
    bool is_live; /* a publication without history and key: fed after the answer */
    struct publication publication;
};

struct embed_query {
    struct job job;
    struct list link; /* while the worker's queue is full */
    struct embed_store *store;
    struct embed_channel *channel;
    struct store_open *open; /* one of the four */
    struct store_read *read;
    struct store_moves *moves;
    struct store_memberships *memberships; /* of no channel */
    struct query query;
    enum err err;
};

struct embed_apply {
    struct job job;
    struct embed_store *store;
    struct index_batch *batches;
    uint32_t batches_count, batches_room;
    uint64_t bytes;
    bool wants_checkpoint;
    bool wants_sweep; /* run even when there is nothing to apply */
    bool is_copying;  /* a backup has more to do */
    bool is_sweeping; /* as the job left it: a sweep has more to do */
    bool is_under_way;
    enum err err;
    uint64_t applied, checkpointed; /* as the job left them */
};

struct embed_store {
    struct store store; /* first */
    struct embed_node *node;
    struct map channels;
    struct slab records;
    struct keys keys;
    struct shardlog log;
    struct arena arena; /* of the answers */
    struct sealer sealer;
    struct opener opener; /* for what memory keeps, into … */
    struct arena opened;  /* … until the callback that it is for has run */
    struct list answers, queries;
    struct list settles;    /* who waits for the index to have a batch */
    uint64_t members_batch; /* the newest one that has a list of members and was answered */
    struct embed_apply apply;
    struct timer wake, apply_timer, sweep, mark, look;
    struct timer backup;   /* of shard 0 */
    uint64_t wake_ms;      /* while `wake` is armed */
    uint64_t apply_due_ms; /* while `apply_timer` is armed */
    uint32_t pending;
    bool is_submitting, is_index_failing;
    bool is_damaged;                  /* something in the index is not what was written */
    struct publication *publications; /* scratch of one answer */
    size_t publications_room;
};

/* embed.c */
static inline struct embed_store *embed_of(struct store *store)
{
    return (struct embed_store *)store;
}
static inline struct bytes record_entry(const struct embed_record *record)
{
    return bytes_of(log_batch_at(record->batch, record->at), record->size);
}
void record_read(const struct embed_record *record, struct entry *entry);
void record_free(struct embed_store *store, struct embed_record *record);
struct embed_answer *embed_answer(struct embed_store *store, struct embed_channel *channel);
/* Makes sure that a turn follows, at `due_ms`. */
void embed_wake(struct embed_store *store, uint64_t due_ms);
uint64_t embed_lag(const struct embed_store *store);

/* embed_seal.c */
void embed_seal_init(struct embed_store *store);
void embed_seal_fini(struct embed_store *store);
/* The bytes of a publication in the log: sealed when the node seals. */
size_t embed_publication_size(const struct embed_store *store, const struct store_append *op);
void embed_publication_write(struct embed_store *store, struct writer *writer,
                             const struct store_append *op, const struct entry *entry);
/* Views last until store->opened is reset. */
void record_publication(struct embed_store *store, const struct embed_record *record,
                        struct publication *publication);
/* Seals a slice anew when that is needed; on the index writer's thread. */
must_use enum err embed_reseal(struct embed_node *node);

/* embed_read.c */
void embed_open(struct store *store, struct store_open *op);
void embed_close(struct store *store, struct store_channel *channel);
void embed_read(struct store *store, struct store_read *op);
void embed_read_kept(struct embed_store *store, struct embed_answer *answer);
/* A query of `channel`, which it pins, or of none. */
struct embed_query *query_create(struct embed_store *store, struct embed_channel *channel);
void query_submit(struct embed_query *query);
/* Gives waiting queries to the workers. */
void embed_queries_submit(struct embed_store *store);
/* Frees a closed channel that nothing needs any more; true when it went. */
bool embed_channel_release(struct embed_store *store, struct embed_channel *channel);

/* embed_members.c */
/* A list or a cursor, to the sink. */
void embed_feed_members(struct embed_store *store, struct embed_record *record);
void embed_moves(struct store *store, struct store_moves *op);
void embed_memberships(struct store *store, struct store_memberships *op);
/* The query is done, or query->err says why not. */
void embed_answer_moves(struct embed_query *query);
void embed_answer_memberships(struct embed_query *query);
/* What SQLite had, and what memory keeps beyond that. */
void embed_members_merge(struct embed_channel *channel, const struct query *query,
                         struct members *members);

/* embed_apply.c */
void embed_apply_later(struct embed_store *store);
/* store_settle: the index takes what is waited for without delay. */
bool embed_settle(struct store *store, struct store_settle *op);
/* The index looks for what is over. */
void embed_apply_sweep(struct embed_store *store);
void embed_on_apply_timer(struct timer *timer);
/* Something was acknowledged: once the log is idle, DIR/made tells it. */
void embed_mark_later(struct embed_store *store);
/* Housekeeping, each EMBED_SWEEP_MS. */
void embed_on_sweep_timer(struct timer *timer);
/* Looks whether the files are still there, each LOG_LOOK_MS. */
void embed_on_look_timer(struct timer *timer);
/* Looks for a backup that is asked for, or goes on with it. */
void embed_on_backup_timer(struct timer *timer);
/* One transaction and what follows it; on the index writer's thread. */
must_use enum err embed_apply_now(struct embed_node *node, uint32_t shard, uint64_t log,
                                  const struct index_batch *batches, uint32_t count,
                                  bool wants_checkpoint);

/* recover.c */
/* Applies what the logs hold beyond the index; nothing is removed. */
must_use enum err embed_recover(struct embed_node *node);
/* Removes every log file. */
must_use enum err embed_remove_logs(struct embed_node *node);

/* embed_node.c */
/* Store time, written down so that the next life goes on from it. */
must_use enum err embed_age_keep(struct embed_node *node);
/* Store time on threads that are no shard. */
static inline uint64_t embed_now_ms(const struct embed_node *node)
{
    return node->age_base_ms + clock_mono_ns() / 1000000u;
}
enum err embed_node_open(const struct config *config, struct workers *workers,
                         uint32_t shards_count, struct store_node **node);
void embed_node_close(struct store_node *node);
