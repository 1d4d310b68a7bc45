/* Positions of clients: one hash each, in the partition of the user's name; then, for a
 * question, the head of each channel from its own partition. */
#include "storage/sync.h"

#include "core/arena.h"
#include "core/check.h"
#include "core/mem.h"
#include "storage/redis/redis.h"

static const uint8_t script_text_sync[] = {
#include "storage/redis/lua/sync.lua.inc"
};

struct sync_call {
    struct link_call call;
    struct redis_store *redis;
    struct store_sync *op;
    uint32_t partition;
    struct arena arena; /* copies of what is saved, or was found */
    struct bytes name;  /* "<user size>:<user>:<client>" */
    struct store_position *positions;
    uint32_t count;
    uint32_t heads; /* questions under way */
    enum err err;
};

/* The head of one channel. */
struct head_call {
    struct link_call call;
    struct sync_call *sync;
    struct store_position *position;
};

bool sync_client_is_fine(struct bytes client)
{
    for (size_t i = 0; i < client.size; i++)
        if (client.at[i] <= ' ' || client.at[i] > '~') return false;
    return client.size >= 1 && client.size <= SYNC_CLIENT_MAX;
}

static void sync_end(struct sync_call *sync)
{
    struct store_sync *op = sync->op;
    bool is_question = op->positions_count == 0 && sync->err == ERR_OK;
    check(sync->redis->pending > 0);
    sync->redis->pending--;
    op->on_end(op, sync->err, is_question ? sync->positions : NULL, is_question ? sync->count : 0);
    arena_fini(&sync->arena);
    mem_free(sync);
}

/* --- heads ----------------------------------------------------------------------------------- */

static void head_write(struct link_call *base, struct link *link, struct resp_out *out)
{
    (void)link;
    struct head_call *head = container_of(base, struct head_call, call);
    struct redis_store *redis = head->sync->redis;
    char key[REDIS_KEY_MAX];
    uint32_t partition = redis_partition_of(redis, head->position->channel);
    resp_begin(out, 4);
    resp_text(out, "HMGET");
    resp_bytes(out, redis_key(redis, key, partition, "meta", BYTES_NONE));
    resp_bytes(out, BYTES_NONE);
    resp_bytes(out, head->position->channel);
}

/* A position of another epoch is of data that is gone, and of a channel that has no record
 * nobody can say what it had before. */
static void head_take(struct store_position *position, const struct reply *reply)
{
    struct position partition;
    struct meta meta = {0};
    struct bytes first = reply_text(reply_item(reply, 0)),
                 second = reply_text(reply_item(reply, 1));
    if (first.size == 0 || position_read(first, &partition) != ERR_OK) return;
    if (second.size == 0 || meta_read(second, &meta) != ERR_OK) return;
    char epoch[EPOCH_MAX + 1];
    epoch_write(&partition, meta.birth, epoch);
    bool is_behind = position->offset <= meta.confirmed_head;
    position->is_current = bytes_equal_text(position->epoch, epoch) && is_behind;
    if (position->is_current) position->missed = meta.confirmed_head - position->offset;
}

static void head_on_end(struct link_call *base, enum err err, const struct reply *reply)
{
    struct head_call *head = container_of(base, struct head_call, call);
    struct sync_call *sync = head->sync;
    if (err == ERR_OK)
        head_take(head->position, reply);
    else
        sync->err = ERR_STORE_DOWN; /* nothing was changed: ask again */
    mem_free(head);
    check(sync->heads > 0);
    if (--sync->heads == 0) sync_end(sync);
}

static void ask_heads(struct sync_call *sync)
{
    sync->heads = sync->count;
    for (uint32_t i = 0; i < sync->count; i++) {
        struct head_call *head = mem_alloc(sizeof *head);
        head->call.write = head_write;
        head->call.on_end = head_on_end;
        head->call.is_single = true;
        head->sync = sync;
        head->position = &sync->positions[i];
        redis_call(sync->redis, redis_partition_of(sync->redis, head->position->channel),
                   &head->call);
    }
}

/* --- the hash -------------------------------------------------------------------------------- */

static void sync_write(struct link_call *base, struct link *link, struct resp_out *out)
{
    (void)link;
    struct sync_call *sync = container_of(base, struct sync_call, call);
    char key[REDIS_KEY_MAX];
    resp_begin(out, 6 + 3 * sync->count);
    resp_text(out, "EVAL");
    resp_bytes(out, bytes_of(script_text_sync, sizeof script_text_sync));
    resp_text(out, "1");
    resp_bytes(out, redis_key(sync->redis, key, sync->partition, "sync:", sync->name));
    resp_number(out, SYNC_KEPT_MS);
    resp_number(out, SYNC_KEPT_MAX);
    for (uint32_t i = 0; i < sync->count; i++) {
        resp_bytes(out, sync->positions[i].channel);
        resp_number(out, sync->positions[i].offset);
        resp_bytes(out, sync->positions[i].epoch);
    }
}

/* "<offset> <ms> <epoch>" */
static bool saved_read(struct store_position *position, struct bytes text)
{
    const uint8_t *first = text.size == 0 ? NULL : memchr(text.at, ' ', text.size);
    if (first == NULL) return false;
    size_t left = text.size - (size_t)(first + 1 - text.at);
    const uint8_t *second = left == 0 ? NULL : memchr(first + 1, ' ', left);
    if (second == NULL) return false;
    position->epoch = bytes_of(second + 1, text.size - (size_t)(second + 1 - text.at));
    return bytes_to_u64(bytes_of(text.at, (size_t)(first - text.at)), &position->offset) &&
           bytes_to_u64(bytes_of(first + 1, (size_t)(second - first - 1)), &position->at_ms);
}

static void sync_take(struct sync_call *sync, const struct reply *reply)
{
    if (reply->type != REPLY_ARRAY || reply->count % 2 != 0) {
        sync->err = ERR_STORE_DOWN; /* an error of the script, which changed nothing */
        return;
    }
    uint32_t most = reply->count / 2;
    sync->positions = arena_get(&sync->arena, (most + (size_t)1) * sizeof *sync->positions);
    for (uint32_t i = 0; i < most; i++) {
        struct store_position position = {0};
        struct bytes value = arena_copy(&sync->arena, reply_text(reply->items[2 * i + 1]));
        position.channel = arena_copy(&sync->arena, reply_text(reply->items[2 * i]));
        if (saved_read(&position, value)) sync->positions[sync->count++] = position;
    }
}

static void sync_on_end(struct link_call *base, enum err err, const struct reply *reply)
{
    struct sync_call *sync = container_of(base, struct sync_call, call);
    bool is_question = sync->op->positions_count == 0;
    sync->err = err;
    if (err == ERR_OK && is_question) sync_take(sync, reply);
    if (err == ERR_OK && !is_question && reply->type == REPLY_ERROR) sync->err = ERR_STORE_DOWN;
    if (sync->err == ERR_OK && is_question && sync->count > 0)
        ask_heads(sync);
    else
        sync_end(sync);
}

void redis_sync(struct store *store, struct store_sync *op)
{
    struct redis_store *redis = redis_of(store);
    check(op->on_end != NULL && op->positions_count <= SYNC_SAVED_MAX);
    check(sync_client_is_fine(op->client) && op->user.size > 0 && op->user.size <= USER_ID_MAX);
    struct sync_call *sync = mem_alloc(sizeof *sync);
    arena_init(&sync->arena, 0);
    sync->redis = redis;
    sync->op = op;
    sync->call.write = sync_write;
    sync->call.on_end = sync_on_end;
    sync->call.is_single = true;
    sync->partition = redis_partition_of(redis, op->user);
    sync->count = op->positions_count;
    sync->positions = arena_get(&sync->arena, (sync->count + (size_t)1) * sizeof *sync->positions);
    for (uint32_t i = 0; i < sync->count; i++) {
        sync->positions[i] = op->positions[i];
        sync->positions[i].channel = arena_copy(&sync->arena, op->positions[i].channel);
        sync->positions[i].epoch = arena_copy(&sync->arena, op->positions[i].epoch);
    }
    /* The size keeps "a:b" of "c" apart from "a" of "b:c". */
    size_t most = op->user.size + op->client.size + 8;
    struct writer writer = writer_of(arena_get(&sync->arena, most), most);
    write_decimal(&writer, op->user.size);
    write_text(&writer, ":");
    write_bytes(&writer, op->user);
    write_text(&writer, ":");
    write_bytes(&writer, op->client);
    check(!writer.failed);
    sync->name = writer_bytes(&writer);
    redis->pending++;
    redis_call(redis, sync->partition, &sync->call);
}
