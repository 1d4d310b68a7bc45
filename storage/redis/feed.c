/* The order of what subscriptions bring.
 *
 * An announcement is one of: the next step from the channel's position, taken;
 * behind it, dropped; ahead of it, a gap, dropped too, because the fill that
 * begins then reads at least as far.  While a fill or the first read is under
 * way announcements are held in order.
 *
 * Our own appends are fed when their answer comes, so that on_appended is first.
 * Answer and announcement travel on two connections.  When the announcement is
 * here first it becomes a place in the line, behind which others are held; when
 * the answer is first, either it is the next step and the announcement is old
 * news later, or something of another node is on its way before it, and then
 * the announcement behind that brings it. */
#include "core/check.h"
#include "core/log.h"
#include "core/mem.h"
#include "storage/redis/redis.h"

/* --- to the sink --------------------------------------------------------------------------- */

bool feed_publication(struct redis_store *redis, struct redis_channel *channel, uint64_t offset,
                      struct bytes body)
{
    const struct store_sink *sink = &redis->store.env.sink;
    struct publication publication;
    check(offset == 0 || offset == channel->channel->head + 1);
    if (redis_seals_open(&redis->seals, channel->channel->name, body, &redis->opened,
                         &publication) != ERR_OK) {
        arena_reset(&redis->opened);
        return false;
    }
    publication.offset = offset;
    if (offset > 0) channel->channel->head = offset;
    sink->on_publication(sink->context, channel->channel, &publication);
    arena_reset(&redis->opened);
    return true;
}

/* Nobody was promised it. */
static void feed_live(struct redis_store *redis, struct redis_channel *channel, struct bytes body)
{
    if (!feed_publication(redis, channel, 0, body))
        damage_note(redis, DAMAGE_LIVE, channel->channel->name, 0);
}

void feed_pass_over(struct redis_store *redis, struct redis_channel *channel, uint64_t offset)
{
    const struct store_sink *sink = &redis->store.env.sink;
    check(offset == channel->channel->head + 1);
    damage_note(redis, DAMAGE_ENTRY, channel->channel->name, offset);
    channel->channel->head = offset;
    sink->on_lost(sink->context, channel->channel);
}

bool feed_members(struct redis_store *redis, struct redis_channel *channel, uint64_t revision,
                  struct bytes body)
{
    const struct store_sink *sink = &redis->store.env.sink;
    struct members_change change;
    check(revision > channel->revision);
    if (members_body_read(body, channel->channel->head, &change) != ERR_OK) return false;
    channel->revision = revision;
    sink->on_members(sink->context, channel->channel, &change);
    members_change_fini(&change);
    return true;
}

void feed_remove(struct redis_store *redis, struct redis_channel *channel, uint64_t offset)
{
    const struct store_sink *sink = &redis->store.env.sink;
    check(offset <= channel->channel->head);
    if (offset <= channel->removed) return;
    channel->removed = offset;
    sink->on_removed(sink->context, channel->channel, offset);
}

void feed_clear(struct redis_channel *channel)
{
    struct list *node;
    while ((node = list_take(&channel->held)) != NULL)
        mem_free(container_of(node, struct held, link));
    channel->held_count = 0;
    list_remove(&channel->holding);
}

void feed_reset(struct redis_store *redis, struct redis_channel *channel,
                const struct read_answer *answer)
{
    const struct store_sink *sink = &redis->store.env.sink;
    struct store_channel *lost = channel->channel;
    presence_note_epoch(redis, channel->partition, bytes_of_text(answer->position.epoch));
    log_warn("what Redis holds of a channel no longer follows what was delivered; listeners are "
             "told epoch_before=%s epoch=%s",
             lost->epoch, answer->epoch);
    memcpy(lost->epoch, answer->epoch, sizeof lost->epoch);
    lost->head = answer->head;
    channel->revision = answer->revision;
    channel->removed = answer->removed;
    channel->acked_head = 0;
    channel->is_behind = false;
    feed_clear(channel);
    sink->on_lost(sink->context, lost);
}

/* --- announcements -------------------------------------------------------------------------- */

static bool is_own(const struct redis_server *server, const struct announcement *announcement)
{
    return bytes_equal_text(announcement->boot, server->boot);
}

static bool is_own_unanswered(const struct redis_server *server,
                              const struct announcement *announcement)
{
    bool is_live = announcement->kind == ANNOUNCEMENT_LIVE;
    return !is_live && announcement->seq > server->seq_answered && is_own(server, announcement);
}

/* Fed from its answer, which is lost for these only. */
static bool is_own_live_fed(const struct redis_server *server,
                            const struct announcement *announcement)
{
    bool is_unknown =
        announcement->seq >= server->unknown_first && announcement->seq <= server->unknown_last;
    return announcement->kind == ANNOUNCEMENT_LIVE && is_own(server, announcement) && !is_unknown;
}

/* True exactly when the announcement is what comes next from the position. */
static bool is_next(const struct redis_channel *channel, const struct announcement *announcement)
{
    uint64_t head = channel->channel->head;
    bool is_next_revision = announcement->revision == channel->revision + 1;
    switch (announcement->kind) {
    case ANNOUNCEMENT_LIVE:
    case ANNOUNCEMENT_JOIN:
    case ANNOUNCEMENT_GONE: return true;
    case ANNOUNCEMENT_PUBLICATION: return announcement->number == head + 1;
    case ANNOUNCEMENT_MEMBERS:
    case ANNOUNCEMENT_REMOVE: return is_next_revision && announcement->number == head;
    case ANNOUNCEMENT_CURSOR:
    case ANNOUNCEMENT_DELIVERED:
    case ANNOUNCEMENT_UNREAD:
    case ANNOUNCEMENT_HIDDEN:
    case ANNOUNCEMENT_POLICY: return is_next_revision;
    case ANNOUNCEMENT_HEAD: return false; /* what it stands for is to be read */
    }
    impossible("announcement_read lets only these kinds pass");
}

static bool is_behind(const struct redis_channel *channel, const struct announcement *announcement)
{
    bool is_head_old = announcement->number <= channel->channel->head;
    if (announcement->kind == ANNOUNCEMENT_PUBLICATION) return is_head_old;
    if (announcement->kind == ANNOUNCEMENT_HEAD && !is_head_old) return false;
    return !announcement_is_live(announcement) && announcement->revision <= channel->revision;
}

static void feed_cursor(struct redis_store *redis, struct redis_channel *channel,
                        const struct announcement *announcement)
{
    const struct store_sink *sink = &redis->store.env.sink;
    struct store_cursor cursor = {announcement->body, announcement_mark(announcement->kind),
                                  announcement->number, store_now_ms(&redis->store)};
    bool is_whole = mark_is_of_channel(cursor.mark) == (cursor.user.size == 0);
    if (!is_whole || cursor.user.size > USER_ID_MAX) return; /* nobody wrote it */
    if (cursor.mark == CURSOR_POLICY) channel->policy = cursor.offset;
    sink->on_cursor(sink->context, channel->channel, &cursor);
}

/* To the sink; it is the next step.  False: it cannot be read. */
static bool announcement_feed(struct redis_store *redis, struct redis_channel *channel,
                              const struct announcement *announcement)
{
    check(is_next(channel, announcement));
    switch (announcement->kind) {
    case ANNOUNCEMENT_LIVE: feed_live(redis, channel, announcement->body); return true;
    case ANNOUNCEMENT_JOIN:
    case ANNOUNCEMENT_GONE: presence_take(redis, channel, announcement); return true;
    case ANNOUNCEMENT_PUBLICATION:
        return feed_publication(redis, channel, announcement->number, announcement->body);
    case ANNOUNCEMENT_MEMBERS:
        return feed_members(redis, channel, announcement->revision, announcement->body);
    case ANNOUNCEMENT_REMOVE:
        channel->revision = announcement->revision;
        feed_remove(redis, channel, announcement->number);
        return true;
    case ANNOUNCEMENT_CURSOR:
    case ANNOUNCEMENT_DELIVERED:
    case ANNOUNCEMENT_UNREAD:
    case ANNOUNCEMENT_HIDDEN:
    case ANNOUNCEMENT_POLICY:
        channel->revision = announcement->revision;
        feed_cursor(redis, channel, announcement);
        return true;
    case ANNOUNCEMENT_HEAD: break;
    }
    impossible("it is never the next step");
}

/* Nothing keeps it waiting and it is the oldest. */
static void announcement_take(struct redis_store *redis, struct redis_channel *channel,
                              const struct announcement *announcement)
{
    /* Another epoch: the fill finds it too, and says so. */
    bool is_same = announcement_is_live(announcement) ||
                   bytes_equal_text(announcement->epoch, channel->channel->epoch);
    if (is_same && is_behind(channel, announcement)) return;
    /* What it is sealed with comes with a fill.  What cannot be read then either is told
     * there, for the stream is what counts. */
    bool is_fed = is_same && is_next(channel, announcement) &&
                  announcement_feed(redis, channel, announcement);
    if (!is_fed) read_fill(redis, channel);
}

static void announcement_hold(struct redis_server *server, struct redis_channel *channel,
                              struct bytes message, bool is_place)
{
    struct redis_store *redis = server->redis;
    if (channel->held_count == REDIS_HELD_MAX) {
        /* A live publication is lost here; nobody was promised it. */
        channel->is_behind = true;
        return;
    }
    struct held *held = mem_alloc(sizeof *held + message.size);
    held->server = server;
    held->is_place = is_place;
    held->size = (uint32_t)message.size;
    memcpy(held->bytes, message.at, message.size);
    list_append(&channel->held, &held->link);
    channel->held_count++;
    if (!list_is_linked(&channel->holding)) list_append(&redis->holding, &channel->holding);
}

/* Two nodes' readings of one clock: what seems to come before it was made took no time. */
static void lag_observe(struct redis_store *redis, const struct announcement *announcement)
{
    struct reader reader = reader_of(announcement->body);
    bool is_publication =
        announcement->kind == ANNOUNCEMENT_PUBLICATION || announcement->kind == ANNOUNCEMENT_LIVE;
    /* The first bytes are the same, sealed or not. */
    (void)read_bytes(&reader, 10); /* version, flags, offset */
    uint64_t time_ms = read_u64(&reader);
    if (!is_publication || reader.failed) return;
    uint64_t now_ms = store_now_ms(&redis->store);
    uint64_t lag_ms = now_ms > time_ms ? now_ms - time_ms : 0;
    metric_observe(redis->store.env.metrics, FAMILY_PUB_SUB_LAG, lag_ms * 1000000);
}

void feed_take(struct redis_server *server, struct redis_channel *channel, struct bytes message)
{
    struct redis_store *redis = server->redis;
    struct announcement announcement;
    if (announcement_read(message, &announcement) != ERR_OK) {
        log_error("an announcement from Redis is malformed and is passed over");
        return;
    }
    if (is_own_live_fed(server, &announcement) || presence_is_own(redis, &announcement)) return;
    if (!is_own(server, &announcement)) lag_observe(redis, &announcement);
    bool is_place = is_own_unanswered(server, &announcement);
    bool must_wait = is_place || channel->state != CHANNEL_LIVE || channel->is_filling ||
                     channel->held_count > 0;
    if (!must_wait) {
        announcement_take(redis, channel, &announcement);
        return;
    }
    struct bytes line = bytes_of(message.at, message.size - announcement.body.size);
    announcement_hold(server, channel, is_place ? line : message, is_place);
}

static struct held *held_first(struct redis_channel *channel, struct announcement *announcement)
{
    if (channel->held_count == 0) return NULL;
    struct held *held = container_of(channel->held.next, struct held, link);
    enum err err = announcement_read(bytes_of(held->bytes, held->size), announcement);
    check(err == ERR_OK);
    return held;
}

static void held_drop(struct redis_channel *channel, struct held *held)
{
    list_remove(&held->link);
    channel->held_count--;
    mem_free(held);
}

/* Takes from one channel while nothing keeps the oldest waiting. */
static void channel_release(struct redis_store *redis, struct handle handle)
{
    struct redis_channel *channel;
    struct announcement announcement;
    struct held *held;
    while ((channel = slab_find(&redis->channels, handle)) != NULL &&
           (held = held_first(channel, &announcement)) != NULL) {
        if (channel->state != CHANNEL_LIVE || channel->is_filling) return;
        if (is_own_unanswered(held->server, &announcement)) return;
        list_remove(&held->link);
        channel->held_count--;
        if (!held->is_place) {
            announcement_take(redis, channel, &announcement);
        } else if (!is_behind(channel, &announcement)) {
            read_fill(redis, channel); /* its answer did not come, or came too early */
        }
        mem_free(held);
    }
    if (channel == NULL) return;
    list_remove(&channel->holding);
    if (channel->is_behind && channel->state == CHANNEL_LIVE) read_fill(redis, channel);
}

void feed_own(struct redis_server *server, struct handle handle,
              const struct announcement *announcement)
{
    struct redis_store *redis = server->redis;
    struct redis_channel *channel = slab_find(&redis->channels, handle);
    struct announcement first;
    if (channel == NULL || channel->state != CHANNEL_LIVE) return;
    if (announcement->kind == ANNOUNCEMENT_LIVE) {
        feed_live(redis, channel, announcement->body);
        return;
    }
    if (channel->is_filling) return;
    struct held *held = held_first(channel, &first);
    bool is_its_place =
        held != NULL && held->is_place && held->server == server &&
        first.seq == announcement->seq && first.kind == announcement->kind &&
        first.number == announcement->number &&
        first.revision == (first.kind == ANNOUNCEMENT_PUBLICATION ? 0 : announcement->revision);
    bool is_same = bytes_equal_text(announcement->epoch, channel->channel->epoch);
    if ((held != NULL && !is_its_place) || !is_same || !is_next(channel, announcement)) return;
    if (held != NULL) held_drop(channel, held);
    if (!announcement_feed(redis, channel, announcement)) read_fill(redis, channel);
}

void feed_release(struct redis_store *redis)
{
    /* A callback may close any channel, so none is held by pointer over one. */
    struct list waiting;
    list_init(&waiting);
    while (!list_is_empty(&redis->holding)) list_append(&waiting, list_take(&redis->holding));
    struct list *node;
    while ((node = list_take(&waiting)) != NULL) {
        struct redis_channel *channel = container_of(node, struct redis_channel, holding);
        list_append(&redis->holding, node);
        channel_release(redis, slab_handle(&redis->channels, channel));
    }
}
