/*
 * What is over goes, a slice of the channels at a time and a slice of their rows,
 * so that no transaction is long; then the file gives its room back.
 */
#include "storage/embed/index_private.h"

#include <stdio.h>

#include "core/check.h"
#include "core/mem.h"

#define SWEEP_CHANNELS_MAX 512
/* Rows that a slice deletes, one that has pages of its own counted with them: about 10 ms. */
#define SWEEP_ROWS_MAX     (VERIFY ? 8u : 4096u)
/* Unused pages that a file may always have: it would soon grow again. */
#define SHRINK_PAGES_MIN   (VERIFY ? 8u : 512u)

struct sweep_row {
    uint64_t channel, time_ms, ttl_ms, meta_ttl_ms, floor, bucket;
};

/* Offsets ascend in the tables that are cut, and times with them: the first row
 * that stays ends the search. */
static enum err sweep_cut(struct index *index, enum statement old, enum statement cut,
                          uint64_t channel, uint64_t floor, uint64_t time_min_ms,
                          uint32_t *rows_left)
{
    enum err err = ERR_OK;
    uint64_t last = 0;
    sqlite3_stmt *rows = index->statements[old];
    sql_bind(rows, 1, channel);
    while (*rows_left > 0 && sql_row(rows, &err)) {
        uint64_t offset = sql_u64(rows, 0);
        if (offset > floor && sql_u64(rows, 1) >= time_min_ms) break;
        last = offset;
        *rows_left -= min_u32(*rows_left, 1 + (uint32_t)(sql_u64(rows, 2) / INDEX_PAGE_SIZE));
    }
    sqlite3_reset(rows);
    TRY(err);
    if (last == 0) return ERR_OK;
    return index_cut(index, cut, channel, 0, last);
}

/* A channel whose keys are within their horizon stays: they hold offsets of its epoch. */
static enum err sweep_forget(struct index *index, const struct sweep_row *row)
{
    enum err err;
    sqlite3_stmt *used = index->statements[STATEMENT_SWEEP_USED];
    sql_bind(used, 1, row->channel);
    if (!sql_row(used, &err)) return err;
    bool is_used = sql_u64(used, 0) != 0;
    sqlite3_reset(used);
    if (is_used) return ERR_OK;
    sqlite3_stmt *forget = index->statements[STATEMENT_FORGET];
    sql_bind(forget, 1, row->channel);
    TRY(sql_do(forget));
    sqlite3_stmt *removal = index->statements[STATEMENT_REMOVAL_FORGET];
    sql_bind(removal, 1, row->channel);
    TRY(sql_do(removal));
    sqlite3_stmt *count = index->statements[STATEMENT_FORGET_COUNT];
    sql_bind(count, 1, row->bucket);
    return sql_do(count);
}

static enum err sweep_row(struct index *index, const struct sweep_row *row, uint64_t now_ms,
                          uint64_t horizon_ms, uint32_t *rows_left)
{
    uint64_t time_min_ms = row->ttl_ms > 0 && row->ttl_ms < now_ms ? now_ms - row->ttl_ms : 0;
    TRY(sweep_cut(index, STATEMENT_PUBLICATION_OLD, STATEMENT_PUBLICATION_CUT, row->channel,
                  row->floor, time_min_ms, rows_left));
    time_min_ms = now_ms > horizon_ms ? now_ms - horizon_ms : 0;
    TRY(sweep_cut(index, STATEMENT_KEY_OLD, STATEMENT_KEY_CUT, row->channel, 0, time_min_ms,
                  rows_left));
    TRY(sweep_cut(index, STATEMENT_LIVE_KEY_OLD, STATEMENT_LIVE_KEY_CUT, row->channel, 0,
                  time_min_ms, rows_left));
    bool is_over = row->meta_ttl_ms > 0 && row->time_ms + row->meta_ttl_ms < now_ms;
    return is_over && *rows_left > 0 ? sweep_forget(index, row) : ERR_OK;
}

static enum err sweep_next(struct index *index, struct sweep_row *rows, uint32_t rows_max,
                           uint32_t *count)
{
    enum err err = ERR_OK;
    sqlite3_stmt *next = index->statements[STATEMENT_SWEEP_NEXT];
    sql_bind(next, 1, index->sweep_at);
    sql_bind(next, 2, rows_max);
    for (*count = 0; *count < rows_max && sql_row(next, &err); (*count)++) {
        rows[*count] = (struct sweep_row){.channel = sql_u64(next, 0),
                                          .time_ms = sql_u64(next, 2),
                                          .ttl_ms = sql_u64(next, 3),
                                          .meta_ttl_ms = sql_u64(next, 4),
                                          .floor = sql_u64(next, 5),
                                          .bucket = index_bucket(sql_bytes(next, 1))};
    }
    sqlite3_reset(next);
    return err;
}

/* Of all channels: they stand in the order of their time, too. */
static enum err sweep_moves(struct index *index, uint64_t now_ms, uint32_t *rows_left)
{
    sqlite3_stmt *cut = index->statements[STATEMENT_MOVES_CUT];
    if (now_ms <= STORE_MOVES_MS || *rows_left == 0) return ERR_OK;
    sql_bind(cut, 1, now_ms - STORE_MOVES_MS);
    sql_bind(cut, 2, *rows_left);
    TRY(sql_do(cut));
    *rows_left -= min_u32(*rows_left, (uint32_t)sqlite3_changes(index->db));
    return ERR_OK;
}

static enum err sweep_slice(struct index *index, uint64_t now_ms, uint64_t horizon_ms,
                            uint32_t channels_max, struct index_swept *swept)
{
    uint32_t count, rows_left = SWEEP_ROWS_MAX;
    struct sweep_row *rows = mem_alloc(channels_max * sizeof *rows);
    enum err err = sweep_next(index, rows, channels_max, &count);
    for (uint32_t i = 0; i < count && err == ERR_OK; i++) {
        err = sweep_row(index, &rows[i], now_ms, horizon_ms, &rows_left);
        swept->is_short = rows_left == 0;
        if (swept->is_short) break; /* the next slice begins with this channel */
        index->sweep_at = rows[i].channel;
    }
    if (err == ERR_OK) err = sweep_moves(index, now_ms, &rows_left);
    if (rows_left == 0) swept->is_short = true;
    swept->is_round = !swept->is_short && count < channels_max;
    if (swept->is_round) index->sweep_at = 0;
    mem_free(rows);
    return err;
}

enum err index_sweep(struct index *index, uint64_t now_ms, uint64_t horizon_ms,
                     uint32_t channels_max, struct index_swept *swept)
{
    check(channels_max > 0);
    *swept = (struct index_swept){0};
    TRY(sql_do(index->statements[STATEMENT_BEGIN]));
    enum err err =
        sweep_slice(index, now_ms, horizon_ms, min_u32(channels_max, SWEEP_CHANNELS_MAX), swept);
    if (err == ERR_OK) err = sql_do(index->statements[STATEMENT_COMMIT]);
    if (err != ERR_OK && sqlite3_get_autocommit(index->db) == 0) {
        enum err undo = sql_do(index->statements[STATEMENT_ROLLBACK]);
        if (undo != ERR_OK) err = undo;
    }
    return err;
}

enum err index_shrink(struct index *index, uint32_t pages_max, bool *is_more)
{
    enum err err;
    char text[64];
    check(pages_max > 0);
    *is_more = false;
    if (!index->is_shrinkable) return ERR_OK;
    sqlite3_stmt *room = index->statements[STATEMENT_ROOM];
    if (!sql_row(room, &err)) return err;
    uint64_t pages = sql_u64(room, 0), unused = sql_u64(room, 1);
    sqlite3_reset(room);
    if (unused <= SHRINK_PAGES_MIN || unused <= pages / 4) return ERR_OK;
    snprintf(text, sizeof text, "PRAGMA incremental_vacuum(%u)", pages_max);
    *is_more = true;
    return sql_run(index->db, text);
}
