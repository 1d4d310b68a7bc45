/*
 * Members, cursors and the times of their moves as rows.
 *
 * Whether a channel has members is asked once a batch: most have none, and then its
 * publications move nobody.
 */
#include "core/check.h"
#include "storage/embed/entry.h"
#include "storage/embed/index_private.h"

static enum err people_count(struct index *index, struct index_people *people)
{
    enum err err;
    if (people->is_counted) return ERR_OK;
    sqlite3_stmt *get = index->statements[STATEMENT_MEMBERS_COUNT];
    sql_bind(get, 1, people->channel);
    sql_bind(get, 2, STORE_MOVES_MEMBERS_MAX + 1);
    if (!sql_row(get, &err)) return err == ERR_OK ? ERR_STORE_CORRUPT : err;
    people->count = (uint32_t)sql_u64(get, 0);
    people->is_counted = true;
    sqlite3_reset(get);
    return ERR_OK;
}

static enum err members_round(struct index *index, uint64_t channel, uint64_t *round)
{
    enum err err;
    sqlite3_stmt *get = index->statements[STATEMENT_MEMBER_ROUND];
    sql_bind(get, 1, channel);
    if (!sql_row(get, &err)) return err == ERR_OK ? ERR_STORE_CORRUPT : err;
    *round = sql_u64(get, 0);
    sqlite3_reset(get);
    return ERR_OK;
}

/* Who was there and was not named; first, when they moved, which is told by who they are. */
static enum err members_cut(struct index *index, uint64_t channel,
                            const struct members_change *change, uint64_t round)
{
    static const enum statement all[] = {STATEMENT_MOVES_GONE_CUT, STATEMENT_MEMBER_CUT};
    static const enum statement from[] = {STATEMENT_MOVES_GONE_CUT_FROM, STATEMENT_MEMBER_CUT_FROM};
    static const enum statement between[] = {STATEMENT_MOVES_GONE_CUT_BETWEEN,
                                             STATEMENT_MEMBER_CUT_BETWEEN};
    bool is_part = change->kind == MEMBERS_SET_BETWEEN;
    const enum statement *by = is_part ? change->upto.size > 0 ? between : from : all;
    for (uint32_t i = 0; i < 2; i++) {
        sqlite3_stmt *cut = index->statements[by[i]];
        sql_bind(cut, 1, channel);
        sql_bind(cut, 2, round);
        if (by != all) sql_bind_bytes(cut, 3, change->after);
        if (by == between) sql_bind_bytes(cut, 4, change->upto);
        TRY(sql_do(cut));
    }
    return ERR_OK;
}

/* Who comes back joins anew, and did nothing yet. */
static enum err moves_gone(struct index *index, uint64_t channel, struct bytes user)
{
    sqlite3_stmt *gone = index->statements[STATEMENT_MOVES_GONE];
    sql_bind(gone, 1, channel);
    sql_bind_bytes(gone, 2, user);
    return sql_do(gone);
}

static enum err members_take(struct index *index, uint64_t channel,
                             const struct members_change *change)
{
    static const enum statement by_kind[] = {
        [MEMBERS_SET] = STATEMENT_MEMBER_PUT,
        [MEMBERS_SET_BETWEEN] = STATEMENT_MEMBER_PUT,
        [MEMBERS_ADD] = STATEMENT_MEMBER_ADD,
        [MEMBERS_REMOVE] = STATEMENT_MEMBER_GONE,
    };
    bool is_list = change->kind == MEMBERS_SET || change->kind == MEMBERS_SET_BETWEEN;
    uint64_t round = 0;
    if (is_list) TRY(members_round(index, channel, &round));
    sqlite3_stmt *each = index->statements[by_kind[change->kind]];
    for (uint32_t i = 0; i < change->count; i++) {
        sql_bind(each, 1, channel);
        sql_bind_bytes(each, 2, change->list[i].user);
        if (change->kind != MEMBERS_REMOVE) {
            sql_bind(each, 3, change->list[i].joined);
            sql_bind(each, 4, change->list[i].read);
        }
        if (is_list) sql_bind(each, 5, round);
        TRY(sql_do(each));
        if (change->kind == MEMBERS_REMOVE) TRY(moves_gone(index, channel, change->list[i].user));
    }
    return is_list ? members_cut(index, channel, change, round) : ERR_OK;
}

enum err index_members_apply(struct index *index, struct index_people *people,
                             const struct entry *entry)
{
    struct members_change change;
    check(entry->type == RECORD_MEMBERS);
    TRY(entry_members(entry, &change));
    enum err err = members_take(index, people->channel, &change);
    members_change_fini(&change);
    people->is_counted = false;
    return err;
}

/* A cursor that moves where times are kept: the time goes first, it looks at the row. */
static enum err move_time(struct index *index, uint64_t channel, const struct entry_move *move,
                          uint64_t time_ms)
{
    if (move->mark > CURSOR_DELIVERED) return ERR_OK;
    sqlite3_stmt *put = index->statements[move->mark == CURSOR_READ ? STATEMENT_MOVE_READ
                                                                    : STATEMENT_MOVE_DELIVERED];
    sql_bind(put, 1, channel);
    sql_bind_bytes(put, 2, move->user);
    sql_bind(put, 3, move->offset);
    sql_bind(put, 4, time_ms);
    return sql_do(put);
}

static enum err policy_put(struct index *index, uint64_t channel, uint64_t policy)
{
    sqlite3_stmt *put =
        index->statements[policy > 0 ? STATEMENT_POLICY_PUT : STATEMENT_POLICY_GONE];
    sql_bind(put, 1, channel);
    if (policy > 0) sql_bind(put, 2, policy);
    return sql_do(put);
}

enum err index_move_apply(struct index *index, struct index_people *people,
                          const struct entry *entry)
{
    static const enum statement by_mark[CURSOR_MARKS] = {
        [CURSOR_READ] = STATEMENT_MEMBER_READ,
        [CURSOR_DELIVERED] = STATEMENT_MEMBER_DELIVERED,
        [CURSOR_UNREAD] = STATEMENT_MEMBER_UNREAD,
        [CURSOR_HIDDEN] = STATEMENT_MEMBER_HIDDEN,
    };
    if (entry_is_of_channel(entry)) return policy_put(index, people->channel, entry->offset);
    if (people->is_counted && people->count == 0) return ERR_OK;
    struct entry_move move = entry_move(entry);
    if (move.user.size == 0) return ERR_OK;
    TRY(people_count(index, people));
    if (people->count == 0) return ERR_OK;
    /* Logs of older releases hold cursors above the head. */
    if (move.mark <= CURSOR_DELIVERED) move.offset = min_u64(move.offset, people->head);
    if (people->count <= STORE_MOVES_MEMBERS_MAX)
        TRY(move_time(index, people->channel, &move, entry->time_ms));
    sqlite3_stmt *put = index->statements[by_mark[move.mark]];
    sql_bind(put, 1, people->channel);
    sql_bind_bytes(put, 2, move.user);
    sql_bind(put, 3, move.offset);
    return sql_do(put);
}
