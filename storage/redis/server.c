/* The links and the probe through the whole path: published by the one, heard
 * by the other. */
#include "storage/redis/server.h"

#include <stdio.h>

#include "core/check.h"
#include "core/log.h"
#include "core/mem.h"
#include "storage/redis/confirm.h"
#include "storage/redis/known.h"
#include "storage/redis/redis.h"

#define PROBE_MS         1000
/* Without an echo for so long, health is red; the link is renewed at io_timeout. */
#define PROBE_SILENCE_MS (3 * PROBE_MS)

/* How long a loss of keys is told; an operator who looks now and then shall see it. */
#define EVICTED_MS 60000

static const char evicting[] =
    "Redis gives keys away for want of memory; set its maxmemory-policy to noeviction";
static const char silence[] = "what is published does not come back from Redis";
static const char mute[] = "Redis answers nothing, though the connection stands: it hangs, is "
                           "stopped or overloaded, or the network loses what is sent";

/* --- the probe ------------------------------------------------------------------------------- */

static void probe_write(struct link_call *call, struct link *link, struct resp_out *out)
{
    struct redis_server *server = container_of(call, struct redis_server, probe_call);
    char key[REDIS_KEY_MAX];
    check(link->owner == server);
    if (server->probe_partition == REDIS_PROBE_NONE) { /* it went since this was asked for */
        resp_begin(out, 1);
        resp_text(out, "PING");
        return;
    }
    server->probe_sent_ms = redis_now_ms(server->redis);
    resp_begin(out, 3);
    resp_text(out, "SPUBLISH");
    resp_bytes(out, redis_key(server->redis, key, server->probe_partition,
                              "probe:", bytes_of_text(server->boot)));
    resp_number(out, server->probe_sent_ms);
}

static void probe_on_end(struct link_call *call, enum err err, const struct reply *reply)
{
    (void)err, (void)reply;
    container_of(call, struct redis_server, probe_call)->is_probe_calling = false;
}

void server_on_probe(struct redis_server *server, struct bytes token)
{
    uint64_t sent_ms = 0;
    if (!bytes_to_u64(token, &sent_ms) || sent_ms != server->probe_sent_ms) return;
    server->probe_heard_ms = redis_now_ms(server->redis);
}

/* Looks whether appending works, when nothing else does. */
static void probe_append(struct redis_server *server)
{
    bool is_idle = server->flight == NULL && link_is_ready(&server->commands);
    if (is_idle) append_touch(server->redis, server->probe_partition, BYTES_LITERAL("probe"));
}

static bool server_waits(const struct redis_server *server)
{
    return server->redis->node->options.wait_replicas > 0;
}

/* A probe that was not even answered says more than one that was not heard. */
static const char *server_silence(const struct redis_server *server)
{
    return server->is_probe_calling ? mute : silence;
}

static void probe_on_timer(struct timer *timer)
{
    struct redis_server *server = container_of(timer, struct redis_server, probe_timer);
    struct redis_store *redis = server->redis;
    uint64_t now_ms = redis_now_ms(redis);
    uint64_t silence_ms = max_u64(redis->node->options.io_timeout_ms, PROBE_SILENCE_MS);
    bool is_off = server->probe_partition == REDIS_PROBE_NONE;
    if (is_off || !link_is_ready(&server->commands) || !link_is_ready(&server->feed)) {
        server->probe_heard_ms = now_ms;
    } else if (now_ms - server->probe_heard_ms >= silence_ms) {
        link_drop(&server->feed, server_silence(server));
    } else if (!server->is_probe_calling) {
        server->is_probe_calling = true;
        link_call(&server->commands, &server->probe_call, link_due_ms(&server->commands));
    }
    if (server_waits(server) || server->is_refusing) probe_append(server);
    facts_look(server);
    wheel_arm(redis->store.env.wheel, timer, now_ms + PROBE_MS, probe_on_timer);
}

void server_subscribe_probe(struct redis_server *server)
{
    char key[REDIS_KEY_MAX];
    if (server->probe_partition == REDIS_PROBE_NONE) return;
    struct resp_out *out = subscribe_begin(server, 1, server->probe_partition, true);
    resp_bytes(out, redis_key(server->redis, key, server->probe_partition,
                              "probe:", bytes_of_text(server->boot)));
}

void server_check_probe(struct redis_server *server)
{
    const struct redis_store *redis = server->redis;
    uint32_t count = redis->node->options.partitions, at = 0;
    bool is_ours = server->probe_partition != REDIS_PROBE_NONE &&
                   redis_server_of(redis, server->probe_partition) == server;
    if (is_ours) return;
    while (at < count && redis_server_of(redis, at) != server) at++;
    server->probe_partition = at < count ? at : REDIS_PROBE_NONE;
    server->probe_heard_ms = redis_now_ms(redis);
    if (link_is_ready(&server->feed)) server_subscribe_probe(server);
}

/* --- the links ------------------------------------------------------------------------------- */

static void commands_on_ready(struct link *link)
{
    struct redis_server *server = link->owner;
    server->probe_heard_ms = redis_now_ms(server->redis);
    known_vouch(server);
    sweep_soon(server->redis);
}

/* Calls under way have ended one by one; nothing more is known to be lost. */
static void commands_on_lost(struct link *link)
{
    struct redis_server *server = link->owner;
    if (!server->is_stopped) route_want(server->redis);
}

static void on_hello(struct link *link)
{
    facts_take(link->owner, &link->hello.server);
}

static const struct link_events commands_events = {
    .on_hello = on_hello,
    .on_ready = commands_on_ready,
    .on_lost = commands_on_lost,
    .on_elsewhere = route_on_elsewhere,
};
static void publish_on_ready(struct link *link)
{
    check(link->role == LINK_PUBLISH); /* calls wait for it by themselves */
}

static const struct link_events publish_events = {
    .on_hello = on_hello,
    .on_ready = publish_on_ready,
    .on_lost = confirm_on_lost,
    .on_elsewhere = confirm_on_elsewhere,
};
static const struct link_events feed_events = {
    .on_ready = feed_on_ready,
    .on_lost = feed_on_lost,
    .on_push = feed_on_push,
};

static void server_begin(struct redis_server *server)
{
    struct redis_store *redis = server->redis;
    wheel_arm(redis->store.env.wheel, &server->probe_timer, redis_now_ms(redis) + PROBE_MS,
              probe_on_timer);
}

static struct redis_server *server_create(struct redis_store *redis,
                                          const struct redis_place *place)
{
    const struct redis_options *options = &redis->node->options;
    struct redis_server *server = mem_alloc(sizeof *server);
    server->redis = redis;
    server->place = *place;
    server->probe_partition = REDIS_PROBE_NONE;
    redis_draw_letters(server->boot);
    list_init(&server->subscribes);
    server->probe_call.write = probe_write;
    server->probe_call.on_end = probe_on_end;
    link_start(&server->commands, &redis->links, options, &server->place, LINK_COMMANDS,
               &commands_events, server);
    link_start(&server->feed, &redis->links, options, &server->place, LINK_FEED, &feed_events,
               server);
    if (server_waits(server))
        link_start(&server->publish, &redis->links, options, &server->place, LINK_PUBLISH,
                   &publish_events, server);
    server->replicas = options->wait_replicas; /* until a WAIT says otherwise */
    server_begin(server);
    return server;
}

static void server_resume(struct redis_server *server)
{
    check(server->is_stopped);
    server->is_stopped = false;
    link_resume(&server->commands);
    link_resume(&server->feed);
    if (server_waits(server)) link_resume(&server->publish);
    server_begin(server);
}

/* One that is not used any more, for another place. */
static struct redis_server *server_find_free(struct redis_store *redis)
{
    for (uint32_t i = 0; i < redis->servers_count; i++) {
        struct redis_server *server = redis->servers[i];
        bool is_free = server->is_stopped && server->commands.state == LINK_OFF &&
                       server->feed.state == LINK_OFF && server->publish.state == LINK_OFF;
        if (is_free) return server;
    }
    return NULL;
}

struct redis_server *server_get(struct redis_store *redis, const struct redis_place *place)
{
    struct redis_server *server = NULL;
    for (uint32_t i = 0; i < redis->servers_count && server == NULL; i++) {
        if (place_is_same(&redis->servers[i]->place, place)) server = redis->servers[i];
    }
    if (server == NULL && redis->servers_count < REDIS_SERVERS_MAX) {
        server = server_create(redis, place);
        redis->servers[redis->servers_count++] = server;
        return server;
    }
    if (server == NULL && (server = server_find_free(redis)) != NULL) {
        server->place = *place;
        server->now = server->before = (struct lineage){0};
    }
    if (server == NULL) {
        log_error("Redis has more primaries than one shard can talk to address=%s limit=%u",
                  place->text, (unsigned)REDIS_SERVERS_MAX);
    } else if (server->is_stopped) {
        server_resume(server);
    }
    return server;
}

void server_stop(struct redis_server *server)
{
    check(server->partitions_count == 0 && !server->is_stopped);
    server->is_stopped = true;
    server->is_changed = true; /* what was not written is somebody else's now */
    wheel_disarm(server->redis->store.env.wheel, &server->probe_timer);
    link_stop(&server->commands);
    link_stop(&server->feed);
    if (server_waits(server)) link_stop(&server->publish);
}

void server_destroy(struct redis_server *server)
{
    check(!server->is_probe_calling && server->flight == NULL);
    check(!server->is_info_calling && !server->is_config_calling);
    wheel_disarm(server->redis->store.env.wheel, &server->probe_timer);
    mem_free(server);
}

void server_flush(struct redis_server *server)
{
    if (server_waits(server)) link_flush(&server->publish);
    link_flush(&server->commands);
    link_flush(&server->feed);
}

/* The first moments: the node has just talked to Redis, the shard's own links
 * are on their way and have not failed. */
static bool server_is_beginning(const struct redis_server *server)
{
    bool has_failed = server->commands.attempts > 0 || server->feed.attempts > 0;
    bool was_ready = server->commands.lineage_ms > 0 && server->feed.lineage_ms > 0;
    return !has_failed && !was_ready;
}

void server_takes_again(struct redis_server *server)
{
    if (!server->is_refusing) return;
    server->is_refusing = false;
    server->commands.refused_ms = server->publish.refused_ms = 0;
}

/* What keeps publications from being appended and confirmed; NULL: nothing. */
static const char *server_append_problem(struct redis_server *server)
{
    uint32_t wanted = server->redis->node->options.wait_replicas;
    const struct link *link = wanted > 0 ? &server->publish : &server->commands;
    if (server->is_refusing && link->refusal[0] != 0) return link->refusal;
    if (link_refusal(&server->commands) != NULL) return server->commands.refusal;
    if (wanted == 0) return NULL;
    if (!link_is_ready(&server->publish)) return server->publish.problem;
    if (server->replicas >= wanted) return NULL;
    snprintf(server->replicas_problem, sizeof server->replicas_problem,
             "%u of the %u replicas that redis.wait_replicas asks for have what was published last",
             server->replicas, wanted);
    return server->replicas_problem;
}

const char *server_problem(struct redis_server *server)
{
    uint64_t now_ms = redis_now_ms(server->redis);
    if (server_is_beginning(server)) return NULL;
    if (!link_is_ready(&server->commands)) return server->commands.problem;
    if (!link_is_ready(&server->feed)) return server->feed.problem;
    if (now_ms - server->probe_heard_ms >= PROBE_SILENCE_MS) return server_silence(server);
    if (server->evicted_ms > 0 && now_ms - server->evicted_ms < EVICTED_MS) return evicting;
    return server_append_problem(server);
}
