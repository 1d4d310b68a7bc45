/*
 * redis_nodes: two nodes of one shard each over one Redis, stepped by one thread,
 * and a load of numbered publications with keys.  Every failure is tried again
 * with the same key; in the end each node must have heard every number exactly
 * once, in the order of gapless offsets (check_exactly_once).
 *
 * Thread:  one.
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/hash.h"
#include "core/loop.h"
#include "core/mem.h"
#include "storage/store.h"
#include "unit/storage/redis_world.h"

#define NODES       2
#define ROOMS       6
#define NUMBERS_MAX 4096
#define ASKS_MAX    32
#define DAY_MS      86400000u

struct node {
    struct config config;
    struct workers *workers;
    struct store_node *node;
    struct loop *loop;
    struct inbox inbox;
    struct wheel wheel;
    struct clock clock;
    int64_t wall_skew_ms; /* how wrong the clock of its machine is */
    struct rng rng;
    struct metrics metrics;
    struct store *store;
};

struct room {
    struct store_channel channel; /* first */
    struct node *node;
    char name[32];
    struct store_open open;
    bool is_opened;
    enum err err;
    uint32_t lost;
    uint32_t live;
    uint32_t count;                /* publications with an offset since the last loss */
    uint32_t numbers[NUMBERS_MAX]; /* by offset: the number that it carried; 0: deleted */
    uint32_t members_count;
    uint32_t cursors;
    uint64_t cursor;
    uint64_t removed;
    uint64_t policy;
};

/* One publication that is asked for until it is answered OK. */
struct ask {
    struct store_append op; /* first */
    struct world *world;
    struct room *room;
    uint32_t number;
    char key[32], data[32];
    bool is_busy;
    uint32_t retries;
};

struct world {
    struct redis_world redis;
    struct redis_world replica; /* with wait_replicas */
    struct node nodes[NODES];
    struct room rooms[NODES][ROOMS];
    struct ask asks[ASKS_MAX];
    uint32_t next_number, numbers_max;
    uint32_t answered, unknown, down, repeats;
    uint64_t offsets[NUMBERS_MAX]; /* by number: the offset that was acknowledged */
    uint32_t room_of[NUMBERS_MAX];
};

/* --- one node ------------------------------------------------------------------------------ */

static inline void on_publication(void *context, struct store_channel *channel,
                                  const struct publication *publication)
{
    struct room *room = (struct room *)channel;
    uint64_t number = 0;
    assert_ptr_equal(context, room->node);
    assert_true(publication->is_deleted || bytes_to_u64(publication->data, &number));
    assert_true(number < NUMBERS_MAX);
    if (publication->offset == 0) {
        room->live++;
        return;
    }
    assert_int_equal(channel->head, publication->offset);
    assert_true(publication->offset < NUMBERS_MAX);
    room->count++;
    room->numbers[publication->offset] = (uint32_t)number;
}

static inline void on_members(void *context, struct store_channel *channel,
                              const struct members_change *change)
{
    struct room *room = (struct room *)channel;
    assert_ptr_equal(context, room->node);
    for (uint32_t i = 0; i < change->count; i++) assert_true(change->list[i].user.size > 0);
    assert_true(change->kind == MEMBERS_SET || change->kind == MEMBERS_STATE);
    room->members_count = change->count;
    for (uint32_t i = 0; change->kind == MEMBERS_STATE && i < change->count; i++) {
        if (!bytes_equal_text(change->list[i].user, "ann")) continue;
        room->cursors++;
        room->cursor = max_u64(room->cursor, change->list[i].read);
    }
}

static inline void on_cursor(void *context, struct store_channel *channel,
                             const struct store_cursor *cursor)
{
    struct room *room = (struct room *)channel;
    assert_ptr_equal(context, room->node);
    assert_true(mark_is_of_channel(cursor->mark) == (cursor->user.size == 0));
    if (cursor->mark == CURSOR_POLICY) room->policy = cursor->offset;
    if (cursor->user.size == 0) return;
    room->cursors++;
    if (bytes_equal_text(cursor->user, "ann")) room->cursor = max_u64(room->cursor, cursor->offset);
}

static inline void on_removed(void *context, struct store_channel *channel, uint64_t offset)
{
    (void)context;
    check(offset <= channel->head);
    container_of(channel, struct room, channel)->removed = offset;
}

static inline void on_lost(void *context, struct store_channel *channel)
{
    struct room *room = (struct room *)channel;
    assert_ptr_equal(context, room->node);
    room->lost++;
    room->count = (uint32_t)channel->head;
}

static inline enum err node_open(struct node *node, const struct redis_world *redis)
{
    node->config.storage_dedup_horizon_ms = DAY_MS;
    redis_configure(redis, &node->config);
    node->config.redis_io_timeout_ms = max_u64(1000, node->config.redis_wait_timeout_ms + 100);
    node->workers = workers_create();
    enum err err = store_node_open(&node->config, node->workers, 1, &node->node);
    if (err != ERR_OK) workers_destroy(node->workers);
    return err;
}

static inline void node_start(struct node *node, const struct redis_world *redis, uint32_t seed)
{
    struct loop_options options = {.socks_max = 64,
                                   .recv_buffers = 64,
                                   .recv_buffer_size = 4096,
                                   .sq_entries = 64,
                                   .cq_entries = 256};
    assert_int_equal(node_open(node, redis), ERR_OK);
    assert_int_equal(loop_create(&options, &node->loop), ERR_OK);
    loop_start(node->loop);
    inbox_init(&node->inbox, node->loop);
    clock_turn(&node->clock);
    wheel_init(&node->wheel, clock_turn_ms(&node->clock));
    rng_seed(&node->rng, seed);
    struct store_env env = {.shards_count = 1,
                            .loop = node->loop,
                            .inbox = &node->inbox,
                            .wheel = &node->wheel,
                            .clock = &node->clock,
                            .rng = &node->rng,
                            .metrics = &node->metrics,
                            .workers = node->workers,
                            .config = &node->config,
                            .sink = {.context = node,
                                     .on_publication = on_publication,
                                     .on_members = on_members,
                                     .on_cursor = on_cursor,
                                     .on_removed = on_removed,
                                     .on_lost = on_lost}};
    node->store = store_attach(node->node, &env);
    assert_non_null(node->store);
}

static inline void node_stop(struct node *node)
{
    store_detach(node->store);
    store_node_close(node->node);
    workers_destroy(node->workers);
    inbox_fini(&node->inbox);
    loop_destroy(node->loop);
}

static inline void node_turn(struct node *node, uint64_t wait_ms)
{
    loop_enter(node->loop, wait_ms == 0 ? 0 : clock_turn_ms(&node->clock) + wait_ms);
    clock_turn(&node->clock);
    node->clock.wall_ms = (uint64_t)((int64_t)node->clock.wall_ms + node->wall_skew_ms);
    loop_run(node->loop);
    wheel_run(&node->wheel, clock_turn_ms(&node->clock), 1024);
    store_submit(node->store);
}

/* --- the world ------------------------------------------------------------------------------ */

static inline void world_turn(struct world *world)
{
    for (uint32_t i = 0; i < NODES; i++) node_turn(&world->nodes[i], i == 0);
}

#define turn_until(world, fact)                                                                    \
    do {                                                                                           \
        uint64_t until_ns_ = clock_mono_ns() + 60000000000u;                                       \
        while (!(fact)) {                                                                          \
            world_turn(world);                                                                     \
            if (clock_mono_ns() > until_ns_) fail_msg("never came true: %s", #fact);               \
        }                                                                                          \
    } while (0)

static inline void turn_for(struct world *world, uint64_t ms)
{
    uint64_t until_ns = clock_mono_ns() + ms * 1000000u;
    while (clock_mono_ns() < until_ns) world_turn(world);
}

static inline void room_on_opened(struct store_open *op, enum err err,
                                  const struct store_snapshot *snapshot)
{
    struct room *room = container_of(op, struct room, open);
    room->is_opened = true;
    room->err = err;
    if (err != ERR_OK) return;
    room->members_count = snapshot->members_count;
    room->policy = snapshot->policy;
    room->count = (uint32_t)room->channel.head;
    for (uint32_t i = 0; i < snapshot->publications_count; i++) {
        uint64_t number = 0;
        bool is_deleted = snapshot->publications[i].is_deleted;
        assert_true(is_deleted || bytes_to_u64(snapshot->publications[i].data, &number));
        room->numbers[snapshot->publications[i].offset] = (uint32_t)number;
    }
}

static inline enum err room_open(struct world *world, struct node *node, struct room *room,
                                 const char *name, uint32_t size)
{
    room->node = node;
    snprintf(room->name, sizeof room->name, "%s", name);
    room->channel.name = bytes_of_text(room->name);
    room->channel.history = (struct history_rule){size, DAY_MS};
    room->open = (struct store_open){
        .channel = &room->channel, .window_max = NUMBERS_MAX, .on_opened = room_on_opened};
    room->is_opened = false;
    store_open(node->store, &room->open);
    turn_until(world, room->is_opened);
    return room->err;
}

/* Nodes that come to `redis` as it says; `configure`: more options of each, or NULL. */
static inline struct world *world_begin_on(const struct redis_world *redis,
                                           void (*configure)(struct config *config))
{
    struct world *world = mem_alloc(sizeof *world);
    world->redis = *redis;
    for (uint32_t n = 0; n < NODES && configure != NULL; n++) configure(&world->nodes[n].config);
    for (uint32_t n = 0; n < NODES; n++) node_start(&world->nodes[n], &world->redis, 7 + n);
    for (uint32_t n = 0; n < NODES; n++) {
        for (uint32_t r = 0; r < ROOMS; r++) {
            char name[32];
            snprintf(name, sizeof name, "room:%u", r);
            assert_int_equal(
                room_open(world, &world->nodes[n], &world->rooms[n][r], name, NUMBERS_MAX), ERR_OK);
        }
    }
    return world;
}

/* The same on a server of its own, with a replica when that is waited for. */
static inline struct world *world_begin_as(const struct redis_world *options,
                                           void (*configure)(struct config *config))
{
    struct redis_world redis, replica = {0};
    redis_begin_with(&redis, options);
    if (redis.wait_replicas > 0) redis_begin_replica(&replica, &redis);
    struct world *world = world_begin_on(&redis, configure);
    world->replica = replica;
    return world;
}

/* As a user with no more rights than it takes. */
static inline struct world *world_begin_with(void (*configure)(struct config *config))
{
    struct redis_world redis = {.acl = REDIS_RIGHTS, .user = "sluice", .user_password = "secret"};
    return world_begin_as(&redis, configure);
}

static inline struct world *world_begin_waiting(uint32_t wait_replicas, uint64_t timeout_ms)
{
    return world_begin_as(
        &(struct redis_world){.wait_replicas = wait_replicas, .wait_timeout_ms = timeout_ms}, NULL);
}

static inline struct world *world_begin(void)
{
    return world_begin_as(&(struct redis_world){0}, NULL);
}

static inline bool world_is_idle(const struct world *world)
{
    for (uint32_t n = 0; n < NODES; n++) {
        if (store_pending(world->nodes[n].store) > 0) return false;
    }
    return true;
}

/* Leaves Redis alone. */
static inline void world_end_nodes(struct world *world)
{
    turn_until(world, world_is_idle(world));
    for (uint32_t n = 0; n < NODES; n++) {
        for (uint32_t r = 0; r < ROOMS; r++)
            store_close(world->nodes[n].store, &world->rooms[n][r].channel);
        node_stop(&world->nodes[n]);
    }
    mem_free(world);
}

static inline void world_end(struct world *world)
{
    struct redis_world redis = world->redis, replica = world->replica;
    world_end_nodes(world);
    if (replica.port != 0) redis_end(&replica);
    redis_end(&redis);
}

/* --- the load ------------------------------------------------------------------------------- */

static inline void ask_send(struct ask *ask);

static inline void ask_on_appended(struct store_append *op, enum err err, uint64_t offset,
                                   bool is_repeat)
{
    struct ask *ask = (struct ask *)op;
    struct world *world = ask->world;
    if (err == ERR_STORE_UNKNOWN) world->unknown++;
    if (err == ERR_STORE_DOWN) world->down++;
    ask->is_busy = false;
    if (err != ERR_OK) return;
    assert_true(offset > 0 && offset < NUMBERS_MAX);
    world->offsets[ask->number] = offset;
    world->answered++;
    world->repeats += is_repeat;
    ask->number = 0;
}

static inline void ask_send(struct ask *ask)
{
    ask->is_busy = true;
    ask->op = (struct store_append){.channel = &ask->room->channel,
                                    .type = RECORD_PUBLICATION,
                                    .publication = {.data = bytes_of_text(ask->data)},
                                    .scope = BYTES_LITERAL("api"),
                                    .key = bytes_of_text(ask->key),
                                    .on_appended = ask_on_appended};
    store_append(ask->room->node->store, &ask->op);
}

/* Gives the ask the next number, beginning at 1, for `room`. */
static inline void ask_number(struct world *world, struct ask *ask, struct room *room)
{
    uint32_t number = ++world->next_number;
    ask->world = world;
    ask->number = number;
    ask->room = room;
    world->room_of[number] = (uint32_t)(room - world->rooms[room->node - world->nodes]);
    snprintf(ask->key, sizeof ask->key, "key-%u", number);
    snprintf(ask->data, sizeof ask->data, "%u", number);
}

/* Each number goes to some room, by some node. */
static inline void ask_begin(struct world *world, struct ask *ask)
{
    uint32_t number = world->next_number + 1;
    ask_number(world, ask, &world->rooms[number % 3 % NODES][number * 7 % ROOMS]);
    ask_send(ask);
}

/* One step of the load; at most `most` under way. */
static inline void load_turn(struct world *world, uint32_t most)
{
    for (uint32_t i = 0; i < most; i++) {
        struct ask *ask = &world->asks[i];
        if (ask->is_busy) continue;
        if (ask->number != 0) {
            ask_send(ask); /* again, with the same key */
        } else if (world->next_number < world->numbers_max) {
            ask_begin(world, ask);
        }
    }
    world_turn(world);
}

/* Presses up to `numbers` more in, calling `trouble` in the middle. */
static inline void load(struct world *world, uint32_t numbers, void (*trouble)(struct world *))
{
    uint32_t before = world->answered;
    uint64_t until_ns = clock_mono_ns() + 60000000000u;
    world->numbers_max = world->next_number + numbers;
    assert_true(world->numbers_max < NUMBERS_MAX);
    bool is_done = trouble == NULL;
    while (world->answered < before + numbers) {
        load_turn(world, ASKS_MAX);
        if (!is_done && world->answered >= before + numbers / 2) {
            trouble(world);
            is_done = true;
        }
        if (clock_mono_ns() > until_ns)
            fail_msg("only %u of %u were answered", world->answered - before, numbers);
    }
}

static inline uint64_t head_of(const struct world *world, uint32_t room)
{
    uint64_t head = 0;
    for (uint32_t i = 1; i <= world->next_number; i++)
        if (world->room_of[i] == room) head = max_u64(head, world->offsets[i]);
    return head;
}

static inline bool everything_is_heard(const struct world *world)
{
    for (uint32_t n = 0; n < NODES; n++) {
        for (uint32_t r = 0; r < ROOMS; r++)
            if (world->rooms[n][r].channel.head < head_of(world, r)) return false;
    }
    return true;
}

/* Every number stands exactly once, at the offset that was acknowledged. */
static inline void check_exactly_once(struct world *world)
{
    turn_until(world, everything_is_heard(world));
    uint32_t total = 0;
    for (uint32_t r = 0; r < ROOMS; r++) {
        uint64_t head = head_of(world, r);
        total += (uint32_t)head;
        for (uint32_t n = 0; n < NODES; n++) {
            const struct room *room = &world->rooms[n][r];
            assert_int_equal(room->lost, 0);
            assert_int_equal(room->channel.head, head);
            assert_int_equal(room->count, head);
            for (uint64_t offset = 1; offset <= head; offset++) {
                uint32_t number = room->numbers[offset];
                assert_int_equal(world->offsets[number], offset);
                assert_int_equal(world->room_of[number], r);
            }
        }
    }
    assert_int_equal(total, world->next_number);
}
