/*
 * head: sequence numbers of a chat server that keeps its own messages.
 *
 * Each message that it tells of (PUT head) is a publication without a body: its data
 * is {"seq":N} or {"seq":N,"id":"…"}, its publisher is the sender.  So heads are durable,
 * replicated and delivered like everything else, and need no record of their own.
 *
 * A number means the last offset whose own is not above it, looked for from the newest
 * on: who reads is near the head, and two nodes may have written out of order.
 * Publications that tell of no number are passed over.
 *
 * Bound:   a look at each publication of the window, 30 ns each.
 */
#include "shards/channel/channel_parts.h"
#include "shards/letter_members.h"

/* Of a backend: what clients publish names their connection, and may look like it. */
static bool is_of_backend(const struct publication *publication)
{
    static const uint8_t nobody[16];
    return !publication->has_info ||
           memcmp(publication->client, nobody, sizeof publication->client) == 0;
}

static bool seq_read(const struct publication *publication, uint64_t *seq)
{
    static const char prefix[] = "{\"seq\":";
    const size_t size = sizeof prefix - 1;
    struct bytes data = publication->data;
    if (publication->is_opaque || data.size <= size || memcmp(data.at, prefix, size) != 0)
        return false;
    size_t end = size;
    while (end < data.size && data.at[end] >= '0' && data.at[end] <= '9') end++;
    if (end == data.size || (data.at[end] != '}' && data.at[end] != ',')) return false;
    return is_of_backend(publication) && bytes_to_u64(bytes_of(data.at + size, end - size), seq);
}

enum err head_of_seq(const struct channel *channel, uint64_t seq, uint64_t *offset)
{
    const struct window *window = &channel->stored->window;
    uint64_t first = window_first(window);
    for (uint64_t at = window->head; at >= first && at > 0; at--) {
        struct publication publication;
        uint64_t found;
        window_get(window, at, &publication);
        if (!seq_read(&publication, &found) || found > seq) continue;
        *offset = at;
        return ERR_OK;
    }
    *offset = 0;
    return first <= 1 ? ERR_OK : ERR_RECEIPT_TOO_OLD;
}

/* The newest number that was told of, those under way included; 0: none. */
static uint64_t seq_newest(const struct channel *channel)
{
    const struct window *window = &channel->stored->window;
    for (uint64_t at = window->head; at >= window_first(window) && at > 0; at--) {
        struct publication publication;
        uint64_t found;
        window_get(window, at, &publication);
        if (seq_read(&publication, &found)) return max_u64(channel->stored->seq_asked, found);
    }
    return channel->stored->seq_asked;
}

/* The same message: number, id and sender. */
static uint64_t find_same(const struct channel *channel, const struct publication *publication)
{
    const struct window *window = &channel->stored->window;
    for (uint64_t at = window->head; at >= window_first(window) && at > 0; at--) {
        struct publication there;
        window_get(window, at, &there);
        if (bytes_equal(there.data, publication->data) && is_of_backend(&there) &&
            bytes_equal(there.user, publication->user))
            return at;
    }
    return 0;
}

enum err head_take(struct channel *channel, const struct publication *publication, bool has_id,
                   uint64_t *offset)
{
    uint64_t seq;
    bool is_one = seq_read(publication, &seq);
    check(is_one);
    *offset = 0;
    if (seq < seq_newest(channel)) {
        if (has_id) *offset = find_same(channel, publication);
        return *offset > 0 ? ERR_OK : ERR_SEQ_BELOW_HEAD;
    }
    channel->stored->seq_asked = seq;
    return ERR_OK;
}

/* What failed may never be there, so only what is there counts from now on. */
void head_answered(struct channel *channel, enum err err)
{
    if (err != ERR_OK && channel->stored != NULL) channel->stored->seq_asked = 0;
}

bool head_ask(struct channel *channel, struct letter *letter)
{
    struct letter_head in;
    letter_read_head(letter, &in);
    uint64_t offset = channel->stored->window.head;
    enum err err = in.has_seq ? head_of_seq(channel, in.seq, &offset) : ERR_OK;
    call_answer_to(channel->shard, letter->from,
                   &(struct answer){
                       .call = in.call,
                       .err = err,
                       .offset = offset,
                       .epoch = bytes_of_text(channel->stored->store.epoch),
                   });
    return false;
}
