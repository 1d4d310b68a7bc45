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
        {"users", census.users},
        {"sessions", census.sessions},
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
        {"presence entries", census.presence_entries},
        {"interned strings", census.texts},
        {"sockets", loop_socks(shard->loop)},
    };
    for (uint32_t i = 0; i < array_count(rows); i++)
        if (rows[i].count != 0)
            world_fail("everything comes home", "shard %u: %" PRIu64 " %s", shard->index,
                       rows[i].count, rows[i].name);
}

bool check_only(uint32_t conns, uint32_t subs)
{
    struct shard_census sum = {0};
    for (uint32_t i = 0; i < host_shards(); i++) {
        struct shard_census census;
        shard_census(host_shard(i), &census);
        sum.conns += census.conns;
        sum.subs += census.subs;
        sum.calls += census.calls;
        sum.ws_contexts += census.ws_contexts;
        sum.out_chunks += census.out_chunks;
        sum.users += census.users;
        sum.sessions += census.sessions;
        sum.presence_entries += census.presence_entries;
    }
    return sum.conns == conns && sum.users == conns && sum.sessions == conns && sum.subs == subs &&
           sum.presence_entries == subs && sum.calls == 0 && sum.ws_contexts == 0 &&
           sum.out_chunks == 0;
}
