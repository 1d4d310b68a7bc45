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

#include "shards/cmd/connecting.h"
#include "shards/cmd/subscription.h"
#include "shards/conn/conn_out.c" /* the queue's links */
#include "tests/unit/shards/small_node.h"

#define SAID_MAX 32

struct world {
    struct small *small;
    struct shard *shard;
    struct conn *conn;
    char said[SAID_MAX][512]; /* pushes and replies, in order */
    uint32_t said_count;
    uint32_t served_count; /* on_served came */
    enum err served_err;
    uint32_t served_sub;
    uint32_t credits; /* taken away, of both homes */
};

static void world_open(struct world *world, const char *options)
{
    memset(world, 0, sizeof *world);
    world->small = malloc(sizeof *world->small);
    small_init(world->small, options);
    struct shard *shard = world->shard = world->small->shards[0];
    slab_init(&shard->conns, "conn", sizeof(struct conn), 4);
    slab_init(&shard->subs, "sub", sizeof(struct sub), 64);
    slab_init(&shard->out_chunks, "out_chunk", OUT_CHUNK_SIZE, 64);
    hub_init(&shard->hub, 1, 64, SMALL_SHARDS);
    list_init(&shard->sub_waiting);
    for (size_t i = 0; i < array_count(shard->ping_wheel); i++) shard->ping_wheel[i] = UINT32_MAX;
    struct conn *conn = world->conn = slab_get(&shard->conns, NULL);
    conn->subs_first = conn->due_next = conn->due_prev = UINT32_MAX;
    conn->state = CONN_WS;
    conn_set_user(shard, conn, BYTES_LITERAL("u"), BYTES_NONE);
}

/* The messages of one frame of the queue: small ones share it. */
static void hear(struct world *world, const struct frame *frame)
{
    for (uint32_t at = 0; at < frame->size;) {
        const uint8_t *head = frame->bytes + at;
        uint32_t skip = head[1] < 126 ? 2 : 4;
        uint32_t size = head[1] < 126 ? head[1] : (uint32_t)head[2] << 8 | head[3];
        assert_true(world->said_count < SAID_MAX);
        char *said = world->said[world->said_count++];
        uint32_t kept = min_u32(size, sizeof world->said[0] - 1);
        memcpy(said, head + skip, kept);
        said[kept] = '\0';
        at += skip + size;
    }
}

/* What is queued by now, taken off the connection. */
static void world_listen(struct world *world)
{
    for (struct out_chunk *chunk = world->conn->out_first; chunk != NULL; chunk = chunk->next)
        for (uint32_t i = 0; i < chunk->count; i++) hear(world, chunk->frames[chunk->first + i]);
    conn_drop_output(world->shard, world->conn, false);
}

static void world_run(struct world *world)
{
    small_run(world->small);
    world_listen(world);
}

/* How often the client was told something with `text` in it. */
static uint32_t said(const struct world *world, const char *text)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < world->said_count; i++) count += strstr(world->said[i], text) != NULL;
    return count;
}

/* Nobody listens any more anywhere, whatever happened. */
static void world_close(struct world *world)
{
    struct shard *shard = world->shard;
    subscription_leave_all(shard, world->conn);
    world_run(world);
    assert_int_equal(shard->subs.count, 0);
    assert_int_equal(shard->hub.entries.count, 0);
    assert_int_equal(shard->sub_infos.count, 0);
    assert_true(list_is_empty(&shard->sub_waiting));
    for (uint32_t i = 0; i < SMALL_SHARDS; i++) {
        const struct slab *channels = &world->small->shards[i]->channels.channels;
        for (uint32_t at = 0; at < channels->touched; at++) {
            const struct channel *channel = slab_at(channels, at);
            if (channel != NULL) assert_int_equal(channel->listeners_count, 0);
        }
    }
    conn_drop_output(shard, world->conn, false);
    slab_put(&shard->conns, world->conn);
    hub_fini(&shard->hub);
    map_fini(&shard->sub_infos);
    slab_fini(&shard->out_chunks);
    slab_fini(&shard->subs);
    slab_fini(&shard->conns);
    mem_free(shard->dirty.items);
    small_fini(world->small);
    free(world->small);
}

static void on_served(struct shard *shard, struct conn *conn, uint32_t sub, enum err err,
                      const struct reply_subscribe *reply, void *context)
{
    struct world *world = context;
    (void)shard;
    assert_ptr_equal(conn, world->conn);
    assert_int_equal(reply == NULL, err != ERR_OK);
    world->served_count++;
    world->served_err = err;
    world->served_sub = sub;
}

static struct subscription_ask ask_of(const char *channel)
{
    return (struct subscription_ask){.channel = bytes_of_text(channel), .id = 9};
}

/* `is_told`: by on_served, else by a push. */
static enum err serve(struct world *world, const char *channel, bool is_told)
{
    struct subscription_ask ask = ask_of(channel);
    if (is_told) ask.on_served = on_served;
    ask.context = world;
    return subscription_serve(world->shard, world->conn, &ask);
}

static void begin(struct world *world, const char *channel)
{
    struct subscription_ask ask = ask_of(channel);
    assert_int_equal(subscription_begin(world->shard, world->conn, &ask), ERR_OK);
}

static uint32_t find(const struct world *world, const char *channel)
{
    return subscription_find(world->shard, world->conn, bytes_of_text(channel));
}

/* Every question must wait from now on, until world_lend. */
static void world_borrow(struct world *world)
{
    for (uint32_t to = 0; to < SMALL_SHARDS; to++)
        while (letter_credit(world->shard->post, to)) world->credits++;
}

static void world_lend(struct world *world)
{
    for (uint32_t i = 0; i < world->credits; i++)
        letter_credit_return(world->shard->post, i % SMALL_SHARDS);
    world->credits = 0;
    subscription_retry(world->shard);
}

#define HISTORY "channel: {without_namespace: {history_size: 5, history_ttl: 60s}}\n"

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
        cmocka_unit_test(pushes_wait_for_the_connect_reply),
        cmocka_unit_test(what_waits_for_the_connect_reply_is_bounded),
        cmocka_unit_test(flag_2_refuses_what_cannot_be_recovered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
