/*
 * A home's picture of its members, as lists change it (small_node.h).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/shards/small_node.h"

#define CHANNEL BYTES_LITERAL("room")
#define A       BYTES_LITERAL("ann")
#define B       BYTES_LITERAL("bob")
#define C       BYTES_LITERAL("cleo")

static struct small *small_new(void)
{
    struct small *small = malloc(sizeof *small);
    small_init(small, "channel: {without_namespace: {history_size: 5000, history_ttl: 1h}}\n");
    return small;
}

static void small_end(struct small *small)
{
    small_fini(small);
    free(small);
}

static void change_members(struct small *small, struct letter_members in)
{
    struct told told;
    struct shard *shard = small->shards[0];
    in.channel = CHANNEL;
    in.call = small_call(small, 0, CHANNEL, &told);
    call_post(shard, letter_pack_members(shard->post, small_home(CHANNEL), &in));
    small_run(small);
    assert_true(told.is_here);
    assert_int_equal(told.err, ERR_OK);
}

static struct receipt_state state_of(struct small *small, struct bytes user)
{
    struct told told;
    struct bytes channel = CHANNEL;
    ask_states(small, user, &channel, 1, &told);
    small_run(small);
    assert_int_equal(told.states[0].err, ERR_OK);
    return told.states[0];
}

/* Whoever is imported has not read them either: what is the system's counts for nobody, in
 * whatever order members and messages came. */
static void messages_of_the_system_stay_so_when_members_come(void **state)
{
    (void)state;
    struct small *small = small_new();
    struct told told;
    ask_publish(
        small, 0,
        (struct letter_publish){.channel = CHANNEL,
                                .publication = {.data = BYTES_LITERAL("1"),
                                                .tags = BYTES_LITERAL("{\"system\":\"true\"}")}},
        &told);
    small_run(small);
    small_publish(small, 0, CHANNEL, 2);
    struct member_join join = {.joined = 1};
    change_members(small, (struct letter_members){
                              .kind = MEMBERS_ADD, .users = &A, .joins = &join, .count = 1});
    struct receipt_state before = state_of(small, A);
    small_wait(small, CHANNEL_IDLE_MS); /* closed, and opened by the question */
    struct receipt_state after = state_of(small, A);
    assert_int_equal(after.unread, 1);
    assert_int_equal(before.unread, 1);
    assert_int_equal(before.first_unread, 2);
    small_end(small);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_of_the_system_stay_so_when_members_come),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
