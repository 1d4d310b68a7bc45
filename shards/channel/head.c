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
 * A repeat with an id is known by that alone: its number neither has to be the newest, nor
 * makes it so.
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
    return is_of_backend(publication) && bytes_to_u64(bytes_of(data.at + size, end - size), seq) &&
           *seq <= HEAD_SEQ_MAX;
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

/* The newest number that was told of, those under way included; 0: none.  One that turned
 * out to be a repeat, or failed, was never told of. */
static uint64_t seq_newest(const struct channel *channel)
{
    const struct window *window = &channel->stored->window;
    uint64_t newest = channel->stored->seq_answered;
    list_each (node, &channel->stored->heads)
        newest = max_u64(newest, container_of(node, struct channel_op, heads)->seq);
    for (uint64_t at = window->head; at >= window_first(window) && at > 0; at--) {
        struct publication publication;
        uint64_t found;
        window_get(window, at, &publication);
        if (seq_read(&publication, &found)) return max_u64(newest, found);
    }
    return newest;
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

/* Below the newest it may still be a repeat, of one that has left the window too: the store
 * knows its id for as long as any key. */
enum err head_take(const struct channel *channel, const struct publication *publication,
                   bool has_id, struct head_fate *fate)
{
    *fate = (struct head_fate){0};
    bool is_one = seq_read(publication, &fate->seq);
    check(is_one);
    fate->is_late = fate->seq < seq_newest(channel);
    if (!fate->is_late) return ERR_OK;
    if (has_id) fate->offset = find_same(channel, publication);
    return has_id ? ERR_OK : ERR_SEQ_BELOW_HEAD;
}

void head_begin(struct channel_op *op, const struct head_fate *fate)
{
    op->is_head = true;
    op->seq = fate->seq;
    if (fate->is_late) op->seq = 0;
    list_append(&op->channel->stored->heads, &op->heads);
}

void head_answered(struct channel_op *op, enum err err, bool is_repeat)
{
    struct stored *stored = op->channel->stored;
    list_remove(&op->heads);
    if (err == ERR_OK && !is_repeat) stored->seq_answered = max_u64(stored->seq_answered, op->seq);
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
