/*
 * user_home: two shards on one thread, the real letters between them.  The test
 * plays the connections: it asks to enter, tells of leaves, and answers USER_DO.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "shards/user/act.h"
#include "shards/user/user_home.h"
#include "tests/unit/shards/small_node.h"

#define DOES_MAX 32

static struct small small;

/* What USER_DO letters said, by value. */
static struct done {
    uint32_t shard, conns_count;
    struct handle call, conns[16];
    enum act_verb verb;
    uint16_t code;
    char channel[32];
} does[DOES_MAX];
static uint32_t does_count;
static bool is_holding; /* USER_DO is not answered: the letters are kept */
static struct letter *held[DOES_MAX];

static void on_do(void *context, struct letter *letter)
{
    struct shard *shard = context;
    struct letter_user_do in;
    struct act act;
    letter_read_user_do(letter, &shard->arena, &in);
    struct reader reader = reader_of(in.packed);
    act_read(&reader, &act);
    assert_true(does_count < DOES_MAX && in.conns_count <= 16);
    struct done *done = &does[does_count];
    *done = (struct done){shard->index, in.conns_count, in.call, {{0, 0}}, act.verb, act.code, ""};
    memcpy(done->conns, in.conns, in.conns_count * sizeof *in.conns);
    if (act.channel.size > 0) memcpy(done->channel, act.channel.at, act.channel.size);
    held[does_count] = letter;
    does_count++;
    if (in.call.generation == 0) return;
    struct answer answer = {.call = in.call};
    if (is_holding)
        letter_keep(shard->post, letter);
    else
        call_answer(shard, letter, &answer);
}

static void answer_held(uint32_t i)
{
    struct shard *shard = small.shards[does[i].shard];
    struct answer answer = {.call = does[i].call};
    call_answer(shard, held[i], &answer);
    letter_release(shard->post, held[i]);
}

static void begin(const char *client_options)
{
    char yaml[512];
    snprintf(yaml, sizeof yaml, "client: {%s}", client_options);
    small_user_do = on_do;
    small_init(&small, yaml);
    for (uint32_t i = 0; i < SMALL_SHARDS; i++) user_home_init(small.shards[i], 64);
    does_count = 0;
    is_holding = false;
}

static void end(void)
{
    small_run(&small);
    for (uint32_t i = 0; i < SMALL_SHARDS; i++) user_home_fini(small.shards[i]);
    small_fini(&small);
}

static uint32_t home_of(const char *user)
{
    return home_of_user(bytes_of_text(user), SMALL_SHARDS);
}
static struct users *users_of(const char *user)
{
    return &small.shards[home_of(user)]->user_home.users;
}

static struct handle begin_call(uint32_t from, uint32_t to, struct told *told)
{
    struct shard *shard = small.shards[from];
    struct call *call;
    struct handle handle;
    memset(told, 0, sizeof *told);
    enum err err = call_begin(shard, NULL, to, small_on_answer, &call, &handle);
    assert_int_equal(err, ERR_OK);
    call->context = told;
    return handle;
}

static void post_enter(uint32_t from, const char *user, uint32_t conn, uint64_t began_ns,
                       struct told *told)
{
    struct shard *shard = small.shards[from];
    struct letter_user_enter enter = {
        .call = begin_call(from, home_of(user), told),
        .conn = {conn, 1},
        .began_ns = began_ns,
        .user = bytes_of_text(user),
    };
    call_post(shard, letter_pack_user_enter(shard->post, home_of(user), &enter));
}

/* The answer to a connect that begins now. */
static struct told enter(uint32_t from, const char *user, uint32_t conn)
{
    static struct told told;
    post_enter(from, user, conn, small.shards[from]->clock.mono_ns, &told);
    small_run(&small);
    assert_true(told.is_here);
    return told;
}

static void leave(uint32_t from, const char *user, uint32_t conn, uint64_t session)
{
    struct shard *shard = small.shards[from];
    struct letter_user_leave in = {.conn = {conn, 1}, .session = (uint32_t)session};
    letter_post(shard->post, letter_pack_user_leave(shard->post, home_of(user), &in));
    small_run(&small);
}

static void post_act(uint32_t from, struct act act, struct told *told)
{
    struct shard *shard = small.shards[from];
    uint32_t home = home_of_user(act.user, SMALL_SHARDS);
    struct letter_user_act in = {.call = begin_call(from, home, told), .act = act};
    call_post(shard, letter_pack_user_act(shard->post, home, &in));
}

static struct act ban(const char *user)
{
    return (struct act){.verb = ACT_DISCONNECT,
                        .user = bytes_of_text(user),
                        .code = 4321,
                        .reason = BYTES_LITERAL("banned")};
}

/* --- the cases --------------------------------------------------------------------- */

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
