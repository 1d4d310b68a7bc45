/* When members moved: calls of lua/moves.lua, page by page until everybody that is asked about
 * has read it, or the stream ends.  A busy channel has hundreds of thousands of moves a week,
 * and Redis serves nobody else meanwhile. */
#include "core/check.h"
#include "core/mem.h"
#include "storage/redis/redis.h"

#include <stdio.h>

static const uint8_t script_text_moves[] = {
#include "storage/redis/lua/moves.lua.inc"
};

/* Clocks of nodes are not quite alike, and a move may be of the same millisecond. */
#define MOVES_SLACK_MS 60000
/* Entries of a page: a millisecond of the server. */
#define MOVES_PAGE     (VERIFY ? 2 : 1024)

struct moves_call {
    struct link_call call;
    struct redis_store *redis;
    struct store_moves *op;
    uint32_t partition;
    char from[48]; /* where the page begins */
    uint32_t size;
    uint8_t *users; /* sized, in the order of the question; behind `moved` */
    struct store_moved moved[];
};

/* Of whom it is not known yet when they read it. */
static uint32_t moves_left(const struct moves_call *call)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < call->op->users_count; i++) count += call->moved[i].read_ms == 0;
    return count;
}

static void moves_write(struct link_call *base, struct link *link, struct resp_out *out)
{
    (void)link;
    const struct moves_call *call = container_of(base, struct moves_call, call);
    const struct store_moves *op = call->op;
    char key[REDIS_KEY_MAX], kind[EPOCH_MAX + 4];
    int letters = (int)strcspn(op->channel->epoch, ".");
    struct reader reader = reader_of(bytes_of(call->users, call->size));
    resp_begin(out, 9 + moves_left(call));
    resp_text(out, "EVAL");
    resp_bytes(out, bytes_of(script_text_moves, sizeof script_text_moves));
    resp_text(out, "3");
    for (const char *each = "vl"; *each != 0; each++) {
        snprintf(kind, sizeof kind, "%c:%.*s:", *each, letters, op->channel->epoch);
        resp_bytes(out, redis_key(call->redis, key, call->partition, kind, op->channel->name));
    }
    resp_bytes(out, redis_key(call->redis, key, call->partition, "m:", op->channel->name));
    resp_text(out, call->from);
    resp_number(out, MOVES_PAGE);
    resp_number(out, op->offset);
    for (uint32_t i = 0; i < op->users_count; i++) {
        struct bytes user = read_sized(&reader);
        if (call->moved[i].read_ms == 0) resp_bytes(out, user);
    }
    check(!reader.failed);
}

/* A page; `is_last`: nothing follows that could be asked for. */
static enum err moves_take(struct moves_call *call, const struct reply *reply, bool *is_last)
{
    uint32_t at = 1;
    if (reply->type != REPLY_ARRAY || reply->count != 1 + 3 * moves_left(call))
        return ERR_STORE_DOWN;
    for (uint32_t i = 0; i < call->op->users_count; i++) {
        struct store_moved *moved = &call->moved[i];
        if (moved->read_ms != 0) continue;
        uint64_t numbers[3];
        for (uint32_t n = 0; n < 3; n++, at++) {
            const struct reply *number = reply->items[at];
            if (number->type != REPLY_INTEGER || number->integer < 0) return ERR_STORE_CORRUPT;
            numbers[n] = (uint64_t)number->integer;
        }
        moved->read_ms = numbers[0];
        if (moved->delivered_ms == 0) moved->delivered_ms = numbers[1];
        moved->joined = numbers[2];
    }
    struct bytes next = reply_text(reply->items[0]);
    if (next.size >= sizeof call->from) return ERR_STORE_CORRUPT;
    *is_last = next.size == 0 || moves_left(call) == 0;
    if (next.size > 0) memcpy(call->from, next.at, next.size);
    call->from[next.size] = 0;
    return ERR_OK;
}

static void moves_on_end(struct link_call *base, enum err err, const struct reply *reply)
{
    struct moves_call *call = container_of(base, struct moves_call, call);
    struct store_moves *op = call->op;
    bool is_last = true;
    if (err == ERR_STORE_UNKNOWN) err = ERR_STORE_DOWN; /* a question leaves nothing behind */
    if (err == ERR_OK) err = moves_take(call, reply, &is_last);
    if (err == ERR_OK && !is_last) {
        redis_call(call->redis, call->partition, base);
        return;
    }
    call->redis->pending--;
    op->on_moves(op, err, err == ERR_OK ? call->moved : NULL);
    mem_free(call);
}

void redis_moves(struct store *store, struct store_moves *op)
{
    struct redis_store *redis = redis_of(store);
    check(op->channel->engine != NULL && op->on_moves != NULL);
    check(op->users_count <= STORE_MOVES_MEMBERS_MAX);
    size_t size = 0;
    for (uint32_t i = 0; i < op->users_count; i++) size += 4 + op->users[i].size;
    size_t moved_size = op->users_count * sizeof(struct store_moved);
    struct moves_call *call = mem_alloc(sizeof *call + moved_size + size);
    call->users = (uint8_t *)(void *)call->moved + moved_size;
    struct writer writer = writer_of(call->users, size);
    for (uint32_t i = 0; i < op->users_count; i++) write_sized(&writer, op->users[i]);
    check(!writer.failed);
    call->redis = redis;
    call->op = op;
    call->partition = redis_partition_of(redis, op->channel->name);
    call->size = (uint32_t)size;
    uint64_t since_ms = op->since_ms > MOVES_SLACK_MS ? op->since_ms - MOVES_SLACK_MS : 0;
    uint64_t now_ms = store_now_ms(store); /* what is trimmed later is told no longer */
    if (now_ms > STORE_MOVES_MS) since_ms = max_u64(since_ms, now_ms - STORE_MOVES_MS);
    snprintf(call->from, sizeof call->from, "%llu", (unsigned long long)since_ms);
    call->call.write = moves_write;
    call->call.on_end = moves_on_end;
    redis->pending++;
    redis_call(redis, call->partition, &call->call);
}
