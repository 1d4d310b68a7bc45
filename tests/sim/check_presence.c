/*
 * check_presence: who is listed is who is subscribed.
 *
 * At quiet every entry of a channel's home has one live subscription and each
 * such subscription has its entry: looked up one by one, and counted.
 */
#include <inttypes.h>
#include <stdio.h>

#include "core/check.h"
#include "host.h"
#include "shards/channel/channel_parts.h"
#include "shards/home.h"
#include "shards/shard.h"

static bool sub_is_listed(const struct shard *shard, const struct sub *sub, const struct conn *conn)
{
    const struct hub_entry *entry = hub_at(&shard->hub, sub->hub);
    check(entry != NULL);
    const struct shard *home = host_shard(entry->home);
    const struct channel *channel = channel_find(home, hub_name(entry));
    struct wire_info who;
    uint32_t flags;
    return channel != NULL && channel->presence != NULL &&
           presence_find(&home->channels.presences, channel->presence, conn->client,
                         sub->flags & SUB_HAS_PRESENCE, &who, &flags) &&
           bytes_equal(who.user, conn_user(conn));
}

bool check_presence(char *why, size_t size)
{
    uint64_t wanted = 0, found = 0;
    for (uint32_t i = 0; i < host_shards(); i++) {
        struct shard *shard = host_shard(i);
        found += shard->channels.presences.entries.count;
        for (uint32_t at = 0; at < shard->subs.touched; at++) {
            const struct sub *sub = slab_at(&shard->subs, at);
            if (sub == NULL || !(sub->flags & (SUB_HAS_PRESENCE | SUB_TELLS_JOINS))) continue;
            wanted++;
            if (sub->state == SUB_LIVE && sub_is_listed(shard, sub, conn_at(shard, sub->conn)))
                continue;
            snprintf(why, size, "shard %u: a subscription in state %d is not listed", i,
                     sub->state);
            return false;
        }
    }
    if (wanted == found) return true;
    snprintf(why, size, "%" PRIu64 " presence entries for %" PRIu64 " subscriptions", found,
             wanted);
    return false;
}
