/* What is over goes, a slice of the channels at a time, so that no pass is long. */
#include "storage/embed/index_private.h"

#include "core/check.h"
#include "core/mem.h"

#define SWEEP_CHANNELS_MAX 512

struct sweep_row {
    uint64_t channel, time_ms, ttl_ms, meta_ttl_ms, bucket;
};

enum err index_expire(struct index *index, uint64_t channel, uint64_t time_min_ms)
{
    enum err err;
    uint64_t last = 0;
    sqlite3_stmt *old = index->statements[STATEMENT_PUBLICATION_OLD];
    sql_bind(old, 1, channel);
    /* Times never go back within a channel, so the first young one ends it. */
    while (sql_row(old, &err) && sql_u64(old, 1) < time_min_ms) last = sql_u64(old, 0);
    sqlite3_reset(old);
    TRY(err);
    if (last == 0) return ERR_OK;
    sqlite3_stmt *cut = index->statements[STATEMENT_PUBLICATION_CUT];
    sql_bind(cut, 1, channel);
    sql_bind(cut, 2, last);
    return sql_do(cut);
}

static enum err sweep_forget(struct index *index, const struct sweep_row *row)
{
    enum err err;
    sqlite3_stmt *used = index->statements[STATEMENT_SWEEP_USED];
    sql_bind(used, 1, row->channel);
    if (!sql_row(used, &err)) return err;
    bool is_used = sql_u64(used, 0) != 0;
    sqlite3_reset(used);
    if (is_used) return ERR_OK;
    sqlite3_stmt *keys = index->statements[STATEMENT_KEY_CUT];
    sql_bind(keys, 1, row->channel);
    sql_bind(keys, 2, INT64_MAX);
    TRY(sql_do(keys));
    sqlite3_stmt *forget = index->statements[STATEMENT_FORGET];
    sql_bind(forget, 1, row->channel);
    TRY(sql_do(forget));
    sqlite3_stmt *count = index->statements[STATEMENT_FORGET_COUNT];
    sql_bind(count, 1, row->bucket);
    return sql_do(count);
}

static enum err sweep_row(struct index *index, const struct sweep_row *row, uint64_t now_ms,
                          uint64_t horizon_ms)
{
    if (row->ttl_ms > 0 && row->ttl_ms < now_ms) {
        TRY(index_expire(index, row->channel, now_ms - row->ttl_ms));
    }
    sqlite3_stmt *keys = index->statements[STATEMENT_KEY_CUT];
    sql_bind(keys, 1, row->channel);
    sql_bind(keys, 2, now_ms > horizon_ms ? now_ms - horizon_ms : 0);
    TRY(sql_do(keys));
    bool is_over = row->meta_ttl_ms > 0 && row->time_ms + row->meta_ttl_ms < now_ms;
    return is_over ? sweep_forget(index, row) : ERR_OK;
}

static enum err sweep_slice(struct index *index, uint64_t now_ms, uint64_t horizon_ms,
                            uint32_t channels_max)
{
    enum err err;
    uint32_t count = 0;
    struct sweep_row *rows = mem_alloc(SWEEP_CHANNELS_MAX * sizeof *rows);
    sqlite3_stmt *next = index->statements[STATEMENT_SWEEP_NEXT];
    sql_bind(next, 1, index->sweep_at);
    sql_bind(next, 2, channels_max);
    while (count < channels_max && sql_row(next, &err)) {
        rows[count++] = (struct sweep_row){.channel = sql_u64(next, 0),
                                           .time_ms = sql_u64(next, 2),
                                           .ttl_ms = sql_u64(next, 3),
                                           .meta_ttl_ms = sql_u64(next, 4),
                                           .bucket = index_bucket(sql_bytes(next, 1))};
    }
    sqlite3_reset(next);
    err = ERR_OK;
    for (uint32_t i = 0; i < count && err == ERR_OK; i++) {
        err = sweep_row(index, &rows[i], now_ms, horizon_ms);
        index->sweep_at = rows[i].channel;
    }
    if (count < channels_max) index->sweep_at = 0; /* round again */
    mem_free(rows);
    return err;
}

enum err index_sweep(struct index *index, uint64_t now_ms, uint64_t horizon_ms,
                     uint32_t channels_max)
{
    check(channels_max > 0);
    TRY(sql_do(index->statements[STATEMENT_BEGIN]));
    enum err err =
        sweep_slice(index, now_ms, horizon_ms, min_u32(channels_max, SWEEP_CHANNELS_MAX));
    if (err == ERR_OK) err = sql_do(index->statements[STATEMENT_COMMIT]);
    if (err != ERR_OK && sqlite3_get_autocommit(index->db) == 0) {
        enum err undo = sql_do(index->statements[STATEMENT_ROLLBACK]);
        if (undo != ERR_OK) err = undo;
    }
    return err;
}
