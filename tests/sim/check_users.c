/*
 * check_users: what a user-addressed call promises, held against the shards
 * themselves.
 *
 * When a connect began is gone once it is answered, so it is noted at the end of
 * each turn, by socket.  A connect that came and was answered within one turn
 * began in it.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "host.h"
#include "shards/cmd/connecting.h"
#include "shards/home.h"
#include "shards/node.h"
#include "shards/shard.h"
#include "world.h"

#define SOCKS_SIM_MAX 2048
#define SHARDS_SIM    4

static struct {
    uint32_t generation;
    uint64_t began_ns;
} seen[SHARDS_SIM][SOCKS_SIM_MAX];

void check_users_forget(void)
{
    memset(seen, 0, sizeof(seen));
}

void check_users_turn(const struct plan *plan, struct shard *shard)
{
    check(shard->index < SHARDS_SIM);
    for (uint32_t i = 0; i < shard->conns.touched; i++) {
        const struct conn *conn = conn_at(shard, i);
        if (conn == NULL || !(conn->flags & (CONN_CONNECTING | CONN_CONNECTED))) continue;
        check(i < SOCKS_SIM_MAX);
        uint32_t generation = slab_handle(&shard->conns, conn).generation;
        if (seen[shard->index][i].generation == generation) continue;
        seen[shard->index][i].generation = generation;
        seen[shard->index][i].began_ns =
            conn->flags & CONN_CONNECTING ? conn->connecting->began_ns : shard->clock.mono_ns;
    }
    for (uint32_t i = 0; plan->user_limit > 0 && i < plan->users_count; i++) {
        char name[16];
        snprintf(name, sizeof(name), "u%u", i);
        const struct user *user = users_find(&shard->user_home.users, bytes_of_text(name));
        uint32_t count = user == NULL ? 0 : users_count_of(user);
        if (count > plan->user_limit)
            world_fail("a user has no more connections than the limit", "user %u has %u of %u", i,
                       count, plan->user_limit);
    }
}

/* The first call for the user since `asked_ns` that its home remembers; the one that
 * was answered is it or came later. */
static uint64_t acted_ns(struct node *node, struct bytes user, uint64_t asked_ns)
{
    struct shard *home = node->shards[home_of_user(user, node->shards_count)];
    const struct revocation *found = revocations_find(&home->user_home.revocations, user, asked_ns);
    return found == NULL ? asked_ns : found->at_ns;
}

void check_banned(struct node *node, uint32_t number, uint64_t asked_ns)
{
    char name[16];
    snprintf(name, sizeof(name), "u%u", number);
    struct bytes user = bytes_of_text(name);
    uint64_t until_ns = acted_ns(node, user, asked_ns);
    for (uint32_t s = 0; s < node->shards_count; s++) {
        struct shard *shard = node->shards[s];
        for (uint32_t i = 0; shard != NULL && i < shard->conns.touched; i++) {
            const struct conn *conn = conn_at(shard, i);
            if (conn == NULL || conn->state != CONN_WS || !(conn->flags & CONN_CONNECTED)) continue;
            if (!bytes_equal(conn_user(conn), user)) continue;
            if (seen[s][i].began_ns <= until_ns &&
                seen[s][i].generation == slab_handle(&shard->conns, conn).generation)
                world_fail("after a ban is answered nobody is in who began before",
                           "user %u shard %u socket %u: began %" PRIu64 ", banned %" PRIu64, number,
                           s, i, seen[s][i].began_ns, until_ns);
        }
    }
}
