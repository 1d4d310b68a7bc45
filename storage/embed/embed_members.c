/* Who belongs where and moved when: what SQLite has, and on top what memory keeps. */
#include "core/mem.h"
#include "storage/embed/embed.h"

/* The record's entry when SQLite did not have it and it is durable. */
static bool record_is_beyond(const struct embed_record *record, uint64_t applied,
                             struct entry *entry)
{
    if (record->op != NULL || record->batch->number <= applied) return false;
    if (record->type == RECORD_KEY || record->type == RECORD_REMOVE) return false;
    record_read(record, entry);
    return true;
}

/* Applies an entry; what it moves goes to `query`, if that asks. */
static void entry_merge(const struct entry *entry, struct members *members, struct query *query)
{
    if (entry->type == RECORD_MEMBERS) {
        struct members_change change;
        enum err err = entry_members(entry, &change);
        check(err == ERR_OK); /* we wrote it */
        members_apply(members, &change);
        members_change_fini(&change);
        return;
    }
    bool is_of_channel = entry_is_of_channel(entry);
    if (members->map.count == 0 && !is_of_channel) return;
    struct entry_move move = entry_move(entry);
    if (move.user.size == 0 && !is_of_channel) return;
    bool has_moved = members_move(members, move.user, move.mark, move.offset, UINT64_MAX);
    if (query == NULL || query->is_cut || !has_moved || move.mark > CURSOR_DELIVERED) return;
    if (move.offset < query->since) return;
    for (uint32_t i = 0; i < query->users_count; i++)
        if (bytes_equal(query->users[i], move.user))
            moved_note(&query->moved[i], move.mark, entry->time_ms);
}

static void records_merge(struct embed_channel *channel, uint64_t applied, struct members *members,
                          struct query *query)
{
    list_each (node, &channel->records) {
        struct entry entry;
        if (record_is_beyond(container_of(node, struct embed_record, in_channel), applied, &entry))
            entry_merge(&entry, members, query);
    }
}

void embed_members_merge(struct embed_channel *channel, const struct query *query,
                         struct members *members)
{
    for (uint32_t i = 0; i < query->members_count; i++) members_load(members, &query->members[i]);
    members->policy = query->policy;
    records_merge(channel, query->applied, members, NULL);
}

static void feed_members(const struct store_sink *sink, struct store_channel *channel,
                         const struct entry *entry)
{
    struct members_change change;
    enum err err = entry_members(entry, &change);
    check(err == ERR_OK); /* we wrote it */
    sink->on_members(sink->context, channel, &change);
    members_change_fini(&change);
}

static void feed_cursor(const struct store_sink *sink, struct store_channel *channel,
                        const struct entry *entry)
{
    struct entry_move move = entry_move(entry);
    struct store_cursor cursor = {move.user, move.mark, move.offset, entry->time_ms};
    sink->on_cursor(sink->context, channel, &cursor);
}

void embed_feed_members(struct embed_store *store, struct embed_record *record)
{
    struct entry entry;
    record_read(record, &entry);
    if (record->type == RECORD_MEMBERS)
        feed_members(&store->store.env.sink, record->channel->open, &entry);
    else
        feed_cursor(&store->store.env.sink, record->channel->open, &entry);
}

void embed_moves(struct store *base, struct store_moves *op)
{
    struct embed_channel *channel = op->channel->engine;
    check(channel != NULL && channel->is_loaded && op->on_moves != NULL);
    check(op->users_count <= STORE_MOVES_MEMBERS_MAX);
    struct embed_query *query = query_create(embed_of(base), channel);
    query->moves = op;
    query->query.since = op->offset;
    query_ask_moves(&query->query, op->users, op->users_count);
    query_submit(query);
}

void embed_memberships(struct store *base, struct store_memberships *op)
{
    check(op->on_memberships != NULL && op->user.size > 0);
    check(op->limit > 0 && op->limit <= STORE_MEMBERSHIPS_MAX);
    struct embed_query *query = query_create(embed_of(base), NULL);
    query->memberships = op;
    query->query.user = op->user;
    query->query.name = op->after;
    query->query.limit = op->limit;
    query_submit(query);
}

/* Coming back is a new join: what was moved before it is nobody's. */
static void moves_on_member(void *context, struct bytes user, bool is_leave)
{
    struct query *query = context;
    for (uint32_t i = 0; is_leave && i < query->users_count; i++)
        if (bytes_equal(query->users[i], user)) query->moved[i] = (struct store_moved){0};
}

/* Later than anything SQLite knows. */
static void moves_merge(struct embed_query *query)
{
    struct members members;
    members_init(&members, query->store->channels.seed);
    for (uint32_t i = 0; i < query->query.members_count; i++)
        if (members_find(&members, query->query.members[i].user) == NULL)
            members_load(&members, &query->query.members[i]);
    members.on_change = moves_on_member;
    members.context = &query->query;
    records_merge(query->channel, query->query.applied, &members, &query->query);
    for (uint32_t i = 0; i < query->query.users_count; i++) {
        const struct store_member *member = members_find(&members, query->query.users[i]);
        query->query.moved[i].joined = member == NULL ? 0 : member->joined;
    }
    members_fini(&members);
}

void embed_answer_moves(struct embed_query *query)
{
    struct store_moves *op = query->moves;
    if (query->err != ERR_OK) {
        op->on_moves(op, query->err, NULL);
        return;
    }
    moves_merge(query);
    op->on_moves(op, ERR_OK, query->query.moved);
}

void embed_answer_memberships(struct embed_query *query)
{
    struct store_memberships *op = query->memberships;
    const struct query *found = &query->query;
    bool is_ok = query->err == ERR_OK;
    op->on_memberships(op, query->err, is_ok ? found->channels : NULL,
                       is_ok ? found->channels_count : 0, is_ok && found->is_cut);
}
