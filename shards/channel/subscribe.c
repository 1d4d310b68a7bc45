/*
 * subscribe: a shard begins to listen, and gets what it missed.
 *
 * The answer is a position and, when the recovery succeeds, every publication
 * between the asker's offset O and the head T.  T is read and the listener is
 * entered in the same turn, and frames follow the answer on the same FIFO, so
 * the asker's stream has neither hole nor double.
 *
 * Decision, with L the recovery limit and `floor` the oldest
 * offset that is kept:
 *
 *    epoch given and not ours            no
 *    O > T                               no
 *    O == T                              yes, nothing to send
 *    T - O > L                           no: the limit would cut the tail
 *    O + 1 < floor                       no: a gap at the start
 *    O + 1 in the window                 yes
 *    else                                read the store from O, then decide again
 *
 * and a yes becomes a no when the answer would be larger than HISTORY_BYTES_MAX.
 *
 * Cache recovery brings the newest publication and nothing else:
 *
 *    at T in our epoch, T > 0          yes, nothing to send
 *    T is still kept                   yes, T
 *    else                              no
 *
 * What the store gave and what the window has by then must meet; when the
 * channel moved on so fast that they do not, the store is read again, and after
 * RECOVERY_ROUNDS_MAX times the answer is no, which is always safe.
 */
#include "core/mem.h"
#include "proto/codec.h"
#include "shards/channel/channel_parts.h"
#include "shards/home.h"

#define RECOVERY_ROUNDS_MAX 8

enum recovery {
    RECOVERY_NO,
    RECOVERY_YES,
    RECOVERY_READ, /* the store has to be asked */
};

/* What goes into an answer besides the position. */
struct recovered {
    bool is_whole; /* recovered: true */
    const struct publication *stored;
    uint32_t stored_count;
    const struct bytes *records; /* of the window, behind those */
    uint32_t records_count;
};

/* The newest one counts; it is in the window as long as it is kept. */
static enum recovery cache_decide(const struct channel *channel, const struct letter_subscribe *in,
                                  uint64_t *since)
{
    const struct window *window = &channel->stored->window;
    bool is_there = window->head > 0 && in->offset == window->head &&
                    bytes_equal_text(in->epoch, channel->stored->store.epoch);
    *since = is_there || window->count == 0 ? window->head : window->head - 1;
    return is_there || window->count > 0 ? RECOVERY_YES : RECOVERY_NO;
}

/* `since`: a yes brings what comes after it. */
static enum recovery recovery_decide(const struct channel *channel,
                                     const struct letter_subscribe *in, uint64_t *since)
{
    if (in->is_cache) return cache_decide(channel, in, since);
    *since = in->offset;
    const struct window *window = &channel->stored->window;
    uint64_t head = window->head, limit = channel->shard->config->client_recovery_max_publications;
    if (in->epoch.size > 0 && !bytes_equal_text(in->epoch, channel->stored->store.epoch))
        return RECOVERY_NO;
    if (in->offset > head) return RECOVERY_NO;
    if (in->offset == head) return RECOVERY_YES;
    if (head - in->offset > limit) return RECOVERY_NO;
    if (in->offset + 1 < window->floor) return RECOVERY_NO;
    if (in->offset + 1 >= window_first(window)) return RECOVERY_YES;
    return RECOVERY_READ;
}

static struct channel_listener *listener_of(struct channel *channel, uint32_t shard,
                                            struct handle hub)
{
    for (uint32_t i = 0; i < channel->listeners_count; i++) {
        struct channel_listener *listener = &channel_listeners(channel)[i];
        if (listener->shard != shard) continue;
        /* The hub keeps its entry while anything listens or waits, so it is the same. */
        check(listener->hub.index == hub.index);
        check(listener->hub.generation == hub.generation);
        return listener;
    }
    return NULL;
}

/* `room` 0: the one in place. */
static void listeners_resize(struct channel *channel, uint32_t room)
{
    struct channel_listener first = channel_listeners(channel)[0];
    size_t size = room * sizeof first;
    if (room == 0) {
        mem_free(channel->many);
        channel->one = first;
    } else if (channel->listeners_room == 0) {
        channel->many = mem_alloc(size);
        channel->many[0] = first;
    } else {
        channel->many = mem_resize(channel->many, size);
    }
    channel->listeners_room = (uint8_t)room;
}

/* The listening shard's entry; room is made first, so nothing here can fail. */
void listener_enter(struct channel *channel, uint32_t shard, const struct letter_subscribe *in)
{
    check(in->wire < WIRE_COUNT);
    struct channel_listener *listener = listener_of(channel, shard, in->hub);
    if (listener == NULL) {
        uint32_t room = max_u32(1, channel->listeners_room);
        if (channel->listeners_count == room) listeners_resize(channel, room * 2);
        if (channel->listeners_count == 0) metric_add(&channel->shard->metrics, METRIC_CHANNELS, 1);
        listener = &channel_listeners(channel)[channel->listeners_count++];
        *listener = (struct channel_listener){.shard = shard, .hub = in->hub};
    }
    listener->counts[in->wire]++;
    listener->hears += in->hears_joins;
}

static void listener_leave(struct channel *channel, uint32_t shard, const struct letter_leave *in)
{
    struct channel_listener *listener = listener_of(channel, shard, in->hub);
    check(listener != NULL); /* a shard leaves only what it was answered to be in */
    check(listener->counts[in->wire] > 0);
    check(listener->hears >= (in->hears_joins ? 1 : 0));
    listener->hears -= in->hears_joins;
    listener->counts[in->wire]--;
    if (listener_count(listener) > 0) return;
    *listener = channel_listeners(channel)[--channel->listeners_count];
    if (channel->listeners_count <= 1 && channel->listeners_room > 0) listeners_resize(channel, 0);
    if (channel->listeners_count == 0) metric_sub(&channel->shard->metrics, METRIC_CHANNELS, 1);
}

void channel_on_leave(void *context, struct letter *letter)
{
    struct shard *shard = context;
    struct letter_leave in;
    letter_read_leave(letter, &in);
    struct channel *channel = channel_find(shard, in.channel);
    struct bytes base;
    check(channel != NULL); /* listeners hold it */
    listener_leave(channel, letter->from, &in);
    if (home_is_receipts(in.channel, &base)) {
        live_leave(channel_find(shard, base), channel);
        return;
    }
    attend_leave(channel, &in);
    channel_settle(channel);
}

/* The one turn in which the subscription becomes live. */
static void subscribe_finish(struct channel *channel, uint32_t to,
                             const struct letter_subscribe *in, struct recovered recovered)
{
    struct shard *shard = channel->shard;
    bool is_recoverable = channel_keeps_history(channel);
    bool was_recovering = in->recover && is_recoverable;
    check(recovered.is_whole || recovered.stored_count + recovered.records_count == 0);
    if (receipt_is_members_only(channel) && receipt_member(channel, in->user) != ERR_OK) {
        question_refuse(shard, to, in->call, ERR_NOT_MEMBER);
        return;
    }
    if (in->recover && !recovered.is_whole && in->reject_unrecovered) {
        question_refuse(shard, to, in->call, ERR_UNRECOVERABLE);
        return;
    }
    listener_enter(channel, to, in);
    call_answer_to(
        shard, to,
        &(struct answer){
            .call = in->call,
            .epoch = is_recoverable ? bytes_of_text(channel->stored->store.epoch) : BYTES_NONE,
            /* The asker counts on from its own offset while it applies what came. */
            .offset = !is_recoverable      ? 0
                      : recovered.is_whole ? in->offset
                                           : channel->stored->window.head,
            .is_recoverable = is_recoverable,
            .was_recovering = was_recovering,
            .recovered = was_recovering && recovered.is_whole,
            .publications = recovered.stored,
            .publications_count = recovered.stored_count,
            .records = recovered.records,
            .records_count = recovered.records_count,
        });
    attend_enter(channel, in);
}

/* Recovered publications in the arena: `stored` first, then the window up to the head. */
static struct recovered recovered_join(struct channel *channel, uint64_t offset,
                                       const struct publication *stored, uint32_t stored_count)
{
    uint64_t head = channel->stored->window.head;
    uint32_t count = (uint32_t)(head - offset);
    check(stored_count <= count);
    struct recovered recovered = {.is_whole = true,
                                  .stored = stored,
                                  .stored_count = stored_count,
                                  .records_count = count - stored_count};
    struct bytes *records =
        arena_get(&channel->shard->arena, (recovered.records_count + 1u) * sizeof *records);
    size_t bytes = 0;
    for (uint32_t i = 0; i < stored_count; i++) bytes += publication_size(&stored[i]);
    for (uint32_t i = 0; i < recovered.records_count; i++) {
        records[i] = window_record(&channel->stored->window, offset + 1 + stored_count + i);
        bytes += records[i].size;
    }
    if (bytes > HISTORY_BYTES_MAX) return (struct recovered){0};
    recovered.records = records;
    return recovered;
}

static void subscribe_on_read(struct store_read *read, enum err err,
                              const struct publication *publications, uint32_t count);

static void subscribe_read(struct channel *channel, struct channel_op *op, uint64_t since)
{
    op->rounds++;
    op->read = (struct store_read){
        .channel = &channel->stored->store,
        .since = since,
        .limit = channel->shard->config->client_recovery_max_publications,
        .on_read = subscribe_on_read,
    };
    store_read(channel->shard->store, &op->read);
}

/* How many of what the store gave follow `offset` without a hole, up to the head. */
static uint32_t stored_count(const struct channel *channel, uint64_t offset,
                             const struct publication *publications, uint32_t count)
{
    uint32_t used = 0;
    while (used < count && publications[used].offset == offset + 1 + used &&
           publications[used].offset <= channel->stored->window.head)
        used++;
    return used;
}

static void subscribe_on_read(struct store_read *read, enum err err,
                              const struct publication *publications, uint32_t count)
{
    struct channel_op *op = container_of(read, struct channel_op, read);
    struct channel *channel = op->channel;
    if (op_failed(op, err)) return;
    struct letter_subscribe in;
    letter_read_subscribe(op->letter, &in);
    channel_trim(channel);
    uint64_t since;
    enum recovery recovery = recovery_decide(channel, &in, &since);
    uint32_t used = 0;
    if (recovery == RECOVERY_READ && read->has_holes) recovery = RECOVERY_NO;
    if (recovery == RECOVERY_READ) {
        used = stored_count(channel, in.offset, publications, count);
        bool is_joined = in.offset + used + 1 >= window_first(&channel->stored->window);
        recovery = is_joined ? RECOVERY_YES : RECOVERY_NO;
        /* Whole as far as it went, but the window has moved past its end. */
        if (!is_joined && used > 0 && used == count && op->rounds < RECOVERY_ROUNDS_MAX) {
            subscribe_read(channel, op, in.offset);
            return;
        }
    }
    struct recovered recovered = {0};
    if (recovery == RECOVERY_YES) recovered = recovered_join(channel, since, publications, used);
    subscribe_finish(channel, op->to, &in, recovered);
    op_end(op);
}

bool subscribe_ask(struct channel *channel, struct letter *letter)
{
    check(channel->state == CHANNEL_LIVE || channel->state == CHANNEL_BARE);
    struct letter_subscribe in;
    letter_read_subscribe(letter, &in);
    struct bytes base;
    if (home_is_receipts(in.channel, &base)) {
        live_subscribe(channel, letter->from, &in);
        return false;
    }
    struct recovered recovered = {0};
    if (in.recover && channel_keeps_history(channel)) {
        metric_add(&channel->shard->metrics, METRIC_ACTIONS_HISTORY_RECOVER, 1);
        uint64_t since;
        enum recovery recovery = recovery_decide(channel, &in, &since);
        if (recovery == RECOVERY_READ) {
            struct channel_op *op = op_begin(channel, letter, in.call);
            op->letter = letter;
            subscribe_read(channel, op, in.offset);
            return true;
        }
        if (recovery == RECOVERY_YES) recovered = recovered_join(channel, since, NULL, 0);
    }
    subscribe_finish(channel, letter->from, &in, recovered);
    return false;
}
