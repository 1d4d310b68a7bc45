/*
 * history: publications of the past, from the window or from the store; and their
 * removal, which is a record of the store, so that what is gone stays gone.
 *
 * An answer is a picture of one moment: the head when it was asked, and nothing
 * above it, whatever arrived while the store was reading.
 */
#include "shards/channel/channel_parts.h"

/* What a question means in offsets: from `first` to `last`, both inclusive,
 * empty when first > last; limit and direction applied where the window decides. */
struct range {
    uint64_t first, last;
};

static struct range history_range(const struct channel *channel, const struct letter_history *in)
{
    const struct window *window = &channel->stored->window;
    struct range range = {window->floor, window->head};
    if (in->limit == 0) return (struct range){1, 0};
    if (in->is_reverse) {
        if (in->since > 0) range.last = min_u64(range.last, in->since - 1);
        if (range.last >= in->limit) range.first = max_u64(range.first, range.last - in->limit + 1);
    } else {
        if (in->since >= window->head) return (struct range){1, 0};
        range.first = max_u64(range.first, in->since + 1);
        if (range.first <= range.last && range.last - range.first >= in->limit)
            range.last = range.first + in->limit - 1;
    }
    return range;
}

static void history_answer(struct channel *channel, uint32_t to, struct handle call, uint64_t head,
                           const struct publication *publications, uint32_t count)
{
    size_t bytes = 0;
    for (uint32_t i = 0; i < count; i++) bytes += publication_size(&publications[i]);
    if (bytes > HISTORY_BYTES_MAX) {
        question_refuse(channel->shard, to, call, ERR_LIMIT_SIZE);
        return;
    }
    call_answer_to(channel->shard, to,
                   &(struct answer){
                       .call = call,
                       .epoch = bytes_of_text(channel->stored->store.epoch),
                       .offset = head,
                       .publications = publications,
                       .publications_count = count,
                   });
}

static void history_on_read(struct store_read *read, enum err err,
                            const struct publication *publications, uint32_t count)
{
    struct channel_op *op = container_of(read, struct channel_op, read);
    struct channel *channel = op->channel;
    struct letter_history in;
    letter_read_history(op->letter, &in);
    /* Who goes on from a position counts on everything behind it; who looks around sees in
     * the offsets what is not there, unless that is all. */
    bool goes_on = (in.since > 0 || in.since_epoch.size > 0) && !in.is_reverse;
    if (err == ERR_OK && read->has_holes && (goes_on || count == 0)) err = ERR_UNRECOVERABLE;
    if (op_failed(op, err)) return;
    /* What became durable after the question stands at one end of the answer. */
    while (!read->is_reverse && count > 0 && publications[count - 1].offset > op->offset) count--;
    while (read->is_reverse && count > 0 && publications[0].offset > op->offset)
        publications++, count--;
    /* What was removed meanwhile, at the other. */
    uint64_t floor = channel->stored->window.floor;
    while (!read->is_reverse && count > 0 && publications[0].offset < floor)
        publications++, count--;
    while (read->is_reverse && count > 0 && publications[count - 1].offset < floor) count--;
    history_answer(channel, op->to, op->call, op->offset, publications, count);
    op_end(op);
}

static void history_read(struct channel *channel, struct letter *letter,
                         const struct letter_history *in)
{
    struct channel_op *op = op_begin(channel, letter, in->call);
    op->letter = letter;
    op->offset = channel->stored->window.head;
    op->read = (struct store_read){
        .channel = &channel->stored->store,
        /* In reverse "below" is said, so that newer ones do not use up the limit. */
        .since = in->is_reverse && (in->since == 0 || in->since > op->offset) ? op->offset + 1
                                                                              : in->since,
        .limit = in->limit,
        .is_reverse = in->is_reverse,
        .on_read = history_on_read,
    };
    store_read(channel->shard->store, &op->read);
}

bool history_ask(struct channel *channel, struct letter *letter)
{
    check(channel->state == CHANNEL_LIVE);
    const struct window *window = &channel->stored->window;
    struct letter_history in;
    letter_read_history(letter, &in);
    if (in.user.size > 0 && receipt_is_members_only(channel) &&
        receipt_member(channel, in.user) != ERR_OK) {
        question_refuse(channel->shard, letter->from, in.call, ERR_NOT_MEMBER);
        return false;
    }
    if (in.since_epoch.size > 0 &&
        !bytes_equal_text(in.since_epoch, channel->stored->store.epoch)) {
        question_refuse(channel->shard, letter->from, in.call, ERR_UNRECOVERABLE);
        return false;
    }
    struct range range = history_range(channel, &in);
    /* Forward, the first offset that is still kept decides where a limit ends,
     * and only the store knows it. */
    if (range.first <= range.last && range.first < window_first(window)) {
        history_read(channel, letter, &in);
        return true;
    }
    uint32_t count = range.first <= range.last ? (uint32_t)(range.last - range.first + 1) : 0;
    struct publication *publications = NULL;
    if (count > 0) publications = arena_get(&channel->shard->arena, count * sizeof *publications);
    for (uint32_t i = 0; i < count; i++)
        window_get(window, in.is_reverse ? range.last - i : range.first + i, &publications[i]);
    history_answer(channel, letter->from, in.call, window->head, publications, count);
    return false;
}

static void remove_on_appended(struct store_append *append, enum err err, uint64_t offset,
                               bool is_repeat)
{
    struct channel_op *op = container_of(append, struct channel_op, append);
    (void)offset, (void)is_repeat;
    call_answer_to(op->channel->shard, op->to, &(struct answer){.call = op->call, .err = err});
    op_end(op);
}

bool history_remove_ask(struct channel *channel, struct letter *letter)
{
    check(channel->state == CHANNEL_LIVE);
    struct letter_ask in;
    letter_read_ask(letter, &in);
    struct channel_op *op = op_begin(channel, letter, in.call);
    op->append = (struct store_append){
        .channel = &channel->stored->store,
        .type = RECORD_REMOVE,
        .on_appended = remove_on_appended,
    };
    store_append(channel->shard->store, &op->append);
    return false;
}

void channel_on_removed(void *context, struct store_channel *store, uint64_t offset)
{
    struct shard *shard = context;
    struct channel *channel = channel_of_store(store);
    check(channel->shard == shard);
    check(offset <= store->head);
    if (channel->state != CHANNEL_LIVE) return;
    window_remove(&channel->stored->window, offset);
    channel->stored->removed = max_u64(channel->stored->removed, offset);
    if (channel->stored->cursors != NULL) cursor_delete_to(channel->stored->cursors, offset);
}
