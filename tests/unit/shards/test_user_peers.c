/*
 * user_home with other nodes: calls and entrances wait for their place, and what is
 * said elsewhere is done.
 */
#include "storage/peers.h"

#include "tests/unit/shards/user_world.h"

static struct store_tell *telling[8];
static uint32_t telling_count;

static void fake_tell(struct store *store, struct store_tell *op)
{
    (void)store;
    assert_true(telling_count < array_count(telling));
    telling[telling_count++] = op;
}

static void begin_with_peers(const char *client_options)
{
    static const struct store_peers peers = {.tell = fake_tell};
    static struct store_engine engine;
    begin(client_options);
    engine = *small.shards[0]->store->engine;
    engine.peers = &peers;
    for (uint32_t i = 0; i < SMALL_SHARDS; i++) small.shards[i]->store->engine = &engine;
    telling_count = 0;
}

/* The command has its place in the order of all nodes now, or none. */
static void take_place(uint32_t i, enum err err)
{
    telling[i]->on_end(telling[i], err);
    small_run(&small);
}

static void another_node_says(struct act act, uint64_t age_ms)
{
    uint8_t packed[256];
    struct writer writer = writer_of(packed, sizeof packed);
    act_write(&writer, &act);
    for (uint32_t i = 0; i < SMALL_SHARDS; i++)
        user_on_told(small.shards[i], act.user, writer_bytes(&writer), age_ms);
    small_run(&small);
}

static void a_call_acts_in_its_place(void **state)
{
    (void)state;
    begin_with_peers("insecure: true");
    struct told ann = enter(0, "ann", 1), told, late;
    uint64_t before_ns = small.shards[0]->clock.mono_ns;
    post_act(1, ban("ann"), &told);
    small_run(&small);
    assert_int_equal(telling_count, 1);
    assert_false(told.is_here);
    assert_int_equal(does_count, 0);
    take_place(0, ERR_OK);
    assert_true(told.is_here);
    assert_int_equal(told.err, ERR_OK);
    assert_int_equal(does_count, 1);
    post_enter(1, "ann", 2, before_ns, &late);
    small_run(&small);
    assert_int_equal(late.err, ERR_REVOKED);
    post_act(1, ban("ann"), &told);
    small_run(&small);
    take_place(1, ERR_STORE_UNKNOWN);
    assert_int_equal(told.err, ERR_STORE_UNKNOWN);
    assert_int_equal(does_count, 1);
    leave(0, "ann", 1, ann.offset);
    end();
}

static void what_another_node_says_is_done(void **state)
{
    (void)state;
    begin_with_peers("insecure: true");
    struct told ann = enter(0, "ann", 1), late;
    uint64_t before_ns = small.shards[0]->clock.mono_ns;
    small_wait(&small, 10);
    another_node_says(ban("bob"), 0);
    assert_int_equal(does_count, 0);
    another_node_says(ban("ann"), 3);
    assert_int_equal(does_count, 1);
    assert_int_equal(does[0].code, 4321);
    assert_int_equal(does[0].call.generation, 0);
    post_enter(1, "ann", 2, before_ns, &late);
    small_run(&small);
    assert_int_equal(late.err, ERR_REVOKED);
    /* Every shard looks for clients without a user. */
    another_node_says(ban(""), 0);
    assert_int_equal(does_count, 1 + SMALL_SHARDS);
    /* It was said before this shard was there; and no act at all. */
    for (uint32_t i = 0; i < SMALL_SHARDS; i++)
        small.shards[i]->started_ns = small.shards[i]->clock.mono_ns;
    another_node_says(ban("ann"), 1);
    for (uint32_t i = 0; i < SMALL_SHARDS; i++)
        user_on_told(small.shards[i], BYTES_LITERAL("ann"), BYTES_LITERAL("no act"), 0);
    small_run(&small);
    assert_int_equal(does_count, 1 + SMALL_SHARDS);
    leave(0, "ann", 1, ann.offset);
    end();
}

static void the_only_connection_of_all_nodes(void **state)
{
    (void)state;
    begin_with_peers(
        "subscribe_to_user_personal_channel: {enabled: true, single_connection: true}");
    struct told first, second;
    uint64_t now_ns = small.shards[0]->clock.mono_ns;
    post_enter(0, "ann", 1, now_ns, &first);
    post_enter(1, "ann", 2, now_ns, &second);
    small_run(&small);
    assert_int_equal(telling_count, 2);
    struct act act = {.verb = ACT_DISCONNECT, .user = BYTES_LITERAL("ann"), .is_single = true};
    another_node_says(act, 0); /* ends nobody: both have their places after it */
    take_place(0, ERR_OK);
    assert_int_equal(first.err, ERR_OK);
    assert_int_equal(does_count, 0);
    take_place(1, ERR_OK);
    assert_int_equal(second.err, ERR_OK);
    assert_int_equal(does_count, 1);
    another_node_says(act, 0);
    assert_int_equal(does_count, 2);
    assert_int_equal(does[1].conns[0].index, 2);
    assert_int_equal(does[1].code, 3504);
    struct told third;
    post_enter(0, "ann", 3, now_ns, &third);
    small_run(&small);
    take_place(2, ERR_STORE_DOWN);
    assert_int_equal(third.err, ERR_STORE_DOWN);
    leave(0, "ann", 1, first.offset);
    leave(1, "ann", 2, second.offset);
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_call_acts_in_its_place),
        cmocka_unit_test(what_another_node_says_is_done),
        cmocka_unit_test(the_only_connection_of_all_nodes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
