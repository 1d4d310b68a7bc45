/*
 * connect_subs: the server-side subscriptions of a client that connects.
 */
#include "core/check.h"
#include "shards/cmd/connecting.h"
#include "shards/shard.h"

enum connect_step connect_subscribe(struct shard *shard, struct conn *conn)
{
    (void)shard;
    check(conn->connecting->reply_subs_count == 0);
    return CONNECT_DONE;
}
