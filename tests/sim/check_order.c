/*
 * check_order: one order per channel, the same for everyone, at all times.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "book.h"
#include "core/check.h"
#include "world.h"

void check_epoch(uint32_t channel, const char *epoch)
{
    struct book_channel *known = &book.channels[channel];
    if (!plan_has_history(known->plan->kind) || epoch[0] == '\0') return;
    if (known->epoch[0] == '\0') snprintf(known->epoch, sizeof(known->epoch), "%s", epoch);
    /* Durable storage on a disk that keeps what it synced: nothing may be void. */
    if (strcmp(known->epoch, epoch) != 0)
        world_fail("a durable channel keeps its epoch", "channel %s: was %s, is %s",
                   known->plan->name, known->epoch, epoch);
}

static void numbers_grow(struct book_channel *channel, uint64_t offset)
{
    if (offset < channel->numbers_room) return;
    uint64_t room = 2 * offset + 64;
    channel->numbers = realloc(channel->numbers, room * sizeof(*channel->numbers));
    check(channel->numbers != NULL);
    memset(channel->numbers + channel->numbers_room, 0,
           (room - channel->numbers_room) * sizeof(*channel->numbers));
    channel->numbers_room = room;
}

void check_seen(uint32_t index, uint64_t offset, uint32_t number)
{
    struct book_channel *channel = &book.channels[index];
    struct book_message *message = &book.messages[number];
    if (message->channel != index)
        world_fail("a message stays in its channel", "message %u of %s seen in %s", number,
                   book.channels[message->channel].plan->name, channel->plan->name);
    if (message->fate == FATE_REFUSED)
        world_fail("a refused message is not published", "message %u in %s", number,
                   channel->plan->name);
    if (!plan_has_history(channel->plan->kind)) {
        if (offset != 0)
            world_fail("a channel without history has no offsets", "channel %s offset %" PRIu64,
                       channel->plan->name, offset);
        return;
    }
    if (offset == 0 || offset > 1u << 24)
        world_fail("offsets begin with 1", "channel %s offset %" PRIu64, channel->plan->name,
                   offset);
    if (message->offset != 0 && message->offset != offset)
        world_fail("a message is published once",
                   "message %u of %s: offset %" PRIu64 " and %" PRIu64, number, channel->plan->name,
                   message->offset, offset);
    numbers_grow(channel, offset);
    uint32_t known = channel->numbers[offset];
    if (known != 0 && known != number + 1)
        world_fail("an offset keeps its message",
                   "channel %s offset %" PRIu64 ": was message %u, is %u", channel->plan->name,
                   offset, known - 1, number);
    channel->numbers[offset] = number + 1;
    message->offset = offset;
    channel->head = max_u64(channel->head, offset);
}
