/*
 * key_home: where the node's key sets are fetched, on shard 0.
 *
 *   IDLE ─ ask ─▶ PAUSED ─ KEYS_PAUSE_MS after the fetch before ─▶ FETCHING ─▶ IDLE
 *
 * An ask that the set at hand satisfies is answered at once; the others wait as a bit
 * per shard, for a shard never asks twice at once, and are answered together.
 */
#include <stdio.h>

#include "core/check.h"
#include "core/fetch.h"
#include "core/log.h"
#include "core/mem.h"
#include "core/worker.h"
#include "shards/letter.h"
#include "shards/node.h"
#include "shards/shard.h"
#include "shards/token/token_parts.h"

static_assert(SHARDS_MAX <= 64, "who asked is a bit of a u64");

/* The set of one use. */
struct key_source {
    struct key_home *home;
    struct job job;
    struct fetch fetch;
    enum err fetched;
    char *url;         /* of the fetch under way */
    uint64_t url_hash; /* of the last one */
    uint8_t *text;     /* the set at hand, NULL: none; it is one */
    size_t size;
    uint64_t began_ms; /* of its fetch */
    uint64_t tried_ms; /* when the last fetch began, good or bad; 0: never */
    uint64_t askers;   /* a bit per shard */
    uint64_t took_ms;  /* the last fetch */
    bool is_fetching, is_stale, has_failed;
    struct timer pause;
};

struct key_home {
    struct shard *shard;
    struct key_source sources[JWT_USE_COUNT];
};

static uint8_t use_of(const struct key_source *source)
{
    return (uint8_t)(source - source->home->sources);
}

static void answer(struct key_source *source, uint32_t to, bool is_there)
{
    struct letter_keys out = {
        .use = use_of(source),
        .is_there = is_there,
        .url_hash = source->url_hash,
        .began_ms = source->began_ms,
        .text = is_there ? bytes_of(source->text, source->size) : BYTES_NONE,
    };
    struct post *post = source->home->shard->post;
    letter_post_answer(post, letter_pack_keys(post, to, &out));
}

static void answer_all(struct key_source *source, bool is_there)
{
    uint64_t askers = source->askers;
    source->askers = 0;
    for (uint32_t to = 0; askers != 0; to++, askers >>= 1)
        if (askers & 1) answer(source, to, is_there);
}

/* --- fetching ---------------------------------------------------------------------- */

static void on_fetcher(struct job *job, uint32_t thread)
{
    (void)thread;
    struct key_source *source = container_of(job, struct key_source, job);
    source->fetched = fetch_get(&source->fetch);
}

static const char *option_of(const struct key_source *source)
{
    return use_of(source) == JWT_CONNECTION ? "client.token.jwks_public_endpoint"
                                            : "client.subscription_token.jwks_public_endpoint";
}

/* Takes the text when it is a set.  The address is not told: it may be secret. */
static bool take(struct key_source *source)
{
    struct fetch *fetch = &source->fetch;
    struct jwt_set *set = NULL;
    bool is_fine = source->fetched == ERR_OK;
    if (is_fine && jwt_set_parse(bytes_of(fetch->body, fetch->size), &set) != ERR_OK) {
        snprintf(fetch->why, sizeof fetch->why, "the answer is no JWK set");
        is_fine = false;
    }
    if (is_fine) {
        log_info("key set fetched keys=%u option=%s", jwt_set_count(set), option_of(source));
        mem_free(source->text);
        source->text = fetch->body;
        source->size = fetch->size;
        source->began_ms = source->tried_ms;
        fetch->body = NULL;
    } else {
        log_warn("key set cannot be fetched, clients with its tokens are asked to come back; "
                 "check the address error=\"%s\" option=%s",
                 fetch->why, option_of(source));
        metric_add(&source->home->shard->metrics, METRIC_KEY_FETCH_ERRORS, 1);
    }
    jwt_set_destroy(set);
    mem_free(fetch->body);
    fetch->body = NULL;
    return is_fine;
}

static void begin(struct key_source *source);

static void on_fetched(struct job *job, void *context)
{
    struct key_source *source = container_of(job, struct key_source, job);
    check(context == source->home->shard);
    check(source->is_fetching);
    source->is_fetching = false;
    mem_free(source->url);
    source->url = NULL;
    if (source->is_stale) {
        /* Asked for under another configuration: what came is nobody's. */
        mem_free(source->fetch.body);
        source->fetch.body = NULL;
        source->is_stale = false;
        source->tried_ms = 0;
        if (source->askers != 0) begin(source);
        return;
    }
    source->took_ms = clock_turn_ms(&source->home->shard->clock) - source->tried_ms;
    source->has_failed = !take(source);
    answer_all(source, !source->has_failed);
}

static void fetch(struct key_source *source)
{
    struct shard *shard = source->home->shard;
    const char *url = jwt_set_url(shard->config, (enum jwt_use)use_of(source));
    if (url[0] == '\0' || shard->is_draining) {
        answer_all(source, false);
        return;
    }
    source->url = mem_text(url, strlen(url));
    source->url_hash = key_url_hash(shard, (enum jwt_use)use_of(source));
    source->fetch = (struct fetch){.url = source->url,
                                   .timeout_ms = KEYS_TIMEOUT_MS,
                                   .tries = KEYS_TRIES,
                                   .body_max = JWT_SET_BYTES_MAX};
    source->job = (struct job){
        .kind = WORKER_FETCHER, .run = on_fetcher, .done = on_fetched, .home = &shard->inbox};
    source->tried_ms = max_u64(1, clock_turn_ms(&shard->clock));
    metric_add(&shard->metrics, METRIC_KEY_FETCHES, 1);
    source->is_fetching = true;
    if (workers_submit(shard->node->workers, &source->job) == ERR_OK) return;
    source->is_fetching = false;
    mem_free(source->url);
    source->url = NULL;
    answer_all(source, false);
}

static void on_pause(struct timer *timer)
{
    fetch(container_of(timer, struct key_source, pause));
}

static void begin(struct key_source *source)
{
    struct shard *shard = source->home->shard;
    if (source->is_fetching || timer_is_armed(&source->pause)) return;
    uint64_t due_ms = source->tried_ms == 0 ? 0 : source->tried_ms + KEYS_PAUSE_MS;
    if (clock_turn_ms(&shard->clock) >= due_ms || shard->is_draining)
        fetch(source);
    else
        wheel_arm(&shard->wheel, &source->pause, due_ms, on_pause);
}

void key_home_on_ask(void *context, struct letter *letter)
{
    struct shard *shard = context;
    struct letter_keys_ask in;
    letter_read_keys_ask(letter, &in);
    check(shard->index == 0);
    check(in.use < JWT_USE_COUNT);
    struct key_source *source = &tokens_home(shard)->sources[in.use];
    check(!(source->askers >> letter->from & 1));
    /* A set that this shard has not: fetched since, and not about to be too old. */
    uint64_t now = clock_turn_ms(&shard->clock);
    if (source->text != NULL && source->began_ms > in.after_ms &&
        now - source->began_ms < KEYS_RENEW_MS) {
        answer(source, letter->from, true);
        return;
    }
    source->askers |= 1ull << letter->from;
    begin(source);
}

/* --- life --------------------------------------------------------------------------- */

struct key_home *key_home_create(struct shard *shard)
{
    check(shard->index == 0);
    struct key_home *home = mem_alloc(sizeof *home);
    home->shard = shard;
    for (uint32_t use = 0; use < JWT_USE_COUNT; use++) home->sources[use].home = home;
    return home;
}

void key_home_destroy(struct key_home *home)
{
    if (home == NULL) return;
    for (uint32_t use = 0; use < JWT_USE_COUNT; use++) {
        check(!home->sources[use].is_fetching);
        mem_free(home->sources[use].text);
    }
    mem_free(home);
}

static enum keys_state source_health(const struct key_source *source)
{
    const struct shard *shard = source->home->shard;
    if (jwt_set_url(shard->config, (enum jwt_use)use_of(source))[0] == '\0') return KEYS_NONE;
    if (source->tried_ms == 0 && !source->has_failed) return KEYS_NOT_ASKED;
    if (!source->has_failed) return KEYS_FINE;
    bool serves =
        source->text != NULL && clock_turn_ms(&shard->clock) - source->began_ms < KEYS_GOOD_MS;
    return serves ? KEYS_OLD : KEYS_DOWN;
}

enum keys_state tokens_health(const struct shard *shard, uint64_t *latency_us)
{
    enum keys_state worst = KEYS_NONE;
    *latency_us = 0;
    if (shard->index != 0 || shard->tokens == NULL) return worst;
    const struct key_home *home = tokens_home(shard);
    for (uint32_t use = 0; use < JWT_USE_COUNT; use++) {
        enum keys_state state = source_health(&home->sources[use]);
        if (state > worst) worst = state;
        *latency_us = max_u64(*latency_us, home->sources[use].took_ms * 1000);
    }
    return worst;
}

bool key_home_is_busy(const struct key_home *home)
{
    for (uint32_t use = 0; use < JWT_USE_COUNT; use++)
        if (home->sources[use].is_fetching || home->sources[use].askers != 0) return true;
    return false;
}

void key_home_reload(struct key_home *home, enum jwt_use use)
{
    struct key_source *source = &home->sources[use];
    mem_free(source->text);
    source->text = NULL;
    source->tried_ms = 0;
    source->has_failed = false;
    source->is_stale = source->is_fetching;
}
