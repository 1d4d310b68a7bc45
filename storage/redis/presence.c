/* Who attends channels.
 *
 * Changes wait in a line per partition, of which one call at a time is under way;
 * one that failed goes back to the front.  Entering and taking back may be repeated,
 * so nothing is lost and nothing is out of order, however often a link breaks.
 *
 * A roll stands in the same line, so whoever asks finds their own change done; it
 * waits for what came before it to be sent, but not for a server that is away.
 *
 * When the data of a partition vanished, in whole or in part, its epoch changes.
 * Then everything of this life is taken back there, and each channel, which hears of
 * the loss as well, enters its clients again (sink.on_lost, and its next open).
 * What is lost with the life itself comes back by on_reenter. */
#include "core/check.h"
#include "core/hash.h"
#include "core/log.h"
#include "core/mem.h"
#include "storage/redis/peers_parts.h"

#define CALL_CHANGES    64
#define CHANGE_AGAIN_MS 500
/* A roll that stands behind what cannot be sent goes first after this. */
#define ROLL_WAIT_MS    500

enum change_kind { CHANGE_ENTER = 'e', CHANGE_LEAVE = 'l', CHANGE_CLEAR = 'c', CHANGE_ROLL = 'r' };

struct change {
    struct list link;
    char kind; /* enum change_kind */
    char flags[4];
    struct roll_call *roll; /* the one that stands here */
    uint64_t since_ms;
    uint32_t channel_size, body_size;
    uint8_t bytes[]; /* channel, body */
};

struct change_call {
    struct link_call call;
    struct redis_store *redis;
    uint32_t partition;
    uint32_t lives; /* of which life it speaks */
    struct list changes;
    uint32_t count;
};

struct roll_call {
    struct link_call call;
    struct redis_store *redis;
    struct store_roll *op;
};

/* --- the line of a partition ----------------------------------------------------------------- */

static uint32_t partition_at(const struct redis_peers *peers, const struct change_part *part)
{
    return (uint32_t)(part - peers->parts);
}

static void part_is_busy(struct redis_peers *peers, struct change_part *part)
{
    if (!list_is_linked(&part->busy)) list_append(&peers->busy, &part->busy);
}

static void changes_drop(struct redis_peers *peers, struct list *changes)
{
    struct list *node;
    while ((node = list_take(changes)) != NULL) {
        struct change *change = container_of(node, struct change, link);
        check(change->kind != CHANGE_ROLL);
        check(peers->changes_count > 0);
        peers->changes_count--;
        mem_free(change);
    }
}

static struct change *change_add(struct redis_store *redis, uint32_t partition, char kind,
                                 const char *flags, struct bytes channel, size_t body_size)
{
    struct redis_peers *peers = redis->peers;
    struct change_part *part = &peers->parts[partition];
    check(channel.size + body_size <= UINT32_MAX);
    struct change *change = mem_alloc(sizeof *change + channel.size + body_size);
    change->kind = kind;
    memcpy(change->flags, flags, strlen(flags));
    change->since_ms = redis_now_ms(redis);
    change->channel_size = (uint32_t)channel.size;
    change->body_size = (uint32_t)body_size;
    if (channel.size > 0) memcpy(change->bytes, channel.at, channel.size);
    list_append(&part->changes, &change->link);
    peers->changes_count++;
    part_is_busy(peers, part);
    return change;
}

static struct bytes change_channel(const struct change *change)
{
    return bytes_of(change->bytes, change->channel_size);
}
static struct bytes change_body(const struct change *change)
{
    return bytes_of(change->bytes + change->channel_size, change->body_size);
}

/* --- changes --------------------------------------------------------------------------------- */

static void changes_write(struct link_call *base, struct link *link, struct resp_out *out)
{
    struct change_call *call = container_of(base, struct change_call, call);
    struct redis_store *redis = call->redis;
    char origin[BOX_SIZE + 4];
    struct writer writer = writer_of(origin, sizeof origin);
    write_text(&writer, redis->peers->box);
    write_text(&writer, ":0");
    check(!writer.failed);
    if (call->lives != redis->peers->lives) {
        /* Of the life before, which others take back now; a command must be written. */
        resp_begin(out, 1);
        resp_text(out, "PING");
        return;
    }
    peers_write_script(link, out, SCRIPT_PRESENCE, call->partition, "change", 3 + 4 * call->count);
    resp_text(out, redis->peers->life);
    resp_bytes(out, writer_bytes(&writer));
    resp_number(out, redis->store.env.config->channel_presence_max_clients);
    list_each (node, &call->changes) {
        const struct change *change = container_of(node, struct change, link);
        resp_bytes(out, bytes_of(&change->kind, 1));
        resp_bytes(out, bytes_of(change->flags, strnlen(change->flags, sizeof change->flags)));
        resp_bytes(out, change_channel(change));
        resp_bytes(out, change_body(change));
    }
}

/* Back to where they were, before everything that came since. */
static void changes_put_back(struct change_call *call, struct change_part *part)
{
    struct list *node;
    struct list rest;
    list_init(&rest);
    while ((node = list_take(&part->changes)) != NULL) list_append(&rest, node);
    while ((node = list_take(&call->changes)) != NULL) list_append(&part->changes, node);
    while ((node = list_take(&rest)) != NULL) list_append(&part->changes, node);
}

static void changes_on_end(struct link_call *base, enum err err, const struct reply *reply)
{
    struct change_call *call = container_of(base, struct change_call, call);
    struct redis_store *redis = call->redis;
    struct redis_peers *peers = redis->peers;
    struct change_part *part = &peers->parts[call->partition];
    check(part->call == call);
    part->call = NULL;
    bool is_past = call->lives != peers->lives;
    struct bytes epoch = err == ERR_OK ? reply_text(reply_item(reply, 0)) : BYTES_NONE;
    if (err == ERR_OK && epoch.size == 0 && !is_past)
        log_error("Redis could not note who attends a channel: %.*s",
                  (int)min_u64(reply->text.size, 200), (const char *)reply->text.at);
    peers->is_flowing = epoch.size > 0;
    if (is_past) {
        changes_drop(peers, &call->changes);
    } else if (epoch.size > 0) {
        changes_drop(peers, &call->changes);
        presence_note_epoch(redis, call->partition, epoch);
    } else {
        changes_put_back(call, part);
        part->retry_ms = redis_now_ms(redis) + CHANGE_AGAIN_MS;
    }
    if (!list_is_empty(&part->changes)) part_is_busy(peers, part);
    mem_free(call);
}

static void changes_call(struct redis_store *redis, struct change_part *part)
{
    struct change_call *call = mem_alloc(sizeof *call);
    call->redis = redis;
    call->partition = partition_at(redis->peers, part);
    call->lives = redis->peers->lives;
    call->call.write = changes_write;
    call->call.on_end = changes_on_end;
    list_init(&call->changes);
    while (!list_is_empty(&part->changes) && call->count < CALL_CHANGES) {
        struct change *change = container_of(part->changes.next, struct change, link);
        if (change->kind == CHANGE_ROLL) break;
        list_remove(&change->link);
        list_append(&call->changes, &change->link);
        call->count++;
    }
    check(call->count > 0);
    part->call = call;
    redis_call(redis, call->partition, &call->call);
}

void presence_note_epoch(struct redis_store *redis, uint32_t partition, struct bytes epoch)
{
    struct change_part *part = &redis->peers->parts[partition];
    uint64_t hash = hash_bytes(epoch, 0) | 1;
    if (part->epoch != 0 && part->epoch != hash)
        (void)change_add(redis, partition, CHANGE_CLEAR, "", BYTES_NONE, 0);
    part->epoch = hash;
}

/* More waits than may: what a new life enters again needs no line. */
static void changes_bound(struct redis_store *redis)
{
    struct redis_peers *peers = redis->peers;
    if (peers->changes_count < CHANGES_MAX) return;
    log_warn("too many changes of presence wait for Redis; who attends channels is told anew");
    nodes_renew(redis);
}

static size_t who_size(const struct store_present *who)
{
    return sizeof who->client + 4 + who->user.size + 4 + who->conn_info.size + 4 +
           who->chan_info.size;
}

void redis_enter(struct store *store, struct bytes channel, const struct store_present *who,
                 uint32_t flags)
{
    struct redis_store *redis = redis_of(store);
    char text[4] = "";
    size_t used = 0, size = who_size(who);
    if (flags & STORE_PRESENT_LISTED) text[used++] = 'p';
    if (flags & STORE_PRESENT_TOLD) text[used++] = 't';
    if (flags & STORE_PRESENT_QUIET) text[used++] = 'q';
    uint32_t partition = redis_partition_of(redis, channel);
    struct change *change = change_add(redis, partition, CHANGE_ENTER, text, channel, size);
    struct writer writer = writer_of(change->bytes + channel.size, size);
    write_bytes(&writer, bytes_of(who->client, sizeof who->client));
    write_sized(&writer, who->user);
    write_sized(&writer, who->conn_info);
    write_sized(&writer, who->chan_info);
    check(!writer.failed && writer.used == size);
    changes_bound(redis);
}

void redis_leave(struct store *store, struct bytes channel, const uint8_t client[16],
                 bool is_listed)
{
    struct redis_store *redis = redis_of(store);
    uint32_t partition = redis_partition_of(redis, channel);
    struct change *change =
        change_add(redis, partition, CHANGE_LEAVE, is_listed ? "p" : "", channel, 16);
    memcpy(change->bytes + channel.size, client, 16);
    changes_bound(redis);
}

/* What waits speaks of the life before; rolls stay. */
static void part_forget(struct redis_peers *peers, struct change_part *part)
{
    list_each (node, &part->changes) {
        struct change *change = container_of(node, struct change, link);
        if (change->kind == CHANGE_ROLL) continue;
        list_remove(node);
        peers->changes_count--;
        mem_free(change);
    }
}

void presence_enter_again(struct redis_store *redis)
{
    struct redis_peers *peers = redis->peers;
    const struct store_peer_sink *sink = peers_sink(redis);
    for (uint32_t i = 0; i < redis->node->options.partitions; i++) {
        part_forget(peers, &peers->parts[i]);
        if (sink == NULL) continue;
        list_each (node, &redis->partitions[i].channels) {
            struct redis_channel *channel = container_of(node, struct redis_channel, link);
            if (channel->state == CHANNEL_LIVE)
                sink->on_reenter(redis->store.env.sink.context, channel->channel);
        }
    }
}

/* --- from other nodes ------------------------------------------------------------------------ */

bool presence_is_own(const struct redis_store *redis, const struct announcement *announcement)
{
    bool is_presence =
        announcement->kind == ANNOUNCEMENT_JOIN || announcement->kind == ANNOUNCEMENT_GONE;
    return is_presence && bytes_equal_text(announcement->boot, redis->peers->box);
}

static enum err who_read(struct reader *reader, struct store_present *who)
{
    struct bytes client = read_bytes(reader, sizeof who->client);
    who->user = read_sized(reader);
    who->conn_info = read_sized(reader);
    who->chan_info = read_sized(reader);
    if (reader->failed) return ERR_STORE_CORRUPT;
    memcpy(who->client, client.at, sizeof who->client);
    return ERR_OK;
}

void presence_take(struct redis_store *redis, struct redis_channel *channel,
                   const struct announcement *announcement)
{
    const struct store_peer_sink *sink = peers_sink(redis);
    struct reader reader = reader_of(announcement->body);
    struct store_present who;
    if (sink == NULL || who_read(&reader, &who) != ERR_OK) return;
    sink->on_join(redis->store.env.sink.context, channel->channel, &who,
                  announcement->kind == ANNOUNCEMENT_GONE);
}

/* --- rolls ----------------------------------------------------------------------------------- */

static void roll_write(struct link_call *base, struct link *link, struct resp_out *out)
{
    struct roll_call *call = container_of(base, struct roll_call, call);
    struct redis_store *redis = call->redis;
    const struct redis_peers *peers = redis->peers;
    const struct store_roll *op = call->op;
    peers_write_script(link, out, SCRIPT_PRESENCE, redis_partition_of(redis, op->channel),
                       op->is_count ? "count" : "list", 2 + peers->graves_count);
    resp_bytes(out, op->channel);
    resp_number(out, op->clients_max);
    for (uint32_t i = 0; i < peers->graves_count; i++) resp_text(out, peers->graves[i]);
}

/* A mark, and who. */
static enum err present_read(const struct reply *reply, struct store_present *who)
{
    struct reader reader = reader_of(reply_text(reply));
    (void)read_u8(&reader);
    return who_read(&reader, who);
}

static enum err roll_take(struct store_roll *op, const struct reply *reply)
{
    const struct reply *values = reply_item(reply, 3);
    bool is_whole = reply->type == REPLY_ARRAY && reply->count == 4 &&
                    reply->items[1]->type == REPLY_INTEGER &&
                    reply->items[2]->type == REPLY_INTEGER && values->type == REPLY_ARRAY;
    if (!is_whole) return ERR_STORE_CORRUPT;
    uint32_t clients = (uint32_t)reply->items[1]->integer;
    uint32_t users = (uint32_t)reply->items[2]->integer, count = 0;
    struct store_present *present = mem_alloc((values->count + (size_t)1) * sizeof *present);
    for (uint32_t i = 0; i < values->count; i++)
        if (present_read(values->items[i], &present[count]) == ERR_OK) count++;
    op->on_roll(op, ERR_OK, clients, users, present, count);
    mem_free(present);
    return ERR_OK;
}

static void roll_on_end(struct link_call *base, enum err err, const struct reply *reply)
{
    struct roll_call *call = container_of(base, struct roll_call, call);
    struct redis_store *redis = call->redis;
    struct store_roll *op = call->op;
    mem_free(call);
    redis->pending--;
    op->engine = NULL;
    if (err == ERR_STORE_UNKNOWN) err = ERR_STORE_DOWN; /* a look leaves nothing behind */
    if (err == ERR_OK) err = roll_take(op, reply);
    if (err != ERR_OK) op->on_roll(op, err, 0, 0, NULL, 0);
}

void redis_roll(struct store *store, struct store_roll *op)
{
    struct redis_store *redis = redis_of(store);
    check(op->on_roll != NULL);
    struct roll_call *call = mem_alloc(sizeof *call);
    call->redis = redis;
    call->op = op;
    call->call.write = roll_write;
    call->call.on_end = roll_on_end;
    op->engine = call;
    uint32_t partition = redis_partition_of(redis, op->channel);
    change_add(redis, partition, CHANGE_ROLL, "", BYTES_NONE, 0)->roll = call;
    redis->pending++;
}

static void roll_send(struct redis_store *redis, struct change_part *part, struct change *change)
{
    check(change->kind == CHANGE_ROLL);
    list_remove(&change->link);
    redis->peers->changes_count--;
    redis_call(redis, partition_at(redis->peers, part), &change->roll->call);
    mem_free(change);
}

/* --- the turn -------------------------------------------------------------------------------- */

static void part_pump(struct redis_store *redis, struct change_part *part, uint64_t now_ms)
{
    struct redis_peers *peers = redis->peers;
    while (!list_is_empty(&part->changes)) {
        struct change *change = container_of(part->changes.next, struct change, link);
        if (change->kind == CHANGE_ROLL) {
            roll_send(redis, part, change);
            continue;
        }
        if (part->call != NULL || !peers->is_alive || now_ms < part->retry_ms) return;
        changes_call(redis, part);
    }
}

void presence_submit(struct redis_store *redis)
{
    struct redis_peers *peers = redis->peers;
    uint64_t now_ms = redis_now_ms(redis);
    list_each (node, &peers->busy) {
        struct change_part *part = container_of(node, struct change_part, busy);
        part_pump(redis, part, now_ms);
        if (list_is_empty(&part->changes)) list_remove(node);
    }
}

void presence_tick(struct redis_store *redis, uint64_t now_ms)
{
    list_each (node, &redis->peers->busy) {
        struct change_part *part = container_of(node, struct change_part, busy);
        list_each (other, &part->changes) {
            struct change *change = container_of(other, struct change, link);
            if (change->kind == CHANGE_ROLL && now_ms >= change->since_ms + ROLL_WAIT_MS)
                roll_send(redis, part, change);
        }
    }
}

void presence_fini(struct redis_store *redis)
{
    struct redis_peers *peers = redis->peers;
    for (uint32_t i = 0; i < redis->node->options.partitions; i++) {
        struct change_part *part = &peers->parts[i];
        check(part->call == NULL);
        changes_drop(peers, &part->changes);
    }
    check(peers->changes_count == 0);
}
