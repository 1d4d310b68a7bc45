/* How far behind the consumer groups of the worker streams are.
 *
 * Shard 0 asks one partition after another, a few each second, so a thousand
 * partitions are through in some seconds and cost Redis less than a thousandth of
 * its time.  What a sweep found replaces what the one before it did. */
#include <stdio.h>

#include "core/check.h"
#include "core/mem.h"
#include "storage/redis/redis.h"

#define GROUPS_MS     1000
/* Partitions a second. */
#define GROUPS_STRIDE 128

static const char *const topics[] = {"group_msg", "offline_msg", "membership_change",
                                     "read_receipt"};

struct groups_call {
    struct link_call call;
    struct redis_store *redis;
    uint32_t partition;
    uint32_t topic;
};

/* The value behind `name` in a list of names and values, or NULL. */
static const struct reply *value_of(const struct reply *list, const char *name)
{
    if (list->type != REPLY_ARRAY) return NULL;
    for (uint32_t i = 0; i + 1 < list->count; i += 2)
        if (bytes_equal_text(reply_text(list->items[i]), name)) return list->items[i + 1];
    return NULL;
}

/* Nothing of it where Redis does not know the number. */
static uint64_t number_of(const struct reply *value)
{
    bool is_known = value != NULL && value->type == REPLY_INTEGER && value->integer > 0;
    return is_known ? (uint64_t)value->integer : 0;
}

static void name_write(char name[STORE_GROUP_NAME_MAX + 1], struct bytes text)
{
    size_t size = min_u64(text.size, STORE_GROUP_NAME_MAX);
    for (size_t i = 0; i < size; i++) {
        uint8_t c = text.at[i];
        bool is_plain = c >= ' ' && c <= '~' && c != '"' && c != '\\';
        name[i] = is_plain ? (char)c : '_';
    }
    name[size] = 0;
}

/* The row of the group, a new one if need be; NULL when there are too many. */
static struct store_group *row_of(struct redis_groups *groups, const char *topic, struct bytes name)
{
    char wanted[STORE_GROUP_NAME_MAX + 1];
    name_write(wanted, name);
    for (uint32_t i = 0; i < groups->next_count; i++) {
        struct store_group *row = &groups->next[i];
        if (strcmp(row->topic, topic) == 0 && strcmp(row->name, wanted) == 0) return row;
    }
    if (groups->next_count == STORE_GROUPS_MAX) return NULL;
    struct store_group *row = &groups->next[groups->next_count++];
    *row = (struct store_group){0};
    snprintf(row->topic, sizeof row->topic, "%s", topic);
    memcpy(row->name, wanted, sizeof row->name);
    return row;
}

static void call_write(struct link_call *base, struct link *link, struct resp_out *out)
{
    (void)link;
    struct groups_call *call = container_of(base, struct groups_call, call);
    char key[REDIS_KEY_MAX];
    resp_begin(out, 3);
    resp_text(out, "XINFO");
    resp_text(out, "GROUPS");
    resp_bytes(out, redis_key(call->redis, key, call->partition, topics[call->topic], BYTES_NONE));
}

/* An error is the answer for a stream that is not there. */
static void call_take(struct groups_call *call, const struct reply *reply)
{
    struct redis_groups *groups = &call->redis->groups;
    for (uint32_t i = 0; reply->type == REPLY_ARRAY && i < reply->count; i++) {
        const struct reply *name = value_of(reply->items[i], "name");
        struct store_group *row =
            name == NULL ? NULL : row_of(groups, topics[call->topic], reply_text(name));
        if (row == NULL) continue;
        /* Of a group between two entries a server knows no lag after its restart, until the
         * group has read to the end.  Counting would read the entries themselves. */
        const struct reply *lag = value_of(reply->items[i], "lag");
        row->is_lag_unknown |= lag == NULL || lag->type != REPLY_INTEGER;
        row->lag += number_of(lag);
        row->pending += number_of(value_of(reply->items[i], "pending"));
    }
}

static void call_on_end(struct link_call *base, enum err err, const struct reply *reply)
{
    struct groups_call *call = container_of(base, struct groups_call, call);
    struct redis_groups *groups = &call->redis->groups;
    if (err == ERR_OK)
        call_take(call, reply);
    else
        groups->is_incomplete = true;
    check(groups->calls > 0);
    groups->calls--;
    mem_free(call);
}

static void sweep_end(struct redis_groups *groups)
{
    if (!groups->is_incomplete) {
        memcpy(groups->rows, groups->next, sizeof groups->rows);
        groups->count = groups->next_count;
    }
    groups->next_count = 0;
    groups->partition = 0;
    groups->is_incomplete = false;
}

static void groups_on_timer(struct timer *timer)
{
    struct redis_groups *groups = container_of(timer, struct redis_groups, timer);
    struct redis_store *redis = container_of(groups, struct redis_store, groups);
    uint32_t partitions = redis->node->options.partitions;
    wheel_arm(redis->store.env.wheel, timer, redis_now_ms(redis) + GROUPS_MS, groups_on_timer);
    if (groups->calls > 0) return;
    if (groups->partition == partitions) sweep_end(groups);
    uint32_t last = min_u32(groups->partition + GROUPS_STRIDE, partitions);
    for (; groups->partition < last; groups->partition++) {
        for (uint32_t t = 0; t < array_count(topics); t++) {
            struct groups_call *call = mem_alloc(sizeof *call);
            call->redis = redis;
            call->partition = groups->partition;
            call->topic = t;
            call->call.write = call_write;
            call->call.on_end = call_on_end;
            groups->calls++;
            redis_call(redis, call->partition, &call->call);
        }
    }
}

void groups_start(struct redis_store *redis)
{
    wheel_arm(redis->store.env.wheel, &redis->groups.timer, redis_now_ms(redis) + GROUPS_MS,
              groups_on_timer);
}

void groups_stop(struct redis_store *redis)
{
    wheel_disarm(redis->store.env.wheel, &redis->groups.timer);
}
