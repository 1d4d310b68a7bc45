/*
 * redis_ears: two nodes over Redis, and what each hears of the other (storage/peers.h).
 *
 * Thread:  one.
 */
#pragma once

#include "storage/redis/peers_parts.h"
#include "unit/storage/redis_nodes.h"

#define SAID_MAX 512

struct ears {
    char heard[1024]; /* "+ann-ann" */
    uint32_t reentered, questions;
    bool is_silent; /* questions are not answered */
    uint32_t said_count;
    char said[SAID_MAX][24];
    uint64_t age_ms; /* of the last */
};

static struct ears ears[NODES];
static struct world *the_world;

static inline struct ears *ears_of(const void *context)
{
    return &ears[(const struct node *)context - the_world->nodes];
}

static inline void append_text(char *to, size_t size, const char *mark, struct bytes text)
{
    size_t used = strlen(to);
    assert_true(used + strlen(mark) + text.size < size);
    snprintf(to + used, size - used, "%s%.*s", mark, (int)text.size, (const char *)text.at);
}

static inline void on_join(void *context, struct store_channel *channel,
                           const struct store_present *who, bool is_leave)
{
    assert_true(channel->name.size > 0);
    append_text(ears_of(context)->heard, sizeof ears->heard, is_leave ? "-" : "+", who->user);
}

static inline void on_reenter(void *context, struct store_channel *channel)
{
    assert_true(channel->name.size > 0);
    ears_of(context)->reentered++;
}

static inline void on_question(void *context, const struct store_asker *asker,
                               struct bytes question)
{
    struct node *node = context;
    char answer[64] = "";
    ears_of(context)->questions++;
    append_text(answer, sizeof answer, "to ", question);
    if (!ears_of(context)->is_silent) store_answer(node->store, asker, bytes_of_text(answer));
}

static inline void note_said(struct ears *at, struct bytes text)
{
    assert_true(at->said_count < SAID_MAX);
    append_text(at->said[at->said_count++], sizeof at->said[0], "", text);
}

static inline void on_told(void *context, struct bytes user, struct bytes text, uint64_t age_ms)
{
    assert_true(bytes_equal_text(user, "ann") || bytes_equal_text(user, "bob"));
    ears_of(context)->age_ms = age_ms;
    note_said(ears_of(context), text);
}

static const struct store_peer_sink sink = {
    .on_join = on_join, .on_reenter = on_reenter, .on_question = on_question, .on_told = on_told};

static inline struct world *begin(void)
{
    struct world *world = world_begin_with(NULL);
    the_world = world;
    memset(ears, 0, sizeof ears);
    for (uint32_t i = 0; i < NODES; i++) {
        world->nodes[i].config.channel_presence_max_clients = 4;
        world->nodes[i].config.client_stale_close_delay_ms = 60000;
        world->nodes[i].store->env.sink.peers = &sink;
    }
    return world;
}

static inline void kill_and_start(struct world *world)
{
    redis_kill(&world->redis);
    turn_for(world, 50);
    redis_start(&world->redis);
}

static inline bool both_live(const struct world *world)
{
    for (uint32_t i = 0; i < NODES; i++)
        if (!redis_of(world->nodes[i].store)->peers->is_alive) return false;
    return true;
}
