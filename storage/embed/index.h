/*
 * index: SQLite behind the logs.
 *
 * One writer applies batches in large transactions, sorted by channel, together
 * with how far each log has been applied; so replaying a batch that is already
 * there cannot happen after a commit, and is harmless before one.  Readers see
 * one snapshot per query and say which position it has.
 *
 *   meta(name, value)             incarnation, generation, boot, …
 *   applied(log, batch)           newest batch of each log that is in here
 *   channels(id, name, epoch, head, time_ms, history_size, ttl_ms, meta_ttl_ms, floor)
 *   publications(channel, offset, time_ms, body)   within retention; an integer is of …
 *   bodies(id, body)              what large transactions brought, one behind the other
 *   key_bodies(id, body)          the same of keys
 *   members(channel, user, joined, read, round, delivered, unread_from, hidden)
 *   moves(channel, user, mark, offset, time_ms)   of cursors, STORE_MOVES_MS long
 *   policies(channel, policy)     the channels' own marks
 *   keys(channel, offset, time_ms, scope, key)     within the horizon; an integer as above
 *   live_keys(channel, number, time_ms, scope, key)   of publications kept nowhere; the same
 *   removals(channel, offset)     up to which publications were removed, of some channels
 *   forgets(bucket, count)        how many channels of a bucket were forgotten
 *   seals(generation, salt, key)  what records are sealed with (seals.h)
 *
 * A row of publications, keys or live_keys may hold several (chunk.h): its offset and
 * time are those of the last, and a key row says so by a NULL scope.
 *
 * What retention ends is gone from every answer at once: nothing at or below a
 * channel's `floor` is read.  Its rows go with the transaction that raised the
 * floor when they are few; many go slice by slice in the sweep, so that no
 * transaction is long, and then the file gives its room back.
 *
 * A channel that was never recorded has the epoch that its name, the count of
 * its bucket and the incarnation give, so telling it costs no write; when rows
 * are forgotten the count rises, so old positions are void.
 *
 * Thread:  a struct index or index_reader belongs to one thread at a time.
 * Bound:   index_query holds at most the bytes it was allowed.
 * Source:  index.c (life, meta), index_apply.c, index_delete.c, index_query.c, index_sweep.c
 * Tests:   tests/unit/storage/test_index.c, test_index_rows.c
 */
#pragma once

#include "core/bytes.h"
#include "core/err.h"
#include "storage/seal.h"
#include "storage/store.h"

struct index;
struct index_reader;

must_use enum err index_open(const char *path, struct index **index);
/* Checkpoints what it can, then closes.  Accepts NULL. */
void index_close(struct index *index);

/* `value` keeps what it had when the name has no row of exactly this size. */
must_use enum err index_meta_get(struct index *index, const char *name, void *value, size_t size);
must_use enum err index_meta_put(struct index *index, const char *name, const void *value,
                                 size_t size);

struct index_batch {
    uint64_t number;
    struct bytes payload; /* entries */
};

/* One transaction: all batches, ascending, and the position of `log`.  On an
 * error nothing of it is there. */
must_use enum err index_apply(struct index *index, uint64_t log, const struct index_batch *batches,
                              uint32_t batches_count);
/* What is applied from now on will be over up to these; NULL: nothing is known.
 * Borrowed until the next call. */
struct floors;
void index_expect(struct index *index, const struct floors *floors);
/* The newest batch of `log` that is in the index; 0: none. */
must_use enum err index_applied(struct index *index, uint64_t log, uint64_t *number);
/* Drops the positions of every log. */
must_use enum err index_applied_clear(struct index *index);

/* Bytes in SQLite's own write-ahead log. */
uint64_t index_wal_bytes(const struct index *index);
/* Moves the WAL into the database, synced; *is_whole: all of it. */
must_use enum err index_checkpoint(struct index *index, bool is_truncating, bool *is_whole);

/* All epochs are void: every channel takes the one that `incarnation` gives. */
must_use enum err index_epochs_clear(struct index *index);

/* What a slice of the sweep came to. */
struct index_swept {
    bool is_short; /* there was more that is over than one slice deletes */
    bool is_round; /* the last channel was seen: the next slice begins anew */
};

/* Deletes what is over in the next `channels_max` channels: publications by
 * floor and time, keys by horizon, channels by their last use. */
must_use enum err index_sweep(struct index *index, uint64_t now_ms, uint64_t horizon_ms,
                              uint32_t channels_max, struct index_swept *swept);
/* Gives up to `pages_max` unused pages of the file back while they are more than
 * a quarter of it; *is_more: there are more.  The file gets shorter with the
 * next checkpoint. */
must_use enum err index_shrink(struct index *index, uint32_t pages_max, bool *is_more);

/* The derived epoch: 8 letters. */
void index_epoch(const uint8_t incarnation[16], uint64_t forgets, struct bytes name,
                 char epoch[EPOCH_MAX + 1]);

struct index_key {
    struct bytes scope, key;
    uint64_t offset, time_ms;
};

/* One question, and its answer until query_clear: of a channel, of the moves of users in
 * it, or of the channels of a user. */
struct query {
    struct bytes name; /* memberships: the channel to go on after */
    uint64_t log;      /* whose position to tell */
    bool is_open;      /* also members and keys */
    bool is_reverse;
    uint64_t since; /* as in struct store_read */
    uint32_t limit;
    uint64_t floor;       /* only offsets above it */
    uint64_t time_min_ms; /* only times at or after it */
    uint64_t bytes_max;   /* of publications */
    uint64_t key_time_ms; /* only keys at or after it */
    uint32_t keys_max;
    struct bytes *users; /* query_ask_moves: whose moves to or past `since` */
    uint32_t users_count;
    struct bytes user; /* memberships: of whom; at most `limit` channels */
    /* The answer. */
    bool is_known; /* the channel has a row */
    /* bytes_max, or limit of channels, ended the answer early; moves: there are more than
     * STORE_MOVES_MEMBERS_MAX members. */
    bool is_cut;
    char epoch[EPOCH_MAX + 1]; /* empty: derived */
    uint64_t head, time_ms, forgets, applied;
    uint64_t removed;                 /* is_open: offsets up to it were removed */
    struct publication *publications; /* in the order asked for */
    uint32_t publications_count;
    struct store_member *members;
    uint32_t members_count;
    uint64_t policy; /* the channel's own mark */
    struct index_key *keys;
    uint32_t keys_count;
    struct store_moved *moved; /* one for each of `users` */
    struct bytes *channels;
    uint32_t channels_count;
    /* Private. */
    struct query_block *blocks;
    uint32_t publications_room, members_room, keys_room, channels_room;
    uint64_t bytes;
};

must_use enum err index_reader_open(const char *path, struct index_reader **reader);
/* Queries open what is sealed; until then such a publication is ERR_STORE_CORRUPT. */
void index_reader_unseal(struct index_reader *reader, seal_find_fn find, void *context);
/* Accepts NULL. */
void index_reader_close(struct index_reader *reader);
must_use enum err index_query(struct index_reader *reader, struct query *query);
/* Makes it a question about moves; copies the users. */
void query_ask_moves(struct query *query, const struct bytes *users, uint32_t users_count);
/* Forgets the answer, keeps the question. */
void query_clear(struct query *query);
/* Forgets the question as well. */
void query_fini(struct query *query);
