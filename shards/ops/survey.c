/*
 * survey: ask all, sum up.
 */
#include "shards/ops/survey.h"

#include <stdlib.h>

#include "core/check.h"
#include "core/hash.h"
#include "core/mem.h"
#include "shards/call.h"
#include "shards/shard.h"
#include "shards/token/token.h"

/* Any constant: what matters is that all shards have the same. */
#define USER_HASH_SEED 0x736c75696365u

/* One survey under way. */
struct survey_run {
    survey_fn done;
    struct api_sink sink;
    uint32_t left;
    uint64_t began_ns;
    uint64_t *users; /* hashes of all shards, one after another */
    size_t users_count;
    struct survey survey;
};

static int compare_u64(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
    return left < right ? -1 : left > right;
}

/* Sorts, keeps one of each; returns how many. */
static size_t keep_distinct(uint64_t *values, size_t count)
{
    if (count == 0) return 0;
    qsort(values, count, sizeof *values, compare_u64);
    size_t kept = 1;
    for (size_t i = 1; i < count; i++)
        if (values[i] != values[kept - 1]) values[kept++] = values[i];
    return kept;
}

static void take_users(struct survey_run *run, struct bytes hashes)
{
    size_t count = hashes.size / sizeof(uint64_t);
    if (count == 0) return;
    run->users = mem_resize(run->users, (run->users_count + count) * sizeof *run->users);
    memcpy(run->users + run->users_count, hashes.at, count * sizeof *run->users);
    run->users_count += count;
}

/* One shard has them all. */
static void take_groups(struct survey *survey, struct bytes groups)
{
    if (groups.size == 0) return;
    check(groups.size % sizeof survey->groups[0] == 0 && groups.size <= sizeof survey->groups);
    memcpy(survey->groups, groups.at, groups.size);
    survey->groups_count = (uint32_t)(groups.size / sizeof survey->groups[0]);
}

static void take_shard(struct survey *survey, uint32_t index, const struct answer *answer)
{
    struct survey_shard *shard = &survey->shards[index];
    check(!shard->has_answered);
    check(answer->metrics != NULL);
    *shard = (struct survey_shard){
        .has_answered = true,
        .store_ok = answer->store_ok,
        .clients = answer->clients,
        .subscriptions = answer->subscriptions,
        .channels = answer->channels,
        .store_lag_bytes = answer->store_lag_bytes,
        .store_latency_us = answer->store_latency_us,
        .keys_state = answer->keys_state,
        .keys_latency_us = answer->keys_latency_us,
    };
    size_t size = min_u64(answer->store_detail.size, sizeof shard->store_detail - 1);
    if (size > 0) memcpy(shard->store_detail, answer->store_detail.at, size);
    metrics_sum(&survey->metrics, answer->metrics);
    take_groups(survey, answer->store_groups);
}

static void on_answer(struct shard *shard, struct call *call, struct conn *conn,
                      const struct answer *answer)
{
    struct survey_run *run = call->context;
    check(answer->err == ERR_OK);
    check(run->left > 0);
    take_shard(&run->survey, call->to, answer);
    take_users(run, answer->user_hashes);
    if (--run->left > 0) return;
    metric_observe(&shard->metrics, FAMILY_SURVEY_SECONDS, shard->clock.mono_ns - run->began_ns);
    run->survey.users = keep_distinct(run->users, run->users_count);
    run->done(shard, conn, &run->sink, &run->survey);
    mem_free(run->users);
    mem_free(run);
}

enum err survey_begin(struct shard *shard, struct conn *conn, enum survey_depth depth,
                      const struct api_sink *sink, survey_fn done)
{
    struct survey_run *run = mem_alloc(sizeof *run);
    run->done = done;
    run->began_ns = shard->clock.mono_ns;
    metric_add(&shard->metrics, METRIC_ACTIONS_SURVEY, 1);
    if (sink != NULL) run->sink = *sink;
    run->survey.shards_count = shard->shards_count;
    for (uint32_t to = 0; to < shard->shards_count; to++) {
        struct call *call;
        struct handle handle;
        if (call_begin(shard, conn, to, on_answer, &call, &handle) != ERR_OK) {
            run->survey.missing++;
            continue;
        }
        call->context = run;
        run->left++;
        call_post(shard, letter_pack_survey(shard->post, to, handle, depth == SURVEY_WITH_USERS));
    }
    if (run->left > 0) return ERR_OK;
    mem_free(run);
    return ERR_CREDIT_SPENT;
}

/* A hash per distinct user connected here, in the arena. */
static struct bytes user_hashes(struct shard *shard)
{
    if (shard->clients_count == 0) return BYTES_NONE;
    uint64_t *hashes = arena_get(&shard->arena, shard->clients_count * sizeof *hashes);
    size_t count = 0;
    for (uint32_t i = 0; i < shard->conns.touched; i++) {
        const struct conn *conn = conn_at(shard, i);
        if (conn == NULL || !(conn->flags & CONN_CONNECTED) || conn->user_size == 0) continue;
        check(count < shard->clients_count);
        hashes[count++] = hash_bytes(conn_user(conn), USER_HASH_SEED);
    }
    return bytes_of(hashes, keep_distinct(hashes, count) * sizeof *hashes);
}

void survey_on_letter(void *context, struct letter *letter)
{
    struct shard *shard = context;
    struct handle call;
    bool with_users;
    letter_read_survey(letter, &call, &with_users);
    struct store_health health = {0};
    uint64_t keys_latency_us;
    store_health(shard->store, &health);
    /* Before the initializers below, which run in any order. */
    uint8_t keys_state = (uint8_t)tokens_health(shard, &keys_latency_us);
    struct answer answer = {
        .call = call,
        .metrics = &shard->metrics,
        .clients = shard->clients_count,
        .user_hashes = with_users ? user_hashes(shard) : BYTES_NONE,
        .subscriptions = shard->subs.count,
        .channels = shard->metrics.values[METRIC_CHANNELS],
        .store_ok = health.is_ok,
        .store_detail = bytes_of_text(health.detail),
        .store_lag_bytes = health.lag_bytes,
        .store_latency_us = health.latency_us,
        .keys_state = keys_state,
        .keys_latency_us = keys_latency_us,
        .store_groups = bytes_of(health.groups, health.groups_count * sizeof health.groups[0]),
    };
    call_answer(shard, letter, &answer);
}
