/*
 * door: asks, grants, and those who wait in between.
 */
#include "shards/conn/door.h"

#include "core/check.h"
#include "core/mem.h"
#include "shards/letter.h"
#include "shards/shard.h"

static bool is_open(const struct shard *shard)
{
    return shard->config->client_connection_limit == 0 &&
           shard->config->client_connection_rate_limit == 0;
}

void door_fini(struct door *door)
{
    mem_free(door->waiting);
    *door = (struct door){0};
}

static void let_in(struct shard *shard, struct conn *conn, const struct handshake *handshake,
                   bool is_echo)
{
    conn_upgrade(shard, conn, handshake, is_echo);
    if (conn->state != CONN_WS) return;
    conn->flags |= CONN_ENTERED;
    shard->door.held++;
}

/* Who waits has its input paused, and is an HTTP connection until the answer. */
static void wait(struct door *door, const struct door_waiting *one)
{
    if (door->waiting_count == door->waiting_room) {
        door->waiting_room = door->waiting_room == 0 ? 64 : 2 * door->waiting_room;
        door->waiting = mem_resize(door->waiting, door->waiting_room * sizeof *door->waiting);
    }
    door->waiting[door->waiting_count++] = *one;
}

void door_enter(struct shard *shard, struct conn *conn, const struct handshake *handshake,
                bool is_echo)
{
    check(conn->state == CONN_HTTP);
    check(!(conn->flags & CONN_ENTERED));
    if (is_open(shard)) {
        let_in(shard, conn, handshake, is_echo);
        return;
    }
    struct door_waiting one = {slab_handle(&shard->conns, conn), *handshake, is_echo};
    wait(&shard->door, &one);
    conn_await(shard, conn);
}

void door_leave(struct shard *shard, struct conn *conn)
{
    if (!(conn->flags & CONN_ENTERED)) return;
    conn->flags &= ~(uint32_t)CONN_ENTERED;
    check(shard->door.held > 0);
    shard->door.held--;
}

/* The first `count` of the waiting have their answer: the first `granted` of them
 * enter.  Who is gone meanwhile leaves its place to shard 0's next count. */
static void answer_waiting(struct shard *shard, uint32_t count, uint32_t granted)
{
    struct door *door = &shard->door;
    check(granted <= count && count <= door->waiting_count);
    for (uint32_t i = 0; i < count; i++) {
        const struct door_waiting *one = &door->waiting[i];
        struct conn *conn = slab_find(&shard->conns, one->conn);
        if (conn == NULL || conn->state != CONN_HTTP) continue;
        if (i < granted && !shard->is_draining)
            let_in(shard, conn, &one->handshake, one->is_echo);
        else
            conn_respond_busy(shard, conn);
        if (conn->state == CONN_WS) conn_resume(shard, conn);
    }
    door->waiting_count -= count;
    for (uint32_t i = 0; i < door->waiting_count; i++) door->waiting[i] = door->waiting[count + i];
    if (door->waiting_count > 0) return;
    mem_free(door->waiting);
    door->waiting = NULL;
    door->waiting_room = 0;
}

void door_turn(struct shard *shard)
{
    struct door *door = &shard->door;
    if (door->asked > 0) return;
    if (shard->is_draining || is_open(shard)) {
        uint32_t count = door->waiting_count;
        if (count > 0) answer_waiting(shard, count, shard->is_draining ? 0 : count);
        return;
    }
    if (door->waiting_count == 0 && door->told == door->held) return;
    door->asked = door->waiting_count;
    door->told = door->held;
    letter_post(shard->post, letter_pack_door_ask(shard->post, 0, door->held, door->asked));
}

uint32_t door_grant(struct door *door, uint32_t from, uint32_t held, uint32_t wanted,
                    uint32_t limit, uint32_t per_second, uint64_t now_ms)
{
    check(from < SHARDS_MAX);
    door->taken[from] = held;
    uint64_t taken = 0;
    for (uint32_t i = 0; i < SHARDS_MAX; i++) taken += door->taken[i];
    uint64_t room = limit == 0 ? UINT32_MAX : limit > taken ? limit - taken : 0;
    uint32_t most = (uint32_t)min_u64(wanted, room), granted = 0;
    struct bucket_rate rate = {per_second, per_second};
    while (granted < most && bucket_take(&door->rate, &rate, now_ms, 1)) granted++;
    door->taken[from] += granted;
    check(granted <= wanted);
    return granted;
}

void door_on_ask(void *context, struct letter *letter)
{
    struct shard *shard = context;
    check(shard->index == 0);
    uint32_t held, wanted;
    letter_read_door_ask(letter, &held, &wanted);
    uint32_t granted =
        door_grant(&shard->door, letter->from, held, wanted, shard->config->client_connection_limit,
                   shard->config->client_connection_rate_limit, clock_turn_ms(&shard->clock));
    if (wanted == 0) return;
    metric_add(&shard->metrics, METRIC_CONNECTIONS_REFUSED, wanted - granted);
    letter_post(shard->post, letter_pack_door_answer(shard->post, letter->from, granted));
}

void door_on_answer(void *context, struct letter *letter)
{
    struct shard *shard = context;
    uint32_t granted;
    check(letter->from == 0);
    letter_read_door_answer(letter, &granted);
    uint32_t asked = shard->door.asked;
    check(asked > 0);
    shard->door.asked = 0;
    shard->door.told += granted;
    answer_waiting(shard, asked, granted);
}
