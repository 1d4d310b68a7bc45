/*
 * Which channels a user belongs to.
 *
 *   m:<ch> changes ─▶ o, a stream beside it, in the same step        (records.lua)
 *   o ─▶ some node reads it ─▶ b:<user> of each who came or went ─▶ XDEL
 *
 * The node whose record made the change carries it at once; what a node left behind when
 * it died is found by the first shard of any other, which looks into the partitions one
 * after the other.  Two that carry the same do no harm: each entry of a user's hash says
 * when it was told, and older news is passed over (belongs.lua).
 */
#include <stdlib.h>

#include "core/check.h"
#include "core/mem.h"
#include "storage/redis/redis.h"

static const uint8_t script_text_belongs[] = {
#include "storage/redis/lua/belongs.lua.inc"
};

/* Calls for one entry that are under way. */
#define CARRY_CALLS_MAX    16
/* Users of one partition in one call. */
#define CARRY_USERS_MAX    64
#define LISTING_LOOK_MS    250
#define LISTING_LOOK_COUNT 4

/* Somebody who came or went. */
struct carry_user {
    struct bytes user;
    uint32_t partition;
    bool is_leaving;
};

/* The stream of one partition on its way. */
struct carry {
    struct list link; /* in redis->carries */
    struct link_call call;
    struct redis_store *redis;
    uint32_t partition;
    bool is_again; /* more was told meanwhile */
    /* The entry under way. */
    char id[48];
    struct bytes channel, ms, number; /* in `bytes` */
    struct carry_user *users;         /* by partition */
    uint32_t users_count, next;
    uint32_t calls;
    bool has_failed;
    uint8_t *bytes;
};

struct carry_call {
    struct link_call call;
    struct carry *carry;
    uint32_t first, count;
};

static void carry_look(struct carry *carry);
static void carry_pump(struct carry *carry);

static void carry_end(struct carry *carry)
{
    struct redis_store *redis = carry->redis;
    uint32_t partition = carry->partition;
    bool is_again = carry->is_again && !carry->has_failed;
    check(carry->calls == 0);
    list_remove(&carry->link);
    mem_free(carry->users);
    mem_free(carry->bytes);
    mem_free(carry);
    redis->pending--;
    if (is_again) listing_carry(redis, partition);
}

/* --- one entry ------------------------------------------------------------------------------- */

static void user_write(struct link_call *base, struct link *link, struct resp_out *out)
{
    (void)link;
    struct carry_call *call = container_of(base, struct carry_call, call);
    const struct carry *carry = call->carry;
    char key[REDIS_KEY_MAX], signs[CARRY_USERS_MAX];
    resp_begin(out, 7 + call->count);
    resp_text(out, "EVAL");
    resp_bytes(out, bytes_of(script_text_belongs, sizeof script_text_belongs));
    resp_number(out, call->count);
    for (uint32_t i = 0; i < call->count; i++) {
        const struct carry_user *user = &carry->users[call->first + i];
        resp_bytes(out, redis_key(carry->redis, key, user->partition, "b:", user->user));
        signs[i] = user->is_leaving ? '-' : '+';
    }
    resp_bytes(out, carry->channel);
    resp_bytes(out, carry->ms);
    resp_bytes(out, carry->number);
    resp_bytes(out, bytes_of(signs, call->count));
}

static void user_on_end(struct link_call *base, enum err err, const struct reply *reply)
{
    struct carry_call *call = container_of(base, struct carry_call, call);
    struct carry *carry = call->carry;
    if (err != ERR_OK || reply->type != REPLY_INTEGER) carry->has_failed = true;
    carry->calls--;
    mem_free(call);
    carry_pump(carry);
}

static void gone_write(struct link_call *base, struct link *link, struct resp_out *out)
{
    (void)link;
    const struct carry *carry = container_of(base, struct carry, call);
    char key[REDIS_KEY_MAX];
    resp_begin(out, 3);
    resp_text(out, "XDEL");
    resp_bytes(out, redis_key(carry->redis, key, carry->partition, "o", BYTES_NONE));
    resp_text(out, carry->id);
}

static void gone_on_end(struct link_call *base, enum err err, const struct reply *reply)
{
    struct carry *carry = container_of(base, struct carry, call);
    if (err != ERR_OK || reply->type != REPLY_INTEGER) {
        carry_end(carry); /* carried again by whoever looks next */
        return;
    }
    carry_look(carry);
}

/* Gives the users to their partitions, so many calls at a time; then the entry goes. */
static void carry_pump(struct carry *carry)
{
    while (carry->next < carry->users_count && carry->calls < CARRY_CALLS_MAX &&
           !carry->has_failed) {
        struct carry_call *call = mem_alloc(sizeof *call);
        uint32_t partition = carry->users[carry->next].partition;
        call->carry = carry;
        call->call.write = user_write;
        call->call.on_end = user_on_end;
        call->first = carry->next;
        while (carry->next < carry->users_count && call->count < CARRY_USERS_MAX &&
               carry->users[carry->next].partition == partition) {
            carry->next++;
            call->count++;
        }
        carry->calls++;
        redis_call(carry->redis, partition, &call->call);
    }
    if (carry->calls > 0) return;
    if (carry->has_failed) {
        carry_end(carry);
        return;
    }
    carry->call = (struct link_call){.write = gone_write, .on_end = gone_on_end};
    redis_call(carry->redis, carry->partition, &carry->call);
}

static int user_compare(const void *a, const void *b)
{
    const struct carry_user *left = a, *right = b;
    return (left->partition > right->partition) - (left->partition < right->partition);
}

/* "<ms>-<number>", and the channel and its users in one field. */
static bool carry_read(struct carry *carry, const struct reply *entry)
{
    const struct reply *fields = reply_item(entry, 1);
    struct bytes id = reply_text(reply_item(entry, 0));
    struct bytes channel = reply_text(reply_item(fields, 0));
    struct bytes words = reply_text(reply_item(fields, 1));
    if (id.size == 0 || id.size >= sizeof carry->id || channel.size == 0) return false;
    memcpy(carry->id, id.at, id.size);
    carry->id[id.size] = 0;
    const char *dash = strchr(carry->id, '-');
    if (dash == NULL) return false;
    carry->ms = bytes_of(carry->id, (size_t)(dash - carry->id));
    carry->number = bytes_of_text(dash + 1);

    mem_free(carry->bytes);
    mem_free(carry->users);
    carry->bytes = mem_alloc(channel.size + words.size + 1);
    memcpy(carry->bytes, channel.at, channel.size);
    if (words.size > 0) memcpy(carry->bytes + channel.size, words.at, words.size);
    carry->channel = bytes_of(carry->bytes, channel.size);
    carry->users = mem_alloc((words.size / 5 + 1) * sizeof *carry->users);
    carry->users_count = carry->next = 0;
    struct reader reader = reader_of(bytes_of(carry->bytes + channel.size, words.size));
    while (reader.left > 0) {
        struct carry_user *user = &carry->users[carry->users_count];
        user->is_leaving = read_u8(&reader) == '-';
        user->user = read_sized(&reader);
        if (reader.failed || user->user.size == 0) return false;
        user->partition = redis_partition_of(carry->redis, user->user);
        carry->users_count++;
    }
    if (carry->users_count > 0)
        qsort(carry->users, carry->users_count, sizeof *carry->users, user_compare);
    return true;
}

/* --- the stream ------------------------------------------------------------------------------ */

static void look_write(struct link_call *base, struct link *link, struct resp_out *out)
{
    (void)link;
    struct carry *carry = container_of(base, struct carry, call);
    char key[REDIS_KEY_MAX];
    carry->is_again = false;
    resp_begin(out, 6);
    resp_text(out, "XRANGE");
    resp_bytes(out, redis_key(carry->redis, key, carry->partition, "o", BYTES_NONE));
    resp_text(out, "-");
    resp_text(out, "+");
    resp_text(out, "COUNT");
    resp_text(out, "1");
}

static void look_on_end(struct link_call *base, enum err err, const struct reply *reply)
{
    struct carry *carry = container_of(base, struct carry, call);
    bool is_empty = err != ERR_OK || reply->type != REPLY_ARRAY || reply->count == 0;
    if (err != ERR_OK) carry->has_failed = true;
    if (is_empty) {
        carry_end(carry);
        return;
    }
    if (!carry_read(carry, reply->items[0])) carry->users_count = 0; /* damaged: it goes */
    carry->next = 0;
    carry_pump(carry);
}

static void carry_look(struct carry *carry)
{
    carry->call = (struct link_call){.write = look_write, .on_end = look_on_end};
    redis_call(carry->redis, carry->partition, &carry->call);
}

void listing_carry(struct redis_store *redis, uint32_t partition)
{
    list_each (node, &redis->carries) {
        struct carry *carry = container_of(node, struct carry, link);
        if (carry->partition != partition) continue;
        carry->is_again = true;
        return;
    }
    struct carry *carry = mem_alloc(sizeof *carry);
    carry->redis = redis;
    carry->partition = partition;
    list_append(&redis->carries, &carry->link);
    redis->pending++;
    carry_look(carry);
}

/* --- what others left behind ----------------------------------------------------------------- */

static void listing_on_timer(struct timer *timer)
{
    struct redis_store *redis = container_of(timer, struct redis_store, listing_timer);
    const struct store_env *env = &redis->store.env;
    uint32_t count = list_is_empty(&redis->carries) ? LISTING_LOOK_COUNT : 0;
    for (uint32_t i = 0; i < count; i++) {
        redis->listing_next = (redis->listing_next + 1) % redis->node->options.partitions;
        const struct redis_server *server = redis_server_of(redis, redis->listing_next);
        if (link_is_ready(&server->commands)) listing_carry(redis, redis->listing_next);
    }
    wheel_arm(env->wheel, timer, redis_now_ms(redis) + LISTING_LOOK_MS, listing_on_timer);
}

void listing_start(struct redis_store *redis)
{
    const struct store_env *env = &redis->store.env;
    list_init(&redis->carries);
    if (env->shard != 0) return; /* one of them is enough */
    wheel_arm(env->wheel, &redis->listing_timer, redis_now_ms(redis) + LISTING_LOOK_MS,
              listing_on_timer);
}

void listing_stop(struct redis_store *redis)
{
    check(list_is_empty(&redis->carries));
    wheel_disarm(redis->store.env.wheel, &redis->listing_timer);
}

/* --- the question ---------------------------------------------------------------------------- */

struct ask_call {
    struct link_call call;
    struct redis_store *redis;
    struct store_memberships *op;
    uint32_t partition;
};

static void ask_write(struct link_call *base, struct link *link, struct resp_out *out)
{
    (void)link;
    const struct ask_call *call = container_of(base, struct ask_call, call);
    char key[REDIS_KEY_MAX];
    resp_begin(out, 2);
    resp_text(out, "HGETALL");
    resp_bytes(out, redis_key(call->redis, key, call->partition, "b:", call->op->user));
}

static int name_compare(const void *a, const void *b)
{
    return bytes_compare(*(const struct bytes *)a, *(const struct bytes *)b);
}

/* Those that are above `after` and not left, in order; the count. */
static uint32_t ask_take(const struct store_memberships *op, const struct reply *reply,
                         struct bytes *names)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i + 1 < reply->count; i += 2) {
        struct bytes name = reply_text(reply->items[i]), value = reply_text(reply->items[i + 1]);
        bool is_member = value.size > 0 && value.at[value.size - 1] == '1';
        if (is_member && bytes_compare(name, op->after) > 0) names[count++] = name;
    }
    if (count > 0) qsort(names, count, sizeof *names, name_compare);
    return count;
}

static void ask_on_end(struct link_call *base, enum err err, const struct reply *reply)
{
    struct ask_call *call = container_of(base, struct ask_call, call);
    struct store_memberships *op = call->op;
    call->redis->pending--;
    mem_free(call);
    if (err == ERR_OK && reply->type != REPLY_ARRAY) err = ERR_STORE_DOWN;
    if (err != ERR_OK) {
        /* A question leaves nothing behind. */
        op->on_memberships(op, err == ERR_STORE_UNKNOWN ? ERR_STORE_DOWN : err, NULL, 0, false);
        return;
    }
    struct bytes *names = mem_alloc((reply->count / 2 + 1) * sizeof *names);
    uint32_t count = ask_take(op, reply, names);
    op->on_memberships(op, ERR_OK, names, min_u32(count, op->limit), count > op->limit);
    mem_free(names);
}

void redis_memberships(struct store *store, struct store_memberships *op)
{
    struct redis_store *redis = redis_of(store);
    check(op->on_memberships != NULL && op->user.size > 0);
    check(op->limit > 0 && op->limit <= STORE_MEMBERSHIPS_MAX);
    struct ask_call *call = mem_alloc(sizeof *call);
    call->redis = redis;
    call->op = op;
    call->partition = redis_partition_of(redis, op->user);
    call->call.write = ask_write;
    call->call.on_end = ask_on_end;
    redis->pending++;
    redis_call(redis, call->partition, &call->call);
}
