/* What a server says of itself: in each hello, and asked again while a link stands, for an
 * operator may change it under us. */
#include "core/check.h"
#include "core/log.h"
#include "storage/redis/redis.h"

#define FACTS_MS 1000

/* One that another took the place of may have less, and take over: it goes on to count. */
static uint32_t count_places(struct lineage *now, const struct hello_server *said)
{
    uint32_t count = 0;
    while (count < REPLICAS_MAX && now->replica_places[count] != 0) count++;
    for (uint32_t i = 0; i < REPLICAS_MAX && said->replica_places[i] != 0; i++) {
        uint32_t at = 0;
        while (at < count && now->replica_places[at] != said->replica_places[i]) at++;
        if (at == count && count < REPLICAS_MAX)
            now->replica_places[count++] = said->replica_places[i];
    }
    return count;
}

void facts_take(struct redis_server *server, const struct hello_server *said)
{
    struct redis_store *redis = server->redis;
    struct lineage *now = &server->now;
    static_assert(sizeof now->text == sizeof said->lineage, "one form");
    check(said->lineage[0] != 0);
    if (strcmp(now->text, said->lineage) != 0) {
        server->before = *now;
        *now = (struct lineage){0};
        memcpy(now->text, said->lineage, sizeof now->text);
        server->evicted = said->evicted;
        for (uint32_t i = 0; i < redis->node->options.partitions; i++)
            if (redis->partitions[i].server == server) redis->partitions[i].is_arrived = true;
    }
    memcpy(now->replication_id, said->replication_id, sizeof now->replication_id);
    now->is_durable = said->is_durable;
    uint32_t replicas = max_u32(said->replicas, count_places(now, said));
    now->replicas_most = max_u32(now->replicas_most, replicas);
}

/* Not while another hello says it all. */
static bool is_of_now(const struct redis_server *server)
{
    return strcmp(server->now.text, server_said(server)->lineage) == 0;
}

static void facts_heard(struct redis_server *server, bool was_durable)
{
    const struct hello_server *said = server_said(server);
    if (is_of_now(server)) facts_take(server, said);
    if (said->is_durable == was_durable || server->redis->store.env.shard != 0) return;
    log_warn(said->is_durable
                 ? "Redis keeps what it answers from now on address=%s"
                 : "Redis may lose what it answers from now on; see its appendonly, appendfsync, "
                   "no-appendfsync-on-rewrite and maxmemory-policy address=%s",
             server->place.text);
}

/* Nobody can say which: a history that is gone is found by who asks for it, an idempotency
 * key by nobody.  A count that falls is of another process. */
static void facts_evicted(struct redis_server *server)
{
    const struct redis_store *redis = server->redis;
    uint64_t evicted = server_said(server)->evicted, before = server->evicted;
    server->evicted = evicted;
    if (evicted <= before) return;
    server->evicted_ms = redis_now_ms(redis);
    if (redis->store.env.shard != 0) return;
    metric_add(redis->store.env.metrics, METRIC_STORE_EVICTED, evicted - before);
    log_error("Redis gave keys away for want of memory: histories, members and idempotency keys "
              "may be among them; raise its maxmemory and set maxmemory-policy to noeviction "
              "address=%s keys=%llu",
              server->place.text, (unsigned long long)(evicted - before));
}

static void info_write(struct link_call *call, struct link *link, struct resp_out *out)
{
    (void)call, (void)link;
    hello_ask_info(out);
}

static void info_on_end(struct link_call *call, enum err err, const struct reply *reply)
{
    struct redis_server *server = container_of(call, struct redis_server, info_call);
    struct hello_server *said = &server->commands.hello.server;
    bool was_durable = said->is_durable;
    server->is_info_calling = false;
    if (err != ERR_OK || reply->type == REPLY_ERROR) return;
    hello_hear_info(said, reply);
    facts_heard(server, was_durable);
    facts_evicted(server);
}

static void pace_write(struct link_call *call, struct link *link, struct resp_out *out)
{
    (void)call, (void)link;
    hello_ask_config(out);
}

static void pace_on_end(struct link_call *call, enum err err, const struct reply *reply)
{
    struct redis_server *server = container_of(call, struct redis_server, config_call);
    struct hello_server *said = &server->commands.hello.server;
    bool was_durable = said->is_durable;
    server->is_config_calling = false;
    if (err != ERR_OK) return;
    hello_hear_config(said, reply);
    facts_heard(server, was_durable);
}

static void info_ask(struct redis_server *server, struct link *link)
{
    check(!server->is_info_calling);
    server->is_info_calling = true;
    server->info_call = (struct link_call){.route = 0, .write = info_write, .on_end = info_on_end};
    link_call(link, &server->info_call, link_due_ms(link));
}

void facts_look_first(struct redis_server *server)
{
    if (!server->is_info_calling) info_ask(server, &server->publish);
}

void facts_look(struct redis_server *server)
{
    struct link *link = &server->commands;
    uint64_t now_ms = redis_now_ms(server->redis);
    bool is_due = now_ms >= server->facts_ms + FACTS_MS;
    if (!is_due || !link_is_ready(link) || server->is_info_calling || server->is_config_calling)
        return;
    server->facts_ms = now_ms;
    server->is_config_calling = true;
    server->config_call =
        (struct link_call){.is_optional = true, .write = pace_write, .on_end = pace_on_end};
    info_ask(server, link);
    link_call(link, &server->config_call, link_due_ms(link));
    if (server == server->redis->root) partitions_look(server->redis);
}
