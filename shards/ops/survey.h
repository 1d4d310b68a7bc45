/*
 * survey: one question to every shard: counters, counts, health.
 *
 * The asker sends a SURVEY letter to each shard, itself included, and hears one
 * callback when the last has answered.  A shard that has no credit to give is
 * left out and counted as missing: a page about health may be incomplete, it
 * may not wait.
 *
 * Users are counted only when asked for, since it is the one part that walks
 * every connection; each shard then tells a hash per distinct user, so that one
 * who is on two shards counts once.
 *
 * Thread:  any shard; the callback runs on the asker.
 * Bound:   a letter and an answer per shard; with users O(connections).
 * Tests:   tests/unit/shards/test_survey.c, tests/conformance
 */
#pragma once

#include "core/err.h"
#include "core/limits.h"
#include "core/metric.h"
#include "storage/store.h"

struct shard;
struct conn;
struct letter;
struct api_sink;

struct survey_shard {
    bool has_answered;
    bool store_ok;
    uint64_t clients, subscriptions, channels;
    uint64_t store_lag_bytes, store_latency_us, keys_latency_us;
    uint8_t keys_state; /* enum keys_state, of shard 0 */
    char store_detail[STORE_DETAIL_MAX];
};

struct survey {
    uint32_t shards_count;
    uint32_t missing; /* shards that were not asked */
    uint64_t users;   /* distinct non-empty user ids; with SURVEY_WITH_USERS */
    struct survey_shard shards[SHARDS_MAX];
    struct metrics metrics; /* summed over the shards that answered */
    struct store_group groups[STORE_GROUPS_MAX];
    uint32_t groups_count;
};

enum survey_depth { SURVEY_COUNTERS, SURVEY_WITH_USERS };

/* `conn` may be DYING, and is NULL when the survey had none; `sink` is the
 * asker's, or zeroed. */
typedef void (*survey_fn)(struct shard *shard, struct conn *conn, const struct api_sink *sink,
                          const struct survey *survey);

/* Asks every shard; `done` runs once, in a later turn.  ERR_CREDIT_SPENT when
 * not one shard could be asked.  `sink` is copied, and NULL outside the server API. */
must_use enum err survey_begin(struct shard *shard, struct conn *conn, enum survey_depth depth,
                               const struct api_sink *sink, survey_fn done);
void survey_on_letter(void *shard, struct letter *letter);
