/* The look for what no announcement told: every second one HMGET for each
 * partition with open channels compares heads, revisions and the epoch.
 *
 * A head ahead of ours is usually an announcement on its way.  So it is noted
 * first and filled when the next look finds us still below it; after a link's
 * return it is filled at once.  Likewise records that wait for replicas: whoever
 * appended them confirms them, but when the next look finds them where they were,
 * we do (append_touch). */
#include "core/check.h"
#include "core/log.h"
#include "core/mem.h"
#include "storage/redis/known.h"
#include "storage/redis/redis.h"

#define SWEEP_MS        1000
#define SWEEP_CALLS_MAX 8
/* Each so often one shard looks at all partitions, so that every node knows how far each
 * one is (known.h). */
#define WIDE_ROUNDS     2

struct sweep_call {
    struct link_call call;
    struct redis_store *redis;
    struct redis_server *server; /* that was asked */
    uint32_t partition;
    uint32_t count;
    bool is_urgent;
    struct handle channels[];
};

static void sweep_pump(struct redis_store *redis);

static void call_write(struct link_call *base, struct link *link, struct resp_out *out)
{
    struct sweep_call *call = container_of(base, struct sweep_call, call);
    struct redis_store *redis = call->redis;
    call->server = link->owner;
    char key[REDIS_KEY_MAX];
    resp_begin(out, 3 + call->count);
    resp_text(out, "HMGET");
    resp_bytes(out, redis_key(redis, key, call->partition, "meta", BYTES_NONE));
    resp_bytes(out, BYTES_NONE);
    for (uint32_t i = 0; i < call->count; i++) {
        const struct redis_channel *channel = slab_find(&redis->channels, call->channels[i]);
        resp_bytes(out, channel == NULL ? BYTES_NONE : channel->channel->name);
    }
}

static void compare_held(struct redis_store *redis, struct redis_channel *channel,
                         const struct meta *meta, bool is_urgent)
{
    bool is_held = meta_is_held(meta);
    bool has_stayed = is_held && channel->was_held && channel->held_head == meta->confirmed_head &&
                      channel->held_revision == meta->confirmed_revision;
    channel->was_held = is_held;
    channel->held_head = meta->confirmed_head;
    channel->held_revision = meta->confirmed_revision;
    if (!has_stayed && !(is_held && is_urgent)) return;
    if (channel->is_touching) return;
    channel->is_touching = true;
    append_touch(redis, channel->partition, channel->channel->name);
}

/* A channel without a record is in the epoch in which it was opened, whatever the birth of the
 * next one, unless records came and were forgotten while nobody looked (`is_late`). */
static bool epoch_is_same(const struct store_channel *channel, const struct position *position,
                          const struct meta *meta, bool is_late)
{
    char epoch[EPOCH_MAX + 1];
    size_t size = strlen(position->epoch);
    epoch_write(position, meta == NULL ? "" : meta->birth, epoch);
    if (meta != NULL) return strcmp(epoch, channel->epoch) == 0;
    bool is_its = channel->epoch[0] != 0 && strncmp(epoch, channel->epoch, size) == 0 &&
                  (channel->epoch[size] == 0 || channel->epoch[size] == '-');
    return is_its && !is_late;
}

/* One look at a partition. */
struct look {
    const struct position *position; /* NULL: of another server than the one we know */
    bool is_urgent;
    bool is_late; /* after so long that channels may have come and gone */
};

static void compare(struct redis_store *redis, struct redis_channel *channel,
                    const struct look *look, struct bytes text)
{
    struct meta meta = {0};
    const struct store_channel *of = channel->channel;
    if (channel->state != CHANNEL_LIVE || channel->is_filling) return;
    if (text.size > 0 && meta_read(text, &meta) != ERR_OK) {
        damage_note(redis, DAMAGE_META, of->name, 0);
        return;
    }
    uint64_t head = meta.confirmed_head, revision = meta.confirmed_revision;
    bool is_urgent = look->is_urgent;
    bool is_same = look->position != NULL &&
                   epoch_is_same(of, look->position, text.size > 0 ? &meta : NULL, look->is_late);
    bool is_lower = meta.head < of->head || meta.revision < channel->revision;
    bool is_higher = head > of->head || revision > channel->revision;
    compare_held(redis, channel, &meta, is_urgent);
    bool is_missed =
        channel->suspect_head > of->head || channel->suspect_revision > channel->revision;
    /* What is held waits for an answer to our own append, and the fill comes behind it:
     * now it would run ahead of what that answer feeds. */
    bool is_behind = channel->is_behind && channel->held_count == 0;
    if (!is_same || is_lower || is_behind || (is_higher && (is_urgent || is_missed))) {
        read_fill(redis, channel);
    } else {
        channel->suspect_head = head;
        channel->suspect_revision = revision;
    }
}

static void call_take(struct sweep_call *call, const struct reply *reply)
{
    struct redis_store *redis = call->redis;
    if (reply->type != REPLY_ARRAY || reply->count != call->count + 1) return;
    struct position position = {0};
    struct bytes first = reply_text(reply->items[0]);
    if (first.size == 0 && call->count > 0) partitions_look(redis);
    if (first.size > 0 && position_read(first, &position) != ERR_OK) return;
    bool is_other = strcmp(position.lineage, server_said(call->server)->lineage) != 0;
    bool is_doubted = first.size > 0 && known_doubts(redis, call->partition, &position);
    if (first.size > 0 && !is_other && !is_doubted)
        known_learn(redis, call->partition, &position, position.sure);
    if (is_doubted) append_touch(redis, call->partition, BYTES_LITERAL("probe"));
    struct redis_partition *partition = &redis->partitions[call->partition];
    uint64_t now_ms = redis_now_ms(redis), since_ms = now_ms - partition->looked_ms;
    bool is_late = partition->looked_ms > 0 &&
                   since_ms >= redis->store.env.config->storage_dedup_horizon_ms &&
                   since_ms >= forget_least_ms(redis);
    partition->looked_ms = now_ms;
    /* Another server than the partition was last seen on: a fill runs the script
     * that judges what that means. */
    struct look look = {is_other || first.size == 0 ? NULL : &position, call->is_urgent, is_late};
    for (uint32_t i = 0; i < call->count; i++) {
        struct redis_channel *channel = slab_find(&redis->channels, call->channels[i]);
        if (channel != NULL) compare(redis, channel, &look, reply_text(reply->items[i + 1]));
    }
}

static void call_on_end(struct link_call *base, enum err err, const struct reply *reply)
{
    struct sweep_call *call = container_of(base, struct sweep_call, call);
    struct redis_store *redis = call->redis;
    if (err == ERR_OK) call_take(call, reply);
    check(redis->sweep_calls > 0);
    redis->sweep_calls--;
    mem_free(call);
    sweep_pump(redis);
}

static void sweep_partition(struct redis_store *redis, uint32_t partition)
{
    struct list *channels = &redis->partitions[partition].channels;
    uint32_t count = 0;
    /* The link's return begins anew. */
    if (!link_is_ready(&redis_server_of(redis, partition)->commands)) return;
    list_each (node, channels) {
        count += container_of(node, struct redis_channel, link)->state == CHANNEL_LIVE;
    }
    bool is_wide = redis->sweep_rounds % WIDE_ROUNDS == 0 && redis->store.env.shard == 0;
    if (count == 0 && !is_wide) return;
    struct sweep_call *call = mem_alloc(sizeof *call + count * sizeof call->channels[0]);
    call->redis = redis;
    call->partition = partition;
    call->is_urgent = redis->is_sweep_urgent;
    call->call.write = call_write;
    call->call.on_end = call_on_end;
    list_each (other, channels) {
        struct redis_channel *channel = container_of(other, struct redis_channel, link);
        if (channel->state == CHANNEL_LIVE)
            call->channels[call->count++] = slab_handle(&redis->channels, channel);
    }
    check(call->count == count);
    redis->sweep_calls++;
    redis_call(redis, partition, &call->call);
}

static void sweep_on_timer(struct timer *timer);

static void sweep_pump(struct redis_store *redis)
{
    uint32_t partitions = redis->node->options.partitions;
    while (redis->sweep_next < partitions && redis->sweep_calls < SWEEP_CALLS_MAX)
        sweep_partition(redis, redis->sweep_next++);
    if (redis->sweep_next < partitions || redis->sweep_calls > 0) return;
    uint64_t pause_ms =
        redis->is_sweep_again ? 1 : SWEEP_MS / 2 + rng_below(redis->store.env.rng, SWEEP_MS);
    wheel_arm(redis->store.env.wheel, &redis->sweep_timer, redis_now_ms(redis) + pause_ms,
              sweep_on_timer);
}

static void sweep_on_timer(struct timer *timer)
{
    struct redis_store *redis = container_of(timer, struct redis_store, sweep_timer);
    check(redis->sweep_calls == 0);
    redis->is_sweep_urgent = redis->is_sweep_again;
    redis->is_sweep_again = false;
    redis->sweep_rounds++;
    redis->sweep_next = 0;
    sweep_pump(redis);
}

void sweep_start(struct redis_store *redis)
{
    redis->sweep_next = redis->node->options.partitions;
    sweep_pump(redis);
}

void sweep_soon(struct redis_store *redis)
{
    redis->is_sweep_again = true;
    if (redis->sweep_calls > 0) return; /* the one under way is followed by another */
    redis->sweep_next = redis->node->options.partitions;
    sweep_pump(redis);
}
