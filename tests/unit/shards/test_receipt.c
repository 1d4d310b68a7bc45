/*
 * Members, cursors and counts at a channel's home (small_node.h).
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

static const char plain[] = "storage: {window_size: 4}\n"
                            "channel: {without_namespace: {history_size: 50, history_ttl: 60s}}\n";

static void set_members(struct small *small, const struct bytes *users, uint32_t count)
{
    struct told told;
    ask_members(small, CHANNEL, users, count, &told);
    small_run(small);
    assert_true(told.is_here);
    assert_int_equal(told.err, ERR_OK);
}

/* A publication by a client of `user`. */
static void say(struct small *small, struct bytes user)
{
    struct told told;
    struct letter_publish in = {
        .channel = CHANNEL,
        .publication = {.data = BYTES_LITERAL("1"), .has_info = true, .user = user},
    };
    ask_publish(small, 0, in, &told);
    small_run(small);
    assert_int_equal(told.err, ERR_OK);
}

static struct told read_up_to(struct small *small, struct bytes user, uint64_t offset)
{
    struct told told;
    ask_receipt(small, 0,
                (struct letter_receipt){
                    .verb = RECEIPT_READ, .channel = CHANNEL, .user = user, .offset = offset},
                &told);
    small_run(small);
    assert_true(told.is_here);
    return told;
}

static struct told unread_from(struct small *small, struct bytes user, uint64_t offset)
{
    struct told told;
    struct letter_receipt in = {
        .verb = RECEIPT_MARK_UNREAD, .channel = CHANNEL, .user = user, .offset = offset};
    ask_receipt(small, 0, in, &told);
    small_run(small);
    assert_true(told.is_here);
    return told;
}

static struct told counts_of(struct small *small, struct bytes user, uint64_t offset)
{
    struct told told;
    struct letter_receipt in = {.verb = RECEIPT_COUNTS,
                                .channel = CHANNEL,
                                .user = user,
                                .offsets = &offset,
                                .offsets_count = 1};
    ask_receipt(small, 1, in, &told);
    small_run(small);
    assert_true(told.is_here);
    return told;
}

static void check_counts(struct small *small, uint64_t offset, uint32_t readers, uint32_t eligible)
{
    struct told told = counts_of(small, BYTES_NONE, offset);
    assert_int_equal(told.err, ERR_OK);
    assert_int_equal(told.counts_count, 1);
    assert_int_equal(told.readers[0], readers);
    assert_int_equal(told.eligible[0], eligible);
}

static void readers_are_counted_without_the_sender(void **state)
{
    (void)state;
    struct small *small = small_new(plain);
    set_members(small, (struct bytes[]){A, B, C}, 3);
    say(small, A);
    say(small, BYTES_LITERAL("a guest"));
    check_counts(small, 1, 0, 2);
    check_counts(small, 2, 0, 3);
    assert_int_equal(read_up_to(small, B, 1).offset, 1);
    check_counts(small, 1, 1, 2);
    check_counts(small, 2, 0, 3);
    assert_int_equal(read_up_to(small, A, 2).offset, 2);
    check_counts(small, 1, 1, 2); /* the sender reads and is not a reader */
    check_counts(small, 2, 1, 3);
    small_end(small);
}

static void a_cursor_only_grows_and_stops_at_the_head(void **state)
{
    (void)state;
    struct small *small = small_new(plain);
    set_members(small, (struct bytes[]){A, B}, 2);
    for (int i = 0; i < 3; i++) say(small, A);
    assert_int_equal(read_up_to(small, B, 99).offset, 3);
    struct metrics *metrics = &small->shards[small_home(CHANNEL)]->metrics;
    uint64_t appends = metrics->values[METRIC_STORE_APPENDS];
    assert_int_equal(read_up_to(small, B, 1).offset, 3);
    assert_int_equal(read_up_to(small, B, 3).offset, 3);
    assert_int_equal(metrics->values[METRIC_STORE_APPENDS], appends); /* and costs no write */
    assert_int_equal(metrics->values[METRIC_RECEIPTS], 1);
    small_end(small);
}

static void only_members_mark_and_ask(void **state)
{
    (void)state;
    struct small *small = small_new(plain);
    say(small, A);
    assert_int_equal(read_up_to(small, A, 1).err, ERR_NOT_MEMBER); /* no members at all */
    assert_int_equal(counts_of(small, A, 1).err, ERR_NOT_MEMBER);
    set_members(small, (struct bytes[]){B}, 1);
    say(small, A);
    assert_int_equal(read_up_to(small, A, 1).err, ERR_NOT_MEMBER);
    assert_int_equal(counts_of(small, A, 2).err, ERR_NOT_MEMBER);
    assert_int_equal(counts_of(small, B, 2).err, ERR_OK);
    assert_int_equal(counts_of(small, B, 0).err, ERR_BAD_REQUEST);
    assert_int_equal(counts_of(small, B, 3).err, ERR_BAD_REQUEST);
    small_end(small);
}

static void joining_and_leaving_change_who_is_eligible(void **state)
{
    (void)state;
    struct small *small = small_new(plain);
    set_members(small, (struct bytes[]){A, B, A}, 3); /* a name twice is one member */
    say(small, A);
    assert_int_equal(read_up_to(small, B, 1).offset, 1);
    set_members(small, (struct bytes[]){A, B, C}, 3);
    check_counts(small, 1, 1, 1); /* cleo came after it */
    say(small, A);
    check_counts(small, 2, 0, 2);
    set_members(small, (struct bytes[]){A, C}, 2);
    check_counts(small, 1, 0, 0); /* bob is out of both at once */
    set_members(small, (struct bytes[]){A, B, C}, 3);
    check_counts(small, 1, 0, 0); /* and comes back as new */
    check_counts(small, 2, 0, 1);
    set_members(small, NULL, 0);
    assert_int_equal(counts_of(small, A, 2).err, ERR_NOT_MEMBER);
    small_end(small);
}

static void senders_below_the_window_come_from_the_store(void **state)
{
    (void)state;
    struct small *small = small_new(plain);
    set_members(small, (struct bytes[]){A, B, C}, 3);
    for (int i = 0; i < 10; i++) say(small, i % 2 ? A : BYTES_LITERAL("a guest"));
    assert_int_equal(read_up_to(small, B, 2).offset, 2);
    check_counts(small, 1, 2, 3); /* ann has read what came before she spoke */
    check_counts(small, 2, 1, 2);
    check_counts(small, 9, 1, 3);
    struct told told;
    struct letter_receipt in = {.verb = RECEIPT_COUNTS,
                                .channel = CHANNEL,
                                .user = C,
                                .offsets = (const uint64_t[]){10, 2, 1, 7},
                                .offsets_count = 4};
    ask_receipt(small, 1, in, &told);
    small_run(small);
    assert_int_equal(told.err, ERR_OK);
    assert_int_equal(told.counts_count, 4);
    static const uint32_t readers[] = {0, 1, 2, 1}, eligible[] = {2, 2, 3, 3};
    for (int i = 0; i < 4; i++) {
        assert_int_equal(told.readers[i], readers[i]);
        assert_int_equal(told.eligible[i], eligible[i]);
    }
    small_wait(small, 61000); /* gone: nobody knows who sent it */
    assert_int_equal(counts_of(small, A, 10).err, ERR_RECEIPT_TOO_OLD);
    small_end(small);
}

static struct told list_of(struct small *small, enum receipt_verb verb, struct bytes user,
                           uint64_t offset, uint64_t after)
{
    struct told told;
    struct letter_receipt in = {.verb = (uint8_t)verb,
                                .channel = CHANNEL,
                                .user = user,
                                .offset = offset,
                                .limit = 2,
                                .after = after};
    ask_receipt(small, 0, in, &told);
    small_run(small);
    assert_true(told.is_here);
    return told;
}

static void readers_and_the_others_are_listed_by_pages(void **state)
{
    (void)state;
    struct small *small = small_new(plain);
    set_members(small, (struct bytes[]){A, B, C, BYTES_LITERAL("dan"), BYTES_LITERAL("eve")}, 5);
    for (int i = 0; i < 8; i++) say(small, A);
    assert_int_equal(read_up_to(small, B, 2).offset, 2);
    for (uint64_t offset = 2; offset <= 8; offset += 6) { /* of the store, of the window */
        assert_string_equal(list_of(small, RECEIPT_READERS, A, offset, 0).list,
                            offset == 2 ? "bob" : "");
        struct told told = list_of(small, RECEIPT_NONREADERS, BYTES_NONE, offset, 0);
        assert_string_equal(told.list, offset == 2 ? "cleo dan" : "bob cleo");
        assert_int_not_equal(told.next, 0);
        told = list_of(small, RECEIPT_NONREADERS, BYTES_NONE, offset, told.next);
        assert_string_equal(told.list, offset == 2 ? "eve" : "dan eve");
        assert_int_equal(told.next, 0);
    }
    assert_int_equal(list_of(small, RECEIPT_READERS, BYTES_LITERAL("zoe"), 2, 0).err,
                     ERR_NOT_MEMBER);
    assert_int_equal(list_of(small, RECEIPT_READERS, A, 9, 0).err, ERR_BAD_REQUEST);
    assert_int_equal(list_of(small, RECEIPT_READERS, A, 0, 0).err, ERR_BAD_REQUEST);
    small_end(small);
}

static void the_policy_says_who_sees_names(void **state)
{
    (void)state;
    static const struct {
        const char *policy;
        enum err sender, other, server, counts;
    } rows[] = {
        {"all", ERR_OK, ERR_OK, ERR_OK, ERR_OK},
        {"sender", ERR_OK, ERR_DENIED, ERR_OK, ERR_OK},
        {"count", ERR_RECEIPT_DISABLED, ERR_RECEIPT_DISABLED, ERR_OK, ERR_OK},
        {"off", ERR_RECEIPT_DISABLED, ERR_RECEIPT_DISABLED, ERR_RECEIPT_DISABLED,
         ERR_RECEIPT_DISABLED},
    };
    for (size_t i = 0; i < array_count(rows); i++) {
        char text[200];
        snprintf(text, sizeof text,
                 "channel: {without_namespace: {history_size: 50, history_ttl: 60s, receipts: "
                 "%s}}\nreceipts: {huge_channel_threshold: 300}\n",
                 rows[i].policy);
        struct small *small = malloc(sizeof *small);
        small_init(small, text);
        set_members(small, (struct bytes[]){A, B, C}, 3);
        say(small, A);
        assert_int_equal(list_of(small, RECEIPT_READERS, A, 1, 0).err, rows[i].sender);
        assert_int_equal(list_of(small, RECEIPT_READERS, B, 1, 0).err, rows[i].other);
        assert_int_equal(list_of(small, RECEIPT_NONREADERS, BYTES_NONE, 1, 0).err, rows[i].server);
        assert_int_equal(counts_of(small, B, 1).err, rows[i].counts);
        assert_int_equal(read_up_to(small, B, 1).err, ERR_OK);
        small_end(small);
    }
}

static void removed_and_system_messages_are_told_apart(void **state)
{
    (void)state;
    struct small *small = small_new(plain);
    set_members(small, (struct bytes[]){A, B}, 2);
    say(small, A);
    say(small, A);
    struct told told;
    ask_clear(small, CHANNEL, &told);
    small_run(small);
    assert_int_equal(told.err, ERR_OK);
    struct letter_publish in = {.channel = CHANNEL,
                                .publication = {.data = BYTES_LITERAL("1"),
                                                .tags = BYTES_LITERAL("{\"system\":\"true\"}")}};
    ask_publish(small, 0, in, &told);
    small_run(small);
    say(small, A);
    assert_int_equal(counts_of(small, B, 1).err, ERR_RECEIPT_DELETED);
    assert_int_equal(list_of(small, RECEIPT_READERS, B, 2, 0).err, ERR_RECEIPT_DELETED);
    check_counts(small, 3, 1, 2);
    struct bytes channel = CHANNEL;
    ask_states(small, B, &channel, 1, &told);
    small_run(small);
    assert_int_equal(told.states[0].head, 4);
    assert_int_equal(told.states[0].read, 0);
    assert_int_equal(told.states[0].unread, 1); /* two are gone, one is the system's */
    assert_int_equal(told.states[0].first_unread, 4);
    small_end(small);
}

static struct receipt_state state_of(struct small *small, struct bytes user)
{
    struct told told;
    struct bytes channel = CHANNEL;
    ask_states(small, user, &channel, 1, &told);
    small_run(small);
    return told.states[0];
}

static void say_for_the_system(struct small *small)
{
    struct told told;
    struct letter_publish in = {.channel = CHANNEL,
                                .publication = {.data = BYTES_LITERAL("1"),
                                                .tags = BYTES_LITERAL("{\"system\":\"true\"}")}};
    ask_publish(small, 0, in, &told);
    small_run(small);
    assert_int_equal(told.err, ERR_OK);
}

/* Whoever loads the channel later can know it of what is kept, so that is what holds for who
 * has it in memory all the while: 50 messages here. */
static void a_system_message_that_is_kept_no_more_counts(void **state)
{
    (void)state;
    struct small *small = small_new(plain);
    set_members(small, (struct bytes[]){A, B}, 2);
    say_for_the_system(small);
    say(small, A);
    say_for_the_system(small);
    for (int i = 3; i < 50; i++) say(small, A);
    assert_int_equal(state_of(small, B).unread, 48);
    assert_int_equal(state_of(small, B).first_unread, 2);
    say(small, A);
    assert_int_equal(state_of(small, B).unread, 50);
    assert_int_equal(state_of(small, B).first_unread, 1);
    say(small, A);
    say(small, A);
    assert_int_equal(state_of(small, B).unread, 53);
    small_end(small);
}

/* Memory has four messages; the first member comes when what the system said is older. */
static void the_first_member_knows_what_the_store_keeps(void **state)
{
    (void)state;
    struct small *small = small_new(plain);
    struct told told;
    say_for_the_system(small);
    for (int i = 0; i < 8; i++) say(small, A);
    struct shard *shard = small->shards[0];
    struct bytes users[] = {B};
    struct member_join joins[] = {{.joined = 1}};
    struct letter_members in = {
        .channel = CHANNEL, .kind = MEMBERS_ADD, .users = users, .joins = joins, .count = 1};
    in.call = small_call(small, 0, CHANNEL, &told);
    call_post(shard, letter_pack_members(shard->post, small_home(CHANNEL), &in));
    small_run(small);
    assert_int_equal(told.err, ERR_OK);
    assert_int_equal(state_of(small, B).unread, 8);
    assert_int_equal(state_of(small, B).first_unread, 2);
    small_end(small);
}

/* Also when that is so long ago that the index has forgotten when it was. */
static void a_mark_from_before_the_window_begins_at_the_join(void **state)
{
    (void)state;
    struct small *small = small_new(plain);
    set_members(small, (struct bytes[]){A}, 1);
    for (int i = 0; i < 5; i++) say(small, A);
    set_members(small, (struct bytes[]){A, C}, 2);
    for (uint32_t i = 0; i < 2 * RECEIPT_WINDOW; i++) say(small, A);
    uint64_t head = 5 + 2 * RECEIPT_WINDOW;
    assert_int_equal(read_up_to(small, C, head).offset, head);
    assert_int_equal(unread_from(small, C, 1).offset, 6);
    struct told told;
    struct bytes channel = CHANNEL;
    ask_states(small, C, &channel, 1, &told);
    small_run(small);
    assert_int_equal(told.states[0].unread, 2 * RECEIPT_WINDOW);
    assert_int_equal(told.states[0].first_unread, 6);
    assert_int_equal(unread_from(small, C, 100).offset, 100);
    assert_int_equal(unread_from(small, C, head).offset, head);
    assert_int_equal(unread_from(small, BYTES_LITERAL("a guest"), 1).err, ERR_NOT_MEMBER);
    small_end(small);
}

/* What was said before somebody came is not for them, read or unread. */
static void a_mark_of_unread_begins_at_the_join(void **state)
{
    (void)state;
    struct small *small = small_new(plain);
    set_members(small, (struct bytes[]){A, B}, 2);
    for (int i = 0; i < 3; i++) say(small, A);
    set_members(small, (struct bytes[]){A, B, C}, 3);
    assert_int_equal(unread_from(small, C, 2).offset, 0); /* nothing is read that could be marked */
    say(small, A);
    assert_int_equal(read_up_to(small, C, 4).offset, 4);
    assert_int_equal(unread_from(small, C, 0).offset, 0);
    assert_int_equal(unread_from(small, C, 2).offset, 4);
    assert_int_equal(unread_from(small, C, 2).offset, 4);
    assert_int_equal(unread_from(small, B, 2).offset, 0);
    small_end(small);
}

static void members_and_cursors_outlive_a_closing(void **state)
{
    (void)state;
    struct small *small = small_new(plain);
    set_members(small, (struct bytes[]){A, B}, 2);
    say(small, A);
    say(small, A);
    assert_int_equal(read_up_to(small, B, 1).offset, 1);
    /* Closed when idle; reading a cursor opens it again. */
    struct shard *home = small->shards[small_home(CHANNEL)];
    small_wait(small, CHANNEL_IDLE_MS);
    assert_int_equal(home->channels.channels.count, 0);
    assert_int_equal(read_up_to(small, B, 0).offset, 1);
    assert_int_equal(read_up_to(small, A, 2).offset, 2);
    small_end(small);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(readers_are_counted_without_the_sender),
        cmocka_unit_test(a_cursor_only_grows_and_stops_at_the_head),
        cmocka_unit_test(only_members_mark_and_ask),
        cmocka_unit_test(joining_and_leaving_change_who_is_eligible),
        cmocka_unit_test(senders_below_the_window_come_from_the_store),
        cmocka_unit_test(readers_and_the_others_are_listed_by_pages),
        cmocka_unit_test(the_policy_says_who_sees_names),
        cmocka_unit_test(removed_and_system_messages_are_told_apart),
        cmocka_unit_test(a_mark_of_unread_begins_at_the_join),
        cmocka_unit_test(a_mark_from_before_the_window_begins_at_the_join),
        cmocka_unit_test(a_system_message_that_is_kept_no_more_counts),
        cmocka_unit_test(the_first_member_knows_what_the_store_keeps),
        cmocka_unit_test(members_and_cursors_outlive_a_closing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
