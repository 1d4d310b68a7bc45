/*
 * user_home: who enters, leaves and is spoken of.
 */
#include "tests/unit/shards/user_world.h"

static void who_enters_is_there_until_it_leaves(void **state)
{
    (void)state;
    begin("insecure: true");
    struct told ann = enter(0, "ann", 5), again = enter(1, "ann", 5);
    assert_int_equal(ann.err, ERR_OK);
    assert_int_equal(users_of("ann")->users_count, 1);
    assert_int_equal(users_of("ann")->sessions_count, 2);
    leave(0, "ann", 5, ann.offset);
    leave(1, "ann", 5, again.offset);
    assert_int_equal(users_of("ann")->users_count, 0);
    end();
}

static void the_limit_is_each_users_own(void **state)
{
    (void)state;
    begin("user_connection_limit: 2");
    struct told first = enter(0, "ann", 1), second = enter(1, "ann", 2);
    assert_int_equal(first.err, ERR_OK);
    assert_int_equal(second.err, ERR_OK);
    assert_int_equal(enter(0, "ann", 3).err, ERR_LIMIT_CONNECTIONS);
    struct told other = enter(0, "bob", 3);
    assert_int_equal(other.err, ERR_OK);
    leave(0, "ann", 1, first.offset);
    struct told third = enter(0, "ann", 4);
    assert_int_equal(third.err, ERR_OK);
    leave(1, "ann", 2, second.offset);
    leave(0, "ann", 4, third.offset);
    leave(0, "bob", 3, other.offset);
    end();
}

static void a_single_connection_ends_the_older_ones(void **state)
{
    (void)state;
    begin("user_connection_limit: 1, "
          "subscribe_to_user_personal_channel: {enabled: true, single_connection: true}");
    struct told first = enter(0, "ann", 1), second = enter(1, "ann", 2);
    assert_int_equal(second.err, ERR_OK);
    assert_int_equal(does_count, 1);
    assert_int_equal(does[0].shard, 0);
    assert_int_equal(does[0].conns[0].index, 1);
    assert_int_equal(does[0].code, 3504);
    /* Told once, though it has not left yet. */
    struct told third = enter(1, "ann", 3);
    assert_int_equal(third.err, ERR_OK);
    assert_int_equal(does_count, 2);
    assert_int_equal(does[1].conns_count, 1);
    assert_int_equal(does[1].conns[0].index, 2);
    leave(0, "ann", 1, first.offset);
    leave(1, "ann", 2, second.offset);
    leave(1, "ann", 3, third.offset);
    end();
}

static void a_call_is_answered_when_every_shard_has_acted(void **state)
{
    (void)state;
    begin("insecure: true");
    struct told a = enter(0, "ann", 1), b = enter(0, "ann", 2), c = enter(1, "ann", 3);
    struct told told;
    is_holding = true;
    post_act(1, ban("ann"), &told);
    small_run(&small);
    assert_int_equal(does_count, 2);
    uint32_t at_0 = does[0].shard == 0 ? 0 : 1;
    assert_int_equal(does[at_0].conns_count, 2);
    assert_int_equal(does[1 - at_0].conns_count, 1);
    assert_int_equal(does[1 - at_0].conns[0].index, 3);
    answer_held(0);
    small_run(&small);
    assert_false(told.is_here);
    answer_held(1);
    small_run(&small);
    assert_true(told.is_here);
    assert_int_equal(told.err, ERR_OK);
    leave(0, "ann", 1, a.offset);
    leave(0, "ann", 2, b.offset);
    leave(1, "ann", 3, c.offset);
    is_holding = false;
    post_act(0, ban("ann"), &told);
    small_run(&small);
    assert_true(told.is_here);
    assert_int_equal(does_count, 2);
    end();
}

static void a_connect_under_way_meets_the_ban(void **state)
{
    (void)state;
    begin("insecure: true");
    uint64_t before_ns = small.shards[0]->clock.mono_ns;
    small_wait(&small, 10);
    struct told told, late;
    post_act(0, ban("ann"), &told);
    small_run(&small);
    post_enter(1, "ann", 7, before_ns, &late);
    small_run(&small);
    assert_int_equal(late.err, ERR_REVOKED);
    assert_int_equal(late.offset, 4321);
    assert_string_equal(late.epoch, "banned");
    post_enter(1, "bob", 8, before_ns, &late);
    small_run(&small);
    assert_int_equal(late.err, ERR_OK);
    uint64_t bob = late.offset;
    /* The ban's time is the machine's, which may be ahead of the nodes'. */
    uint64_t now_ns = clock_mono_ns(), then_ns = small.shards[1]->clock.mono_ns;
    small_wait(&small, now_ns > then_ns ? (now_ns - then_ns) / 1000000 + 1 : 1);
    struct told fresh = enter(1, "ann", 7);
    assert_int_equal(fresh.err, ERR_OK);
    leave(1, "ann", 7, fresh.offset);
    leave(1, "bob", 8, bob);
    end();
}

/* Another shard read the connect after the home's turn began and before the call. */
static void a_connect_read_in_the_homes_turn_meets_the_ban(void **state)
{
    (void)state;
    begin("insecure: true");
    uint64_t before_ns = clock_mono_ns();
    assert_true(before_ns > small.shards[home_of("ann")]->clock.mono_ns);
    struct told told, late;
    post_act(0, ban("ann"), &told);
    small_run(&small);
    post_enter(1, "ann", 7, before_ns, &late);
    small_run(&small);
    assert_int_equal(late.err, ERR_REVOKED);
    end();
}

static void a_call_for_one_client_meets_nobody_under_way(void **state)
{
    (void)state;
    begin("insecure: true");
    uint64_t before_ns = small.shards[0]->clock.mono_ns;
    small_wait(&small, 10);
    struct told told, late;
    uint8_t client[16] = {1};
    struct act act = ban("ann");
    act.client = bytes_of(client, 16);
    post_act(0, act, &told);
    small_run(&small);
    post_enter(0, "ann", 7, before_ns, &late);
    small_run(&small);
    assert_int_equal(late.err, ERR_OK);
    leave(0, "ann", 7, late.offset);
    end();
}

static void an_expiry_ends_connects_under_way(void **state)
{
    (void)state;
    begin("insecure: true");
    uint64_t before_ns = small.shards[0]->clock.mono_ns;
    small_wait(&small, 10);
    struct told told, late;
    post_act(0, (struct act){.verb = ACT_REFRESH, .user = BYTES_LITERAL("ann"), .is_expired = true},
             &told);
    small_run(&small);
    post_enter(0, "ann", 7, before_ns, &late);
    small_run(&small);
    assert_int_equal(late.err, ERR_REVOKED);
    assert_int_equal(late.offset, 3005);
    end();
}

static void other_calls_act_on_it_after_its_answer(void **state)
{
    (void)state;
    begin("insecure: true");
    uint64_t before_ns = small.shards[0]->clock.mono_ns;
    small_wait(&small, 10);
    struct told told, late;
    post_act(0,
             (struct act){.verb = ACT_UNSUBSCRIBE,
                          .user = BYTES_LITERAL("ann"),
                          .channel = BYTES_LITERAL("room")},
             &told);
    small_run(&small);
    assert_true(told.is_here);
    post_enter(1, "ann", 7, before_ns, &late);
    small_run(&small);
    assert_int_equal(late.err, ERR_OK);
    assert_int_equal(does_count, 1);
    assert_int_equal(does[0].shard, 1);
    assert_int_equal(does[0].verb, ACT_UNSUBSCRIBE);
    assert_int_equal(does[0].conns[0].index, 7);
    assert_int_equal(does[0].call.generation, 0);
    assert_string_equal(does[0].channel, "room");
    leave(1, "ann", 7, late.offset);
    end();
}

static void what_was_forgotten_sends_back(void **state)
{
    (void)state;
    begin("stale_close_delay: 1s");
    uint64_t before_ns = small.shards[0]->clock.mono_ns;
    small_wait(&small, 10);
    struct told told, late;
    struct shard *home = small.shards[home_of("ann")];
    post_act(0, ban("ann"), &told);
    small_run(&small);
    small_wait(&small, 5000);
    user_home_tick(home);
    assert_int_equal(home->user_home.revocations.count, 1);
    small_wait(&small, 2000);
    user_home_tick(home);
    assert_int_equal(home->user_home.revocations.count, 0);
    post_enter(0, "ann", 7, before_ns, &late);
    small_run(&small);
    assert_int_equal(late.err, ERR_BACKLOG);
    struct told fresh = enter(0, "ann", 7);
    assert_int_equal(fresh.err, ERR_OK);
    leave(0, "ann", 7, fresh.offset);
    end();
}

static void without_credit_a_call_does_nothing(void **state)
{
    (void)state;
    begin("insecure: true");
    uint32_t home = home_of("ann");
    struct told here = enter(home, "ann", 1), there = enter(1 - home, "ann", 2), told, late;
    struct post *post = small.shards[home]->post;
    uint32_t taken = 0;
    while (letter_credit(post, 1 - home)) taken++;
    uint64_t before_ns = small.shards[0]->clock.mono_ns;
    post_act(1 - home, ban("ann"), &told);
    small_run(&small);
    assert_int_equal(told.err, ERR_CREDIT_SPENT);
    assert_int_equal(does_count, 0);
    while (taken-- > 0) letter_credit_return(post, 1 - home);
    post_enter(home, "ann", 3, before_ns, &late);
    small_run(&small);
    assert_int_equal(late.err, ERR_OK);
    leave(home, "ann", 1, here.offset);
    leave(1 - home, "ann", 2, there.offset);
    leave(home, "ann", 3, late.offset);
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_enters_is_there_until_it_leaves),
        cmocka_unit_test(the_limit_is_each_users_own),
        cmocka_unit_test(a_single_connection_ends_the_older_ones),
        cmocka_unit_test(a_call_is_answered_when_every_shard_has_acted),
        cmocka_unit_test(a_connect_under_way_meets_the_ban),
        cmocka_unit_test(a_connect_read_in_the_homes_turn_meets_the_ban),
        cmocka_unit_test(a_call_for_one_client_meets_nobody_under_way),
        cmocka_unit_test(an_expiry_ends_connects_under_way),
        cmocka_unit_test(other_calls_act_on_it_after_its_answer),
        cmocka_unit_test(what_was_forgotten_sends_back),
        cmocka_unit_test(without_credit_a_call_does_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
