/* When members moved: one call of lua/moves.lua. */
#include "core/check.h"
#include "core/mem.h"
#include "storage/redis/redis.h"

#include <stdio.h>

static const uint8_t script_text_moves[] = {
#include "storage/redis/lua/moves.lua.inc"
};

/* Clocks of nodes are not quite alike, and a move may be of the same millisecond. */
#define MOVES_SLACK_MS 60000

struct moves_call {
    struct link_call call;
    struct redis_store *redis;
    struct store_moves *op;
    uint32_t partition;
    uint32_t size;
    uint8_t users[]; /* sized, in the order of the question */
};

static void moves_write(struct link_call *base, struct link *link, struct resp_out *out)
{
    (void)link;
    const struct moves_call *call = container_of(base, struct moves_call, call);
    const struct store_moves *op = call->op;
    char key[REDIS_KEY_MAX], kind[EPOCH_MAX + 4];
    size_t letters = strcspn(op->channel->epoch, ".");
    snprintf(kind, sizeof kind, "v:%.*s:", (int)letters, op->channel->epoch);
    struct reader reader = reader_of(bytes_of(call->users, call->size));
    resp_begin(out, 6 + op->users_count);
    resp_text(out, "EVAL");
    resp_bytes(out, bytes_of(script_text_moves, sizeof script_text_moves));
    resp_text(out, "1");
    resp_bytes(out, redis_key(call->redis, key, call->partition, kind, op->channel->name));
    resp_number(out, op->since_ms > MOVES_SLACK_MS ? op->since_ms - MOVES_SLACK_MS : 0);
    resp_number(out, op->offset);
    while (reader.left > 0) resp_bytes(out, read_sized(&reader));
}

static enum err moves_take(const struct store_moves *op, const struct reply *reply,
                           struct store_moved *moved)
{
    if (reply->type != REPLY_ARRAY || reply->count != 2 * op->users_count) return ERR_STORE_DOWN;
    for (uint32_t i = 0; i < op->users_count; i++) {
        const struct reply *read = reply->items[2 * i], *delivered = reply->items[2 * i + 1];
        bool is_good = read->type == REPLY_INTEGER && read->integer >= 0 &&
                       delivered->type == REPLY_INTEGER && delivered->integer >= 0;
        if (!is_good) return ERR_STORE_CORRUPT;
        moved[i] = (struct store_moved){(uint64_t)read->integer, (uint64_t)delivered->integer};
    }
    return ERR_OK;
}

static void moves_on_end(struct link_call *base, enum err err, const struct reply *reply)
{
    struct moves_call *call = container_of(base, struct moves_call, call);
    struct store_moves *op = call->op;
    struct store_moved moved[STORE_MOVES_MEMBERS_MAX];
    if (err == ERR_STORE_UNKNOWN) err = ERR_STORE_DOWN; /* a question leaves nothing behind */
    if (err == ERR_OK) err = moves_take(op, reply, moved);
    call->redis->pending--;
    mem_free(call);
    op->on_moves(op, err, err == ERR_OK ? moved : NULL);
}

void redis_moves(struct store *store, struct store_moves *op)
{
    struct redis_store *redis = redis_of(store);
    check(op->channel->engine != NULL && op->on_moves != NULL);
    check(op->users_count <= STORE_MOVES_MEMBERS_MAX);
    size_t size = 0;
    for (uint32_t i = 0; i < op->users_count; i++) size += 4 + op->users[i].size;
    struct moves_call *call = mem_alloc(sizeof *call + size);
    struct writer writer = writer_of(call->users, size);
    for (uint32_t i = 0; i < op->users_count; i++) write_sized(&writer, op->users[i]);
    check(!writer.failed);
    call->redis = redis;
    call->op = op;
    call->partition = redis_partition_of(redis, op->channel->name);
    call->size = (uint32_t)size;
    call->call.write = moves_write;
    call->call.on_end = moves_on_end;
    redis->pending++;
    redis_call(redis, call->partition, &call->call);
}
