/*
 * check_delivery: acknowledged means durable, delivered means durable, and a
 * key is spent once.
 */
#include <inttypes.h>
#include <string.h>

#include "book.h"
#include "world.h"

void check_acked(uint32_t number, uint64_t offset, const char *epoch)
{
    struct book_message *message = &book.messages[number];
    check_epoch(message->channel, epoch);
    if (offset != 0) check_seen(message->channel, offset, number);
    message->fate = FATE_ACKED;
    book.acked++;
}

void check_refused(uint32_t number, uint32_t code)
{
    struct book_message *message = &book.messages[number];
    /* 102, 103, 107, 108: decided before anything was written. */
    bool is_refused = code == 102 || code == 103 || code == 107 || code == 108;
    /* Of an earlier attempt with the same key nobody knows: it may have been done while its
     * sender was still subscribed. */
    if (is_refused && message->offset != 0 && message->fate != FATE_UNKNOWN)
        world_fail("a refused message is not published", "message %u offset %" PRIu64, number,
                   message->offset);
    if (message->fate == FATE_OPEN) message->fate = is_refused ? FATE_REFUSED : FATE_UNKNOWN;
}

void check_position(uint32_t index, uint64_t offset, uint64_t head_before)
{
    const struct book_channel *channel = &book.channels[index];
    if (offset < head_before)
        world_fail("what was delivered or acknowledged stays",
                   "channel %s: head %" PRIu64 " although %" PRIu64
                   " was delivered or acknowledged before",
                   channel->plan->name, offset, head_before);
}

void check_cursor(uint32_t index, uint32_t user, uint64_t least, uint64_t told)
{
    struct book_channel *channel = &book.channels[index];
    if (told < least)
        world_fail("a cursor only moves forward",
                   "channel %s user %u: cursor %" PRIu64 " after %" PRIu64, channel->plan->name,
                   user, told, least);
    channel->read_acked[user] = max_u64(channel->read_acked[user], told);
}

void check_complete(uint32_t index, uint64_t first, uint64_t head)
{
    const struct book_channel *channel = &book.channels[index];
    uint64_t kept = plan_history(book.plan, channel->plan->kind);
    if (head < channel->head)
        world_fail("what was delivered or acknowledged stays",
                   "channel %s: head %" PRIu64 ", known %" PRIu64, channel->plan->name, head,
                   channel->head);
    if (head > 0 && (first == 0 || first > (head > kept ? head - kept + 1 : 1)))
        world_fail("history keeps its size",
                   "channel %s: first %" PRIu64 " of head %" PRIu64 ", kept %" PRIu64,
                   channel->plan->name, first, head, kept);
    for (uint32_t number = 0; number < book.messages_count; number++) {
        const struct book_message *message = &book.messages[number];
        if (message->channel != index || message->fate != FATE_ACKED || message->offset != 0)
            continue;
        /* Trimmed before anyone saw it: only a channel that forgets may do so. */
        if (head <= kept)
            world_fail("what was acknowledged is in history", "channel %s message %u",
                       channel->plan->name, number);
    }
}

/* The sender of a message is asked about it in neither count. */
static uint32_t sender_of(const struct book_channel *channel, uint64_t offset)
{
    uint32_t publisher = book.messages[channel->numbers[offset] - 1].publisher;
    return publisher < CLIENTS_SIM_MAX ? publisher % book.plan->users_count : UINT32_MAX;
}

void check_counts(uint32_t index, uint64_t offset, uint64_t readers, uint64_t eligible)
{
    const struct book_channel *channel = &book.channels[index];
    uint64_t least = 0, most = 0, members = 0;
    uint32_t sender = sender_of(channel, offset);
    for (uint32_t user = 0; user < book.plan->users_count; user++) {
        if (user == sender) continue;
        least += channel->read_acked[user] >= offset;
        most += channel->read_asked[user] >= offset;
        members++;
    }
    if (readers < least || readers > most || eligible != members)
        world_fail("receipts count who has read",
                   "channel %s offset %" PRIu64 ": %" PRIu64 " readers of %" PRIu64 ", not %" PRIu64
                   "..%" PRIu64 " of %" PRIu64,
                   channel->plan->name, offset, readers, eligible, least, most, members);
}
