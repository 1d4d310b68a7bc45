/*
 * channel: its life at the home shard.
 *
 *    first question ─▶ OPENING ─ on_opened ─▶ LIVE ──── idle ──────▶ freed
 *                        ▲  └──── error ────▶ FAILED ─ not held ───▶ freed
 *                        │                      │ next question
 *                        ├──────────────────────┘
 *                       LOST ◀── on_lost ── LIVE
 *
 *    who moves what:   channel_find_or_open, channel_reopen   → OPENING
 *                      channel_on_opened                      → LIVE, FAILED
 *                      channel_on_lost                        → LOST
 *                      channels_on_lost_timer                 → OPENING
 *                      channel_free                           → CLOSED
 *
 * What holds a channel: a listener, a question that waits, an op.  Held by
 * nothing it is idle, in the order in which it became so, and one timer of the
 * shard closes what has been idle for CHANNEL_IDLE_MS.
 */
#include "core/log.h"
#include "core/mem.h"
#include "core/sm.h"
#include "shards/channel/channel_parts.h"
#include "shards/fanout/fanout.h"

/* Idle channels closed at one firing of the timer. */
#define IDLE_CLOSE_MAX 256

static void channel_invariant(const void *object);

static const struct sm_state states[CHANNEL_STATE_COUNT] = {
    [CHANNEL_OPENING] = {"OPENING", SM_TO(CHANNEL_LIVE) | SM_TO(CHANNEL_FAILED)},
    [CHANNEL_LIVE] = {"LIVE", SM_TO(CHANNEL_LOST) | SM_TO(CHANNEL_CLOSED)},
    [CHANNEL_LOST] = {"LOST", SM_TO(CHANNEL_OPENING)},
    [CHANNEL_FAILED] = {"FAILED", SM_TO(CHANNEL_OPENING) | SM_TO(CHANNEL_CLOSED)},
    [CHANNEL_CLOSED] = {"CLOSED", 0},
};
static const struct sm machine = {"channel", states, CHANNEL_STATE_COUNT, channel_invariant};

static void channel_invariant(const void *object)
{
    const struct channel *channel = object;
    switch (channel->state) {
    case CHANNEL_LIVE:
        check(channel->window.head == channel->store.head);
        check(channel->store.epoch[0] != '\0');
        break;
    case CHANNEL_OPENING:
    case CHANNEL_LOST:
    case CHANNEL_FAILED:
        check(channel->window.count == 0);
        check(channel->cursors == NULL);
        break;
    case CHANNEL_CLOSED:
        check(channel->ops == 0);
        check(channel->waiting_count == 0);
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
    map_init(&channels->by_name, rng_next(&shard->rng));
    presences_init(&channels->presences, rng_next(&shard->rng));
    slab_init(&channels->channels, "channels", sizeof(struct channel), CHANNELS_MAX);
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

struct channel *channel_find(struct shard *shard, struct bytes name)
{
    return map_find(&shard->channels.by_name, name);
}

/* The rule in force: options may change at a reload, and a namespace that is
 * gone keeps nothing from then on. */
static void channel_refresh(struct channel *channel)
{
    const struct config_namespace *space =
        config_namespace_of(channel->shard->config, channel_name(channel));
    channel->store.history =
        space == NULL || !config_has_history(space)
            ? (struct history_rule){0}
            : (struct history_rule){space->history_size, space->history_ttl_ms};
}

struct window_rule channel_rule(const struct channel *channel)
{
    uint32_t window_max = channel->shard->config->storage_window_size;
    return (struct window_rule){
        .items_max = min_u32(window_max, channel->store.history.size),
        .history_max = channel->store.history.size,
        .ttl_ms = channel->store.history.ttl_ms,
    };
}

void channel_trim(struct channel *channel)
{
    check(channel->state == CHANNEL_LIVE);
    channel_refresh(channel);
    window_trim(&channel->window, channel_rule(channel), channel->shard->clock.wall_ms);
}

static void channel_on_opened(struct store_open *op, enum err err,
                              const struct store_snapshot *snapshot);

static void channel_open(struct channel *channel)
{
    check(channel->state == CHANNEL_OPENING);
    channel_refresh(channel);
    channel->store.name = channel_name(channel);
    channel->opening = (struct store_open){
        .channel = &channel->store,
        .window_max = channel_rule(channel).items_max,
        .on_opened = channel_on_opened,
    };
    store_open(channel->shard->store, &channel->opening);
}

enum err channel_find_or_open(struct shard *shard, struct bytes name, struct channel **found)
{
    check(name.size > 0 && name.size <= CHANNEL_NAME_MAX);
    *found = channel_find(shard, name);
    if (*found != NULL) return ERR_OK;

    struct channel *channel = slab_get(&shard->channels.channels, NULL);
    if (channel == NULL) return ERR_LIMIT_MEMORY;
    channel->shard = shard;
    channel->name = mem_text(name.at, name.size);
    channel->name_size = (uint32_t)name.size;
    map_put(&shard->channels.by_name, channel_name(channel), channel);
    channel_open(channel);
    *found = channel;
    return ERR_OK;
}

void channel_reopen(struct channel *channel)
{
    channel_move(channel, CHANNEL_OPENING);
    channel_open(channel);
}

static void channel_load(struct channel *channel, const struct store_snapshot *snapshot)
{
    const struct store_channel *store = &channel->store;
    uint32_t count = snapshot->publications_count;
    check(count == 0 || snapshot->publications[count - 1].offset == store->head);
    check(count <= store->head);

    window_init(&channel->window, store->head - count);
    for (uint32_t i = 0; i < count; i++) {
        window_push(&channel->window, &snapshot->publications[i]);
        version_note(channel, &snapshot->publications[i]);
    }
    receipt_load(channel, snapshot->members, snapshot->members_count);
    channel_move(channel, CHANNEL_LIVE);
}

static void channel_on_opened(struct store_open *op, enum err err,
                              const struct store_snapshot *snapshot)
{
    struct channel *channel = container_of(op, struct channel, opening);
    check(channel->state == CHANNEL_OPENING);
    if (err == ERR_OK) {
        channel_load(channel, snapshot);
    } else {
        char quoted[64];
        log_warn("a channel could not be loaded channel=%s error=%s",
                 log_quote(quoted, sizeof quoted, channel->name, channel->name_size),
                 err_name(err));
        channel_move(channel, CHANNEL_FAILED);
    }
    question_wake(channel, err);
    channel_settle(channel);
}

/* What it knew of its store; the listeners stay. */
static void channel_forget(struct channel *channel)
{
    window_fini(&channel->window);
    version_forget(channel);
    cursor_destroy(channel->cursors);
    channel->cursors = NULL;
}

static void channel_free(struct channel *channel)
{
    struct channels *channels = &channel->shard->channels;
    list_remove(&channel->link);
    if (channel->state == CHANNEL_LIVE) store_close(channel->shard->store, &channel->store);
    channel_move(channel, CHANNEL_CLOSED);
    channel_forget(channel);
    void *removed = map_remove(&channels->by_name, channel_name(channel));
    check(removed == channel);
    version_fini(channel);
    mem_free(channel->name);
    mem_free(channel->waiting);
    mem_free(channel->listeners);
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
    slab_fini(&channels->channels);
    map_fini(&channels->by_name);
}

static void settle_lost(struct channel *channel)
{
    struct shard *shard = channel->shard;
    /* Not here: we may be inside a callback of the store about this channel. */
    if (channel->ops == 0 && !timer_is_armed(&shard->channels.lost_timer))
        wheel_arm(&shard->wheel, &shard->channels.lost_timer, clock_turn_ms(&shard->clock),
                  channels_on_lost_timer);
}

void channel_settle(struct channel *channel)
{
    struct shard *shard = channel->shard;
    struct channels *channels = &shard->channels;
    if (channel->state == CHANNEL_LOST) {
        settle_lost(channel);
        return;
    }
    list_remove(&channel->link);
    if (channel->listeners_count > 0 || channel->ops > 0 || channel->waiting_count > 0) return;
    if (channel->state == CHANNEL_FAILED) {
        channel_free(channel);
        return;
    }
    if (channel->state != CHANNEL_LIVE) return;
    channel->idle_since_ms = clock_turn_ms(&shard->clock);
    list_append(&channels->idle, &channel->link);
    if (!timer_is_armed(&channels->idle_timer))
        wheel_arm(&shard->wheel, &channels->idle_timer, channel->idle_since_ms + CHANNEL_IDLE_MS,
                  channels_on_idle_timer);
}

static void channels_on_idle_timer(struct timer *timer)
{
    struct channels *channels = container_of(timer, struct channels, idle_timer);
    struct shard *shard = shard_of(channels);
    uint64_t now_ms = clock_turn_ms(&shard->clock);
    for (uint32_t i = 0; i < IDLE_CLOSE_MAX && !list_is_empty(&channels->idle); i++) {
        struct channel *channel = container_of(channels->idle.next, struct channel, link);
        if (channel->idle_since_ms + CHANNEL_IDLE_MS > now_ms) break;
        channel_free(channel);
    }
    if (list_is_empty(&channels->idle)) return;
    const struct channel *next = container_of(channels->idle.next, struct channel, link);
    wheel_arm(&shard->wheel, timer, next->idle_since_ms + CHANNEL_IDLE_MS, channels_on_idle_timer);
}

/* Stored data vanished.  Listeners are told at once, by the path that brought
 * them every frame before; then the channel is loaded anew. */
void channel_on_lost(void *context, struct store_channel *store)
{
    struct channel *channel = container_of(store, struct channel, store);
    struct shard *shard = context;
    check(channel->shard == shard);
    if (channel->state != CHANNEL_LIVE) return; /* it is being loaded anew already */

    char quoted[64];
    log_warn("stored data of a channel vanished channel=%s epoch=%s",
             log_quote(quoted, sizeof quoted, channel->name, channel->name_size), store->epoch);
    fanout_lose(shard, channel);
    list_remove(&channel->link);
    list_append(&shard->channels.lost, &channel->link);
    channel_forget(channel);
    channel_move(channel, CHANNEL_LOST);
    settle_lost(channel);
}

static void channels_on_lost_timer(struct timer *timer)
{
    struct channels *channels = container_of(timer, struct channels, lost_timer);
    struct shard *shard = shard_of(channels);
    list_each (node, &channels->lost) {
        struct channel *channel = container_of(node, struct channel, link);
        if (channel->ops > 0) continue;
        list_remove(&channel->link);
        store_close(shard->store, &channel->store);
        channel_reopen(channel);
    }
}

void channel_verify(const struct channel *channel)
{
    channel_invariant(channel);
    if (channel->state == CHANNEL_LIVE) window_verify(&channel->window);
    bool is_held = channel->listeners_count > 0 || channel->ops > 0 || channel->waiting_count > 0;
    if (channel->state == CHANNEL_LIVE) check(list_is_linked(&channel->link) == !is_held);
    if (channel->state == CHANNEL_LIVE) check(channel->waiting_count == 0);
    if (channel->state == CHANNEL_FAILED) check(channel->listeners_count > 0);
    for (uint32_t i = 0; i < channel->listeners_count; i++) {
        uint32_t count = listener_count(&channel->listeners[i]);
        check(count > 0);
        check(channel->listeners[i].shard < channel->shard->shards_count);
        check(channel->listeners[i].hears <= count);
    }
    if (channel->presence != NULL)
        presence_verify(&channel->shard->channels.presences, channel->presence);
    if (channel->cursors != NULL) {
        check(cursor_head(channel->cursors) == channel->store.head);
        cursor_verify(channel->cursors);
    }
}
