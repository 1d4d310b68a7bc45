/*
 * metric: plain counters of one shard, from core/metric.def.
 *
 * Written and read by their shard alone; a scrape asks every shard by letter
 * for a copy and sums the copies.
 *
 * Thread:  owner shard; copies anywhere.
 * Tests:   tests/unit/core/test_metric.c
 */
#pragma once

#include "core/base.h"

enum metric_id {
#define METRIC(id, kind, name, text) METRIC_##id,
#include "core/metric.def"
#undef METRIC
    METRIC_COUNT,
};

struct metrics {
    uint64_t values[METRIC_COUNT];
};

struct metric_row {
    const char *name, *kind, *text; /* kind: "counter", "gauge" or "histogram" */
};

const struct metric_row *metric_row(enum metric_id id);
static inline void metric_add(struct metrics *m, enum metric_id id, uint64_t n)
{
    m->values[id] += n;
}
static inline void metric_sub(struct metrics *m, enum metric_id id, uint64_t n)
{
    m->values[id] -= n;
}
static inline void metric_set(struct metrics *m, enum metric_id id, uint64_t n)
{
    m->values[id] = n;
}
/* Buckets of a histogram; the last one has no bound.  Each counts what fits in none before
 * it, and the exposition adds them up. */
#define METRIC_BUCKETS 9
/* One more that took `ns`, in the histogram whose first bucket is `first`.  The row _sum
 * holds nanoseconds. */
void metric_observe(struct metrics *m, enum metric_id first, uint64_t ns);
/* One more in the row of `code`; `last` is the row of every other code, and `first` to `last`
 * are a family with the label code. */
void metric_add_code(struct metrics *m, enum metric_id first, enum metric_id last, uint32_t code);
void metrics_sum(struct metrics *total, const struct metrics *shard);
