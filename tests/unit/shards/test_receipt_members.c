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

static const char options[] =
    "channel: {without_namespace: {history_size: 5000, history_ttl: 1h}}\n";

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

static struct channel *channel_here(struct small *small)
{
    struct channel *channel = channel_find(small->shards[small_home(CHANNEL)], CHANNEL);
    assert_non_null(channel);
    return channel;
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

/* The piece of a long list that the feed brings. */
static void hear(struct small *small, enum members_kind kind, const struct store_member *list,
                 uint32_t count, struct bytes after)
{
    struct channel *channel = channel_here(small);
    struct members_change change = {.kind = kind, .list = list, .count = count, .after = after};
    if (kind == MEMBERS_SET_BETWEEN && count > 0) change.upto = list[count - 1].user;
    channel_on_members(channel->shard, &channel->stored->store, &change);
}

/* It comes in pieces, in the order of the users, and who leaves last stands behind all who
 * join. */
static void a_full_list_takes_the_place_of_another(void **state)
{
    (void)state;
    enum { PIECES = 25, PIECE = MEMBERS_MAX / PIECES };
    static char names[2][MEMBERS_MAX][8];
    static struct store_member lists[2][MEMBERS_MAX];
    struct small *small = small_new(options);
    change_members(small, (struct letter_members){.users = &A, .count = 1});
    for (uint32_t i = 0; i < MEMBERS_MAX; i++)
        for (uint32_t list = 0; list < 2; list++) {
            snprintf(names[list][i], sizeof names[0][0], "%c%05u", "zb"[list], i);
            lists[list][i] =
                (struct store_member){.user = bytes_of_text(names[list][i]), .joined = 1};
        }
    hear(small, MEMBERS_REMOVE, &(struct store_member){.user = A}, 1, BYTES_NONE);
    hear(small, MEMBERS_ADD, lists[0], MEMBERS_MAX, BYTES_NONE);
    struct bytes after = BYTES_NONE;
    for (uint32_t i = 0; i < PIECES; i++) {
        hear(small, MEMBERS_SET_BETWEEN, &lists[1][i * PIECE], PIECE, after);
        after = lists[1][(i + 1) * PIECE - 1].user;
    }
    hear(small, MEMBERS_SET_BETWEEN, NULL, 0, after);
    const struct channel *channel = channel_here(small);
    assert_non_null(channel->stored->cursors);
    assert_int_equal(cursor_members(channel->stored->cursors), MEMBERS_MAX);
    assert_int_equal(receipt_member(channel, lists[1][0].user), ERR_OK);
    assert_int_equal(receipt_member(channel, lists[1][MEMBERS_MAX - 1].user), ERR_OK);
    assert_int_equal(receipt_member(channel, lists[0][0].user), ERR_NOT_MEMBER);
    small_end(small);
}

/* Whoever is imported has not read them either: what is the system's counts for nobody, in
 * whatever order members and messages came. */
static void messages_of_the_system_stay_so_when_members_come(void **state)
{
    (void)state;
    struct small *small = small_new(options);
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

/* Nor is what a backend has removed, whenever somebody looks. */
static void the_removed_stays_read(void **state)
{
    (void)state;
    struct small *small = small_new(options);
    struct told told;
    struct member_join join = {.joined = 1};
    change_members(small, (struct letter_members){
                              .kind = MEMBERS_ADD, .users = &A, .joins = &join, .count = 1});
    small_publish(small, 0, CHANNEL, 1);
    small_publish(small, 0, CHANNEL, 2);
    ask_clear(small, CHANNEL, &told);
    small_run(small);
    small_publish(small, 0, CHANNEL, 3);
    assert_int_equal(state_of(small, A).unread, 1);
    small_wait(small, CHANNEL_IDLE_MS);
    assert_int_equal(state_of(small, A).unread, 1);
    change_members(small, (struct letter_members){.kind = MEMBERS_REMOVE, .users = &A, .count = 1});
    change_members(small, (struct letter_members){
                              .kind = MEMBERS_ADD, .users = &A, .joins = &join, .count = 1});
    assert_int_equal(state_of(small, A).unread, 1);
    assert_int_equal(state_of(small, A).first_unread, 3);
    small_end(small);
}

/* Who has been there for exactly a window is the same member when the store says so again,
 * and keeps the place in every list. */
static void a_member_keeps_the_place_in_lists(void **state)
{
    (void)state;
    struct small *small = small_new(options);
    struct told told;
    change_members(small, (struct letter_members){.users = &A, .count = 1});
    small_publish(small, 0, CHANNEL, 1);
    struct bytes two[] = {B, C};
    change_members(small, (struct letter_members){.kind = MEMBERS_ADD, .users = two, .count = 2});
    while (channel_here(small)->stored->store.head < RECEIPT_WINDOW + 1) {
        ask_publish(
            small, 0,
            (struct letter_publish){.channel = CHANNEL, .publication.data = BYTES_LITERAL("1")},
            &told);
        small_turn(small);
        small_turn(small);
        small_turn(small);
    }
    small_run(small);
    struct store_member all[] = {
        {.user = C, .joined = 2, .read = 1, .delivered = 1},
        {.user = A, .joined = 1},
        {.user = B, .joined = 2, .read = 1, .delivered = 1},
    };
    hear(small, MEMBERS_STATE, all, 3, BYTES_NONE);
    struct letter_receipt in = {
        .verb = RECEIPT_NONREADERS, .channel = CHANNEL, .offset = RECEIPT_WINDOW};
    ask_receipt(small, 0, in, &told);
    small_run(small);
    assert_int_equal(told.err, ERR_OK);
    assert_string_equal(told.list, "ann bob cleo");
    small_end(small);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_full_list_takes_the_place_of_another),
        cmocka_unit_test(messages_of_the_system_stay_so_when_members_come),
        cmocka_unit_test(the_removed_stays_read),
        cmocka_unit_test(a_member_keeps_the_place_in_lists),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
