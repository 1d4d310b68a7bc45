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

/* One number each.  Those of a family stand together from METRIC_<id> on; _BEFORE only
 * lets the first value of a label have the number of METRIC_<id>. */
#define METRIC_OF_VALUE(id, value) METRIC_##id##_##value,
#define METRIC_PLUS_ONE(id, value) +1
enum metric_id {
#define METRIC(id, kind, name, text) METRIC_##id,
#define LABELLED(id, name, label, values, text)                                                    \
    METRIC_##id, METRIC_##id##_BEFORE = METRIC_##id - 1, values(METRIC_OF_VALUE, id)
#define HISTOGRAM(id, name, bounds, unit, text)                                                    \
    METRIC_##id, METRIC_##id##_SUM = METRIC_##id + 1 bounds(METRIC_PLUS_ONE, id),                  \
                 METRIC_##id##_COUNT,
#include "core/metric.def"
#undef METRIC
#undef LABELLED
#undef HISTOGRAM
    METRIC_COUNT,
};

enum family_id {
#define METRIC(id, kind, name, text)            FAMILY_##id,
#define LABELLED(id, name, label, values, text) FAMILY_##id,
#define HISTOGRAM(id, name, bounds, unit, text) FAMILY_##id,
#include "core/metric.def"
#undef METRIC
#undef LABELLED
#undef HISTOGRAM
    FAMILY_COUNT,
};

struct metrics {
    uint64_t values[METRIC_COUNT];
};

struct metric_family {
    const char *name, *kind, *text; /* kind: "counter", "gauge" or "histogram" */
    const char *label;              /* NULL: one value, and the rest is empty */
    const char *const *values;      /* of the label, in capitals; of a histogram its bounds */
    uint32_t values_count;
    const uint64_t *bounds; /* of a histogram, in parts */
    uint64_t unit;          /* of a histogram: how many parts are 1 */
    enum metric_id first;
};

const struct metric_family *metric_family(enum family_id id);
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
/* One more of this many parts in a histogram (of seconds: nanoseconds).  A bucket counts
 * what fits in none before it, and the exposition adds them up. */
void metric_observe(struct metrics *m, enum family_id id, uint64_t parts);
/* One more of `code` in a family with the label code, whose last value is every other one. */
void metric_add_code(struct metrics *m, enum family_id id, uint32_t code);
void metrics_sum(struct metrics *total, const struct metrics *shard);
