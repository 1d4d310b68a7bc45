/*
 * Idempotency keys at their capacity: CPU ns to look for a key that is new, to keep it
 * and to let the oldest go, by channels and keys.
 */
#include <stdio.h>
#include <time.h>

#include "core/mem.h"
#include "core/rng.h"
#include "storage/keys.h"

#define ROUNDS 2000000u

static uint64_t cpu_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static void add(struct keys *keys, struct key_owner *owner, struct rng *rng, uint64_t now_ms)
{
    uint64_t words[3] = {rng_next(rng), rng_next(rng), rng_next(rng)};
    struct bytes scope = BYTES_LITERAL("user1"), key = bytes_of(words, 22);
    if (keys_find(keys, owner, scope, key, now_ms) != NULL) return;
    keys_end(keys_begin(keys, owner, scope, key, now_ms), now_ms);
}

int main(void)
{
    static const uint32_t sizes[] = {10000, 100000, 1000000};
    static struct metrics metrics;
    printf("%9s %9s %9s %9s\n", "keys", "channels", "ns", "bytes");
    for (uint32_t s = 0; s < array_count(sizes); s++) {
        uint32_t owners_count = sizes[s] / 1000;
        struct key_owner *owners = mem_alloc(owners_count * sizeof *owners);
        struct keys keys;
        struct rng rng;
        rng_seed(&rng, 1);
        uint64_t before = mem_used();
        keys_init(&keys, 1, sizes[s], 1ull << 40, &metrics);
        for (uint32_t i = 0; i < owners_count; i++) keys_own(&keys, &owners[i]);
        for (uint32_t i = 0; i < sizes[s]; i++)
            add(&keys, &owners[rng_below(&rng, owners_count)], &rng, i);
        uint64_t bytes = mem_used() - before, start_ns = cpu_ns();
        for (uint32_t i = 0; i < ROUNDS; i++)
            add(&keys, &owners[rng_below(&rng, owners_count)], &rng, sizes[s] + i);
        printf("%9u %9u %9.0f %9.0f\n", sizes[s], owners_count,
               (double)(cpu_ns() - start_ns) / ROUNDS, (double)bytes / sizes[s]);
        keys_fini(&keys);
        mem_free(owners);
    }
    return 0;
}
