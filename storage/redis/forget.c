/* Channels that nobody uses and that hold nothing go (lua/forget.lua).
 *
 * The first shard of every node looks at one partition after the other, a slice of its
 * metas at a time and one call under way; Redis says when the partition is to be looked at
 * again, so several nodes share one round.  What a slice tells to be idle is judged here,
 * by the rules of its namespace, and what is over is forgotten by a second call, which finds
 * again that nothing has changed.
 *
 * Bound:   FORGET_METAS metas a call, about 1 ms of the server; a call each FORGET_PACE_MS. */
#include "core/check.h"
#include "core/log.h"
#include "core/mem.h"
#include "storage/redis/redis.h"

#define FORGET_PACE_MS  20
#define FORGET_METAS    256
/* Until the next look when none is due, and after trouble. */
#define FORGET_REST_MS  1000
#define FORGET_SORRY_MS 60000
/* Between two rounds: an eighth of the shortest life, so that none lasts much longer. */
#define FORGET_LEAST_MS 100
#define FORGET_MOST_MS  3600000u

/* Idempotency keys hold offsets, so no channel goes before them. */
static uint64_t idle_max_ms(const struct config *config, uint64_t meta_ttl_ms)
{
    return max_u64(meta_ttl_ms, config->storage_dedup_horizon_ms);
}

uint64_t forget_least_ms(const struct redis_store *redis)
{
    const struct config *config = redis->store.env.config;
    uint64_t least_ms =
        min_u64(config->channel_history_meta_ttl_ms, config->without_namespace.history_meta_ttl_ms);
    for (uint32_t i = 0; i < config->namespaces_count; i++)
        least_ms = min_u64(least_ms, config->namespaces[i].history_meta_ttl_ms);
    return idle_max_ms(config, least_ms);
}

static bool is_over(const struct redis_store *redis, struct bytes channel, uint64_t idle_ms)
{
    const struct config *config = redis->store.env.config;
    return idle_ms >= idle_max_ms(config, store_meta_ttl_ms(config, channel));
}

/* --- the calls ------------------------------------------------------------------------------- */

static void forget_on_timer(struct timer *timer);

static void forget_rest(struct redis_store *redis, uint64_t pause_ms)
{
    wheel_arm(redis->store.env.wheel, &redis->forget.timer, redis_now_ms(redis) + pause_ms,
              forget_on_timer);
}

/* The call is over; its partition is asked again in `due_ms`. */
static void forget_end(struct redis_store *redis, uint64_t due_ms)
{
    struct redis_forget *forget = &redis->forget;
    check(forget->is_calling);
    forget->is_calling = false;
    mem_free(forget->over);
    forget->over = NULL;
    forget->due_ms[forget->partition] = redis_now_ms(redis) + due_ms;
    forget_rest(redis, FORGET_PACE_MS);
}

static bool is_answer(enum err err, const struct reply *reply)
{
    if (err != ERR_OK) return false;
    if (reply->type == REPLY_ERROR)
        log_warn("Redis could not look for channels that nobody uses: %.*s",
                 (int)min_u64(reply->text.size, 200), (const char *)reply->text.at);
    return reply->type != REPLY_ERROR;
}

static void over_write(struct link_call *call, struct link *link, struct resp_out *out)
{
    struct redis_forget *forget = container_of(call, struct redis_forget, call);
    struct reader reader = reader_of(bytes_of(forget->over, forget->over_size));
    redis_write_script(link, out, SCRIPT_FORGET, forget->partition, 1 + 2 * forget->over_count);
    resp_text(out, "forget");
    while (reader.left > 0) resp_bytes(out, read_sized(&reader));
    check(!reader.failed);
}

static void over_on_end(struct link_call *call, enum err err, const struct reply *reply)
{
    struct redis_forget *forget = container_of(call, struct redis_forget, call);
    struct redis_store *redis = container_of(forget, struct redis_store, forget);
    bool is_good = is_answer(err, reply);
    forget_end(redis, is_good ? forget->pause_ms : FORGET_SORRY_MS);
}

static void look_write(struct link_call *call, struct link *link, struct resp_out *out)
{
    struct redis_forget *forget = container_of(call, struct redis_forget, call);
    const struct redis_store *redis = container_of(forget, struct redis_store, forget);
    uint64_t least_ms = forget_least_ms(redis);
    redis_write_script(link, out, SCRIPT_FORGET, forget->partition, 4);
    resp_text(out, "look");
    resp_number(out, FORGET_METAS);
    resp_number(out, min_u64(max_u64(least_ms / 8, FORGET_LEAST_MS), FORGET_MOST_MS));
    resp_number(out, least_ms);
}

/* Keeps what is over: channel and mark, sized; false: that is no answer. */
static bool look_take(struct redis_store *redis, const struct reply *reply)
{
    struct redis_forget *forget = &redis->forget;
    bool is_good = reply->type == REPLY_ARRAY && reply->count % 3 == 1 &&
                   reply->items[0]->type == REPLY_INTEGER && reply->items[0]->integer >= 0;
    if (!is_good) return false;
    size_t size = 0;
    forget->pause_ms = (uint64_t)reply->items[0]->integer;
    forget->over_count = 0;
    for (uint32_t i = 1; i < reply->count; i++) size += 4 + reply_text(reply->items[i]).size;
    forget->over = mem_alloc(size + 1);
    struct writer writer = writer_of(forget->over, size);
    for (uint32_t i = 1; i < reply->count; i += 3) {
        struct bytes channel = reply_text(reply->items[i]), mark = reply_text(reply->items[i + 1]);
        const struct reply *age = reply->items[i + 2];
        if (channel.size == 0 || age->type != REPLY_INTEGER || age->integer < 0) continue;
        if (!is_over(redis, channel, (uint64_t)age->integer)) continue;
        write_sized(&writer, channel);
        write_sized(&writer, mark);
        forget->over_count++;
    }
    check(!writer.failed);
    forget->over_size = writer.used;
    return true;
}

static void look_on_end(struct link_call *call, enum err err, const struct reply *reply)
{
    struct redis_forget *forget = container_of(call, struct redis_forget, call);
    struct redis_store *redis = container_of(forget, struct redis_store, forget);
    if (!is_answer(err, reply) || !look_take(redis, reply)) {
        forget_end(redis, err == ERR_OK ? FORGET_SORRY_MS : FORGET_REST_MS);
    } else if (forget->over_count == 0) {
        forget_end(redis, forget->pause_ms);
    } else {
        *call = (struct link_call){.write = over_write, .on_end = over_on_end};
        redis_call(redis, forget->partition, call);
    }
}

/* --- the round ------------------------------------------------------------------------------- */

/* The partition whose round goes on, or the next one that is due and can be asked; false: none. */
static bool forget_next(struct redis_store *redis)
{
    struct redis_forget *forget = &redis->forget;
    uint32_t partitions = redis->node->options.partitions;
    for (uint32_t i = 0; i < partitions; i++) {
        uint32_t partition = (forget->partition + i) % partitions;
        const struct redis_server *server = redis_server_of(redis, partition);
        bool is_due = forget->due_ms[partition] <= redis_now_ms(redis);
        if (!is_due || !link_is_ready(&server->commands) || route_is_held(redis, partition))
            continue;
        forget->partition = partition;
        return true;
    }
    return false;
}

static void forget_on_timer(struct timer *timer)
{
    struct redis_store *redis = container_of(timer, struct redis_store, forget.timer);
    struct redis_forget *forget = &redis->forget;
    check(!forget->is_calling);
    if (!forget_next(redis)) {
        uint64_t pause_ms = min_u64(FORGET_REST_MS, forget_least_ms(redis) / 8);
        forget_rest(redis, max_u64(pause_ms, FORGET_PACE_MS));
        return;
    }
    forget->is_calling = true;
    forget->call = (struct link_call){.write = look_write, .on_end = look_on_end};
    redis_call(redis, forget->partition, &forget->call);
}

void forget_start(struct redis_store *redis)
{
    const struct store_env *env = &redis->store.env;
    uint32_t partitions = redis->node->options.partitions;
    if (env->shard != 0) return; /* one of them is enough */
    redis->forget.due_ms = mem_alloc(partitions * sizeof *redis->forget.due_ms);
    redis->forget.partition = (uint32_t)rng_below(env->rng, partitions);
    forget_rest(redis, FORGET_PACE_MS);
}

void forget_stop(struct redis_store *redis)
{
    check(!redis->forget.is_calling);
    wheel_disarm(redis->store.env.wheel, &redis->forget.timer);
    mem_free(redis->forget.due_ms);
}
