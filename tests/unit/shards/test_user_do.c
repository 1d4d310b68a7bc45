/*
 * What a user's home asks of connections, on their shard: a real shard's room
 * (small_node.h) with one connection, and letters as the home posts them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "shards/cmd/connecting.h"
#include "shards/user/act.h"
#include "shards/user/user_do.h"
#include "tests/unit/shards/small_node.h"

#define END 1800000060 /* a minute after small_node's clock begins */

static struct small small;
static struct shard *shard;
static struct conn *conn;

static void world_open(uint32_t flags)
{
    small_init(&small, "{}\n");
    shard = small.shards[0];
    slab_init(&shard->conns, "conn", sizeof(struct conn), 4);
    intern_init(&shard->texts, 1);
    slab_init(&shard->out_chunks, "out_chunk", OUT_CHUNK_SIZE, 8);
    for (uint32_t i = 0; i < PING_WHEEL_SLOTS; i++) shard->ping_wheel[i] = UINT32_MAX;
    conn = slab_get(&shard->conns, NULL);
    conn->subs_first = conn->due_next = conn->due_prev = UINT32_MAX;
    conn->state = CONN_WS;
    conn->flags |= CONN_REGISTERED | flags;
    memset(conn->client, 7, sizeof conn->client);
    conn_set_user(shard, conn, BYTES_LITERAL("u"), BYTES_NONE);
    for (uint32_t i = 0; i < SMALL_SHARDS; i++) user_home_init(small.shards[i], 4);
    struct users *users =
        &small.shards[home_of_user(conn_user(conn), SMALL_SHARDS)]->user_home.users;
    struct user_place place = {.shard = 0, .conn = slab_handle(&shard->conns, conn)};
    assert_int_equal(users_enter(users, conn_user(conn), &place, &conn->session), ERR_OK);
    if (!(flags & CONN_CONNECTING)) return;
    conn->connecting = mem_alloc(sizeof *conn->connecting);
    conn->connecting->stage = CONNECT_STAGE_SUBSCRIBE;
}

static void world_close(void)
{
    connecting_end(shard, conn);
    connect_unregister(shard, conn);
    small_run(&small);
    for (uint32_t i = 0; i < SMALL_SHARDS; i++) user_home_fini(small.shards[i]);
    conn_drop_output(shard, conn, false);
    conn_forget_user(shard, conn);
    slab_put(&shard->conns, conn);
    intern_fini(&shard->texts);
    slab_fini(&shard->out_chunks);
    slab_fini(&shard->conns);
    mem_free(shard->dirty.items);
    small_fini(&small);
}

/* The home tells, and asks nothing. */
static void tell(struct act act)
{
    uint8_t bytes[512];
    struct writer writer = writer_of(bytes, sizeof bytes);
    act.user = BYTES_LITERAL("u");
    act_write(&writer, &act);
    assert_false(writer.failed);
    struct handle handle = slab_handle(&shard->conns, conn);
    struct letter_user_do letter = {
        .packed = writer_bytes(&writer), .conns = &handle, .conns_count = 1};
    letter_post(small.shards[1]->post, letter_pack_user_do(small.shards[1]->post, 0, &letter));
    small_run(&small);
}

/* The reply tells of the end that the backend gave, not of the token's. */
static void a_refresh_counts_for_a_connect_under_way(void **state)
{
    (void)state;
    world_open(CONN_CONNECTING);
    conn->connecting->expires_s = 5;
    tell((struct act){.verb = ACT_REFRESH, .expires_s = END});
    assert_int_equal(conn->connecting->expires_s, END);
    tell((struct act){
        .verb = ACT_REFRESH, .has_info = true, .info = {.bytes = BYTES_LITERAL("{\"n\":1}")}});
    assert_int_equal(conn->connecting->expires_s, 0);
    assert_true(bytes_equal_text(conn_info(shard, conn), "{\"n\":1}"));
    assert_true(bytes_equal_text(conn_user(conn), "u"));
    world_close();
}

static void a_refresh_moves_the_end_of_a_connection(void **state)
{
    (void)state;
    world_open(CONN_CONNECTED);
    tell((struct act){.verb = ACT_REFRESH, .expires_s = END});
    assert_int_equal(conn->expires_s, END);
    tell((struct act){.verb = ACT_REFRESH, .is_expired = true});
    assert_int_equal(conn->close, CLOSE_EXPIRED);
    world_close();
}

static void only_the_addressed_end(void **state)
{
    (void)state;
    uint8_t others[32], both[32];
    memset(others, 1, sizeof others);
    memset(both, 1, 16);
    memset(both + 16, 7, 16);
    const struct {
        struct bytes client, whitelist;
        bool ends;
    } rows[] = {
        {BYTES_NONE, BYTES_NONE, true},
        {bytes_of(both, 16), BYTES_NONE, false},
        {bytes_of(both + 16, 16), BYTES_NONE, true},
        {BYTES_NONE, bytes_of(others, 32), true},
        {BYTES_NONE, bytes_of(both, 32), false},
        {BYTES_NONE, bytes_of(both + 16, 16), false},
    };
    for (size_t i = 0; i < array_count(rows); i++) {
        world_open(CONN_CONNECTED);
        tell((struct act){.verb = ACT_DISCONNECT,
                          .code = 4000,
                          .reason = BYTES_LITERAL("go"),
                          .client = rows[i].client,
                          .whitelist = rows[i].whitelist});
        assert_int_equal(conn->close != CLOSE_NONE, rows[i].ends);
        world_close();
    }
}

static void who_is_gone_is_passed_over(void **state)
{
    (void)state;
    world_open(CONN_CONNECTED);
    struct conn *gone = conn;
    struct handle handle = slab_handle(&shard->conns, gone);
    conn->state = CONN_DYING;
    tell((struct act){.verb = ACT_REFRESH, .expires_s = END});
    assert_int_equal(conn->expires_s, 0);
    connect_unregister(shard, gone);
    conn_forget_user(shard, gone);
    slab_put(&shard->conns, gone);
    uint8_t bytes[512];
    struct writer writer = writer_of(bytes, sizeof bytes);
    act_write(&writer, &(struct act){.verb = ACT_DISCONNECT, .user = BYTES_LITERAL("u")});
    struct letter_user_do letter = {
        .packed = writer_bytes(&writer), .conns = &handle, .conns_count = 1};
    letter_post(small.shards[1]->post, letter_pack_user_do(small.shards[1]->post, 0, &letter));
    small_run(&small);
    conn = slab_get(&shard->conns, NULL);
    world_close();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_refresh_counts_for_a_connect_under_way),
        cmocka_unit_test(a_refresh_moves_the_end_of_a_connection),
        cmocka_unit_test(only_the_addressed_end),
        cmocka_unit_test(who_is_gone_is_passed_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
