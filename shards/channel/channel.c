/*
 * channel: its life at the home shard.
 *
 *    first question ─▶ BARE ─ asks the store ─▶ OPENING     or, not held, ─▶ freed
 *                        ▲                        ▲  │ on_opened
 *                        └─ idle, with listeners ─│─ LIVE ─ idle, without ─▶ freed
 *                                                 │  │ on_lost
 *                             next question, time │  ▼
 *                                                FAILED, LOST
 *
 *    who moves what:   channel_find_or_make, channel_part   → BARE
 *                      channel_open                         → OPENING
 *                      channel_on_opened                    → LIVE, FAILED
 *                      channel_on_lost                      → LOST
 *                      channel_free                         → CLOSED
 *
 * What holds a channel: a listener, a question that waits, an op.  Held by
 * nothing it is idle, in the order in which it became so, and one timer of the
 * shard closes what has been idle for CHANNEL_IDLE_MS.
 */
#include "core/hash.h"
#include "core/log.h"
#include "core/mem.h"
#include "core/sm.h"
#include "shards/channel/channel_parts.h"
#include "shards/fanout/fanout.h"
#include "shards/home.h"

/* Idle channels closed at one firing of the timer. */
#define IDLE_CLOSE_MAX 256

static void channel_invariant(const void *object);

static const struct sm_state states[CHANNEL_STATE_COUNT] = {
    [CHANNEL_BARE] = {"BARE", SM_TO(CHANNEL_OPENING) | SM_TO(CHANNEL_CLOSED)},
    [CHANNEL_OPENING] = {"OPENING", SM_TO(CHANNEL_LIVE) | SM_TO(CHANNEL_FAILED)},
    [CHANNEL_LIVE] = {"LIVE", SM_TO(CHANNEL_LOST) | SM_TO(CHANNEL_BARE) | SM_TO(CHANNEL_CLOSED)},
    [CHANNEL_LOST] = {"LOST", SM_TO(CHANNEL_OPENING)},
    [CHANNEL_FAILED] = {"FAILED",
                        SM_TO(CHANNEL_OPENING) | SM_TO(CHANNEL_BARE) | SM_TO(CHANNEL_CLOSED)},
    [CHANNEL_CLOSED] = {"CLOSED", 0},
};
static const struct sm machine = {"channel", states, CHANNEL_STATE_COUNT, channel_invariant};

static void channel_invariant(const void *object)
{
    const struct channel *channel = object;
    check((channel->stored == NULL) ==
          (channel->state == CHANNEL_BARE || channel->state == CHANNEL_CLOSED));
    switch (channel->state) {
    case CHANNEL_BARE: break;
    case CHANNEL_LIVE:
        check(channel->stored->window.head == channel->stored->store.head);
        check(channel->stored->store.epoch[0] != '\0');
        break;
    case CHANNEL_OPENING:
    case CHANNEL_LOST:
    case CHANNEL_FAILED:
        check(channel->stored->window.count == 0);
        check(channel->stored->cursors == NULL);
        break;
    case CHANNEL_CLOSED:
        check(channel->listeners_count == 0);
        check(channel->presence == NULL);
        break;
    default: impossible("a channel has one of its states");
    }
}

static void channel_move(struct channel *channel, enum channel_state state)
{
    sm_move(&machine, &channel->state, (uint8_t)state, channel);
}

static struct shard *shard_of(struct channels *channels)
{
    return container_of(channels, struct shard, channels);
}

static void channels_on_idle_timer(struct timer *timer);
static void channels_on_lost_timer(struct timer *timer);

void channels_init(struct shard *shard)
{
    struct channels *channels = &shard->channels;
    check(shard->shards_count > 0);
    channels->seed = rng_next(&shard->rng);
    chains_init(&channels->by_name, CHANNELS_MAX);
    presences_init(&channels->presences, rng_next(&shard->rng));
    slab_init(&channels->channels, "channels", sizeof(struct channel), CHANNELS_MAX);
    slab_init(&channels->stored, "stored", sizeof(struct stored), CHANNELS_MAX);
    /* A question holds a credit until it is answered, and needs at most one op. */
    slab_init(&channels->ops, "channel ops", sizeof(struct channel_op),
              MESH_CREDITS * shard->shards_count);
    list_init(&channels->idle);
    list_init(&channels->lost);
}

uint32_t channels_pending(const struct shard *shard)
{
    return shard->channels.ops.count;
}

/* --- by name -------------------------------------------------------------------- */

static struct channel *channel_at(const struct channels *channels, uint32_t number)
{
    return slab_at(&channels->channels, number - 1);
}

static uint64_t owner_hash(const void *context, uint32_t number)
{
    const struct channels *channels = context;
    return hash_bytes(channel_name(channel_at(channels, number)), channels->seed);
}

static bool owner_is(const void *context, uint32_t number, const void *key)
{
    return bytes_equal(channel_name(channel_at(context, number)), *(const struct bytes *)key);
}

static uint32_t *owner_link(const void *context, uint32_t number)
{
    return &channel_at(context, number)->link;
}

static struct chains_owner owner_of(const struct channels *channels)
{
    return (struct chains_owner){channels, owner_hash, owner_is, owner_link};
}

struct channel *channel_find(const struct shard *shard, struct bytes name)
{
    const struct channels *channels = &shard->channels;
    struct chains_owner owner = owner_of(channels);
    uint64_t hash = hash_bytes(name, channels->seed);
    uint32_t number = chains_find(&channels->by_name, &owner, hash, &name);
    return number == 0 ? NULL : channel_at(channels, number);
}

/* --- opening -------------------------------------------------------------------- */

/* The rule in force: options may change at a reload, and a namespace that is
 * gone keeps nothing from then on. */
static struct history_rule history_now(const struct channel *channel)
{
    const struct config_namespace *space =
        config_namespace_of(channel->shard->config, channel_name(channel));
    return space == NULL || !config_has_history(space)
               ? (struct history_rule){0}
               : (struct history_rule){space->history_size, space->history_ttl_ms};
}

bool channel_may_be_bare(const struct channel *channel)
{
    const struct stored *stored = channel->stored;
    struct bytes base;
    if (stored != NULL && (stored->cursors != NULL || stored->live != NULL)) return false;
    /* What a companion tells comes from the channel that it tells of. */
    if (home_is_receipts(channel_name(channel), &base)) return true;
    return !channel->shard->store->engine->has_others && !history_is_kept(history_now(channel));
}

struct window_rule channel_rule(const struct channel *channel)
{
    uint32_t window_max = channel->shard->config->storage_window_size;
    return (struct window_rule){
        .items_max = min_u32(window_max, channel->stored->store.history.size),
        .history_max = channel->stored->store.history.size,
        .ttl_ms = channel->stored->store.history.ttl_ms,
    };
}

void channel_trim(struct channel *channel)
{
    check(channel->state == CHANNEL_LIVE);
    channel->stored->store.history = history_now(channel);
    window_trim(&channel->stored->window, channel_rule(channel),
                store_now_ms(channel->shard->store));
}

/* What is opened with: also what is unread for nobody is to be found, so far as receipts
 * reach (receipt_load). */
static uint32_t snapshot_max(const struct channel *channel)
{
    const struct config *config = channel->shard->config;
    uint32_t receipts = config->receipts_enabled ? config->receipts_window_size : 0;
    return max_u32(channel_rule(channel).items_max,
                   min_u32(receipts, channel->stored->store.history.size));
}

static void channel_on_opened(struct store_open *op, enum err err,
                              const struct store_snapshot *snapshot);

void channel_open(struct channel *channel)
{
    struct shard *shard = channel->shard;
    if (channel->stored == NULL) {
        channel->stored = slab_get(&shard->channels.stored, NULL);
        check(channel->stored != NULL); /* as many as there are channels */
        channel->stored->channel = channel;
        list_init(&channel->stored->waiters);
        list_init(&channel->stored->heads);
    }
    channel_move(channel, CHANNEL_OPENING);
    struct stored *stored = channel->stored;
    stored->store.history = history_now(channel);
    stored->store.name = channel_name(channel);
    stored->opening = (struct store_open){
        .channel = &stored->store,
        .window_max = snapshot_max(channel),
        .on_opened = channel_on_opened,
    };
    store_open(shard->store, &stored->opening);
}

enum err channel_find_or_make(struct shard *shard, struct bytes name, struct channel **found)
{
    check(name.size > 0 && name.size <= CHANNEL_NAME_MAX);
    *found = channel_find(shard, name);
    if (*found != NULL) return ERR_OK;

    struct channels *channels = &shard->channels;
    struct handle handle;
    struct channel *channel = slab_get(&channels->channels, &handle);
    if (channel == NULL) return ERR_LIMIT_MEMORY;
    channel->shard = shard;
    label_set(&channel->name, name);
    struct chains_owner owner = owner_of(channels);
    chains_add(&channels->by_name, &owner, handle.index + 1);
    *found = channel;
    return ERR_OK;
}

static void channel_load(struct channel *channel, const struct store_snapshot *snapshot)
{
    const struct store_channel *store = &channel->stored->store;
    uint32_t count = snapshot->publications_count;
    check(count == 0 || snapshot->publications[count - 1].offset == store->head);
    check(count <= store->head);

    window_init(&channel->stored->window, store->head - count);
    for (uint32_t i = 0; i < count; i++) {
        window_push(&channel->stored->window, &snapshot->publications[i]);
        version_note(channel, &snapshot->publications[i]);
    }
    channel->stored->policy = (uint32_t)snapshot->policy;
    channel->stored->removed = snapshot->removed;
    receipt_load(channel, snapshot->members, snapshot->members_count);
    channel_move(channel, CHANNEL_LIVE);
    channel_trim(channel);
}

static void waiters_wake(struct channel *channel, enum err err)
{
    while (!list_is_empty(&channel->stored->waiters)) {
        struct channel_waiter *waiter =
            container_of(channel->stored->waiters.next, struct channel_waiter, link);
        list_remove(&waiter->link);
        waiter->on_ready(waiter, channel, err);
    }
}

void channel_await(struct channel *channel, struct channel_waiter *waiter)
{
    check(!list_is_linked(&waiter->link));
    if (channel->state == CHANNEL_LIVE) {
        channel_trim(channel);
        waiter->on_ready(waiter, channel, ERR_OK);
        return;
    }
    if (channel->state == CHANNEL_BARE || channel->state == CHANNEL_FAILED) channel_open(channel);
    list_append(&channel->stored->waiters, &waiter->link);
}

static void channel_on_opened(struct store_open *op, enum err err,
                              const struct store_snapshot *snapshot)
{
    struct channel *channel = container_of(op, struct stored, opening)->channel;
    check(channel->state == CHANNEL_OPENING);
    if (err == ERR_OK) {
        channel_load(channel, snapshot);
        attend_again(channel, true);
    } else {
        char quoted[64];
        struct bytes name = channel_name(channel);
        log_warn("a channel could not be loaded channel=%s error=%s",
                 log_quote(quoted, sizeof quoted, name.at, name.size), err_name(err));
        channel_move(channel, CHANNEL_FAILED);
    }
    question_wake(channel, err);
    waiters_wake(channel, err);
    channel_settle(channel);
}

/* What it knew of its store; the listeners stay. */
static void channel_forget(struct channel *channel)
{
    window_fini(&channel->stored->window);
    version_forget(channel);
    cursor_destroy(channel->stored->cursors);
    channel->stored->cursors = NULL;
    channel->stored->seq_answered = 0;
    members_account(channel);
}

/* The store need not know it any more. */
static void channel_unstore(struct channel *channel, enum channel_state next)
{
    struct stored *stored = channel->stored;
    check(stored->ops == 0 && stored->waiting_count == 0);
    check(list_is_empty(&stored->waiters));
    live_end(channel);
    list_remove(&stored->link);
    if (channel->state == CHANNEL_LIVE) store_close(channel->shard->store, &stored->store);
    channel_forget(channel);
    version_fini(channel);
    mem_free(stored->waiting);
    slab_put(&channel->shard->channels.stored, stored);
    channel->stored = NULL;
    channel_move(channel, next);
}

static void channel_free(struct channel *channel)
{
    struct channels *channels = &channel->shard->channels;
    if (channel->stored != NULL)
        channel_unstore(channel, CHANNEL_CLOSED);
    else
        channel_move(channel, CHANNEL_CLOSED);
    check(channel->listeners_room == 0);
    struct chains_owner owner = owner_of(channels);
    uint32_t number = slab_handle(&channels->channels, channel).index + 1;
    chains_remove(&channels->by_name, &owner, number);
    label_clear(&channel->name);
    slab_put(&channels->channels, channel);
}

void channels_fini(struct shard *shard)
{
    struct channels *channels = &shard->channels;
    check(channels->ops.count == 0);
    check(list_is_empty(&channels->lost));
    for (uint32_t i = 0; i < channels->channels.touched; i++) {
        struct channel *channel = slab_at(&channels->channels, i);
        if (channel != NULL) channel_free(channel);
    }
    wheel_disarm(&shard->wheel, &channels->idle_timer);
    wheel_disarm(&shard->wheel, &channels->lost_timer);
    presences_fini(&channels->presences);
    slab_fini(&channels->ops);
    slab_fini(&channels->stored);
    slab_fini(&channels->channels);
    chains_fini(&channels->by_name);
}

static void settle_lost(struct channel *channel)
{
    struct shard *shard = channel->shard;
    /* Not here: we may be inside a callback of the store about this channel. */
    if (channel->stored->ops == 0 && !timer_is_armed(&shard->channels.lost_timer))
        wheel_arm(&shard->wheel, &shard->channels.lost_timer, clock_turn_ms(&shard->clock),
                  channels_on_lost_timer);
}

/* From its store; without listeners it is freed. */
static void channel_part(struct channel *channel)
{
    check(channel->stored->live == NULL);
    if (channel->listeners_count == 0)
        channel_free(channel);
    else
        channel_unstore(channel, CHANNEL_BARE);
}

/* It has nothing to do: closed, or bare, unless something comes within the time. */
static void channel_rest(struct channel *channel)
{
    struct shard *shard = channel->shard;
    struct channels *channels = &shard->channels;
    channel->stored->idle_since_ms = clock_turn_ms(&shard->clock);
    list_append(&channels->idle, &channel->stored->link);
    if (!timer_is_armed(&channels->idle_timer))
        wheel_arm(&shard->wheel, &channels->idle_timer,
                  channel->stored->idle_since_ms + CHANNEL_IDLE_MS, channels_on_idle_timer);
}

static bool stored_is_busy(const struct stored *stored)
{
    return stored->ops > 0 || stored->waiting_count > 0 || !list_is_empty(&stored->waiters);
}

void channel_settle(struct channel *channel)
{
    bool has_listeners = channel->listeners_count > 0;
    if (channel->state == CHANNEL_BARE) {
        if (!has_listeners) channel_free(channel);
        return;
    }
    if (channel->state == CHANNEL_LOST) {
        settle_lost(channel);
        return;
    }
    list_remove(&channel->stored->link);
    if (stored_is_busy(channel->stored)) return;
    bool may_go = channel->stored->live == NULL && (!has_listeners || channel_may_be_bare(channel));
    if (channel->state == CHANNEL_LIVE && may_go) channel_rest(channel);
    if (channel->state == CHANNEL_FAILED && may_go) channel_part(channel);
}

static void channels_on_idle_timer(struct timer *timer)
{
    struct channels *channels = container_of(timer, struct channels, idle_timer);
    struct shard *shard = shard_of(channels);
    uint64_t now_ms = clock_turn_ms(&shard->clock);
    for (uint32_t i = 0; i < IDLE_CLOSE_MAX && !list_is_empty(&channels->idle); i++) {
        struct stored *stored = container_of(channels->idle.next, struct stored, link);
        if (stored->idle_since_ms + CHANNEL_IDLE_MS > now_ms) break;
        struct channel *channel = stored->channel;
        /* A reload may have given it a history. */
        if (channel->listeners_count == 0 || channel_may_be_bare(channel))
            channel_part(channel);
        else
            list_remove(&stored->link);
    }
    if (list_is_empty(&channels->idle)) return;
    const struct stored *next = container_of(channels->idle.next, struct stored, link);
    wheel_arm(&shard->wheel, timer, next->idle_since_ms + CHANNEL_IDLE_MS, channels_on_idle_timer);
}

/* Stored data vanished.  Listeners are told at once, by the path that brought
 * them every frame before; then the channel is loaded anew. */
void channel_on_lost(void *context, struct store_channel *store)
{
    struct channel *channel = channel_of_store(store);
    struct shard *shard = context;
    check(channel->shard == shard);
    if (channel->state != CHANNEL_LIVE) return; /* it is being loaded anew already */

    char quoted[64];
    struct bytes name = channel_name(channel);
    log_warn("stored data of a channel vanished channel=%s epoch=%s",
             log_quote(quoted, sizeof quoted, name.at, name.size), store->epoch);
    fanout_lose(shard, channel);
    live_lose(channel);
    list_remove(&channel->stored->link);
    list_append(&shard->channels.lost, &channel->stored->link);
    channel_forget(channel);
    channel_move(channel, CHANNEL_LOST);
    settle_lost(channel);
}

static void channels_on_lost_timer(struct timer *timer)
{
    struct channels *channels = container_of(timer, struct channels, lost_timer);
    struct shard *shard = shard_of(channels);
    list_each (node, &channels->lost) {
        struct stored *stored = container_of(node, struct stored, link);
        if (stored->ops > 0) continue;
        list_remove(&stored->link);
        store_close(shard->store, &stored->store);
        channel_open(stored->channel);
    }
}

static void stored_verify(const struct channel *channel)
{
    const struct stored *stored = channel->stored;
    bool is_busy = stored_is_busy(stored), is_heard = channel->listeners_count > 0;
    check(stored->channel == channel);
    if (channel->state == CHANNEL_LIVE) {
        window_verify(&stored->window);
        check(stored->waiting_count == 0);
        /* With listeners it is in the list when it could be bare. */
        if (is_busy || (!is_heard && stored->live == NULL))
            check(list_is_linked(&stored->link) == !is_busy);
    }
    if (channel->state == CHANNEL_FAILED) check(is_heard || stored->live != NULL);
    if (stored->cursors != NULL) {
        check(cursor_head(stored->cursors) == stored->store.head);
        cursor_verify(stored->cursors);
    }
}

void channel_verify(struct channel *channel)
{
    channel_invariant(channel);
    if (channel->stored != NULL)
        stored_verify(channel);
    else
        check(channel->listeners_count > 0);
    check(channel->listeners_count <= max_u32(1, channel->listeners_room));
    const struct channel_listener *listeners = channel_listeners(channel);
    for (uint32_t i = 0; i < channel->listeners_count; i++) {
        uint32_t count = listener_count(&listeners[i]);
        check(count > 0);
        check(listeners[i].shard < channel->shard->shards_count);
        check(listeners[i].hears <= count);
    }
    if (channel->presence != NULL)
        presence_verify(&channel->shard->channels.presences, channel->presence);
}

void channels_verify(const struct channels *channels)
{
    for (uint32_t i = 0; i < channels->channels.touched; i++) {
        struct channel *channel = slab_at(&channels->channels, i);
        if (channel != NULL) channel_verify(channel);
    }
    struct chains_owner owner = owner_of(channels);
    chains_verify(&channels->by_name, &owner);
    check(channels->by_name.count == channels->channels.count);
}
