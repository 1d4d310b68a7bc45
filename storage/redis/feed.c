/* Subscriptions and the order of what they bring.
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

void feed_publication(struct redis_store *redis, struct redis_channel *channel, uint64_t offset,
                      struct bytes body)
{
    const struct store_sink *sink = &redis->store.env.sink;
    struct reader reader = reader_of(body);
    struct publication publication;
    if (publication_read(&reader, &publication) != ERR_OK) {
        log_error("a publication in Redis is damaged and is passed over offset=%llu",
                  (unsigned long long)offset);
        if (offset > 0) channel->channel->head = offset;
        return;
    }
    publication.offset = offset;
    if (offset > 0) {
        check(offset == channel->channel->head + 1);
        channel->channel->head = offset;
    }
    sink->on_publication(sink->context, channel->channel, &publication);
}

void feed_members(struct redis_store *redis, struct redis_channel *channel, uint64_t revision,
                  struct bytes body)
{
    const struct store_sink *sink = &redis->store.env.sink;
    uint32_t count;
    uint32_t most = users_most(body);
    struct bytes *users = mem_alloc((most + 1) * sizeof *users);
    check(revision > channel->revision);
    channel->revision = revision;
    if (users_read(body, users, most, &count) == ERR_OK) {
        sink->on_members(sink->context, channel->channel, users, count);
    } else {
        log_error("a member list in Redis is damaged and is passed over");
    }
    mem_free(users);
}

static void held_clear(struct redis_channel *channel)
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
    log_warn("what Redis holds of a channel no longer follows what was delivered; listeners are "
             "told epoch_before=%s epoch=%.*s",
             lost->epoch, (int)answer->epoch.size, (const char *)answer->epoch.at);
    check(answer->epoch.size <= EPOCH_MAX);
    memcpy(lost->epoch, answer->epoch.at, answer->epoch.size);
    lost->epoch[answer->epoch.size] = 0;
    lost->head = answer->head;
    channel->revision = answer->revision;
    channel->acked_head = 0;
    channel->is_behind = false;
    held_clear(channel);
    sink->on_lost(sink->context, lost);
}

/* --- announcements -------------------------------------------------------------------------- */

static bool is_own(const struct redis_store *redis, const struct announcement *announcement)
{
    return bytes_equal_text(announcement->boot, redis->boot);
}

static bool is_own_unanswered(const struct redis_store *redis,
                              const struct announcement *announcement)
{
    return announcement->seq > redis->seq_answered && is_own(redis, announcement);
}

/* Fed from its answer, which is lost for these only. */
static bool is_own_live_fed(const struct redis_store *redis,
                            const struct announcement *announcement)
{
    bool is_unknown =
        announcement->seq >= redis->unknown_first && announcement->seq <= redis->unknown_last;
    return announcement->kind == ANNOUNCEMENT_LIVE && is_own(redis, announcement) && !is_unknown;
}

/* True exactly when the announcement is what comes next from the position. */
static bool is_next(const struct redis_channel *channel, const struct announcement *announcement)
{
    uint64_t head = channel->channel->head;
    bool is_next_revision = announcement->revision == channel->revision + 1;
    switch (announcement->kind) {
    case ANNOUNCEMENT_LIVE: return true;
    case ANNOUNCEMENT_PUBLICATION: return announcement->number == head + 1;
    case ANNOUNCEMENT_MEMBERS: return is_next_revision && announcement->number == head;
    case ANNOUNCEMENT_CURSOR: return is_next_revision;
    }
    impossible("announcement_read lets only these kinds pass");
}

static bool is_behind(const struct redis_channel *channel, const struct announcement *announcement)
{
    if (announcement->kind == ANNOUNCEMENT_PUBLICATION)
        return announcement->number <= channel->channel->head;
    return announcement->kind != ANNOUNCEMENT_LIVE && announcement->revision <= channel->revision;
}

/* To the sink; it is the next step. */
static void announcement_feed(struct redis_store *redis, struct redis_channel *channel,
                              const struct announcement *announcement)
{
    const struct store_sink *sink = &redis->store.env.sink;
    check(is_next(channel, announcement));
    switch (announcement->kind) {
    case ANNOUNCEMENT_LIVE: feed_publication(redis, channel, 0, announcement->body); return;
    case ANNOUNCEMENT_PUBLICATION:
        feed_publication(redis, channel, announcement->number, announcement->body);
        return;
    case ANNOUNCEMENT_MEMBERS:
        feed_members(redis, channel, announcement->revision, announcement->body);
        return;
    case ANNOUNCEMENT_CURSOR:
        channel->revision = announcement->revision;
        sink->on_cursor(sink->context, channel->channel, announcement->body, announcement->number);
        return;
    }
}

/* Nothing keeps it waiting and it is the oldest. */
static void announcement_take(struct redis_store *redis, struct redis_channel *channel,
                              const struct announcement *announcement)
{
    /* Another epoch: the fill finds it too, and says so. */
    bool is_same = announcement->kind == ANNOUNCEMENT_LIVE ||
                   bytes_equal_text(announcement->epoch, channel->channel->epoch);
    if (is_same && is_behind(channel, announcement)) return;
    if (is_same && is_next(channel, announcement)) {
        announcement_feed(redis, channel, announcement);
    } else {
        read_fill(redis, channel);
    }
}

static void announcement_hold(struct redis_store *redis, struct redis_channel *channel,
                              struct bytes message, bool is_place)
{
    if (channel->held_count == REDIS_HELD_MAX) {
        /* A live publication is lost here; nobody was promised it. */
        channel->is_behind = true;
        return;
    }
    struct held *held = mem_alloc(sizeof *held + message.size);
    held->is_place = is_place;
    held->size = (uint32_t)message.size;
    memcpy(held->bytes, message.at, message.size);
    list_append(&channel->held, &held->link);
    channel->held_count++;
    if (!list_is_linked(&channel->holding)) list_append(&redis->holding, &channel->holding);
}

static void take_message(struct redis_store *redis, struct redis_channel *channel,
                         struct bytes message)
{
    struct announcement announcement;
    if (announcement_read(message, &announcement) != ERR_OK) {
        log_error("an announcement from Redis is malformed and is passed over");
        return;
    }
    if (is_own_live_fed(redis, &announcement)) return;
    bool is_place = is_own_unanswered(redis, &announcement);
    bool must_wait = is_place || channel->state != CHANNEL_LIVE || channel->is_filling ||
                     channel->held_count > 0;
    if (!must_wait) {
        announcement_take(redis, channel, &announcement);
        return;
    }
    struct bytes line = bytes_of(message.at, message.size - announcement.body.size);
    announcement_hold(redis, channel, is_place ? line : message, is_place);
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
        if (is_own_unanswered(redis, &announcement)) return;
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

void feed_own(struct redis_store *redis, struct handle handle,
              const struct announcement *announcement)
{
    struct redis_channel *channel = slab_find(&redis->channels, handle);
    struct announcement first;
    if (channel == NULL || channel->state != CHANNEL_LIVE) return;
    if (announcement->kind == ANNOUNCEMENT_LIVE) {
        feed_publication(redis, channel, 0, announcement->body);
        return;
    }
    if (channel->is_filling) return;
    struct held *held = held_first(channel, &first);
    bool is_its_place =
        held != NULL && held->is_place && first.seq == announcement->seq &&
        first.kind == announcement->kind && first.number == announcement->number &&
        first.revision == (first.kind == ANNOUNCEMENT_PUBLICATION ? 0 : announcement->revision);
    bool is_same = bytes_equal_text(announcement->epoch, channel->channel->epoch);
    if ((held != NULL && !is_its_place) || !is_same || !is_next(channel, announcement)) return;
    if (held != NULL) held_drop(channel, held);
    announcement_feed(redis, channel, announcement);
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

/* --- subscriptions -------------------------------------------------------------------------- */

static void subscribe_queue(struct redis_store *redis, struct redis_channel *channel)
{
    channel->is_subscribed = false;
    channel->subscribe_seq = 0;
    if (!list_is_linked(&channel->queue)) list_append(&redis->subscribes, &channel->queue);
}

static void subscribe_write(struct redis_store *redis, uint32_t count)
{
    struct resp_out *out = link_out(&redis->feed);
    char key[REDIS_KEY_MAX];
    resp_begin(out, 1 + count);
    resp_text(out, "SSUBSCRIBE");
    for (; count > 0; count--) {
        struct list *node = list_take(&redis->subscribes);
        struct redis_channel *channel = container_of(node, struct redis_channel, queue);
        channel->subscribe_seq = ++redis->subscribes_sent;
        resp_bytes(out, redis_key(redis, key, channel->partition, "c:", channel->channel->name));
    }
}

static uint32_t subscribe_count(const struct redis_store *redis)
{
    uint64_t unconfirmed = redis->subscribes_sent - redis->subscribes_confirmed;
    uint32_t room =
        unconfirmed >= REDIS_SUBSCRIBES_MAX ? 0 : REDIS_SUBSCRIBES_MAX - (uint32_t)unconfirmed;
    uint32_t most = min_u32(room, REDIS_SUBSCRIBES_PER_COMMAND), count = 0;
    for (const struct list *node = redis->subscribes.next;
         node != &redis->subscribes && count < most; node = node->next)
        count++;
    return count;
}

static void opens_expire(struct redis_store *redis)
{
    uint64_t now_ms = redis_now_ms(redis);
    while (!list_is_empty(&redis->opening)) {
        struct redis_channel *channel =
            container_of(redis->opening.next, struct redis_channel, opening);
        if (channel->due_ms > now_ms) break;
        feed_fail(redis, channel, ERR_STORE_DOWN);
    }
}

void feed_submit(struct redis_store *redis)
{
    if (link_is_ready(&redis->feed)) {
        uint32_t count;
        while ((count = subscribe_count(redis)) > 0) subscribe_write(redis, count);
    }
    opens_expire(redis);
}

static void unsubscribe(struct redis_store *redis, const struct redis_channel *channel)
{
    char key[REDIS_KEY_MAX];
    if (channel->subscribe_seq == 0 || !link_is_ready(&redis->feed)) return;
    struct resp_out *out = link_out(&redis->feed);
    resp_begin(out, 2);
    resp_text(out, "SUNSUBSCRIBE");
    resp_bytes(out, redis_key(redis, key, channel->partition, "c:", channel->channel->name));
}

/* --- channels -------------------------------------------------------------------------------- */

static void channel_destroy(struct redis_store *redis, struct redis_channel *channel)
{
    unsubscribe(redis, channel);
    held_clear(channel);
    list_remove(&channel->link);
    list_remove(&channel->queue);
    list_remove(&channel->opening);
    void *removed = map_remove(&redis->channels_by_name, channel->channel->name);
    check(removed == channel);
    channel->channel->engine = NULL;
    slab_put(&redis->channels, channel);
}

void redis_open(struct store *store, struct store_open *op)
{
    struct redis_store *redis = redis_of(store);
    check(op->on_opened != NULL && op->channel->engine == NULL);
    struct handle handle;
    struct redis_channel *channel = slab_get(&redis->channels, &handle);
    check(channel != NULL); /* a shard's own limit of channels lies below */
    channel->channel = op->channel;
    channel->op = op;
    channel->partition = redis_partition_of(redis, op->channel->name);
    bool is_up = link_is_ready(&redis->feed);
    channel->due_ms =
        is_up ? redis_now_ms(redis) + redis->node->options.io_timeout_ms : redis_due_ms(redis);
    list_init(&channel->held);
    list_append(&redis->partitions[channel->partition].channels, &channel->link);
    list_append(&redis->opening, &channel->opening);
    map_put(&redis->channels_by_name, op->channel->name, channel);
    op->channel->engine = channel;
    op->engine = channel;
    redis->pending++;
    subscribe_queue(redis, channel);
}

void redis_close(struct store *store, struct store_channel *channel)
{
    struct redis_store *redis = redis_of(store);
    struct redis_channel *closed = channel->engine;
    if (closed == NULL) return; /* its open failed */
    check(closed->channel == channel && closed->state == CHANNEL_LIVE);
    channel_destroy(redis, closed);
}

void feed_begin(struct redis_store *redis, struct redis_channel *channel)
{
    check(channel->state == CHANNEL_READING && channel->op != NULL);
    channel->state = CHANNEL_LIVE;
    channel->op->engine = NULL;
    channel->op = NULL;
    redis->pending--;
}

void feed_fail(struct redis_store *redis, struct redis_channel *channel, enum err err)
{
    check(channel->state != CHANNEL_LIVE && err != ERR_OK);
    struct store_open *op = channel->op;
    metric_add(redis->store.env.metrics, METRIC_STORE_ERRORS, 1);
    channel_destroy(redis, channel);
    redis->pending--;
    op->engine = NULL;
    op->on_opened(op, err, NULL);
}

/* --- the link -------------------------------------------------------------------------------- */

void feed_on_ready(struct link *link)
{
    struct redis_store *redis = link->owner;
    struct resp_out *out = link_out(link);
    char key[REDIS_KEY_MAX];
    redis->subscribes_sent = redis->subscribes_confirmed = 0;
    redis->probe_heard_ms = redis_now_ms(redis);
    resp_begin(out, 2);
    resp_text(out, "SSUBSCRIBE");
    resp_bytes(out, redis_key(redis, key, 0, "probe:", bytes_of_text(redis->boot)));
}

void feed_on_lost(struct link *link)
{
    struct redis_store *redis = link->owner;
    uint32_t at = 0;
    struct redis_channel *channel;
    while ((channel = map_next(&redis->channels_by_name, &at)) != NULL)
        subscribe_queue(redis, channel);
    redis->is_resubscribing = true;
}

static void on_subscribed(struct redis_store *redis, struct bytes name)
{
    redis->subscribes_confirmed++;
    struct redis_channel *channel = map_find(&redis->channels_by_name, name);
    bool is_ours = channel != NULL && channel->subscribe_seq == redis->subscribes_confirmed;
    if (is_ours) {
        channel->is_subscribed = true;
        list_remove(&channel->opening);
        if (channel->state == CHANNEL_SUBSCRIBING) read_open(redis, channel);
    }
    /* Everything is subscribed again: what was missed meanwhile shows in the heads. */
    bool is_through =
        redis->subscribes_confirmed == redis->subscribes_sent && list_is_empty(&redis->subscribes);
    if (redis->is_resubscribing && is_through) {
        redis->is_resubscribing = false;
        sweep_soon(redis);
    }
}

/* "<prefix>:{p<k>}:<kind>:<name>" without all that stands before the kind. */
static struct bytes key_rest(const struct redis_store *redis, struct bytes key)
{
    size_t skip = strlen(redis->node->options.prefix) + 1;
    if (key.size <= skip) return BYTES_NONE;
    const uint8_t *end = memchr(key.at + skip, '}', key.size - skip);
    if (end == NULL || end + 2 > key.at + key.size) return BYTES_NONE;
    return bytes_of(end + 2, (size_t)(key.at + key.size - end - 2));
}

static bool bytes_skip(struct bytes *bytes, const char *start)
{
    size_t size = strlen(start);
    if (bytes->size < size || memcmp(bytes->at, start, size) != 0) return false;
    *bytes = bytes_of(bytes->at + size, bytes->size - size);
    return true;
}

void feed_on_push(struct link *link, const struct reply *reply)
{
    struct redis_store *redis = link->owner;
    struct bytes kind = reply_text(reply_item(reply, 0));
    struct bytes name = key_rest(redis, reply_text(reply_item(reply, 1)));
    if (reply->type == REPLY_ERROR) {
        link_drop(link,
                  "Redis refuses a subscription; the user needs the channels of redis.prefix");
        return;
    }
    bool is_channel = bytes_skip(&name, "c:");
    bool is_probe = !is_channel && bytes_skip(&name, "probe:");
    if (bytes_equal_text(kind, "ssubscribe") && is_channel) {
        on_subscribed(redis, name);
    } else if (bytes_equal_text(kind, "smessage") && is_probe) {
        redis_on_probe(redis, reply_text(reply_item(reply, 2)));
    } else if (bytes_equal_text(kind, "smessage") && is_channel) {
        struct redis_channel *channel = map_find(&redis->channels_by_name, name);
        if (channel != NULL && channel->is_subscribed)
            take_message(redis, channel, reply_text(reply_item(reply, 2)));
    }
}
