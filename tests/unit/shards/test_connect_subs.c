/*
 * The subscriptions of a connect command under way: what waits for its reply, and what
 * is left when one of them is refused.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/shards/sub_world.h"

/* As if the connect command waited for its subscriptions. */
static void world_connecting(struct world *world)
{
    struct connecting *connecting = mem_alloc(sizeof *connecting);
    connecting->stage = CONNECT_STAGE_SUBSCRIBE;
    world->conn->connecting = connecting;
    world->conn->flags |= CONN_CONNECTING;
}

static void pushes_wait_for_the_connect_reply(void **state)
{
    (void)state;
    struct world world;
    world_open(&world, "{}\n");
    world_connecting(&world);
    assert_int_equal(serve(&world, "a", false), ERR_OK);
    world_run(&world);
    (void)subscription_unsubscribe(world.shard, world.conn, BYTES_LITERAL("a"), UNSUBSCRIBE_SERVER);
    world_listen(&world);
    assert_int_equal(world.said_count, 0);
    assert_int_equal(world.conn->connecting->held.count, 2);

    world.conn->connecting->stage = CONNECT_STAGE_REPLY;
    struct reply reply = {.id = 1, .kind = CMD_CONNECT};
    conn_reply(world.shard, world.conn, &reply);
    connect_release(world.shard, world.conn);
    connecting_end(world.shard, world.conn);
    world_listen(&world);
    assert_int_equal(world.said_count, 3);
    assert_non_null(strstr(world.said[0], "\"connect\""));
    assert_non_null(strstr(world.said[1], "\"subscribe\""));
    assert_non_null(strstr(world.said[2], "\"unsubscribe\""));
    world_close(&world);
}

/* Exactly the limit of a slow reader is held; a byte more ends the connection.  The
 * first is held whatever its size. */
static void what_waits_for_the_connect_reply_is_bounded(void **state)
{
    (void)state;
    static const uint8_t text[8192];
    for (uint32_t over = 0; over < 2; over++) {
        struct world world;
        world_open(&world,
                   "client: {queue_max_size: 4KiB}\nwebsocket: {message_size_limit: 4KiB}\n");
        world_connecting(&world);
        for (uint32_t i = 0; i < 2; i++) {
            uint32_t size = 2048 - 4 + (i == 1 ? over : 0);
            struct frame *frame = conn_frame(world.shard, WS_OP_TEXT, bytes_of(text, size));
            conn_push(world.shard, world.conn, frame);
            frame_unref(&world.shard->frames, frame);
        }
        assert_int_equal(world.conn->close, over > 0 ? CLOSE_SLOW : CLOSE_NONE);
        connecting_end(world.shard, world.conn);
        world_close(&world);
    }
    struct world world;
    world_open(&world, "client: {queue_max_size: 4KiB}\nwebsocket: {message_size_limit: 4KiB}\n");
    world_connecting(&world);
    struct frame *frame = conn_frame(world.shard, WS_OP_TEXT, bytes_of(text, sizeof text));
    conn_push(world.shard, world.conn, frame);
    frame_unref(&world.shard->frames, frame);
    assert_int_equal(world.conn->close, CLOSE_NONE);
    connecting_end(world.shard, world.conn);
    world_close(&world);
}

/* One of two subscriptions is refused: the client hears an error, and the other one, which
 * was live already, goes. */
static void a_connect_that_fails_keeps_no_subscription(void **state)
{
    (void)state;
    struct world world;
    world_open(&world, "channel:\n"
                       "  without_namespace: {allow_subscribe_for_client: true}\n"
                       "  namespaces: [{name: kept, allow_subscribe_for_client: true, "
                       "history_size: 5, history_ttl: 60s}]\n");
    for (uint32_t i = 0; i < SMALL_SHARDS; i++) world.small->gates[i].open_err = ERR_STORE_DOWN;
    world_connecting(&world);
    const struct cmd_connect_sub subs[] = {{.channel = BYTES_LITERAL("a")},
                                           {.channel = BYTES_LITERAL("kept:b")}};
    world.conn->connecting->id = 1;
    world.conn->connecting->request.subs = subs;
    world.conn->connecting->request.subs_count = 2;
    connecting_go_on(world.shard, world.conn);
    assert_int_equal(world.shard->subs.count, 2);
    world_run(&world);
    assert_true(world.conn->flags & CONN_CONNECT_FAILED);
    assert_int_equal(world.said_count, 1);
    assert_non_null(strstr(world.said[0], "\"error\""));
    assert_int_equal(find(&world, "a"), UINT32_MAX);
    assert_int_equal(world.shard->subs.count, 0);
    for (uint32_t i = 0; i < SMALL_SHARDS; i++) world.small->gates[i].open_err = ERR_OK;
    world_close(&world);
}
int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pushes_wait_for_the_connect_reply),
        cmocka_unit_test(what_waits_for_the_connect_reply_is_bounded),
        cmocka_unit_test(a_connect_that_fails_keeps_no_subscription),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
