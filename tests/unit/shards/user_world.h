/*
 * user_world: two homes of users on one thread, the real letters between them.  The
 * test plays the connections: it asks to enter, tells of leaves, and answers USER_DO.
 *
 * Thread:  one.
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "shards/user/act.h"
#include "shards/user/user_home.h"
#include "tests/unit/shards/small_node.h"

#define DOES_MAX 32

static struct small small;

/* What USER_DO letters said, by value. */
static struct done {
    uint32_t shard, conns_count;
    struct handle call, conns[16];
    enum act_verb verb;
    uint16_t code;
    char channel[32];
} does[DOES_MAX];
static uint32_t does_count;
static bool is_holding; /* USER_DO is not answered: the letters are kept */
static struct letter *held[DOES_MAX];

static inline void on_do(void *context, struct letter *letter)
{
    struct shard *shard = context;
    struct letter_user_do in;
    struct act act;
    letter_read_user_do(letter, &shard->arena, &in);
    struct reader reader = reader_of(in.packed);
    act_read(&reader, &act);
    assert_true(does_count < DOES_MAX && in.conns_count <= 16);
    struct done *done = &does[does_count];
    *done = (struct done){shard->index, in.conns_count, in.call, {{0, 0}}, act.verb, act.code, ""};
    memcpy(done->conns, in.conns, in.conns_count * sizeof *in.conns);
    if (act.channel.size > 0) memcpy(done->channel, act.channel.at, act.channel.size);
    held[does_count] = letter;
    does_count++;
    if (in.call.generation == 0) return;
    struct answer answer = {.call = in.call};
    if (is_holding)
        letter_keep(shard->post, letter);
    else
        call_answer(shard, letter, &answer);
}

static inline void answer_held(uint32_t i)
{
    struct shard *shard = small.shards[does[i].shard];
    struct answer answer = {.call = does[i].call};
    call_answer(shard, held[i], &answer);
    letter_release(shard->post, held[i]);
}

static inline void begin(const char *client_options)
{
    char yaml[512];
    snprintf(yaml, sizeof yaml, "client: {%s}", client_options);
    small_user_do = on_do;
    small_init(&small, yaml);
    for (uint32_t i = 0; i < SMALL_SHARDS; i++) user_home_init(small.shards[i], 64);
    does_count = 0;
    is_holding = false;
}

static inline void end(void)
{
    small_run(&small);
    for (uint32_t i = 0; i < SMALL_SHARDS; i++) user_home_fini(small.shards[i]);
    small_fini(&small);
}

static inline uint32_t home_of(const char *user)
{
    return home_of_user(bytes_of_text(user), SMALL_SHARDS);
}
static inline struct users *users_of(const char *user)
{
    return &small.shards[home_of(user)]->user_home.users;
}

static inline struct handle begin_call(uint32_t from, uint32_t to, struct told *told)
{
    struct shard *shard = small.shards[from];
    struct call *call;
    struct handle handle;
    memset(told, 0, sizeof *told);
    enum err err = call_begin(shard, NULL, to, small_on_answer, &call, &handle);
    assert_int_equal(err, ERR_OK);
    call->context = told;
    return handle;
}

static inline void post_enter(uint32_t from, const char *user, uint32_t conn, uint64_t began_ns,
                              struct told *told)
{
    struct shard *shard = small.shards[from];
    struct letter_user_enter enter = {
        .call = begin_call(from, home_of(user), told),
        .conn = {conn, 1},
        .began_ns = began_ns,
        .user = bytes_of_text(user),
    };
    call_post(shard, letter_pack_user_enter(shard->post, home_of(user), &enter));
}

/* The answer to a connect that begins now. */
static inline struct told enter(uint32_t from, const char *user, uint32_t conn)
{
    static struct told told;
    post_enter(from, user, conn, small.shards[from]->clock.mono_ns, &told);
    small_run(&small);
    assert_true(told.is_here);
    return told;
}

static inline void leave(uint32_t from, const char *user, uint32_t conn, uint64_t session)
{
    struct shard *shard = small.shards[from];
    struct letter_user_leave in = {.conn = {conn, 1}, .session = (uint32_t)session};
    letter_post(shard->post, letter_pack_user_leave(shard->post, home_of(user), &in));
    small_run(&small);
}

static inline void post_act(uint32_t from, struct act act, struct told *told)
{
    struct shard *shard = small.shards[from];
    uint32_t home = home_of_user(act.user, SMALL_SHARDS);
    struct letter_user_act in = {.call = begin_call(from, home, told), .act = act};
    call_post(shard, letter_pack_user_act(shard->post, home, &in));
}

static inline struct act ban(const char *user)
{
    return (struct act){.verb = ACT_DISCONNECT,
                        .user = bytes_of_text(user),
                        .code = 4321,
                        .reason = BYTES_LITERAL("banned")};
}
