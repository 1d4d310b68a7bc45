/*
 * shard: the rooms, and the turn.
 */
#include "shards/shard.h"

#include "core/check.h"
#include "core/entropy.h"
#include "core/log.h"
#include "core/mem.h"
#include "shards/api/fleet.h"
#include "shards/cmd/connecting.h"
#include "shards/cmd/subscription.h"
#include "shards/node.h"
#include "shards/ops/drain.h"
#include "shards/reads/reads.h"
#include "shards/reads/reads_events.h"
#include "shards/token/token.h"
#include "storage/events.h"
#include "storage/peers.h"

/* Kernel buffers for receiving: 2 MiB a shard; starvation re-arms by itself. */
#define RECV_BUFFERS     1024
#define RECV_BUFFER_SIZE 2048
#define SQ_ENTRIES       1024
#define CQ_ENTRIES       16384

/* Slots of the socket table that are not clients: links to Redis. */
#define LINK_SOCKS        224
/* Address space only; pages are touched when they are used. */
#define CALLS_MAX(shards) ((shards)*MESH_CREDITS)
#define SUBS_PER_CONN     64 /* on average over a full shard */
#define FRAMES_MAX        (1u << 24)
/* A home may be home to every connection of the node; what is not used costs nothing. */
#define HOME_SESSIONS_MAX (1u << 26)
#define OUT_CHUNKS_MAX    (1u << 22)

void indexes_add(struct indexes *indexes, uint32_t index)
{
    if (indexes->count == indexes->room) {
        indexes->room = indexes->room == 0 ? 64 : 2 * indexes->room;
        indexes->items = mem_resize(indexes->items, indexes->room * sizeof *indexes->items);
    }
    indexes->items[indexes->count++] = index;
}

static void indexes_fini(struct indexes *indexes)
{
    mem_free(indexes->items);
    *indexes = (struct indexes){NULL, 0, 0};
}

/* --- life -------------------------------------------------------------------- */

static void shard_init_pools(struct shard *shard, uint32_t socks_max)
{
    uint64_t seed;
    entropy_fill(&seed, sizeof seed);
    rng_seed(&shard->rng, seed);
    arena_init(&shard->arena, TURN_ARENA_KEEP);
    frames_init(&shard->frames, shard->post, FRAMES_MAX);
    intern_init(&shard->texts, rng_next(&shard->rng));
    slab_init(&shard->conns, "conn", sizeof(struct conn), socks_max);
    slab_init(&shard->subs, "sub", sizeof(struct sub), socks_max * SUBS_PER_CONN);
    slab_init(&shard->calls, "call", sizeof(struct call), CALLS_MAX(shard->shards_count));
    slab_init(&shard->out_chunks, "out_chunk", OUT_CHUNK_SIZE, OUT_CHUNKS_MAX);
    map_init(&shard->sub_infos, rng_next(&shard->rng));
    map_init(&shard->sub_pendings, rng_next(&shard->rng));
    list_init(&shard->sub_waiting);
    shard->ws_pool = ws_pool_create(socks_max);
    shard->command_rates = mem_reserve(socks_max * sizeof *shard->command_rates);
    conn_tls_pool_init(&shard->tls, shard->node->reload.first->tls, rng_next(&shard->rng),
                       socks_max);
    user_home_init(shard,
                   (uint32_t)min_u64((uint64_t)socks_max * shard->shards_count, HOME_SESSIONS_MAX));
    hub_init(&shard->hub, rng_next(&shard->rng), socks_max * 4, shard->shards_count);
    for (size_t i = 0; i < array_count(shard->ping_wheel); i++) shard->ping_wheel[i] = UINT32_MAX;
}

enum err shard_create(struct node *node, uint32_t index, struct shard **out)
{
    struct shard *shard = mem_alloc(sizeof *shard);
    shard->node = node;
    shard->index = index;
    shard->shards_count = node->shards_count;
    shard->config = node->config;
    for (uint32_t use = 0; use < JWT_USE_COUNT; use++)
        shard->token_rules[use] = node->reload.first->token_rules[use];
    shard->listener = shard->index_listener = -1;
    struct loop_options options = {
        .socks_max = shard->config->shards_connections_max + LINK_SOCKS,
        .links_max = LINK_SOCKS,
        .recv_buffers = RECV_BUFFERS,
        .recv_buffer_size = RECV_BUFFER_SIZE,
        .sq_entries = SQ_ENTRIES,
        .cq_entries = CQ_ENTRIES,
        .is_quiet = index > 0,
    };
    enum err err = loop_create(&options, &shard->loop);
    if (err != ERR_OK) {
        mem_free(shard);
        return err;
    }
    inbox_init(&shard->inbox, shard->loop);
    shard->post = mesh_open(node->mesh, index, shard, shard->loop);
    clock_turn(&shard->clock);
    wheel_init(&shard->wheel, clock_turn_ms(&shard->clock));
    shard->ping_phase = shard_phase(shard);
    shard_init_pools(shard, options.socks_max);
    *out = shard;
    return ERR_OK;
}

static void on_tick(struct timer *timer)
{
    struct shard *shard = container_of(timer, struct shard, tick);
    conn_tick(shard);
    user_home_tick(shard);
    uint64_t now = clock_turn_ms(&shard->clock), phase_ms = 1000 / PING_PHASES;
    wheel_arm(&shard->wheel, &shard->tick, now - now % phase_ms + phase_ms, on_tick);
}

static const struct store_peer_sink peer_sink = {
    .on_join = channel_on_join,
    .on_reenter = channel_on_reenter,
    .on_question = fleet_on_question,
    .on_told = user_on_told,
};

enum err shard_start(struct shard *shard)
{
    check_context(shard->index, 0);
    log_take_level();
    loop_start(shard->loop);
    clock_turn(&shard->clock);
    shard->started_ns = shard->clock.mono_ns;
    struct store_env env = {
        .shard = shard->index,
        .shards_count = shard->shards_count,
        .loop = shard->loop,
        .inbox = &shard->inbox,
        .wheel = &shard->wheel,
        .clock = &shard->clock,
        .rng = &shard->rng,
        .metrics = &shard->metrics,
        .workers = shard->node->workers,
        .config = shard->config,
        .sink = {.context = shard,
                 .on_publication = channel_on_publication,
                 .on_members = channel_on_members,
                 .on_cursor = channel_on_cursor,
                 .on_removed = channel_on_removed,
                 .on_lost = channel_on_lost,
                 .peers = &peer_sink},
    };
    shard->store = store_attach(shard->node->store, &env);
    if (shard->store == NULL) return ERR_STORE_DOWN;
    channels_init(shard);
    tokens_init(shard);
    loop_handle(shard->loop, SOCK_CONN, &conn_handlers, shard);
    loop_listen(shard->loop, shard->listener);
    reads_start(shard);
    reads_events_start(shard);
    wheel_arm(&shard->wheel, &shard->tick, clock_turn_ms(&shard->clock) + 1000, on_tick);
    return ERR_OK;
}

void shard_stop(struct shard *shard)
{
    wheel_disarm(&shard->wheel, &shard->tick);
    reads_events_stop(shard);
    tokens_fini(shard);
    channels_fini(shard);
    store_detach(shard->store);
    shard->store = NULL;
}

void shard_destroy(struct shard *shard)
{
    if (shard == NULL) return;
    check(shard->store == NULL);
    user_home_fini(shard);
    hub_fini(&shard->hub);
    check(shard->sub_infos.count == 0);
    check(list_is_empty(&shard->sub_waiting));
    check(shard->sub_pendings.count == 0);
    check(shard->sub_parked == 0);
    map_fini(&shard->sub_pendings);
    map_fini(&shard->sub_infos);
    patterns_fini(&shard->patterns);
    conn_tls_pool_fini(&shard->tls);
    ws_pool_destroy(shard->ws_pool);
    door_fini(&shard->door);
    mem_unreserve(shard->command_rates, shard->conns.count_max * sizeof *shard->command_rates);
    slab_fini(&shard->out_chunks);
    slab_fini(&shard->calls);
    slab_fini(&shard->subs);
    slab_fini(&shard->conns);
    intern_fini(&shard->texts);
    frames_fini(&shard->frames);
    arena_fini(&shard->arena);
    indexes_fini(&shard->sub_unpark);
    indexes_fini(&shard->dirty);
    indexes_fini(&shard->flushed);
    indexes_fini(&shard->resumed);
    indexes_fini(&shard->waiting);
    indexes_fini(&shard->yielded);
    inbox_fini(&shard->inbox);
    loop_destroy(shard->loop);
    mem_free(shard);
}

/* --- the turn ------------------------------------------------------------------ */

uint64_t shard_wake_ms(struct shard *shard)
{
    if (shard->letters_left || shard->dirty.count > 0 || shard->resumed.count > 0 ||
        shard->flushed.count > 0 || shard->has_woken ||
        (shard->is_credit_back && shard->yielded.count + shard->waiting.count > 0) ||
        !inbox_is_empty(&shard->inbox))
        return 0;
    return wheel_next_due_ms(&shard->wheel);
}

void shard_await_credit(struct shard *shard, uint32_t conn, bool has_had_some)
{
    indexes_add(has_had_some ? &shard->yielded : &shard->waiting, conn);
    /* Its turn was over, the credit perhaps not: then no answer has to come. */
    if (shard_share_is_spent(shard)) shard->is_credit_back = true;
}

static void move_all(struct indexes *from, struct indexes *to)
{
    for (uint32_t i = 0; i < from->count; i++) indexes_add(to, from->items[i]);
    from->count = 0;
}

/* Connections whose saved input may go on: an HTTP answer was given, or credit
 * came back with an answer of another shard.  One that had some the last time goes
 * behind those that had none, and takes its share only: else the first one with a
 * thousand commands would have it all, each time. */
static void resume_inputs(struct shard *shard)
{
    if (shard->is_credit_back) {
        move_all(&shard->waiting, &shard->resumed);
        move_all(&shard->yielded, &shard->resumed);
        shard->is_credit_back = false;
        subscription_retry(shard);
    }
    /* Handling may add to the list again; those wait for the next turn. */
    uint32_t count = shard->resumed.count;
    for (uint32_t i = 0; i < count; i++) {
        struct conn *conn = conn_at(shard, shard->resumed.items[i]);
        /* Not listed: the slot has a new tenant. */
        if (conn == NULL || !(conn->flags & CONN_LISTED)) continue;
        conn->flags &= ~(uint32_t)CONN_LISTED;
        shard->share = count > 1 ? TURN_COMMANDS_MAX : 0;
        shard->share_used = 0;
        if (conn->flags & CONN_CONNECTING)
            connecting_go_on(shard, conn);
        else if (conn->flags & CONN_PAUSED)
            conn_continue(shard, conn);
    }
    shard->share = 0;
    shard->resumed.count -= count;
    for (uint32_t i = 0; i < shard->resumed.count; i++)
        shard->resumed.items[i] = shard->resumed.items[count + i];
}

static void account(struct shard *shard)
{
    struct mesh_counters mesh;
    mesh_count(shard->post, &mesh);
    uint64_t accepted = shard->metrics.values[METRIC_ACCEPTED];
    metric_set(&shard->metrics, METRIC_ACTIONS_ADD_CLIENT, accepted);
    metric_set(&shard->metrics, METRIC_ACTIONS_REMOVE_CLIENT, accepted - shard->clients_count);
    metric_set(&shard->metrics, METRIC_TURNS, shard->turn);
    metric_set(&shard->metrics, METRIC_LETTERS, mesh.letters_sent);
    metric_set(&shard->metrics, METRIC_BELLS, mesh.bells);
    metric_set(&shard->metrics, METRIC_LETTERS_STAGED, mesh.ring_full);
    metric_set(&shard->metrics, METRIC_FRAME_BYTES, shard->frames.bytes);
    metric_set(&shard->metrics, METRIC_HUBS, shard->hub.entries.count);
    metric_set(&shard->metrics, METRIC_TEXTS,
               intern_count(&shard->texts) + intern_count(&shard->channels.presences.texts));
    if (shard->index == 0) metric_set(&shard->metrics, METRIC_LOG_DROPPED, log_dropped());
}

/* One turn.  The first line hands the kernel everything that the last turn
 * prepared and waits; the rest is memory work.  Each step is bounded by a limit
 * of core/limits.h, so a turn is too, and no connection waits on another's luck.
 *
 * The arena is reset right after the enter: sends point into it until then.
 * Letters come before timers: a letter may disarm the timer that was about to
 * fire.  The store's batch is prepared before the sends, so the disk works
 * while the network does; an acknowledgement waits for that batch's completion,
 * which is an op of a later turn. */
void shard_turn(struct shard *shard)
{
    check(!shard->is_in_turn);
    shard->is_in_turn = true;
    shard->turn++;
    check_context(shard->index, shard->turn);

    uint64_t wake_ms = shard_wake_ms(shard);
    if (wake_ms != 0 && !mesh_sleep(shard->post)) wake_ms = 0;
    loop_enter(shard->loop, wake_ms);
    mesh_awake(shard->post);
    arena_reset(&shard->arena);
    clock_turn(&shard->clock);

    loop_run(shard->loop);
    conn_flush_done(shard);
    inbox_read(&shard->inbox, shard);
    shard->letters_left = mesh_read(shard->post, TURN_LETTERS_MAX) == TURN_LETTERS_MAX;
    shard->has_woken = tokens_turn(shard);
    resume_inputs(shard);
    wheel_run(&shard->wheel, clock_turn_ms(&shard->clock), TURN_TIMERS_MAX);
    store_submit(shard->store);
    events_turn(shard->events);
    door_turn(shard);
    conn_flush(shard);
    mesh_flush(shard->post);
    account(shard);
    if (shard->is_draining) drain_turn(shard);

    shard->is_in_turn = false;
    if (VERIFY) shard_verify(shard);
}

/* --- looking ---------------------------------------------------------------------- */

void shard_census(const struct shard *shard, struct shard_census *census)
{
    *census = (struct shard_census){
        .users = shard->user_home.users.users_count,
        .sessions = shard->user_home.users.sessions_count,
        .conns = shard->conns.count,
        .subs = shard->subs.count,
        .calls = shard->calls.count,
        .channels = shard->channels.channels.count,
        .frames = shard->frames.frames.count,
        .out_chunks = shard->out_chunks.count,
        .letters_out = mesh_letters_out(shard->post),
        .letters_kept = mesh_letters_kept(shard->post),
        .ws_contexts = ws_pool_used(shard->ws_pool),
        .store_pending = shard->store == NULL ? 0 : store_pending(shard->store),
        .frame_bytes = shard->frames.bytes,
        .presence_entries = shard->channels.presences.entries.count,
        .texts = intern_count(&shard->texts) + intern_count(&shard->channels.presences.texts),
    };
}

void shard_verify(struct shard *shard)
{
    users_verify(&shard->user_home.users);
    slab_verify(&shard->conns);
    slab_verify(&shard->subs);
    slab_verify(&shard->calls);
    intern_verify(&shard->texts);
    hub_verify(&shard->hub);
    wheel_verify(&shard->wheel);
    uint32_t subs = 0, calls = 0;
    for (uint32_t i = 0; i < shard->conns.touched; i++) {
        const struct conn *conn = conn_at(shard, i);
        if (conn == NULL) continue;
        subs += conn->subs_count;
        calls += conn->calls_count;
        check(conn->out_flight <= conn->out_bytes);
        check((conn->out_first == NULL) == (conn->out_bytes == 0));
    }
    check(subs == shard->subs.count);
    check(calls <= shard->calls.count);
    channels_verify(&shard->channels);
}
