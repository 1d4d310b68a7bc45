/* The number of partitions, as long as a node runs.  Where it was deleted it is written
 * again; meanwhile a node with another one is refused by what each partition says
 * (lua/partition.lua).  Where all was emptied whoever comes first fixes it. */
#include "core/check.h"
#include "core/log.h"
#include "storage/redis/redis.h"

static void call_write(struct link_call *call, struct link *link, struct resp_out *out)
{
    (void)call;
    hello_ask_partitions(link->options, out);
}

static void call_on_end(struct link_call *call, enum err err, const struct reply *reply)
{
    struct redis_store *redis = container_of(call, struct redis_store, partitions_call);
    char problem[HELLO_PROBLEM_MAX] = "";
    bool was_other = redis->is_partitions_other;
    redis->is_partitions_calling = false;
    if (err != ERR_OK) route_want(redis);                    /* its slot may have moved */
    if (err != ERR_OK || reply->type == REPLY_ERROR) return; /* asked again soon */
    redis->is_partitions_other =
        hello_hear_partitions(&redis->node->options, &redis->root->place, reply, problem) != ERR_OK;
    bool is_news = redis->is_partitions_other && !was_other;
    if (is_news && redis->store.env.shard == 0) log_error("%s", problem);
}

void partitions_look(struct redis_store *redis)
{
    struct link *link = &redis->root->commands;
    if (redis->is_partitions_calling) return;
    redis->is_partitions_calling = true;
    redis->partitions_call =
        (struct link_call){.is_roaming = true, .write = call_write, .on_end = call_on_end};
    link_call(link, &redis->partitions_call, link_due_ms(link));
}
