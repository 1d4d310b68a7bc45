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
