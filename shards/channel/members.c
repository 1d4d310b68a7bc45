/*
 * members: who belongs to a channel, as backends ask.
 */
#include "shards/channel/channel_parts.h"
#include "shards/letter_members.h"

void members_account(struct channel *channel)
{
    struct stored *stored = channel->stored;
    struct metrics *metrics = &channel->shard->metrics;
    uint64_t bytes = stored->cursors == NULL
                         ? 0
                         : cursor_bytes(stored->cursors) + cursor_directory_bytes(stored->cursors);
    if (stored->cursors_bytes == 0 && bytes > 0) metric_add(metrics, METRIC_READ_INDEX_CHANNELS, 1);
    if (stored->cursors_bytes > 0 && bytes == 0) metric_sub(metrics, METRIC_READ_INDEX_CHANNELS, 1);
    metric_add(metrics, METRIC_READ_INDEX_BYTES, bytes);
    metric_sub(metrics, METRIC_READ_INDEX_BYTES, stored->cursors_bytes);
    stored->cursors_bytes = bytes;
}

/* ERR_UNKNOWN_CHANNEL: nobody is a member.  A channel has members, or is not known here. */
static enum err members_page(struct channel *channel, const struct letter_members_list *in,
                             struct answer *answer)
{
    const struct cursor_index *cursors = channel->stored->cursors;
    struct arena *arena = &channel->shard->arena;
    if (cursors == NULL) return ERR_UNKNOWN_CHANNEL;
    struct cursor_list list = {
        .side = CURSOR_EVERYBODY,
        .after = in->after,
        .limit = in->limit,
        .slots = arena_get(arena, in->limit * sizeof(uint32_t)),
    };
    TRY(cursor_list(cursors, &list));
    struct cursor_member *members = arena_get(arena, (list.count + (size_t)1) * sizeof *members);
    for (uint32_t i = 0; i < list.count; i++) cursor_at(cursors, list.slots[i], &members[i]);
    answer->members = members;
    answer->members_count = list.count;
    answer->next_slot = list.next;
    answer->offset = cursor_members(cursors);
    return ERR_OK;
}

bool members_list_ask(struct channel *channel, struct letter *letter)
{
    struct letter_members_list in;
    letter_read_members_list(letter, &in);
    check(in.limit > 0 && in.limit <= RECEIPT_LIST_MAX);
    struct answer answer = {.call = in.call};
    answer.err = members_page(channel, &in, &answer);
    call_answer_to(channel->shard, letter->from, &answer);
    return false;
}

/* --- changes ----------------------------------------------------------------------- */

static void on_changed(struct store_change *change, enum err err)
{
    struct channel_op *op = container_of(change, struct channel_op, change);
    call_answer_to(op->channel->shard, op->to, &(struct answer){.call = op->call, .err = err});
    op_end(op);
}

/* How many members there may be when these have joined: who is one already is not counted
 * twice.  Several lists under way at once may pass the limit; the index has room for two. */
static enum err room_check(const struct channel *channel, const struct letter_members *in)
{
    const struct cursor_index *cursors = channel->stored->cursors;
    if (in->kind != MEMBERS_ADD || cursors == NULL) return ERR_OK;
    uint32_t count = cursor_members(cursors);
    if (count + in->count <= MEMBERS_MAX) return ERR_OK;
    for (uint32_t i = 0; i < in->count; i++) count += !cursor_is_member(cursors, in->users[i]);
    return count <= MEMBERS_MAX ? ERR_OK : ERR_LIMIT_MEMBERS;
}

bool members_ask(struct channel *channel, struct letter *letter)
{
    struct letter_members in;
    letter_read_members(letter, &channel->shard->arena, &in);
    check(in.count <= MEMBERS_MAX);
    enum err err = room_check(channel, &in);
    if (err != ERR_OK) {
        question_refuse(channel->shard, letter->from, in.call, err);
        return false;
    }
    struct channel_op *op = op_begin(channel, letter, in.call);
    op->change = (struct store_change){
        .channel = &channel->stored->store,
        .ask = {.kind = (enum members_kind)in.kind,
                .users = in.users,
                .joins = in.joins,
                .count = in.count},
        .on_changed = on_changed,
    };
    store_change(channel->shard->store, &op->change);
    return false; /* everything was copied */
}
