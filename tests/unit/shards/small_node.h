/*
 * small_node: homes without sockets, for tests of channels.
 *
 * Two real shards' rooms on one thread: mesh, wheel, arena, frames, channels and
 * a store of the memory engine, turned by hand on a clock that the test owns.
 * The letters of delivery (FRAME, LOST) end in the test, which plays the
 * listening shards; everything else is the real code on both sides.
 *
 * Between a channel and its store stands a gate (small_gate.h).
 */
#pragma once

#include <stdio.h>
#include <stdlib.h>

#include "core/check.h"
#include "core/log.h"
#include "core/mem.h"
#include "shards/channel/channel_parts.h"
#include "shards/fanout/fanout.h"
#include "shards/home.h"
#include "shards/letter_members.h"
#include "shards/user/act.h"
#include "tests/unit/shards/small_gate.h"

#define SMALL_SHARDS 2

struct small;

/* What one FRAME or LOST letter said, by value. */
struct heard {
    uint32_t shard; /* that heard it */
    struct handle hub;
    bool is_lost;
    uint64_t offset;
    char text[512]; /* the JSON push, without its WebSocket header */
};

/* An answer, by value; publications as their offsets and the number in their data. */
struct told {
    bool is_here;
    void (*then)(struct told *told); /* runs inside the answer, when set after the asking */
    void *context;
    uint64_t turn;
    enum err err;
    uint64_t offset;
    char epoch[EPOCH_MAX + 1];
    bool is_repeat, recovered, was_recovering, is_recoverable;
    uint32_t count;
    uint64_t offsets[512], numbers[512];
    uint32_t infos_count, clients, users;
    uint32_t counts_count;
    uint32_t readers[RECEIPT_OFFSETS_MAX], eligible[RECEIPT_OFFSETS_MAX];
    uint64_t time_ms;
    uint32_t states_count;
    struct receipt_state states[8]; /* their texts are gone */
    char list[256];                 /* of users, with spaces between */
    uint64_t next, next_slot;
    uint32_t members_count;
};

struct small {
    struct config *config;
    struct mesh *mesh;
    struct store_node *store_node;
    struct shard *shards[SMALL_SHARDS];
    struct gate gates[SMALL_SHARDS];
    uint64_t turn, mono_ms, wall_ms;
    void (*on_heard)(struct small *small, const struct heard *heard);
    void *context;
    bool is_large; /* too many members to look at each after every turn */
};

/* The shard's context of the mesh is the shard; the test finds its world here. */
static struct small *small_world;

/* Who hears what users' connections are told; NULL: nobody. */
static void (*small_on_tell)(const struct letter_user_tell *tell);

static void small_user_tell(void *shard, struct letter *letter)
{
    (void)shard;
    struct letter_user_tell tell;
    letter_read_user_tell(letter, &tell);
    if (small_on_tell != NULL) small_on_tell(&tell);
}

/* Who hears USER_DO; NULL: the real one. */
static void (*small_user_do)(void *shard, struct letter *letter);

static uint64_t number_of(struct bytes data)
{
    char text[32] = {0};
    if (data.size == 0 || data.size >= sizeof text) return UINT64_MAX;
    memcpy(text, data.at, data.size);
    return strtoull(text, NULL, 10);
}

static void small_on_frame(void *context, struct letter *letter)
{
    struct shard *shard = context;
    struct letter_frame in;
    letter_read_frame(letter, &in);
    struct heard heard = {.shard = shard->index, .hub = in.hub, .offset = in.offset};
    check(in.bytes[0] != NULL && in.sizes[0] >= 2);
    uint32_t skip = in.bytes[0][1] < 126 ? 2 : in.bytes[0][1] == 126 ? 4 : 10;
    uint32_t size = in.sizes[0] - skip;
    if (size >= sizeof heard.text) size = sizeof heard.text - 1;
    memcpy(heard.text, in.bytes[0] + skip, size);
    if (small_world->on_heard != NULL) small_world->on_heard(small_world, &heard);
}

static void small_on_lost(void *context, struct letter *letter)
{
    struct shard *shard = context;
    struct letter_lost in;
    letter_read_lost(letter, &in);
    struct heard heard = {.shard = shard->index, .hub = in.hub, .is_lost = true};
    if (small_world->on_heard != NULL) small_world->on_heard(small_world, &heard);
}

/* --- life ------------------------------------------------------------------------- */

static void small_on_say(void *context, enum config_voice voice, const char *sentence)
{
    (void)context;
    if (voice == CONFIG_SAYS_ERROR) fprintf(stderr, "%s\n", sentence);
}

static void small_clock(struct small *small)
{
    for (uint32_t i = 0; i < SMALL_SHARDS; i++) {
        small->shards[i]->clock.mono_ns = small->mono_ms * 1000000u;
        small->shards[i]->clock.wall_ms = small->wall_ms;
    }
}

static void small_attach(struct small *small, uint32_t index)
{
    struct shard *shard = small->shards[index];
    struct store_env env = {
        .shard = index,
        .shards_count = SMALL_SHARDS,
        .inbox = &shard->inbox,
        .wheel = &shard->wheel,
        .clock = &shard->clock,
        .rng = &shard->rng,
        .metrics = &shard->metrics,
        .config = small->config,
        .sink = {.context = shard,
                 .on_publication = channel_on_publication,
                 .on_members = channel_on_members,
                 .on_cursor = channel_on_cursor,
                 .on_removed = channel_on_removed,
                 .on_lost = channel_on_lost},
    };
    struct gate *gate = &small->gates[index];
    gate->small = small;
    gate->inner = store_attach(small->store_node, &env);
    check(gate->inner != NULL);
    gate->store = (struct store){.engine = &gate_engine, .env = env};
    shard->store = &gate->store;
    channels_init(shard);
}

/* `channels`: the YAML under `channel.without_namespace` and more, on one line. */
static void small_init(struct small *small, const char *options)
{
    static struct letter_handlers table[LETTER_KIND_COUNT];
    memcpy(table, letter_table, sizeof table);
    table[LETTER_FRAME].on_letter = small_on_frame;
    table[LETTER_LOST].on_letter = small_on_lost;
    table[LETTER_USER_TELL].on_letter = small_user_tell;
    if (small_user_do != NULL) table[LETTER_USER_DO].on_letter = small_user_do;

    log_set_level(LOG_ERROR);
    memset(small, 0, sizeof *small);
    small_world = small;
    small->mono_ms = clock_mono_ns() / 1000000u; /* from here on it goes by itself */
    small->wall_ms = 1800000000000u;
    struct config_override memory = {"storage.engine", "memory", "the test"};
    enum err err = config_parse(bytes_of_text(options), "test.yaml", &memory, 1, small_on_say, NULL,
                                &small->config);
    check(err == ERR_OK);
    small->mesh = mesh_create(SMALL_SHARDS, table, LETTER_KIND_COUNT, MESH_CREDITS);
    err = store_node_open(small->config, NULL, SMALL_SHARDS, &small->store_node);
    check(err == ERR_OK);
    for (uint32_t i = 0; i < SMALL_SHARDS; i++) {
        struct shard *shard = small->shards[i] = mem_alloc(sizeof *shard);
        shard->index = i;
        shard->shards_count = SMALL_SHARDS;
        shard->config = small->config;
        shard->post = mesh_open(small->mesh, i, shard, NULL);
        rng_seed(&shard->rng, 7 + i);
        arena_init(&shard->arena, TURN_ARENA_KEEP);
        wheel_init(&shard->wheel, small->mono_ms);
        frames_init(&shard->frames, shard->post, 4096);
        slab_init(&shard->calls, "call", sizeof(struct call), 8192);
    }
    small_clock(small);
    for (uint32_t i = 0; i < SMALL_SHARDS; i++) small_attach(small, i);
}

/* One turn of every shard. */
static void small_turn(struct small *small)
{
    small->turn++;
    for (uint32_t i = 0; i < SMALL_SHARDS; i++) {
        struct shard *shard = small->shards[i];
        arena_reset(&shard->arena);
        mesh_read(shard->post, TURN_LETTERS_MAX);
        wheel_run(&shard->wheel, clock_turn_ms(&shard->clock), TURN_TIMERS_MAX);
        store_submit(shard->store);
        mesh_flush(shard->post);
        if (!small->is_large) channels_verify(&shard->channels);
    }
}

/* Enough turns for any question to be answered when the gates are open. */
static void small_run(struct small *small)
{
    for (int i = 0; i < 12; i++) small_turn(small);
}

static inline void small_wait(struct small *small, uint64_t ms)
{
    small->mono_ms += ms;
    small->wall_ms += ms;
    small_clock(small);
    small_run(small);
}

/* Everything must be home. */
static void small_fini(struct small *small)
{
    for (uint32_t i = 0; i < SMALL_SHARDS; i++) small->gates[i].is_shut = false;
    small_run(small);
    for (uint32_t i = 0; i < SMALL_SHARDS; i++) {
        struct shard *shard = small->shards[i];
        check(mesh_letters_kept(shard->post) == 0);
        check(mesh_letters_out(shard->post) == 0);
        channels_fini(shard);
        store_detach(small->gates[i].inner);
        slab_fini(&shard->calls);
        frames_fini(&shard->frames);
        arena_fini(&shard->arena);
    }
    store_node_close(small->store_node);
    mesh_destroy(small->mesh);
    for (uint32_t i = 0; i < SMALL_SHARDS; i++) mem_free(small->shards[i]);
    config_destroy(small->config);
}

/* --- questions -------------------------------------------------------------------- */

static inline void small_on_answer(struct shard *shard, struct call *call, struct conn *conn,
                                   const struct answer *answer)
{
    (void)shard;
    (void)conn;
    struct told *told = call->context;
    check(!told->is_here);
    told->is_here = true;
    told->turn = small_world->turn;
    told->err = answer->err;
    told->offset = answer->offset;
    if (answer->epoch.size > 0) memcpy(told->epoch, answer->epoch.at, answer->epoch.size);
    told->is_repeat = answer->is_repeat;
    told->recovered = answer->recovered;
    told->was_recovering = answer->was_recovering;
    told->is_recoverable = answer->is_recoverable;
    told->count = answer->publications_count;
    check(told->count <= array_count(told->offsets));
    for (uint32_t i = 0; i < told->count; i++) {
        told->offsets[i] = answer->publications[i].offset;
        told->numbers[i] = number_of(answer->publications[i].data);
    }
    told->infos_count = answer->infos_count;
    told->clients = answer->clients_count;
    told->users = answer->users_count;
    told->counts_count = answer->counts_count;
    for (uint32_t i = 0; i < told->counts_count; i++) {
        told->readers[i] = answer->readers[i];
        told->eligible[i] = answer->eligible[i];
    }
    told->time_ms = answer->time_ms;
    told->members_count = answer->members_count;
    told->next_slot = answer->next_slot;
    told->next = answer->next;
    size_t used = 0;
    for (uint32_t i = 0; i < answer->receipt_users_count; i++) {
        struct bytes user = answer->receipt_users[i].user;
        used += (size_t)snprintf(told->list + used, sizeof told->list - used, "%s%.*s",
                                 i > 0 ? " " : "", (int)user.size, (const char *)user.at);
        check(used < sizeof told->list);
    }
    told->states_count = answer->states_count;
    check(told->states_count <= 8);
    for (uint32_t i = 0; i < told->states_count; i++) told->states[i] = answer->states[i];
    if (told->then != NULL) told->then(told);
}

/* Begins a call from shard `from` to the home of `channel`. */
static inline struct handle small_begin(struct small *small, uint32_t from, struct bytes channel,
                                        call_fn on_answer, struct call **call)
{
    struct shard *shard = small->shards[from];
    struct handle handle;
    uint32_t home = home_of_channel(channel, SMALL_SHARDS);
    enum err err = call_begin(shard, NULL, home, on_answer, call, &handle);
    /* Out of credit (VERIFY builds have 8): answers give it back. */
    for (int turns = 0; err == ERR_CREDIT_SPENT && turns < 64; turns++) {
        small_turn(small);
        err = call_begin(shard, NULL, home, on_answer, call, &handle);
    }
    check(err == ERR_OK);
    return handle;
}

/* The same; `told` is filled when the answer is there. */
static inline struct handle small_call(struct small *small, uint32_t from, struct bytes channel,
                                       struct told *told)
{
    struct call *call;
    memset(told, 0, sizeof *told);
    struct handle handle = small_begin(small, from, channel, small_on_answer, &call);
    call->context = told;
    return handle;
}

/* True when a question about `channel` may be asked from `from` now. */
static inline bool small_may_ask(struct small *small, uint32_t from, struct bytes channel)
{
    uint32_t home = home_of_channel(channel, SMALL_SHARDS);
    if (!letter_credit(small->shards[from]->post, home)) return false;
    letter_credit_return(small->shards[from]->post, home);
    return true;
}

static inline uint32_t small_home(struct bytes channel)
{
    return home_of_channel(channel, SMALL_SHARDS);
}

static inline void ask_subscribe(struct small *small, uint32_t from, struct letter_subscribe in,
                                 struct told *told)
{
    struct shard *shard = small->shards[from];
    in.call = small_call(small, from, in.channel, told);
    call_post(shard, letter_pack_subscribe(shard->post, small_home(in.channel), &in));
}

static inline void ask_publish(struct small *small, uint32_t from, struct letter_publish in,
                               struct told *told)
{
    struct shard *shard = small->shards[from];
    in.call = small_call(small, from, in.channel, told);
    call_post(shard, letter_pack_publish(shard->post, small_home(in.channel), &in));
}

static inline void ask_history(struct small *small, uint32_t from, struct letter_history in,
                               struct told *told)
{
    struct shard *shard = small->shards[from];
    in.call = small_call(small, from, in.channel, told);
    call_post(shard, letter_pack_history(shard->post, small_home(in.channel), &in));
}

static inline void ask_members(struct small *small, struct bytes channel, const struct bytes *users,
                               uint32_t count, struct told *told)
{
    struct shard *shard = small->shards[0];
    struct letter_members in = {
        .channel = channel, .kind = MEMBERS_SET, .users = users, .count = count};
    in.call = small_call(small, 0, channel, told);
    call_post(shard, letter_pack_members(shard->post, small_home(channel), &in));
}

/* A node on the heap, where most tests want it; ended by small_end. */
static inline struct small *small_new(const char *options)
{
    struct small *small = malloc(sizeof *small);
    small_init(small, options);
    return small;
}
/* The same with a channel whose members are those. */
static inline struct small *small_new_with(const char *options, struct bytes channel,
                                           const struct bytes *users, uint32_t count)
{
    struct small *small = small_new(options);
    struct told told;
    ask_members(small, channel, users, count, &told);
    small_run(small);
    check(told.is_here && told.err == ERR_OK);
    return small;
}
static inline void small_end(struct small *small)
{
    small_fini(small);
    free(small);
}

static inline void ask_policy(struct small *small, struct bytes channel, bool is_set, uint32_t own,
                              struct told *told)
{
    struct shard *shard = small->shards[0];
    struct letter_policy in = {.channel = channel, .is_set = is_set, .own = own};
    in.call = small_call(small, 0, channel, told);
    call_post(shard, letter_pack_policy(shard->post, small_home(channel), &in));
}

static inline void ask_clear(struct small *small, struct bytes channel, struct told *told)
{
    struct shard *shard = small->shards[0];
    struct letter_ask in = {.channel = channel};
    in.call = small_call(small, 0, channel, told);
    call_post(shard, letter_pack_ask(shard->post, small_home(channel), LETTER_HISTORY_REMOVE, &in));
}

static inline void ask_receipt(struct small *small, uint32_t from, struct letter_receipt in,
                               struct told *told)
{
    struct shard *shard = small->shards[from];
    in.call = small_call(small, from, in.channel, told);
    call_post(shard, letter_pack_receipt(shard->post, small_home(in.channel), &in));
}

/* Channels of one home. */
static inline void ask_states(struct small *small, struct bytes user, const struct bytes *channels,
                              uint32_t count, struct told *told)
{
    struct shard *shard = small->shards[0];
    struct letter_receipt_states in = {.user = user, .channels = channels, .channels_count = count};
    in.call = small_call(small, 0, channels[0], told);
    call_post(shard, letter_pack_receipt_states(shard->post, small_home(channels[0]), &in));
}

static inline void tell_leave(struct small *small, uint32_t from, struct bytes channel,
                              struct handle hub)
{
    struct shard *shard = small->shards[from];
    struct letter_leave in = {.hub = hub, .channel = channel};
    letter_post(shard->post, letter_pack_leave(shard->post, small_home(channel), &in));
}

/* Publishes the number `number` from `from` and waits for the answer. */
static inline uint64_t small_publish(struct small *small, uint32_t from, struct bytes channel,
                                     uint64_t number)
{
    char text[32];
    int size = snprintf(text, sizeof text, "%llu", (unsigned long long)number);
    struct told told;
    ask_publish(small, from,
                (struct letter_publish){.channel = channel,
                                        .publication.data = bytes_of(text, (size_t)size)},
                &told);
    small_run(small);
    check(told.is_here);
    check(told.err == ERR_OK);
    return told.offset;
}
