/*
 * list: which channels of this home have listeners, by a glob over their names.
 */
#include "core/glob.h"
#include "shards/channel/channel_parts.h"

static uint32_t clients_of(struct channel *channel)
{
    uint32_t clients = 0;
    for (uint32_t i = 0; i < channel->listeners_count; i++)
        clients += listener_count(&channel_listeners(channel)[i]);
    return clients;
}

enum err channels_list(struct shard *shard, struct bytes glob, uint32_t rows_max,
                       struct answer *answer)
{
    uint32_t room = 0, count = 0;
    struct channel_row *rows = NULL;
    for (uint32_t i = 0; i < shard->channels.channels.touched; i++) {
        struct channel *channel = slab_at(&shard->channels.channels, i);
        if (channel == NULL || channel->listeners_count == 0 ||
            !glob_match(glob, channel_name(channel)))
            continue;
        if (count == rows_max) return ERR_LIMIT_LISTED;
        if (count == room) {
            struct channel_row *old = rows;
            room = max_u32(64, 2 * room);
            rows = arena_get(&shard->arena, room * sizeof *rows);
            if (count > 0) memcpy(rows, old, count * sizeof *rows);
        }
        rows[count++] = (struct channel_row){channel_name(channel), clients_of(channel)};
    }
    answer->rows = rows;
    answer->rows_count = count;
    return ERR_OK;
}

void channel_on_list(void *context, struct letter *letter)
{
    struct shard *shard = context;
    struct letter_ask in;
    letter_read_ask(letter, &in);
    struct answer answer = {.call = in.call};
    answer.err = channels_list(shard, in.channel, CHANNELS_LISTED_MAX, &answer);
    call_answer(shard, letter, &answer);
}
