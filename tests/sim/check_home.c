/*
 * check_home: after a drain every slab object, frame and letter is home.
 */
#include <inttypes.h>

#include "host.h"
#include "shards/shard.h"
#include "world.h"

void check_home(const struct shard *shard)
{
    struct shard_census census;
    shard_census(shard, &census);
    const struct {
        const char *name;
        uint64_t count;
    } rows[] = {
        {"connections", census.conns},
        {"subscriptions", census.subs},
        {"calls", census.calls},
        {"frames", census.frames},
        {"frame bytes", census.frame_bytes},
        {"output chunks", census.out_chunks},
        {"letters out", census.letters_out},
        {"letters kept", census.letters_kept},
        {"WebSocket contexts", census.ws_contexts},
        {"store operations", census.store_pending},
        {"sockets", loop_socks(shard->loop)},
    };
    for (uint32_t i = 0; i < array_count(rows); i++)
        if (rows[i].count != 0)
            world_fail("everything comes home", "shard %u: %" PRIu64 " %s", shard->index,
                       rows[i].count, rows[i].name);
}
