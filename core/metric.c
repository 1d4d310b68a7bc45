/*
 * metric: the table of metric.def, and sums.
 */
#include "core/metric.h"

#include "core/check.h"

#define KIND_COUNTER "counter"
#define KIND_GAUGE   "gauge"

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

void metrics_sum(struct metrics *total, const struct metrics *shard)
{
    check(total != shard);
    for (uint32_t id = 0; id < METRIC_COUNT; id++) total->values[id] += shard->values[id];
}
