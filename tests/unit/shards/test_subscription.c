/*
 * Subscriptions of one connection against real homes (small_node.h): what each way
 * out of each state says to the client, and that nothing stays behind.  Sends never
 * leave: the test reads what is queued.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/shards/sub_world.h"

static void a_served_subscription_is_told_by_a_push(void **state)
{
    (void)state;
    struct world world;
    world_open(&world, HISTORY);
    struct subscription_ask ask = ask_of("a");
    ask.options = (struct sub_options){.is_recoverable = true, .data = BYTES_LITERAL("{\"d\":1}")};
    assert_int_equal(subscription_serve(world.shard, world.conn, &ask), ERR_OK);
    assert_int_equal(serve(&world, "a", false), ERR_ALREADY_SUBSCRIBED);
    world_run(&world);
    assert_int_equal(world.said_count, 1);
    assert_int_equal(
        said(&world, "\"channel\":\"a\",\"subscribe\":{\"recoverable\":true,\"epoch\":"), 1);
    assert_int_equal(said(&world, "\"data\":{\"d\":1}"), 1);
    assert_int_equal(serve(&world, "a", false), ERR_ALREADY_SUBSCRIBED);
    world_close(&world);
}

/* A Subscribe push has no publications: what was missed follows it. */
static void what_a_served_subscription_missed_follows_the_push(void **state)
{
    (void)state;
    struct world world;
    world_open(&world, HISTORY);
    for (uint64_t i = 1; i <= 3; i++) small_publish(world.small, 0, BYTES_LITERAL("a"), i);
    struct subscription_ask ask = ask_of("a");
    ask.options.is_recoverable = true;
    ask.recover = true;
    ask.offset = 1;
    assert_int_equal(subscription_serve(world.shard, world.conn, &ask), ERR_OK);
    world_run(&world);
    assert_int_equal(world.said_count, 3);
    assert_non_null(strstr(world.said[0], "\"offset\":1"));
    assert_non_null(strstr(world.said[1], "\"offset\":2"));
    assert_non_null(strstr(world.said[2], "\"offset\":3"));
    world_close(&world);
}

enum moment { WAITING, ASKED, LIVE };

/* The server unsubscribes: once it is live the client is told, exactly once. */
static void the_server_ends_a_subscription_in_any_state(void **state)
{
    (void)state;
    for (int moment = WAITING; moment <= LIVE; moment++)
        for (int all = 0; all < 2; all++) {
            struct world world;
            world_open(&world, "{}\n");
            if (moment == WAITING) world_borrow(&world);
            assert_int_equal(serve(&world, "a", false), ERR_OK);
            if (moment == LIVE) world_run(&world);
            struct bytes name = all ? BYTES_NONE : BYTES_LITERAL("a");
            for (int twice = 0; twice < 2; twice++)
                (void)subscription_unsubscribe(world.shard, world.conn, name, UNSUBSCRIBE_SERVER);
            if (moment == WAITING) world_lend(&world);
            world_run(&world);
            assert_int_equal(find(&world, "a"), UINT32_MAX);
            assert_int_equal(said(&world, "\"subscribe\":{"), 1);
            assert_int_equal(
                said(&world, "\"unsubscribe\":{\"code\":2000,\"reason\":\"server unsubscribe\"}"),
                1);
            assert_int_equal(world.said_count, 2);
            world_close(&world);
        }
}

static void a_client_asked_for_is_answered_before_it_is_unsubscribed(void **state)
{
    (void)state;
    struct world world;
    world_open(&world, "{}\n");
    begin(&world, "a");
    assert_int_equal(subscription_unsubscribe(world.shard, world.conn, BYTES_LITERAL("a"),
                                              UNSUBSCRIBE_INVALIDATED),
                     1);
    assert_int_equal(
        subscription_unsubscribe(world.shard, world.conn, BYTES_LITERAL("b"), UNSUBSCRIBE_SERVER),
        0);
    world_run(&world);
    assert_int_equal(world.said_count, 2);
    assert_string_equal(world.said[0], "{\"id\":9,\"subscribe\":{}}");
    assert_non_null(strstr(world.said[1], "\"code\":2502"));
    world_close(&world);
}

/* Leaving undoes what is there, and on_served hears of it once, whenever. */
static void leaving_in_any_state_leaves_nothing_behind(void **state)
{
    (void)state;
    for (int moment = WAITING; moment <= LIVE; moment++) {
        struct world world;
        world_open(&world, "{}\n");
        if (moment == WAITING) world_borrow(&world);
        assert_int_equal(serve(&world, "a", true), ERR_OK);
        if (moment == LIVE) world_run(&world);
        subscription_leave(world.shard, world.conn, BYTES_LITERAL("a"));
        assert_int_equal(find(&world, "a"), UINT32_MAX);
        if (moment == WAITING) world_lend(&world);
        world_run(&world);
        assert_int_equal(world.served_count, 1);
        assert_int_equal(world.served_err, moment == LIVE ? ERR_OK : ERR_CONFLICT);
        assert_int_equal(world.said_count, 0);
        /* It may come back. */
        assert_int_equal(serve(&world, "a", true), ERR_OK);
        world_run(&world);
        assert_int_equal(world.served_count, 2);
        assert_int_equal(find(&world, "a"), world.served_sub);
        world_close(&world);
    }
}

/* One below the limit, at it, and one more. */
static void more_than_the_limit_ends_the_connection(void **state)
{
    (void)state;
    struct world world;
    world_open(&world, "client: {channel_limit: 2}\n");
    assert_int_equal(serve(&world, "a", true), ERR_OK);
    assert_int_equal(serve(&world, "b", true), ERR_OK);
    world_run(&world);
    assert_int_equal(world.served_count, 2);
    struct subscription_ask ask = ask_of("c");
    assert_int_equal(subscription_begin(world.shard, world.conn, &ask), ERR_LIMIT_CHANNELS);
    assert_int_equal(world.conn->state, CONN_WS);
    assert_int_equal(serve(&world, "c", true), ERR_LIMIT_CHANNELS);
    assert_int_equal(world.conn->state, CONN_CLOSING);
    assert_int_equal(world.conn->close, CLOSE_CHANNEL_LIMIT);
    world_close(&world);
}

static void a_loss_ends_the_subscription_or_the_connection(void **state)
{
    (void)state;
    struct world world;
    world_open(&world, "{}\n");
    begin(&world, "a");
    assert_int_equal(serve(&world, "b", true), ERR_OK);
    world_run(&world);
    subscription_end(world.shard, find(&world, "a"), UNSUBSCRIBE_INSUFFICIENT);
    world_listen(&world);
    assert_int_equal(said(&world, "{\"code\":2500,\"reason\":\"insufficient state\"}"), 1);
    assert_int_equal(world.conn->state, CONN_WS);
    subscription_end(world.shard, find(&world, "b"), UNSUBSCRIBE_INSUFFICIENT);
    assert_int_equal(world.conn->close, CLOSE_INSUFFICIENT);
    world_close(&world);
}

/* The grace is over at the second that begins it, not before; 0 is never. */
static void a_subscription_ends_when_its_time_is_over(void **state)
{
    (void)state;
    for (int is_server_side = 0; is_server_side < 2; is_server_side++) {
        struct world world;
        world_open(&world, "client: {expired_sub_close_delay: 10s}\n");
        uint64_t now = world.shard->clock.wall_ms / 1000;
        struct subscription_ask ask = ask_of("a"), never = ask_of("b");
        ask.options.expires_s = (uint32_t)now + 5;
        enum err err = is_server_side ? subscription_serve(world.shard, world.conn, &ask)
                                      : subscription_begin(world.shard, world.conn, &ask);
        assert_int_equal(err, ERR_OK);
        assert_int_equal(subscription_begin(world.shard, world.conn, &never), ERR_OK);
        world_run(&world);
        assert_int_equal(said(&world, "\"expires\":true,\"ttl\":5"), !is_server_side);
        small_wait(world.small, 14000);
        subscription_tick(world.shard, world.conn);
        world_listen(&world);
        assert_true(find(&world, "a") != UINT32_MAX);
        small_wait(world.small, 1000);
        subscription_tick(world.shard, world.conn);
        world_listen(&world);
        assert_int_equal(find(&world, "a"), UINT32_MAX);
        assert_int_equal(said(&world, "\"code\":2501"), !is_server_side);
        assert_int_equal(world.conn->close, is_server_side ? CLOSE_SUB_EXPIRED : CLOSE_NONE);
        world_close(&world);
    }
}

/* Pings come within the time that the client was told, and its subscription ends when its
 * time is over and not with some ping after that. */
static void pings_and_ends_come_in_time(void **state)
{
    struct world world;
    (void)state;
    world_open(&world, "client: {expired_sub_close_delay: 1s}\n");
    struct shard *shard = world.shard;
    struct conn *conn = world.conn;
    shard->ping_phase = shard_phase(shard);
    conn->flags = CONN_CONNECTED;
    conn_begin_pings(shard, conn);
    struct subscription_ask ask = ask_of("a");
    ask.options.expires_s = (uint32_t)(shard->clock.wall_ms / 1000) + 100;
    assert_int_equal(subscription_begin(shard, conn, &ask), ERR_OK);
    world_run(&world);
    for (uint32_t ms = 0, last = 0; ms < 200000; ms += 50) {
        small_wait(world.small, 50);
        conn_tick(shard);
        if (conn->flags & CONN_PINGED) last = ms;
        assert_true(ms - last <= 25000);
        conn->flags &= ~(uint32_t)CONN_PINGED;
        conn_drop_output(shard, conn, false);
        bool is_there = find(&world, "a") != UINT32_MAX;
        assert_true(ms < 100000 ? is_there : ms < 103000 || !is_there);
    }
    world_close(&world);
}

static void its_info_is_kept_replaced_and_forgotten(void **state)
{
    (void)state;
    struct world world;
    world_open(&world, "{}\n");
    struct subscription_ask ask = ask_of("a");
    ask.options.chan_info = BYTES_LITERAL("{\"i\":1}");
    assert_int_equal(subscription_begin(world.shard, world.conn, &ask), ERR_OK);
    begin(&world, "b");
    world_run(&world);
    uint32_t a = find(&world, "a"), b = find(&world, "b");
    assert_true(bytes_equal_text(subscription_info(world.shard, a), "{\"i\":1}"));
    assert_int_equal(subscription_info(world.shard, b).size, 0);
    subscription_set_info(world.shard, a, BYTES_LITERAL("2"));
    subscription_set_info(world.shard, b, BYTES_LITERAL("3"));
    assert_true(bytes_equal_text(subscription_info(world.shard, a), "2"));
    subscription_set_info(world.shard, a, BYTES_NONE);
    assert_int_equal(subscription_info(world.shard, a).size, 0);
    assert_int_equal(world.shard->sub_infos.count, 1);
    world_close(&world);
}

/* Nothing is recovered where the client has no position, and flag 2 says so. */
static void flag_2_refuses_what_cannot_be_recovered(void **state)
{
    (void)state;
    struct world world;
    world_open(&world, HISTORY);
    struct subscription_ask ask = ask_of("a");
    ask.recover = ask.reject_unrecovered = true;
    assert_int_equal(subscription_begin(world.shard, world.conn, &ask), ERR_UNRECOVERABLE);
    ask.reject_unrecovered = false;
    assert_int_equal(subscription_begin(world.shard, world.conn, &ask), ERR_OK);
    world_run(&world);
    assert_string_equal(world.said[0], "{\"id\":9,\"subscribe\":{\"was_recovering\":true}}");
    world_close(&world);
}
int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_served_subscription_is_told_by_a_push),
        cmocka_unit_test(what_a_served_subscription_missed_follows_the_push),
        cmocka_unit_test(the_server_ends_a_subscription_in_any_state),
        cmocka_unit_test(a_client_asked_for_is_answered_before_it_is_unsubscribed),
        cmocka_unit_test(leaving_in_any_state_leaves_nothing_behind),
        cmocka_unit_test(more_than_the_limit_ends_the_connection),
        cmocka_unit_test(a_loss_ends_the_subscription_or_the_connection),
        cmocka_unit_test(a_subscription_ends_when_its_time_is_over),
        cmocka_unit_test(pings_and_ends_come_in_time),
        cmocka_unit_test(its_info_is_kept_replaced_and_forgotten),
        cmocka_unit_test(flag_2_refuses_what_cannot_be_recovered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
