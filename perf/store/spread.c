#include "perf/store/spread.h"

/* Below 64 each value has its own bucket, then 32 to a doubling. */
static uint32_t bucket_of(uint64_t ns)
{
    if (ns < 64) return (uint32_t)ns;
    uint32_t power = 63 - (uint32_t)__builtin_clzll(ns);
    uint32_t bucket = (power - 5) * 32 + (uint32_t)(ns >> (power - 5));
    return bucket < SPREAD_BUCKETS ? bucket : SPREAD_BUCKETS - 1;
}

static uint64_t bucket_end(uint32_t bucket)
{
    if (bucket < 64) return bucket;
    uint32_t power = bucket / 32 + 4;
    return ((uint64_t)(bucket % 32 + 33) << (power - 5)) - 1;
}

void spread_add(struct spread *spread, uint64_t ns)
{
    spread->counts[bucket_of(ns)]++;
    spread->total++;
    if (ns > spread->most) spread->most = ns;
}

double spread_us(const struct spread *spread, double share)
{
    uint64_t wanted = (uint64_t)((double)spread->total * share), seen = 0;
    for (uint32_t i = 0; i < SPREAD_BUCKETS; i++) {
        seen += spread->counts[i];
        if (seen <= wanted) continue;
        uint64_t end = bucket_end(i);
        return (double)(end < spread->most ? end : spread->most) / 1000;
    }
    return (double)spread->most / 1000;
}
