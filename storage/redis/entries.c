/* Every entry stands for its place in the channel, readable or not. */
#include "storage/redis/entries.h"

bool entries_read(struct redis_store *redis, struct bytes channel, const struct reply *reply,
                  struct stream_entry *entry)
{
    if (stream_entry_read(reply, entry) == ERR_OK) return true;
    damage_note(redis, DAMAGE_ENTRY, channel, entry->offset);
    return false;
}

bool entries_open(struct redis_store *redis, struct bytes channel, const struct stream_entry *entry,
                  struct bytes body, struct arena *arena, struct publication *publication)
{
    bool is_good = redis_seals_open(&redis->seals, channel, body, arena, publication) == ERR_OK;
    if (!is_good) damage_note(redis, DAMAGE_ENTRY, channel, entry->offset);
    publication->offset = entry->offset;
    return is_good;
}

uint32_t entries_window(struct redis_store *redis, struct bytes channel,
                        const struct read_answer *answer)
{
    redis_reserve(redis, answer->entries->count);
    uint32_t count = 0;
    uint64_t last = 0;
    for (uint32_t i = 0; i < answer->entries->count; i++) {
        struct stream_entry entry;
        bool is_good = entries_read(redis, channel, answer->entries->items[i], &entry);
        if (entry.is_members || entry.offset <= last) continue;
        if (last > 0 && entry.offset != last + 1)
            damage_note(redis, DAMAGE_HOLE, channel, last + 1);
        if (entry.offset != last + 1) count = 0;
        last = entry.offset;
        is_good = is_good && entries_open(redis, channel, &entry, entry.body, &redis->opened,
                                          &redis->publications[count]);
        count = is_good ? count + 1 : 0;
    }
    if (last > 0 && last < answer->head) damage_note(redis, DAMAGE_HOLE, channel, last + 1);
    return last == answer->head ? count : 0;
}

uint32_t entries_members(struct redis_store *redis, struct bytes channel,
                         const struct read_answer *answer, struct store_member *members)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < answer->members->count; i += 2) {
        enum err err =
            member_read(answer->members->items[i], answer->members->items[i + 1], &members[count]);
        if (err == ERR_OK)
            count++;
        else
            damage_note(redis, DAMAGE_MEMBER, channel, 0);
    }
    return count;
}
