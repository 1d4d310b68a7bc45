/*
 * store_world: a node with a store and its shards, driven by one thread.
 *
 * Each shard has a real loop, inbox, wheel and clock; world_turn runs one turn
 * of every shard.  A `thing` is a channel with what came out of its feed, checked as it
 * comes: offsets gapless, head moved before, nothing while closed.
 *
 * Thread:  one.
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/hash.h"
#include "core/loop.h"
#include "core/mem.h"
#include "storage/members.h"

#define WORLD_SHARDS_MAX 4
#define WORLD_WAIT_MS    20000

struct world;

struct world_shard {
    struct world *world;
    struct loop *loop;
    struct inbox inbox;
    struct wheel wheel;
    struct clock clock;
    struct rng rng;
    struct metrics metrics;
    struct store *store;
};

struct world {
    struct config config;
    struct workers *workers;
    struct store_node *node;
    struct world_shard shards[WORLD_SHARDS_MAX];
    uint32_t shards_count;
    bool is_calling;   /* inside a call of the store: no callback may run */
    uint64_t ahead_ms; /* how far the shards' clocks run before ours */
};

/* One publication as a test keeps it. */
struct heard {
    uint64_t offset, time_ms;
    char data[64]; /* the first bytes */
    size_t size;
};

struct heard_list {
    struct heard *items;
    uint32_t count;
};

struct thing {
    struct store_channel channel; /* first */
    struct world_shard *shard;
    char name[64];
    bool is_open;
    struct heard_list feed, answer; /* answer: of the last open or read */
    uint32_t members_count;         /* of the last snapshot or member record */
    struct {
        char user[32];
        uint64_t joined, read;
    } members[64];
    struct members people; /* from the last snapshot on, moved by the feed */
    uint32_t cursors_heard;
    uint64_t cursor_last;
    uint64_t removed; /* the last removal, from the last snapshot on */
    enum err err;
    bool is_done;
    struct store_open open;
    struct store_read read;
};

struct append {
    struct store_append op; /* first */
    struct world *world;
    bool is_done;
    enum err err;
    uint64_t offset;
    bool is_repeat;
};

static inline void heard_add(struct heard_list *list, const struct publication *publication)
{
    if ((list->count & (list->count - 1)) == 0) {
        size_t room = list->count == 0 ? 1 : list->count * 2u;
        list->items = mem_resize(list->items, room * sizeof *list->items);
    }
    struct heard *heard = &list->items[list->count++];
    *heard = (struct heard){.offset = publication->offset,
                            .time_ms = publication->time_ms,
                            .size = publication->data.size};
    size_t size = min_u64(publication->data.size, sizeof heard->data - 1);
    if (size > 0) memcpy(heard->data, publication->data.at, size);
}

static inline void heard_clear(struct heard_list *list)
{
    mem_free(list->items);
    *list = (struct heard_list){0};
}

static inline void world_on_publication(void *context, struct store_channel *channel,
                                        const struct publication *publication)
{
    struct world_shard *shard = context;
    struct thing *thing = (struct thing *)channel;
    check(!shard->world->is_calling && thing->is_open && thing->shard == shard);
    if (publication->offset > 0) check(channel->head == publication->offset);
    for (uint32_t i = thing->feed.count; publication->offset > 0 && i > 0; i--) {
        if (thing->feed.items[i - 1].offset == 0) continue;
        check(thing->feed.items[i - 1].offset + 1 == publication->offset);
        break;
    }
    members_move(&thing->people, publication_mover(publication), CURSOR_READ, publication->offset,
                 publication->offset);
    heard_add(&thing->feed, publication);
}

static inline void thing_note(struct thing *thing, const struct store_member *list, uint32_t count)
{
    thing->members_count = count;
    for (uint32_t i = 0; i < count && i < array_count(thing->members); i++) {
        snprintf(thing->members[i].user, sizeof thing->members[i].user, "%.*s",
                 (int)list[i].user.size, (const char *)list[i].user.at);
        thing->members[i].joined = list[i].joined;
        thing->members[i].read = list[i].read;
    }
}

static inline void world_on_members(void *context, struct store_channel *channel,
                                    const struct members_change *change)
{
    struct thing *thing = (struct thing *)channel;
    check(thing->shard == context && thing->is_open);
    members_apply(&thing->people, change);
    thing_note(thing, change->list, change->count);
}

static inline void world_on_cursor(void *context, struct store_channel *channel,
                                   const struct store_cursor *cursor)
{
    struct thing *thing = (struct thing *)channel;
    check(thing->shard == context && thing->is_open && cursor->time_ms > 0);
    check(mark_is_of_channel(cursor->mark) == (cursor->user.size == 0));
    check(cursor->mark > CURSOR_DELIVERED || cursor->offset <= channel->head);
    members_move(&thing->people, cursor->user, cursor->mark, cursor->offset, channel->head);
    thing->cursors_heard++;
    thing->cursor_last = cursor->offset;
}

static inline void world_on_removed(void *context, struct store_channel *channel, uint64_t offset)
{
    struct thing *thing = (struct thing *)channel;
    check(thing->shard == context && thing->is_open && offset <= channel->head);
    thing->removed = offset;
}

static inline void world_on_lost(void *context, struct store_channel *channel)
{
    (void)context, (void)channel;
    fail_msg("nothing was lost");
}

static inline void world_turn(struct world *world)
{
    for (uint32_t i = 0; i < world->shards_count; i++) {
        struct world_shard *shard = &world->shards[i];
        bool is_alone = world->shards_count == 1 && world->ahead_ms == 0;
        loop_enter(shard->loop, is_alone ? clock_turn_ms(&shard->clock) + 1 : 0);
        if (world->ahead_ms > 0) shard->clock.mono_ns = 0;
        clock_turn(&shard->clock);
        shard->clock.mono_ns += world->ahead_ms * 1000000u;
        loop_run(shard->loop);
        inbox_read(&shard->inbox, shard);
        wheel_run(&shard->wheel, clock_turn_ms(&shard->clock), 1024);
        store_submit(shard->store);
    }
}

/* Runs turns until `is_done`; false when nothing came in time. */
static inline bool world_wait(struct world *world, const bool *is_done)
{
    uint64_t end_ns = clock_mono_ns() + WORLD_WAIT_MS * 1000000ull;
    while (!*is_done && clock_mono_ns() < end_ns) world_turn(world);
    return *is_done;
}

static inline void world_config(struct world *world, uint32_t engine, const char *path)
{
    *world = (struct world){0};
    world->config.storage_engine = engine;
    world->config.storage_path = path;
    world->config.storage_durability = CONFIG_DURABLE;
    world->config.storage_index_lag_max_bytes = 256u << 20;
    world->config.storage_window_size = 1000;
    world->config.storage_dedup_horizon_ms = 86400000;
    world->config.storage_dedup_keys_max = 100000;
    world->config.channel_history_meta_ttl_ms = 86400000;
    world->config.without_namespace.history_meta_ttl_ms = 86400000;
    world->config.redis_address = "";
}

static inline enum err world_start(struct world *world, uint32_t shards_count)
{
    world->shards_count = shards_count;
    world->workers = workers_create();
    enum err err = store_node_open(&world->config, world->workers, shards_count, &world->node);
    if (err != ERR_OK) {
        workers_destroy(world->workers);
        world->workers = NULL;
        return err;
    }
    for (uint32_t i = 0; i < shards_count; i++) {
        struct world_shard *shard = &world->shards[i];
        *shard = (struct world_shard){.world = world};
        struct loop_options options = {.socks_max = 16,
                                       .recv_buffers = 16,
                                       .recv_buffer_size = 4096,
                                       .sq_entries = 64,
                                       .cq_entries = 256};
        err = loop_create(&options, &shard->loop);
        check(err == ERR_OK);
        loop_start(shard->loop);
        inbox_init(&shard->inbox, shard->loop);
        clock_turn(&shard->clock);
        wheel_init(&shard->wheel, clock_turn_ms(&shard->clock));
        rng_seed(&shard->rng, 1 + i);
        struct store_env env = {.shard = i,
                                .shards_count = shards_count,
                                .loop = shard->loop,
                                .inbox = &shard->inbox,
                                .wheel = &shard->wheel,
                                .clock = &shard->clock,
                                .rng = &shard->rng,
                                .metrics = &shard->metrics,
                                .workers = world->workers,
                                .config = &world->config,
                                .sink = {.context = shard,
                                         .on_publication = world_on_publication,
                                         .on_members = world_on_members,
                                         .on_cursor = world_on_cursor,
                                         .on_removed = world_on_removed,
                                         .on_lost = world_on_lost}};
        shard->store = store_attach(world->node, &env);
        check(shard->store != NULL);
    }
    return ERR_OK;
}

static inline bool world_is_idle(const struct world *world)
{
    for (uint32_t i = 0; i < world->shards_count; i++)
        if (store_pending(world->shards[i].store) > 0) return false;
    return true;
}

static inline void world_settle(struct world *world)
{
    uint64_t end_ns = clock_mono_ns() + WORLD_WAIT_MS * 1000000ull;
    while (!world_is_idle(world) && clock_mono_ns() < end_ns) world_turn(world);
    check(world_is_idle(world));
}

static inline void world_stop(struct world *world)
{
    world_settle(world);
    for (uint32_t i = 0; i < world->shards_count; i++) store_detach(world->shards[i].store);
    store_node_close(world->node);
    workers_destroy(world->workers);
    for (uint32_t i = 0; i < world->shards_count; i++) {
        inbox_fini(&world->shards[i].inbox);
        loop_destroy(world->shards[i].loop);
    }
    world->shards_count = 0;
}

static inline void thing_on_opened(struct store_open *op, enum err err,
                                   const struct store_snapshot *snapshot)
{
    struct thing *thing = container_of(op, struct thing, open);
    check(!thing->shard->world->is_calling);
    thing->err = err;
    thing->is_done = true;
    if (err != ERR_OK) return;
    thing->removed = snapshot->removed;
    for (uint32_t i = 0, count = snapshot->publications_count; i < count; i++) {
        heard_add(&thing->answer, &snapshot->publications[i]);
        check(snapshot->publications[i].offset + count == op->channel->head + 1 + i);
    }
    members_fini(&thing->people);
    members_init(&thing->people, 1);
    for (uint32_t i = 0; i < snapshot->members_count; i++)
        members_load(&thing->people, &snapshot->members[i]);
    thing->people.policy = snapshot->policy;
    thing_note(thing, snapshot->members, snapshot->members_count);
}

static inline void thing_init(struct thing *thing, const char *name, uint32_t size, uint64_t ttl_ms)
{
    *thing = (struct thing){0};
    snprintf(thing->name, sizeof thing->name, "%s", name);
    thing->channel.history = (struct history_rule){size, ttl_ms};
}

static inline void thing_fini(struct thing *thing)
{
    heard_clear(&thing->feed);
    heard_clear(&thing->answer);
    members_fini(&thing->people);
}

static inline void thing_ask_open(struct world *world, struct thing *thing, uint32_t window_max)
{
    thing->channel.name = bytes_of_text(thing->name);
    uint32_t shard = hash_jump(hash_bytes(thing->channel.name, 0), world->shards_count);
    thing->shard = &world->shards[shard];
    heard_clear(&thing->answer);
    heard_clear(&thing->feed);
    thing->is_done = false;
    thing->is_open = true;
    thing->open = (struct store_open){
        .channel = &thing->channel, .window_max = window_max, .on_opened = thing_on_opened};
    world->is_calling = true;
    store_open(thing->shard->store, &thing->open);
    world->is_calling = false;
}

static inline void thing_open(struct world *world, struct thing *thing, uint32_t window_max)
{
    thing_ask_open(world, thing, window_max);
    assert_true(world_wait(world, &thing->is_done));
    assert_int_equal(thing->err, ERR_OK);
    assert_true(strlen(thing->channel.epoch) >= 4);
}

static inline void thing_close(struct thing *thing)
{
    world_settle(thing->shard->world);
    thing->is_open = false;
    store_close(thing->shard->store, &thing->channel);
}

static inline void append_on_appended(struct store_append *op, enum err err, uint64_t offset,
                                      bool is_repeat)
{
    struct append *append = (struct append *)op;
    check(!append->world->is_calling && !append->is_done);
    append->is_done = true;
    append->err = err;
    append->offset = offset;
    append->is_repeat = is_repeat;
}

static inline void thing_append(struct thing *thing, struct append *append)
{
    append->world = thing->shard->world;
    append->is_done = false;
    append->op.channel = &thing->channel;
    append->op.on_appended = append_on_appended;
    append->world->is_calling = true;
    store_append(thing->shard->store, &append->op);
    append->world->is_calling = false;
}
/* Asks to publish; `key` may be NULL. */
static inline void thing_ask(struct thing *thing, struct append *append, const char *key,
                             const char *data)
{
    *append = (struct append){0};
    append->op.type = RECORD_PUBLICATION;
    append->op.publication.data = bytes_of_text(data);
    append->op.scope = BYTES_LITERAL("api");
    append->op.key = bytes_of_text(key);
    thing_append(thing, append);
}
/* Publishes and waits; the offset. */
static inline uint64_t thing_publish(struct thing *thing, const char *key, const char *data)
{
    struct append append;
    thing_ask(thing, &append, key, data);
    assert_true(world_wait(append.world, &append.is_done));
    assert_int_equal(append.err, ERR_OK);
    return append.offset;
}
/* The feed has brought `count` publications; it may follow the answers later. */
static inline void thing_hear(struct thing *thing, uint32_t count)
{
    uint64_t end_ns = clock_mono_ns() + WORLD_WAIT_MS * 1000000ull;
    while (thing->feed.count < count && clock_mono_ns() < end_ns) world_turn(thing->shard->world);
    assert_int_equal(thing->feed.count, count);
}

static inline void thing_members(struct thing *thing, const char *const *users, uint32_t count)
{
    struct bytes list[64];
    for (uint32_t i = 0; i < count; i++) list[i] = bytes_of_text(users[i]);
    struct append append = {0};
    append.op.type = RECORD_MEMBERS;
    append.op.members = (struct members_ask){.users = list, .count = count};
    thing_append(thing, &append);
    memset(list, 0, sizeof list); /* what was lent is ours again */
    assert_true(world_wait(append.world, &append.is_done));
    assert_int_equal(append.err, ERR_OK);
}

static inline uint64_t thing_remove(struct thing *thing)
{
    struct append append = {0};
    append.op.type = RECORD_REMOVE;
    thing_append(thing, &append);
    assert_true(world_wait(append.world, &append.is_done));
    assert_int_equal(append.err, ERR_OK);
    for (uint64_t end_ns = clock_mono_ns() + WORLD_WAIT_MS * 1000000ull;
         thing->removed < append.offset && clock_mono_ns() < end_ns;)
        world_turn(thing->shard->world);
    assert_int_equal(thing->removed, append.offset);
    return append.offset;
}

static inline void thing_cursor(struct thing *thing, const char *user, uint64_t offset)
{
    struct append append = {0};
    append.op.type = RECORD_CURSOR;
    append.op.user = bytes_of_text(user);
    append.op.offset = offset;
    thing_append(thing, &append);
    assert_true(world_wait(append.world, &append.is_done));
    assert_int_equal(append.err, ERR_OK);
}
static inline void thing_on_read(struct store_read *op, enum err err,
                                 const struct publication *publications, uint32_t count)
{
    struct thing *thing = container_of(op, struct thing, read);
    check(!thing->shard->world->is_calling);
    thing->err = err;
    thing->is_done = true;
    for (uint32_t i = 0; i < count; i++) heard_add(&thing->answer, &publications[i]);
}

static inline void thing_read(struct thing *thing, uint64_t since, uint32_t limit, bool is_reverse)
{
    struct world *world = thing->shard->world;
    heard_clear(&thing->answer);
    thing->is_done = false;
    thing->read = (struct store_read){.channel = &thing->channel,
                                      .since = since,
                                      .limit = limit,
                                      .is_reverse = is_reverse,
                                      .on_read = thing_on_read};
    world->is_calling = true;
    store_read(thing->shard->store, &thing->read);
    world->is_calling = false;
    assert_true(world_wait(world, &thing->is_done));
    assert_int_equal(thing->err, ERR_OK);
}
/* The member's cursor in the last snapshot, UINT64_MAX when not a member. */
static inline uint64_t thing_cursor_of(const struct thing *thing, const char *user,
                                       uint64_t *joined)
{
    for (uint32_t i = 0; i < thing->members_count; i++) {
        if (strcmp(thing->members[i].user, user) != 0) continue;
        if (joined != NULL) *joined = thing->members[i].joined;
        return thing->members[i].read;
    }
    return UINT64_MAX;
}
/* The answer is "m<first>" … "m<last>", up or down. */
static inline void assert_answer(const struct thing *thing, uint64_t first, uint64_t last)
{
    uint64_t count = first <= last ? last - first + 1 : first - last + 1;
    assert_int_equal(thing->answer.count, count);
    for (uint64_t i = 0; i < count; i++) {
        uint64_t offset = first <= last ? first + i : first - i;
        char data[16];
        snprintf(data, sizeof data, "m%d", (int)offset);
        assert_int_equal(thing->answer.items[i].offset, offset);
        assert_string_equal(thing->answer.items[i].data, data);
    }
}

static inline void publish_many(struct thing *thing, uint64_t first, uint64_t last)
{
    for (uint64_t i = first; i <= last; i++) {
        char data[16];
        snprintf(data, sizeof data, "m%d", (int)i);
        assert_int_equal(thing_publish(thing, NULL, data), i);
    }
}
