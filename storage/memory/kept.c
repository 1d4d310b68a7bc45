/* A ring by offset, which doubles when it is full. */
#include "storage/memory/kept.h"

#include "core/check.h"
#include "core/mem.h"

void kept_shift(struct memory_channel *channel)
{
    check(channel->count > 0);
    uint64_t oldest = channel->head - channel->count + 1;
    mem_free(channel->ring[oldest & (channel->ring_size - 1)]);
    channel->ring[oldest & (channel->ring_size - 1)] = NULL;
    channel->count--;
}

struct memory_entry *kept_at(const struct memory_channel *channel, uint64_t offset)
{
    check(offset <= channel->head && offset + channel->count > channel->head);
    struct memory_entry *entry = channel->ring[offset & (channel->ring_size - 1)];
    check(entry->publication.offset == offset);
    return entry;
}

void kept_bury(struct memory_channel *channel, uint64_t offset)
{
    check(offset < channel->head);
    if (offset + channel->count <= channel->head) return;
    struct memory_entry *entry = kept_at(channel, offset);
    memset(entry->bytes, 0, entry->body.size); /* what it said stands there */
    entry->body = BYTES_NONE;
    publication_bury(&entry->publication);
}

void kept_trim(struct memory_channel *channel, uint64_t now_ms)
{
    if (channel->open != NULL) channel->history = channel->open->history;
    bool is_kept = history_is_kept(channel->history);
    while (channel->count > 0) {
        const struct memory_entry *oldest = kept_at(channel, channel->head - channel->count + 1);
        bool is_over = !is_kept || channel->count > channel->history.size ||
                       oldest->publication.taken_ms + channel->history.ttl_ms <= now_ms;
        if (!is_over) break;
        kept_shift(channel);
    }
}

void kept_push(struct memory_channel *channel, struct memory_entry *entry)
{
    check(entry->publication.offset == channel->head);
    if (channel->count == channel->ring_size) {
        uint32_t size = max_u32(8, channel->ring_size * 2);
        struct memory_entry **ring = mem_alloc(size * sizeof *ring);
        for (uint32_t i = 0; i < channel->count; i++) {
            uint64_t offset = channel->head - channel->count + i;
            ring[offset & (size - 1)] = channel->ring[offset & (channel->ring_size - 1)];
        }
        mem_free(channel->ring);
        channel->ring = ring;
        channel->ring_size = size;
    }
    channel->ring[entry->publication.offset & (channel->ring_size - 1)] = entry;
    channel->count++;
}
