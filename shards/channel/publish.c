/*
 * publish: a publication reaches its channel's home.
 *
 * Refuse while a listening shard is behind, append, answer when it is durable,
 * deliver when the store's feed brings it.  The store does idempotency: a key
 * seen before joins or repeats the first answer, and the feed brings nothing.
 *
 * In a BARE channel nothing becomes durable, so the answer and the delivery are of the
 * same turn.
 *
 * Where the sender's shard is the home, the question and its answer need no letter.
 *
 * Budget: one copy into the store's batch, one record for the window, one
 * encoded frame per wire; no look-up but the channel's own.
 */
#include "core/mem.h"
#include "shards/channel/channel_parts.h"
#include "shards/fanout/fanout.h"
#include "shards/home.h"

/* The publisher reads what it says; its other devices hear of what that made read. */
static void publish_read(struct channel_op *op, uint64_t offset)
{
    if (!op->is_member || op->offset + 1 >= offset || op->channel->state != CHANNEL_LIVE) return;
    struct receipt_state state;
    receipt_state_of(op->channel, op->user, &state);
    if (state.err == ERR_OK && state.head < offset) { /* the feed brings it in a moment */
        state.head = state.read = state.delivered = offset;
        state.unread = state.first_unread = 0;
    }
    receipt_tell_devices(op->channel, op->user, op->client, &state);
}

/* Of a publication that was answered before; 0 when it has left the window. */
static uint64_t publish_time(const struct channel *channel, uint64_t offset)
{
    if (channel->state != CHANNEL_LIVE) return 0;
    const struct window *window = &channel->stored->window;
    struct publication publication;
    if (offset == 0 || offset < window_first(window) || offset > window->head) return 0;
    window_get(window, offset, &publication);
    return publication.time_ms;
}

/* Whose cursor goes along. */
static void publish_as(struct channel *channel, struct channel_op *op,
                       const struct publication *publication)
{
    if (!publication->has_info || publication->user.size == 0) return;
    if (!receipt_cursor(channel, publication->user, &op->offset)) return;
    op->is_member = true;
    op->name = mem_text(publication->user.at, publication->user.size);
    op->user = bytes_of(op->name, publication->user.size);
    memcpy(op->client, publication->client, sizeof op->client);
}

static void publish_on_appended(struct store_append *append, enum err err, uint64_t offset,
                                bool is_repeat)
{
    struct channel_op *op = container_of(append, struct channel_op, append);
    struct channel *channel = op->channel;
    struct metrics *metrics = &channel->shard->metrics;
    if (op->has_version) version_answered(channel);
    if (op->is_head) head_answered(op, err, is_repeat);
    if (err == ERR_NOT_FOUND) err = ERR_SEQ_BELOW_HEAD;
    if (err != ERR_OK) {
        metric_add(metrics, METRIC_PUBLISH_ERRORS, 1);
        question_refuse(channel->shard, op->to, op->call, err);
        op_end(op);
        return;
    }
    metric_add(metrics, is_repeat ? METRIC_SUPPRESSED_IDEMPOTENCY : METRIC_PUBLISHED, 1);
    struct bytes epoch =
        append->epoch.size > 0 ? append->epoch : bytes_of_text(channel->stored->store.epoch);
    if (!is_repeat) publish_read(op, offset);
    call_answer_now(channel->shard, op->to,
                    &(struct answer){
                        .call = op->call,
                        .offset = offset,
                        .time_ms = is_repeat ? publish_time(channel, offset) : op->time_ms,
                        .epoch = offset == 0 ? BYTES_NONE : epoch,
                        .is_repeat = is_repeat,
                    });
    op_end(op);
}

bool publish_is_backlogged(struct channel *channel)
{
    for (uint32_t i = 0; i < channel->listeners_count; i++)
        if (fanout_backlog_bytes(channel->shard, channel_listeners(channel)[i].shard) >
            MESH_BACKLOG_BYTES_MAX)
            return true;
    return false;
}

/* Suppressed by its version: the position that the channel has. */
static void answer_covered(struct channel *channel, uint32_t to, struct handle call)
{
    metric_add(&channel->shard->metrics, METRIC_SUPPRESSED_VERSION, 1);
    call_answer_to(channel->shard, to,
                   &(struct answer){
                       .call = call,
                       .offset = channel->stored->store.head,
                       .epoch = bytes_of_text(channel->stored->store.epoch),
                       .is_repeat = true,
                   });
}

/* A head that was told of before. */
static void answer_known(struct channel *channel, uint32_t to, struct handle call, uint64_t offset)
{
    metric_add(&channel->shard->metrics, METRIC_SUPPRESSED_IDEMPOTENCY, 1);
    call_answer_to(channel->shard, to,
                   &(struct answer){
                       .call = call,
                       .offset = offset,
                       .epoch = bytes_of_text(channel->stored->store.epoch),
                       .is_repeat = true,
                   });
}

static void publish_bare(struct channel *channel, uint32_t to, const struct letter_publish *in)
{
    struct shard *shard = channel->shard;
    check(in->key.size == 0);
    struct publication publication = in->publication;
    publication.offset = 0;
    publication.time_ms = shard->clock.wall_ms;
    metric_add(&shard->metrics, METRIC_PUBLISHED, 1);
    call_answer_to(shard, to, &(struct answer){.call = in->call});
    if (channel->listeners_count > 0) fanout_publish(shard, channel, &publication);
}

static enum err publish_check(struct channel *channel, const struct letter_publish *in)
{
    /* The server itself publishes anywhere. */
    if (in->publication.has_info && !in->is_head && receipt_is_members_only(channel))
        TRY(receipt_member(channel, in->publication.user));
    return publish_is_backlogged(channel) ? ERR_BACKLOG : ERR_OK;
}

/* Publishes in a channel that may be asked; the store copies everything. */
static void publish_take(struct channel *channel, uint32_t from, const struct letter_publish *in)
{
    check(channel->state == CHANNEL_LIVE || channel->state == CHANNEL_BARE);
    enum err err = publish_check(channel, in);
    if (err != ERR_OK) {
        metric_add(&channel->shard->metrics, METRIC_PUBLISH_ERRORS, 1);
        question_refuse(channel->shard, from, in->call, err);
        return;
    }
    if (channel->state == CHANNEL_BARE) {
        publish_bare(channel, from, in);
        return;
    }
    /* What keeps no history shows no state, so there is nothing to be older than. */
    bool has_version =
        in->publication.version > 0 && !in->is_live_only && channel_keeps_history(channel);
    bool is_covered = false;
    if (has_version) err = version_ask(channel, &in->publication, &is_covered);
    if (err != ERR_OK) {
        metric_add(&channel->shard->metrics, METRIC_PUBLISH_ERRORS, 1);
        question_refuse(channel->shard, from, in->call, err);
        return;
    }
    if (is_covered) {
        answer_covered(channel, from, in->call);
        return;
    }
    struct head_fate fate = {0};
    if (in->is_head) err = head_take(channel, &in->publication, in->key.size > 0, &fate);
    if (err != ERR_OK) {
        question_refuse(channel->shard, from, in->call, err);
        return;
    }
    if (fate.offset > 0) {
        answer_known(channel, from, in->call, fate.offset);
        return;
    }
    struct channel_op *op = op_for(channel, from, in->call);
    if (in->is_head) head_begin(op, &fate);
    op->has_version = has_version;
    const struct shard *shard = channel->shard;
    /* As the store takes it: by its server's clock where there is one. */
    op->time_ms =
        shard->store->engine->has_others ? store_now_ms(shard->store) : shard->clock.wall_ms;
    publish_as(channel, op, &in->publication);
    op->append = (struct store_append){
        .channel = &channel->stored->store,
        .type = RECORD_PUBLICATION,
        .publication = in->publication,
        .scope = in->scope,
        .key = in->key,
        .is_look_up = fate.is_late,
        .is_live_only = in->is_live_only,
        .on_appended = publish_on_appended,
    };
    store_append(channel->shard->store, &op->append);
}

bool publish_ask(struct channel *channel, struct letter *letter)
{
    struct letter_publish in;
    letter_read_publish(letter, &in);
    publish_take(channel, letter->from, &in);
    return false;
}

/* A live channel of this shard's own is asked at once, unless something that the shard has
 * said to itself before is still to be heard: a subscription to the same channel, say. */
static bool publish_here(struct shard *shard, const struct letter_publish *in)
{
    struct bytes base;
    if (letter_waits_here(shard->post) || home_is_receipts(in->channel, &base)) return false;
    struct channel *channel = channel_find(shard, in->channel);
    if (channel == NULL || channel->state != CHANNEL_LIVE) return false;
    letter_request_here(shard->post);
    channel_trim(channel);
    publish_take(channel, shard->index, in);
    channel_settle(channel);
    return true;
}

void channel_publish(struct shard *shard, uint32_t home, const struct letter_publish *in)
{
    if (home == shard->index && publish_here(shard, in)) return;
    call_post(shard, letter_pack_publish(shard->post, home, in));
}

void channel_on_publication(void *context, struct store_channel *store,
                            const struct publication *publication)
{
    struct shard *shard = context;
    struct channel *channel = channel_of_store(store);
    check(channel->shard == shard);
    /* Lost: whoever listened has been told, and the next opening brings it. */
    if (channel->state != CHANNEL_LIVE) return;
    if (publication->offset > 0) {
        check(publication->offset == store->head);
        window_push(&channel->stored->window, publication);
        if (publication->deletes > 0) window_bury(&channel->stored->window, publication->deletes);
        version_note(channel, publication);
        receipt_post(channel, publication);
        channel_trim(channel);
    }
    if (channel->listeners_count > 0) fanout_publish(shard, channel, publication);
}
