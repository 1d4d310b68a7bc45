/*
 * sub_world: one connection's subscriptions against real homes (small_node.h).  Sends
 * never leave: the test reads what is queued.
 *
 * Thread:  one.
 */
#pragma once

#include "shards/cmd/connecting.h"
#include "shards/cmd/subscription.h"
#include "shards/conn/conn_out.c" /* the queue's links */
#include "tests/unit/shards/small_node.h"

#define SAID_MAX 32

struct world {
    struct small *small;
    struct shard *shard;
    struct conn *conn;
    char said[SAID_MAX][512]; /* pushes and replies, in order */
    uint32_t said_count;
    uint32_t served_count; /* on_served came */
    enum err served_err;
    uint32_t served_sub;
    uint32_t credits; /* taken away, of both homes */
};

static inline void world_open(struct world *world, const char *options)
{
    memset(world, 0, sizeof *world);
    world->small = malloc(sizeof *world->small);
    small_init(world->small, options);
    struct shard *shard = world->shard = world->small->shards[0];
    slab_init(&shard->conns, "conn", sizeof(struct conn), 4);
    slab_init(&shard->subs, "sub", sizeof(struct sub), 64);
    slab_init(&shard->out_chunks, "out_chunk", OUT_CHUNK_SIZE, 64);
    hub_init(&shard->hub, 1, 64, SMALL_SHARDS);
    list_init(&shard->sub_waiting);
    for (size_t i = 0; i < array_count(shard->ping_wheel); i++) shard->ping_wheel[i] = UINT32_MAX;
    struct conn *conn = world->conn = slab_get(&shard->conns, NULL);
    conn->subs_first = conn->due_next = conn->due_prev = UINT32_MAX;
    conn->state = CONN_WS;
    conn_set_user(shard, conn, BYTES_LITERAL("u"), BYTES_NONE);
}

/* The messages of one frame of the queue: small ones share it. */
static inline void hear(struct world *world, const struct frame *frame)
{
    for (uint32_t at = 0; at < frame->size;) {
        const uint8_t *head = frame->bytes + at;
        uint32_t skip = head[1] < 126 ? 2 : 4;
        uint32_t size = head[1] < 126 ? head[1] : (uint32_t)head[2] << 8 | head[3];
        assert_true(world->said_count < SAID_MAX);
        char *said = world->said[world->said_count++];
        uint32_t kept = min_u32(size, sizeof world->said[0] - 1);
        memcpy(said, head + skip, kept);
        said[kept] = '\0';
        at += skip + size;
    }
}

/* What is queued by now, taken off the connection. */
static inline void world_listen(struct world *world)
{
    bool is_lone = world->conn->flags & CONN_LONE;
    if (is_lone) hear(world, world->conn->out_lone);
    struct out_chunk *first = is_lone ? NULL : world->conn->out_first;
    for (const struct out_chunk *chunk = first; chunk != NULL; chunk = chunk->next)
        for (uint32_t i = 0; i < chunk->count; i++) hear(world, chunk->frames[chunk->first + i]);
    conn_drop_output(world->shard, world->conn, false);
}

static inline void world_run(struct world *world)
{
    small_run(world->small);
    world_listen(world);
}

/* How often the client was told something with `text` in it. */
static inline uint32_t said(const struct world *world, const char *text)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < world->said_count; i++) count += strstr(world->said[i], text) != NULL;
    return count;
}

/* Nobody listens any more anywhere, whatever happened. */
static inline void world_close(struct world *world)
{
    struct shard *shard = world->shard;
    subscription_leave_all(shard, world->conn);
    world_run(world);
    assert_int_equal(shard->subs.count, 0);
    assert_int_equal(shard->hub.entries.count, 0);
    assert_int_equal(shard->sub_infos.count, 0);
    assert_int_equal(shard->sub_pendings.count, 0);
    assert_true(list_is_empty(&shard->sub_waiting));
    for (uint32_t i = 0; i < SMALL_SHARDS; i++) {
        const struct slab *channels = &world->small->shards[i]->channels.channels;
        for (uint32_t at = 0; at < channels->touched; at++) {
            const struct channel *channel = slab_at(channels, at);
            if (channel != NULL) assert_int_equal(channel->listeners_count, 0);
        }
    }
    conn_drop_output(shard, world->conn, false);
    slab_put(&shard->conns, world->conn);
    hub_fini(&shard->hub);
    map_fini(&shard->sub_infos);
    map_fini(&shard->sub_pendings);
    slab_fini(&shard->out_chunks);
    slab_fini(&shard->subs);
    slab_fini(&shard->conns);
    mem_free(shard->dirty.items);
    small_fini(world->small);
    free(world->small);
}

static inline void on_served(struct shard *shard, struct conn *conn, uint32_t sub, enum err err,
                             const struct reply_subscribe *reply, void *context)
{
    struct world *world = context;
    (void)shard;
    assert_ptr_equal(conn, world->conn);
    assert_int_equal(reply == NULL, err != ERR_OK);
    world->served_count++;
    world->served_err = err;
    world->served_sub = sub;
}

static inline struct subscription_ask ask_of(const char *channel)
{
    return (struct subscription_ask){.channel = bytes_of_text(channel), .id = 9};
}

/* `is_told`: by on_served, else by a push. */
static inline enum err serve(struct world *world, const char *channel, bool is_told)
{
    struct subscription_ask ask = ask_of(channel);
    if (is_told) ask.on_served = on_served;
    ask.context = world;
    return subscription_serve(world->shard, world->conn, &ask);
}

static inline void begin(struct world *world, const char *channel)
{
    struct subscription_ask ask = ask_of(channel);
    assert_int_equal(subscription_begin(world->shard, world->conn, &ask), ERR_OK);
}

static inline uint32_t find(const struct world *world, const char *channel)
{
    return subscription_find(world->shard, world->conn, bytes_of_text(channel));
}

/* Every question must wait from now on, until world_lend. */
static inline void world_borrow(struct world *world)
{
    for (uint32_t to = 0; to < SMALL_SHARDS; to++)
        while (letter_credit(world->shard->post, to)) world->credits++;
}

static inline void world_lend(struct world *world)
{
    for (uint32_t i = 0; i < world->credits; i++)
        letter_credit_return(world->shard->post, i % SMALL_SHARDS);
    world->credits = 0;
    subscription_retry(world->shard);
}

#define HISTORY "channel: {without_namespace: {history_size: 5, history_ttl: 60s}}\n"
