/*
 * metric: the table of metric.def, and sums.
 */
#include "core/metric.h"

#include <stdlib.h>

#include "core/check.h"

#define KIND_COUNTER          "counter"
#define KIND_GAUGE            "gauge"
#define TEXT_OF(id, value)    #value,
/* The half rounds what a bound below 1 is in binary. */
#define PARTS_OF(unit, value) (uint64_t)((double)(value) * (unit) + 0.5),
#define COUNT_OF(values)      (0 values(METRIC_PLUS_ONE, ))

static const struct metric_family families[FAMILY_COUNT] = {
#define METRIC(id_, kind_, name_, text_)                                                           \
    [FAMILY_##id_] = {.name = name_, .kind = KIND_##kind_, .text = text_, .first = METRIC_##id_},
#define LABELLED(id_, name_, label_, values_, text_)                                               \
    [FAMILY_##id_] = {.name = name_,                                                               \
                      .kind = "counter",                                                           \
                      .text = text_,                                                               \
                      .label = label_,                                                             \
                      .values = (const char *const[]){values_(TEXT_OF, )},                         \
                      .values_count = COUNT_OF(values_),                                           \
                      .first = METRIC_##id_},
#define HISTOGRAM(id_, name_, bounds_, unit_, text_)                                               \
    [FAMILY_##id_] = {.name = name_,                                                               \
                      .kind = "histogram",                                                         \
                      .text = text_,                                                               \
                      .label = "le",                                                               \
                      .values = (const char *const[]){bounds_(TEXT_OF, )},                         \
                      .values_count = COUNT_OF(bounds_),                                           \
                      .bounds = (const uint64_t[]){bounds_(PARTS_OF, unit_)},                      \
                      .unit = unit_,                                                               \
                      .first = METRIC_##id_},
#include "core/metric.def"
#undef METRIC
#undef LABELLED
#undef HISTOGRAM
};

const struct metric_family *metric_family(enum family_id id)
{
    check(id < FAMILY_COUNT);
    return &families[id];
}

void metric_observe(struct metrics *m, enum family_id id, uint64_t parts)
{
    const struct metric_family *family = metric_family(id);
    check(family->bounds != NULL);
    uint32_t bucket = 0;
    while (bucket < family->values_count && parts > family->bounds[bucket]) bucket++;
    uint32_t sum = family->first + family->values_count + 1;
    metric_add(m, family->first + bucket, 1);
    metric_add(m, sum, parts);
    metric_add(m, sum + 1, 1);
}

void metric_add_code(struct metrics *m, enum family_id id, uint32_t code)
{
    const struct metric_family *family = metric_family(id);
    check(family->values_count > 1 && family->bounds == NULL);
    uint32_t value = 0;
    while (value < family->values_count - 1 && strtoul(family->values[value], NULL, 10) != code)
        value++;
    metric_add(m, family->first + value, 1);
}

void metrics_sum(struct metrics *total, const struct metrics *shard)
{
    check(total != shard);
    for (uint32_t id = 0; id < METRIC_COUNT; id++) total->values[id] += shard->values[id];
}
