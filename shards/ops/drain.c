/*
 * drain: close clients at a pace, then leave together.
 */
#include "shards/ops/drain.h"

#include "core/check.h"
#include "core/log.h"
#include "shards/reads/reads_events.h"
#include "shards/shard.h"
#include "shards/token/token.h"
#include "storage/peers.h"

#define DRAIN_STEP_MS        20
/* One client a millisecond and shard is a pace that a successor can take in. */
#define DRAIN_CLIENTS_PER_MS 1
#define DRAIN_SPREAD_MIN_MS  100
/* Answers that a slow store owes are waited for this long after the spread. */
#define DRAIN_ANSWERS_MS     1000
/* A request that was on its way when listening ended has this long to be whole. */
#define DRAIN_HTTP_MS        100

/* What the last QUIET or STOP was about (drain.h). */
enum round { ROUND_WEBSOCKETS, ROUND_QUESTIONS, ROUND_LETTERS, ROUND_COUNT };

/* A client whose commands are under way hears their answers first: else what it
 * published is stored and it was told that the connection broke.  Commands that
 * were not read yet are not carried out. */
static bool waits_for_answers(struct shard *shard, struct conn *conn)
{
    if (conn->calls_count == 0) return false;
    if (clock_turn_ms(&shard->clock) >= shard->drain_spread_ms + DRAIN_ANSWERS_MS) return false;
    conn_pause(shard, conn);
    return true;
}

/* Until then who asks is told that this node ends. */
static bool is_http_over(const struct shard *shard)
{
    return shard->drain_round > ROUND_WEBSOCKETS &&
           clock_turn_ms(&shard->clock) >= shard->drain_http_ms;
}

/* Closes `count` connections from a moving start. */
static void close_some(struct shard *shard, uint32_t count, bool is_last_call)
{
    uint32_t touched = shard->conns.touched;
    for (uint32_t looked = 0; looked < touched && count > 0; looked++) {
        shard->drain_at = (shard->drain_at + 1) % touched;
        struct conn *conn = conn_at(shard, shard->drain_at);
        if (conn == NULL || conn->state == CONN_DYING) continue;
        if (is_last_call) {
            conn_close_peer(shard, conn);
            count--;
        } else if (conn->state == CONN_WS) {
            if (waits_for_answers(shard, conn)) continue;
            conn_end(shard, conn, CLOSE_SHUTDOWN);
            count--;
        } else if (conn->state == CONN_HTTP && is_http_over(shard) &&
                   !(conn->flags & CONN_PAUSED)) {
            /* Idle, or half of a request; one with an answer under way ends after it. */
            conn->flags |= CONN_CLOSE_SENT;
            if (conn->out_bytes == 0) conn_close_peer(shard, conn);
            count--;
        }
    }
}

static void drain_step(struct timer *timer)
{
    struct shard *shard = container_of(timer, struct shard, drain_timer);
    uint64_t now = clock_turn_ms(&shard->clock);
    if (shard->conns.count > 0) {
        bool is_late = now >= shard->drain_until_ms;
        uint64_t left_ms = shard->drain_spread_ms > now ? shard->drain_spread_ms - now : 1;
        uint64_t steps = (left_ms + DRAIN_STEP_MS - 1) / DRAIN_STEP_MS;
        uint64_t share = (shard->conns.count + steps - 1) / steps;
        close_some(shard, is_late ? UINT32_MAX : (uint32_t)share, is_late);
    }
    wheel_arm(&shard->wheel, &shard->drain_timer, now + DRAIN_STEP_MS, drain_step);
}

void drain_begin(struct note *note, void *context)
{
    struct shard *shard = context;
    check(note == &shard->drain_note);
    if (shard->is_draining) return;
    shard->is_draining = true;
    reads_events_drain(shard);
    uint64_t now = clock_turn_ms(&shard->clock);
    uint64_t timeout = shard->config->shutdown_timeout_ms;
    uint64_t pace = max_u64(DRAIN_SPREAD_MIN_MS, shard->clients_count / DRAIN_CLIENTS_PER_MS);
    shard->drain_until_ms = now + timeout;
    shard->drain_spread_ms = now + min_u64(timeout / 2, pace);
    if (shard->conns.touched > 0)
        shard->drain_at = (uint32_t)rng_below(&shard->rng, shard->conns.touched);
    log_info("draining clients=%u spread_ms=%llu", shard->clients_count,
             (unsigned long long)(shard->drain_spread_ms - now));
    /* The first step comes at a random point, so that shards do not step together. */
    wheel_arm(&shard->wheel, &shard->drain_timer, now + 1 + rng_below(&shard->rng, DRAIN_STEP_MS),
              drain_step);
}

static bool is_quiet(const struct shard *shard)
{
    if (shard->drain_round == ROUND_WEBSOCKETS) return shard->upgraded_count == 0;
    if (shard->drain_round == ROUND_QUESTIONS)
        return shard->conns.count == 0 && shard->calls.count == 0 &&
               store_pending(shard->store) == 0 && channels_pending(shard) == 0 &&
               !tokens_are_busy(shard);
    return mesh_letters_out(shard->post) == 0 && mesh_letters_kept(shard->post) == 0;
}

void drain_turn(struct shard *shard)
{
    check(shard->is_draining);
    if (shard->drain_round < ROUND_COUNT) {
        if (shard->is_quiet_told || !is_quiet(shard)) return;
        shard->is_quiet_told = true;
        letter_post(shard->post, letter_pack_plain(shard->post, 0, LETTER_QUIET));
        mesh_flush(shard->post);
        return;
    }
    /* The last letters are those of this dialogue. */
    if (mesh_letters_out(shard->post) > 0 || mesh_letters_kept(shard->post) > 0) return;
    if (shard->conns.count > 0) return; /* accepted while listening ended; it is closing */
    /* The store works on by itself: its timer may have begun to apply the log. */
    if (store_pending(shard->store) > 0) return;
    if (!mesh_sleep(shard->post)) return; /* something is still to be handed over or read */
    mesh_awake(shard->post);
    wheel_disarm(&shard->wheel, &shard->drain_timer);
    shard->is_stopped = true;
}

void drain_on_quiet(void *context, struct letter *letter)
{
    (void)letter;
    struct shard *shard = context;
    check(shard->index == 0);
    shard->quiet_count++;
    check(shard->quiet_count <= shard->shards_count);
    if (shard->quiet_count < shard->shards_count) return;
    shard->quiet_count = 0;
    for (uint32_t to = 0; to < shard->shards_count; to++)
        letter_post(shard->post, letter_pack_plain(shard->post, to, LETTER_STOP));
}

void drain_on_stop(void *context, struct letter *letter)
{
    check(letter->from == 0);
    struct shard *shard = context;
    check(shard->is_draining);
    shard->drain_round++;
    shard->is_quiet_told = false;
    shard->is_leaving = shard->drain_round > ROUND_QUESTIONS;
    if (shard->is_leaving && store_has_peers(shard->store) && shard->drain_round < ROUND_COUNT)
        store_goodbye(shard->store);
    if (shard->drain_round != ROUND_QUESTIONS) return;
    loop_listen_end(shard->loop);
    shard->drain_http_ms = clock_turn_ms(&shard->clock) + DRAIN_HTTP_MS;
}
