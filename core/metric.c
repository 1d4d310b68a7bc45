/*
 * metric: the table of metric.def, and sums.
 */
#include "core/metric.h"

#include <stdlib.h>
#include <string.h>

#include "core/check.h"

#define KIND_COUNTER   "counter"
#define KIND_GAUGE     "gauge"
#define KIND_HISTOGRAM "histogram"

static const struct metric_row rows[METRIC_COUNT] = {
#define METRIC(id, kind, name, text) [METRIC_##id] = {name, KIND_##kind, text},
#include "core/metric.def"
#undef METRIC
};

const struct metric_row *metric_row(enum metric_id id)
{
    check(id < METRIC_COUNT);
    return &rows[id];
}

void metric_observe(struct metrics *m, enum metric_id first, uint64_t ns)
{
    static const uint64_t bounds_ms[METRIC_BUCKETS - 1] = {1, 5, 10, 50, 100, 500, 1000, 5000};
    check(first + METRIC_BUCKETS + 1 < METRIC_COUNT);
    uint32_t bucket = 0;
    while (bucket < METRIC_BUCKETS - 1 && ns > bounds_ms[bucket] * 1000000) bucket++;
    metric_add(m, first + bucket, 1);
    metric_add(m, first + METRIC_BUCKETS, ns);
    metric_add(m, first + METRIC_BUCKETS + 1, 1);
}

void metric_add_code(struct metrics *m, enum metric_id first, enum metric_id last, uint32_t code)
{
    check(first < last && last < METRIC_COUNT);
    enum metric_id id = first;
    /* The number stands in the name's label; "other" is 0. */
    while (id < last && strtoul(strchr(rows[id].name, '"') + 1, NULL, 10) != code) id++;
    metric_add(m, id, 1);
}

void metrics_sum(struct metrics *total, const struct metrics *shard)
{
    check(total != shard);
    for (uint32_t id = 0; id < METRIC_COUNT; id++) total->values[id] += shard->values[id];
}
