/*
 * publish: a publication reaches its channel's home.
 *
 * Refuse while a listening shard is behind, append, answer when it is durable,
 * deliver when the store's feed brings it.  The store does idempotency: a key
 * seen before joins or repeats the first answer, and the feed brings nothing.
 *
 * Budget: one copy into the store's batch, one record for the window, one
 * encoded frame per wire; no look-up but the channel's own.
 */
#include "shards/channel/channel_parts.h"
#include "shards/fanout/fanout.h"

static void publish_on_appended(struct store_append *append, enum err err, uint64_t offset,
                                bool is_repeat)
{
    struct channel_op *op = container_of(append, struct channel_op, append);
    struct channel *channel = op->channel;
    struct metrics *metrics = &channel->shard->metrics;
    if (op->has_version) version_answered(channel);
    if (err != ERR_OK) {
        metric_add(metrics, METRIC_PUBLISH_ERRORS, 1);
        question_refuse(channel->shard, op->to, op->call, err);
        op_end(op);
        return;
    }
    metric_add(metrics, is_repeat ? METRIC_DEDUPLICATED : METRIC_PUBLISHED, 1);
    call_answer_to(channel->shard, op->to,
                   &(struct answer){
                       .call = op->call,
                       .offset = offset,
                       .epoch = offset == 0 ? BYTES_NONE : bytes_of_text(channel->store.epoch),
                       .is_repeat = is_repeat,
                   });
    op_end(op);
}

static bool is_backlogged(const struct channel *channel)
{
    for (uint32_t i = 0; i < channel->listeners_count; i++)
        if (fanout_backlog_bytes(channel->shard, channel->listeners[i].shard) >
            MESH_BACKLOG_BYTES_MAX)
            return true;
    return false;
}

/* Suppressed by its version: the position that the channel has. */
static void answer_covered(struct channel *channel, uint32_t to, struct handle call)
{
    metric_add(&channel->shard->metrics, METRIC_DEDUPLICATED, 1);
    call_answer_to(channel->shard, to,
                   &(struct answer){
                       .call = call,
                       .offset = channel->store.head,
                       .epoch = bytes_of_text(channel->store.epoch),
                       .is_repeat = true,
                   });
}

bool publish_ask(struct channel *channel, struct letter *letter)
{
    check(channel->state == CHANNEL_LIVE);
    struct letter_publish in;
    letter_read_publish(letter, &in);
    if (is_backlogged(channel)) {
        metric_add(&channel->shard->metrics, METRIC_PUBLISH_ERRORS, 1);
        question_refuse(channel->shard, letter->from, in.call, ERR_BACKLOG);
        return false;
    }
    /* What keeps no history shows no state, so there is nothing to be older than. */
    bool has_version =
        in.publication.version > 0 && !in.is_live_only && history_is_kept(channel->store.history);
    bool is_covered = false;
    enum err err = has_version ? version_ask(channel, &in.publication, &is_covered) : ERR_OK;
    if (err != ERR_OK) {
        metric_add(&channel->shard->metrics, METRIC_PUBLISH_ERRORS, 1);
        question_refuse(channel->shard, letter->from, in.call, err);
        return false;
    }
    if (is_covered) {
        answer_covered(channel, letter->from, in.call);
        return false;
    }
    struct channel_op *op = op_begin(channel, letter, in.call);
    op->has_version = has_version;
    op->append = (struct store_append){
        .channel = &channel->store,
        .type = RECORD_PUBLICATION,
        .publication = in.publication,
        .scope = in.scope,
        .key = in.key,
        .is_live_only = in.is_live_only,
        .on_appended = publish_on_appended,
    };
    store_append(channel->shard->store, &op->append);
    return false; /* the store has copied everything */
}

void channel_on_publication(void *context, struct store_channel *store,
                            const struct publication *publication)
{
    struct shard *shard = context;
    struct channel *channel = container_of(store, struct channel, store);
    check(channel->shard == shard);
    /* Lost: whoever listened has been told, and the next opening brings it. */
    if (channel->state != CHANNEL_LIVE) return;
    if (publication->offset > 0) {
        check(publication->offset == store->head);
        window_push(&channel->window, publication);
        version_note(channel, publication);
        if (channel->cursors != NULL) cursor_post(channel->cursors, store->head);
        channel_trim(channel);
    }
    if (channel->listeners_count > 0) fanout_publish(shard, channel, publication);
}
