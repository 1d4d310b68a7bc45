/*
 * bucket: one instant per bucket.
 *
 * A token takes per_second^-1 of time to come back, so taking n moves the
 * instant of fullness n such steps ahead; the tokens are there as long as that
 * instant is no further ahead than the burst takes to refill.
 */
#include "core/bucket.h"

#include "core/check.h"

#define SECOND_NS UINT64_C(1000000000)
#define MS_NS     UINT64_C(1000000)

static uint64_t step_ns(const struct bucket_rate *rate)
{
    check(rate->per_second > 0 && rate->per_second <= SECOND_NS);
    return SECOND_NS / rate->per_second;
}

bool bucket_take(struct bucket *bucket, const struct bucket_rate *rate, uint64_t now_ms,
                 uint32_t tokens)
{
    if (rate->per_second == 0) return true;
    if (bucket_wait_ms(bucket, rate, now_ms, tokens) > 0) return false;
    bucket->full_ns = max_u64(bucket->full_ns, now_ms * MS_NS) + tokens * step_ns(rate);
    check(bucket->full_ns <= now_ms * MS_NS + rate->burst * step_ns(rate));
    return true;
}

uint64_t bucket_wait_ms(const struct bucket *bucket, const struct bucket_rate *rate,
                        uint64_t now_ms, uint32_t tokens)
{
    if (rate->per_second == 0) return 0;
    if (tokens > rate->burst) return UINT64_MAX;
    uint64_t now_ns = now_ms * MS_NS;
    uint64_t full_ns = max_u64(bucket->full_ns, now_ns) + tokens * step_ns(rate);
    uint64_t limit_ns = now_ns + rate->burst * step_ns(rate);
    return full_ns <= limit_ns ? 0 : (full_ns - limit_ns + MS_NS - 1) / MS_NS;
}
