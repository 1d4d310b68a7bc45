/* What is said about users: a stream per partition of them, which every shard of every
 * node hears from beginning to end.
 *
 * An announcement names the entry before it.  Is that where we are, it is taken;
 * else the stream is read from where we are, which also brings it.  What we say
 * ourselves is answered in its place of the stream, so every shard of every node has
 * the same order.
 *
 * What is said in passing is one announcement without an id, and stands in no stream: at
 * a thousand a second, kept for ten minutes, it would take some 200 MB of Redis.
 *
 * The stream is read when the subscription is confirmed, and looked at every few
 * seconds besides.  Who starts begins some time back: commands that came before the
 * link was there are met by connections that were there before it. */
#include "core/check.h"
#include "core/hash.h"
#include "core/log.h"
#include "core/mem.h"
#include "storage/redis/peers_parts.h"

#include <stdio.h>

/* How long a command is kept: a node that was away for longer has missed some. */
#define USERS_KEEP_MS 600000
#define USERS_PAGE    256
#define USERS_LOOK_MS 5000
/* An answer whose announcement has not come is looked for after this. */
#define USERS_MISS_MS 250
/* In the place of an entry's id: there is none. */
#define PASSING_ID    "-"

struct tell_call {
    struct link_call call;
    struct redis_store *redis;
    struct store_tell *op; /* NULL: it ended before its call */
    uint32_t partition;
    uint64_t seq;
    uint64_t answered_ms; /* 0: not yet */
    uint64_t due_ms;
    bool is_called;
    uint32_t size;
    uint8_t bytes[]; /* sized user, text */
};

struct passing_call {
    struct link_call call;
    struct redis_store *redis;
    struct store_tell *op;
    uint32_t partition;
    uint32_t size;
    uint8_t bytes[]; /* sized user, text */
};

struct hear_call {
    struct link_call call;
    struct redis_store *redis;
    uint32_t partition;
};

static uint32_t partition_of_user(const struct redis_peers *peers, struct bytes user)
{
    return (uint32_t)(hash_bytes(user, 1) % peers->users_count);
}

/* --- one command ----------------------------------------------------------------------------- */

static void tell_end(struct tell_call *call, enum err err)
{
    struct store_tell *op = call->op;
    struct redis_store *redis = call->redis;
    list_remove(&op->link);
    op->engine = NULL;
    call->op = NULL;
    if (!call->is_called) mem_free(call);
    redis->pending--;
    op->on_end(op, err);
}

static bool is_own(const struct redis_peers *peers, struct bytes origin)
{
    return origin.size > BOX_SIZE + 1 && memcmp(origin.at, peers->box, BOX_SIZE) == 0;
}

static struct tell_call *tell_find(struct redis_peers *peers, struct bytes origin)
{
    uint64_t seq;
    if (!is_own(peers, origin) ||
        !bytes_to_u64(bytes_of(origin.at + BOX_SIZE + 1, origin.size - BOX_SIZE - 1), &seq))
        return NULL;
    list_each (node, &peers->telling) {
        struct tell_call *call = container_of(node, struct store_tell, link)->engine;
        if (call->seq == seq) return call;
    }
    return NULL;
}

/* Of another shard. */
static void told_take(struct redis_store *redis, struct bytes text, uint64_t age_ms)
{
    const struct store_peer_sink *sink = peers_sink(redis);
    struct reader reader = reader_of(text);
    struct bytes user = read_sized(&reader);
    if (reader.failed || sink == NULL) return;
    sink->on_told(redis->store.env.sink.context, user, read_bytes(&reader, reader.left), age_ms);
}

/* One entry, in its place. */
static void command_take(struct redis_store *redis, struct bytes origin, struct bytes text,
                         uint64_t age_ms)
{
    struct tell_call *own = tell_find(redis->peers, origin);
    if (own != NULL)
        tell_end(own, ERR_OK);
    else
        told_take(redis, text, age_ms);
}

/* "<ms>-<n>" */
static bool id_read(struct bytes id, uint64_t *ms, uint64_t *number)
{
    const uint8_t *dash = id.size == 0 ? NULL : memchr(id.at, '-', id.size);
    if (dash == NULL) return false;
    size_t size = (size_t)(dash - id.at);
    return bytes_to_u64(bytes_of(id.at, size), ms) &&
           bytes_to_u64(bytes_of(dash + 1, id.size - size - 1), number);
}

static bool id_is_after(struct bytes id, const char *after)
{
    uint64_t a[2] = {0}, b[2] = {0};
    if (!id_read(id, &a[0], &a[1]) || !id_read(bytes_of_text(after), &b[0], &b[1])) return false;
    return a[0] > b[0] || (a[0] == b[0] && a[1] > b[1]);
}

static void stand_at(struct user_feed *feed, struct bytes id)
{
    if (id.size == 0 || id.size >= sizeof feed->after) return;
    memcpy(feed->after, id.at, id.size);
    feed->after[id.size] = 0;
}

static uint64_t age_of(struct bytes id, uint64_t now_ms)
{
    uint64_t ms = 0, number = 0;
    return id_read(id, &ms, &number) && ms < now_ms ? now_ms - ms : 0;
}

/* --- reading the stream ---------------------------------------------------------------------- */

static void hear(struct redis_store *redis, uint32_t partition);

static void hear_write(struct link_call *base, struct link *link, struct resp_out *out)
{
    struct hear_call *call = container_of(base, struct hear_call, call);
    struct user_feed *feed = &call->redis->peers->heard[call->partition];
    peers_write_script(link, out, SCRIPT_USERS, call->partition, "hear", 4);
    resp_text(out, feed->after);
    resp_number(out, USERS_PAGE);
    resp_number(out, call->redis->store.env.config->client_stale_close_delay_ms);
    resp_text(out, feed->is_returned ? "1" : "0");
}

/* { id, { o, origin, d, text } } */
static void entry_take(struct redis_store *redis, struct user_feed *feed, const struct reply *entry,
                       uint64_t now_ms)
{
    struct bytes id = reply_text(reply_item(entry, 0));
    const struct reply *fields = reply_item(entry, 1);
    if (fields == NULL || fields->type != REPLY_ARRAY || fields->count != 4 ||
        !id_is_after(id, feed->after))
        return;
    stand_at(feed, id);
    command_take(redis, reply_text(fields->items[1]), reply_text(fields->items[3]),
                 age_of(id, now_ms));
}

static void hear_take(struct redis_store *redis, uint32_t partition, const struct reply *reply)
{
    struct user_feed *feed = &redis->peers->heard[partition];
    const struct reply *entries = reply_item(reply, 2);
    uint64_t now_ms = 0;
    bool is_good = entries != NULL && entries->type == REPLY_ARRAY &&
                   bytes_to_u64(reply_text(reply->items[0]), &now_ms);
    if (!is_good) {
        feed->is_behind = true;
        return;
    }
    feed->is_returned = false;
    stand_at(feed, reply_text(reply->items[1]));
    for (uint32_t i = 0; i < entries->count; i++)
        entry_take(redis, feed, entries->items[i], now_ms);
    if (entries->count == USERS_PAGE) feed->is_behind = true;
}

static void hear_on_end(struct link_call *base, enum err err, const struct reply *reply)
{
    struct hear_call *call = container_of(base, struct hear_call, call);
    struct redis_store *redis = call->redis;
    uint32_t partition = call->partition;
    struct user_feed *feed = &redis->peers->heard[partition];
    mem_free(call);
    feed->is_asking = false;
    if (err != ERR_OK) {
        feed->is_behind = true; /* the tick tries again */
        return;
    }
    hear_take(redis, partition, reply);
    if (feed->is_behind && reply->type == REPLY_ARRAY) hear(redis, partition);
}

static void hear(struct redis_store *redis, uint32_t partition)
{
    struct user_feed *feed = &redis->peers->heard[partition];
    if (feed->is_asking) {
        feed->is_behind = true;
        return;
    }
    struct hear_call *call = mem_alloc(sizeof *call);
    call->redis = redis;
    call->partition = partition;
    call->call.write = hear_write;
    call->call.on_end = hear_on_end;
    feed->is_asking = true;
    feed->is_behind = false;
    redis_call(redis, partition, &call->call);
}

void tell_confirmed(struct redis_store *redis, uint32_t partition)
{
    redis->peers->heard[partition].is_returned = true;
    hear(redis, partition);
}

/* The word before the next space or line's end; what follows stays. */
static struct bytes word(struct bytes *text)
{
    size_t size = 0;
    while (size < text->size && text->at[size] != ' ' && text->at[size] != '\n') size++;
    struct bytes word = bytes_of(text->at, size);
    size_t used = size < text->size ? size + 1 : size;
    *text = bytes_of(text->at + used, text->size - used);
    return word;
}

void tell_take(struct redis_store *redis, uint32_t partition, struct bytes message)
{
    struct user_feed *feed = &redis->peers->heard[partition];
    if (message.size == 0) return;
    struct bytes before = word(&message), id = word(&message), now = word(&message);
    struct bytes origin = word(&message);
    uint64_t now_ms = 0;
    if (!bytes_to_u64(now, &now_ms)) return;
    if (bytes_equal_text(id, PASSING_ID)) {
        if (!is_own(redis->peers, origin)) told_take(redis, message, 0);
        return;
    }
    /* Nothing came before the first; where we stand is a time, then. */
    bool is_first = bytes_equal_text(before, "0-0") || !id_is_after(before, feed->after);
    if (feed->is_asking || feed->after[0] == 0) {
        feed->is_behind = true;
    } else if (!id_is_after(id, feed->after)) {
        return;
    } else if (is_first) {
        stand_at(feed, id);
        command_take(redis, origin, message, age_of(id, now_ms));
    } else {
        hear(redis, partition);
    }
}

/* --- telling --------------------------------------------------------------------------------- */

static void tell_write(struct link_call *base, struct link *link, struct resp_out *out)
{
    struct tell_call *call = container_of(base, struct tell_call, call);
    char origin[64];
    int used = snprintf(origin, sizeof origin, "%s:%llu", call->redis->peers->box,
                        (unsigned long long)call->seq);
    check(used > 0 && (size_t)used < sizeof origin);
    peers_write_script(link, out, SCRIPT_USERS, call->partition, "tell", 3);
    resp_number(out, USERS_KEEP_MS);
    resp_bytes(out, bytes_of(origin, (size_t)used));
    resp_bytes(out, bytes_of(call->bytes, call->size));
}

static void tell_on_end(struct link_call *base, enum err err, const struct reply *reply)
{
    struct tell_call *call = container_of(base, struct tell_call, call);
    call->is_called = false;
    if (err == ERR_OK && reply->type != REPLY_ARRAY) {
        log_error("Redis could not take a command about a user: %.*s",
                  (int)min_u64(reply->text.size, 200), (const char *)reply->text.at);
        err = ERR_STORE_UNKNOWN;
    }
    if (call->op == NULL) {
        mem_free(call);
    } else if (err != ERR_OK) {
        tell_end(call, err);
    } else {
        call->answered_ms = redis_now_ms(call->redis);
    }
}

static void passing_write(struct link_call *base, struct link *link, struct resp_out *out)
{
    (void)link;
    struct passing_call *call = container_of(base, struct passing_call, call);
    char line[80], key[REDIS_KEY_MAX];
    int used =
        snprintf(line, sizeof line, PASSING_ID " " PASSING_ID " 0 %s:0\n", call->redis->peers->box);
    check(used > 0 && (size_t)used < sizeof line);
    resp_begin(out, 3);
    resp_text(out, "SPUBLISH");
    resp_bytes(out, redis_key(call->redis, key, call->partition, "users", BYTES_NONE));
    resp_pair(out, bytes_of(line, (size_t)used), bytes_of(call->bytes, call->size));
}

static void passing_on_end(struct link_call *base, enum err err, const struct reply *reply)
{
    struct passing_call *call = container_of(base, struct passing_call, call);
    struct store_tell *op = call->op;
    if (err == ERR_OK && reply->type != REPLY_INTEGER) err = ERR_STORE_UNKNOWN;
    call->redis->pending--;
    mem_free(call);
    op->on_end(op, err);
}

static void tell_passing(struct redis_store *redis, struct store_tell *op, size_t size)
{
    struct passing_call *call = mem_alloc(sizeof *call + size);
    call->redis = redis;
    call->op = op;
    call->partition = partition_of_user(redis->peers, op->user);
    call->size = (uint32_t)size;
    struct writer writer = writer_of(call->bytes, size);
    write_sized(&writer, op->user);
    write_bytes(&writer, op->text);
    check(!writer.failed);
    call->call.write = passing_write;
    call->call.on_end = passing_on_end;
    redis->pending++;
    redis_call(redis, call->partition, &call->call);
}

void redis_tell(struct store *store, struct store_tell *op)
{
    struct redis_store *redis = redis_of(store);
    struct redis_peers *peers = redis->peers;
    size_t size = 4 + op->user.size + op->text.size;
    check(op->on_end != NULL && size <= UINT32_MAX);
    if (op->is_passing) {
        tell_passing(redis, op, size);
        return;
    }
    struct tell_call *call = mem_alloc(sizeof *call + size);
    call->redis = redis;
    call->op = op;
    call->partition = partition_of_user(peers, op->user);
    call->seq = ++peers->tell_last;
    call->due_ms = redis_now_ms(redis) + redis->node->options.io_timeout_ms +
                   redis->node->options.connect_timeout_ms;
    call->size = (uint32_t)size;
    struct writer writer = writer_of(call->bytes, size);
    write_sized(&writer, op->user);
    write_bytes(&writer, op->text);
    check(!writer.failed);
    call->call.write = tell_write;
    call->call.on_end = tell_on_end;
    call->is_called = true;
    op->engine = call;
    list_append(&peers->telling, &op->link);
    redis->pending++;
    redis_call(redis, call->partition, &call->call);
}

/* --- the tick -------------------------------------------------------------------------------- */

static void tells_tick(struct redis_store *redis, uint64_t now_ms)
{
    list_each (node, &redis->peers->telling) {
        struct tell_call *call = container_of(node, struct store_tell, link)->engine;
        bool is_missed = call->answered_ms > 0 && now_ms >= call->answered_ms + USERS_MISS_MS;
        if (now_ms >= call->due_ms)
            tell_end(call, ERR_STORE_UNKNOWN);
        else if (is_missed)
            redis->peers->heard[call->partition].is_behind = true;
    }
}

void tell_tick(struct redis_store *redis, uint64_t now_ms)
{
    struct redis_peers *peers = redis->peers;
    tells_tick(redis, now_ms);
    bool is_look = now_ms >= peers->look_ms;
    if (is_look) peers->look_ms = now_ms + USERS_LOOK_MS + rng_below(redis->store.env.rng, 1000);
    for (uint32_t i = 0; i < peers->users_count; i++) {
        struct user_feed *feed = &peers->heard[i];
        bool is_wanted = feed->is_behind || (is_look && feed->after[0] != 0);
        if (is_wanted && !feed->is_asking) hear(redis, i);
    }
}

void tell_fini(struct redis_store *redis)
{
    check(list_is_empty(&redis->peers->telling));
}
