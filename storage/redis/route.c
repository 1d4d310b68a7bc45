/* Which primary holds a partition, and calls on their way to it.
 *
 * When a partition moves, calls for it wait in a hold: first for the answers to
 * what was written to the server before, since some of that may come back as
 * moved, then they go to the new one in the order in which they were asked.
 * A call whose keys are on the move waits there too, and is tried again.
 *
 * ASK is followed by a call that names one key.  Scripts of a partition name two
 * (lua/partition.lua), so the server that takes a slot over refuses them, ASKING or
 * not, until it has all of it; they wait as for TRYAGAIN. */
#include "core/check.h"
#include "core/log.h"
#include "core/mem.h"
#include "storage/redis/known.h"
#include "storage/redis/redis.h"
#include "storage/redis/slots.h"

/* Between two attempts while a slot is on the move. */
#define RETRY_MS   20
/* Nobody who knows better can be asked: after so long without a link an older
 * claim is believed too. */
#define DESPAIR_MS 10000

struct route_hold {
    struct list link; /* in redis->holds */
    uint32_t partition;
    const struct link *before; /* calls written there … */
    uint64_t mark;             /* … up to this one are answered first */
    uint64_t retry_ms;
    struct list moved;     /* refused, as they were written to `before` */
    struct list unwritten; /* stood in line there */
    struct list waiting;   /* asked since */
};

static void route_on_timer(struct timer *timer)
{
    (void)timer; /* the turn that runs it is what is wanted */
}

/* --- calls ----------------------------------------------------------------------------------- */

static void hold_add(struct redis_store *redis, struct list *line, struct list *node)
{
    list_append(line, node);
    redis->held_count++;
}

static struct route_hold *hold_get(struct redis_store *redis, uint32_t partition,
                                   const struct link *before)
{
    struct redis_partition *at = &redis->partitions[partition];
    if (at->hold != NULL) return at->hold;
    struct route_hold *hold = mem_alloc(sizeof *hold);
    hold->partition = partition;
    hold->before = before;
    hold->mark = before->written;
    list_init(&hold->moved);
    list_init(&hold->unwritten);
    list_init(&hold->waiting);
    list_append(&redis->holds, &hold->link);
    at->hold = hold;
    return hold;
}

void redis_call(struct redis_store *redis, uint32_t partition, struct link_call *call)
{
    struct redis_partition *at = &redis->partitions[partition];
    struct link *link = &redis_server_of(redis, partition)->commands;
    call->route = partition + 1;
    call->limit_ms = redis_now_ms(redis) + redis->node->options.io_timeout_ms;
    if (at->hold == NULL) {
        link_call(link, call, link_due_ms(link));
    } else {
        bool has_room = redis->held_count < LINK_CALLS_MAX;
        hold_add(redis, has_room ? &at->hold->waiting : &redis->unrouted, &call->link);
    }
}

static void hold_end(struct redis_store *redis, struct list *node, enum err err)
{
    struct link_call *call = container_of(node, struct link_call, link);
    list_remove(node);
    check(redis->held_count > 0);
    redis->held_count--;
    call->on_end(call, err, NULL);
}

/* An end may append further calls to the line, which are younger. */
static void hold_expire(struct redis_store *redis, struct list *line, uint64_t now_ms)
{
    list_each (node, line) {
        if (container_of(node, struct link_call, link)->limit_ms <= now_ms)
            hold_end(redis, node, ERR_STORE_DOWN);
    }
}

static void hold_release(struct redis_store *redis, struct route_hold *hold)
{
    struct redis_partition *at = &redis->partitions[hold->partition];
    struct link *link = &at->server->commands;
    struct list *const lines[] = {&hold->moved, &hold->unwritten, &hold->waiting};
    for (uint32_t i = 0; i < array_count(lines); i++) {
        struct list *node;
        while ((node = list_take(lines[i])) != NULL) {
            struct link_call *call = container_of(node, struct link_call, link);
            redis->held_count--;
            link_call(link, call, min_u64(call->limit_ms, link_due_ms(link)));
        }
    }
    check(at->hold == hold);
    at->hold = NULL;
    list_remove(&hold->link);
    mem_free(hold);
}

static struct route_hold *hold_redirect(struct link *link, uint32_t partition,
                                        const struct reply *reply)
{
    struct redis_server *server = link->owner;
    struct redis_store *redis = server->redis;
    struct redis_place place;
    uint32_t slot;
    struct route_hold *hold = hold_get(redis, partition, link);
    route_want(redis);
    bool is_moved = slots_moved_read(reply->text, &server->place, &slot, &place) == ERR_OK;
    if (redis_server_of(redis, partition) != server) return hold; /* known by now */
    struct redis_server *to = is_moved ? server_get(redis, &place) : NULL;
    hold->retry_ms = redis_now_ms(redis) + (to == NULL || to == server ? RETRY_MS : 1);
    if (to != NULL && to != server) route_move(redis, partition, to);
    return hold;
}

/* Lets the next command of the connection touch a slot that is on its way there. */
static void asking_write(struct link_call *call, struct link *link, struct resp_out *out)
{
    (void)call, (void)link;
    resp_begin(out, 1);
    resp_text(out, "ASKING");
}

static void asking_on_end(struct link_call *call, enum err err, const struct reply *reply)
{
    (void)err, (void)reply; /* the call behind it says what became of it */
    mem_free(call);
}

/* Gives the call to the server that has its key already; false: it must wait. */
static bool route_ask(struct redis_server *from, struct link_call *call, const struct reply *reply)
{
    struct redis_store *redis = from->redis;
    struct redis_place place;
    uint32_t slot;
    if (!call->is_single || slots_ask_read(reply->text, &from->place, &slot, &place) != ERR_OK)
        return false;
    struct redis_server *to = server_get(redis, &place);
    if (to == NULL || to == from || !link_is_ready(&to->commands)) return false;
    struct link_call *asking = mem_alloc(sizeof *asking);
    asking->write = asking_write;
    asking->on_end = asking_on_end;
    uint64_t due_ms = min_u64(call->limit_ms, link_due_ms(&to->commands));
    link_call(&to->commands, asking, due_ms);
    link_call(&to->commands, call, due_ms);
    return true;
}

void route_on_elsewhere(struct link *link, struct link_call *call, const struct reply *reply)
{
    struct redis_server *server = link->owner;
    if (route_ask(server, call, reply)) return;
    struct route_hold *hold = hold_redirect(link, call->route - 1, reply);
    hold_add(server->redis, &hold->moved, &call->link);
}

void route_redirect(struct link *link, uint32_t partition, const struct reply *reply)
{
    struct route_hold *hold = hold_redirect(link, partition, reply);
    check(hold->partition == partition);
}

bool route_is_held(const struct redis_store *redis, uint32_t partition)
{
    check(partition < redis->node->options.partitions);
    return redis->partitions[partition].hold != NULL;
}

/* --- partitions ------------------------------------------------------------------------------ */

void route_move(struct redis_store *redis, uint32_t partition, struct redis_server *to)
{
    struct redis_partition *at = &redis->partitions[partition];
    struct redis_server *from = at->server;
    check(from != to && !to->is_stopped);
    hold_get(redis, partition, server_writes(from));
    at->server = to;
    at->is_arrived = true;
    from->partitions_count--;
    to->partitions_count++;
    from->is_changed = to->is_changed = true;
    list_each (node, &at->channels) {
        subscribe_queue(redis, container_of(node, struct redis_channel, link));
        to->is_resubscribing = true;
    }
}

bool route_claim(struct redis_store *redis, uint32_t partition, struct redis_server *server,
                 uint64_t epoch)
{
    struct redis_partition *at = &redis->partitions[partition];
    const struct link *link = &at->server->commands;
    if (at->server == server) {
        at->epoch = max_u64(at->epoch, epoch);
        return false;
    }
    uint64_t now_ms = redis_now_ms(redis);
    bool is_down = !link_is_ready(link);
    bool is_desperate = is_down && link->down_ms > 0 && now_ms >= link->down_ms + DESPAIR_MS;
    if (epoch < at->epoch && !is_desperate) return false;
    if (epoch == at->epoch && !is_down) return false;
    at->epoch = epoch;
    route_move(redis, partition, server);
    return true;
}

void route_want(struct redis_store *redis)
{
    switch (redis->node->options.mode) {
    case CONFIG_REDIS_STANDALONE: return;
    case CONFIG_REDIS_SENTINEL: sentinels_want(redis); return;
    case CONFIG_REDIS_CLUSTER: cluster_want(redis); return;
    }
    impossible("every mode is listed");
}

/* --- once a turn ----------------------------------------------------------------------------- */

/* Moves the calls that are not written and that `wants` names to the end of `calls`; what
 * was put back was asked first. */
static void link_withdraw(struct link *link, struct list *calls,
                          bool (*wants)(const struct link *link, const struct link_call *call))
{
    struct list *const lines[] = {&link->again, &link->waiting};
    for (uint32_t i = 0; i < array_count(lines); i++) {
        list_each (node, lines[i]) {
            if (!wants(link, container_of(node, struct link_call, link))) continue;
            list_remove(node);
            list_append(calls, node);
            link->calls_count--;
        }
    }
}

static bool is_not_here(const struct link *link, const struct link_call *call)
{
    const struct redis_server *server = link->owner;
    return call->route != 0 && redis_server_of(server->redis, call->route - 1) != server;
}

static bool is_any(const struct link *link, const struct link_call *call)
{
    return link->owner != NULL && call != NULL;
}

/* What was meant for this server and no other. */
static void server_end_bound(struct redis_server *server)
{
    struct list calls, *node;
    list_init(&calls);
    link_withdraw(&server->commands, &calls, is_any);
    if (server_writes(server) != &server->commands) link_withdraw(&server->publish, &calls, is_any);
    while ((node = list_take(&calls)) != NULL) {
        struct link_call *call = container_of(node, struct link_call, link);
        call->on_end(call, ERR_STORE_DOWN, NULL);
    }
}

/* What stood in line for a server that lost its partition. */
static void server_settle(struct redis_server *server)
{
    struct redis_store *redis = server->redis;
    struct list calls, *node;
    server->is_changed = false;
    list_init(&calls);
    link_withdraw(&server->commands, &calls, is_not_here);
    while ((node = list_take(&calls)) != NULL) {
        uint32_t partition = container_of(node, struct link_call, link)->route - 1;
        struct route_hold *hold = hold_get(redis, partition, &server->commands);
        hold_add(redis, &hold->unwritten, node);
    }
    if (server->is_stopped) {
        server_end_bound(server);
    } else {
        server_check_probe(server);
        if (link_is_ready(&server->commands)) known_vouch(server);
    }
}

/* A primary that only gave its slots away still says so to what is under way; one that
 * was replaced would acknowledge what nobody will ever see. */
static bool server_is_useless(const struct redis_server *server)
{
    uint32_t under_way = server->commands.pending_count + server->publish.pending_count;
    bool is_answering = server->is_listed && (under_way > 0 || server->flight != NULL);
    return server->partitions_count == 0 && !server->is_stopped && !is_answering;
}

void route_submit(struct redis_store *redis)
{
    struct list *node;
    uint64_t now_ms = redis_now_ms(redis);
    for (uint32_t i = 0; i < redis->servers_count; i++) {
        struct redis_server *server = redis->servers[i];
        if (server->is_changed) server_settle(server);
        if (server_is_useless(server)) server_stop(server);
        if (server->is_changed) server_settle(server);
    }
    list_each (at, &redis->holds) {
        struct route_hold *hold = container_of(at, struct route_hold, link);
        hold_expire(redis, &hold->moved, now_ms);
        hold_expire(redis, &hold->unwritten, now_ms);
        hold_expire(redis, &hold->waiting, now_ms);
        if (hold->before->ended >= hold->mark && now_ms >= hold->retry_ms)
            hold_release(redis, hold);
    }
    while ((node = redis->unrouted.next) != &redis->unrouted) hold_end(redis, node, ERR_BACKLOG);
    if (!list_is_empty(&redis->holds))
        wheel_arm(redis->store.env.wheel, &redis->route_timer, now_ms + 1, route_on_timer);
}

/* --- life ------------------------------------------------------------------------------------ */

void route_start(struct redis_store *redis)
{
    const struct redis_node *node = redis->node;
    struct redis_server *server = server_get(redis, &node->place);
    list_init(&redis->holds);
    list_init(&redis->unrouted);
    redis->root = server;
    server->is_listed = true;
    server->partitions_count = node->options.partitions;
    for (uint32_t i = 0; i < node->options.partitions; i++) {
        redis->partitions[i].server = server;
        redis->partitions[i].epoch = node->epoch;
    }
    server_check_probe(server);
    if (node->options.mode == CONFIG_REDIS_SENTINEL) sentinels_start(redis);
    if (node->options.mode == CONFIG_REDIS_CLUSTER) cluster_start(redis);
}

void route_fini(struct redis_store *redis)
{
    struct list *node;
    while (!list_is_empty(&redis->holds)) {
        struct route_hold *hold = container_of(redis->holds.next, struct route_hold, link);
        hold_expire(redis, &hold->moved, UINT64_MAX);
        hold_expire(redis, &hold->unwritten, UINT64_MAX);
        while ((node = hold->waiting.next) != &hold->waiting) hold_end(redis, node, ERR_STORE_DOWN);
        hold_release(redis, hold);
    }
    while ((node = redis->unrouted.next) != &redis->unrouted) hold_end(redis, node, ERR_BACKLOG);
    wheel_disarm(redis->store.env.wheel, &redis->route_timer);
    sentinels_fini(redis);
    cluster_fini(redis);
}
