/*
 * Receipts of one channel while others of it are under way (small_node.h): what is asked
 * together takes effect in the order in which it was asked.
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

static struct small *begin(void)
{
    return small_new_with("storage: {window_size: 4}\n"
                          "channel: {without_namespace: {history_size: 50, history_ttl: 60s}}\n",
                          CHANNEL, (struct bytes[]){A, B}, 2);
}

static void say(struct small *small, uint32_t count)
{
    struct told told;
    for (uint32_t i = 0; i < count; i++) {
        ask_publish(small, 0,
                    (struct letter_publish){
                        .channel = CHANNEL,
                        .publication = {.data = BYTES_LITERAL("1"), .has_info = true, .user = A}},
                    &told);
        small_run(small);
        assert_int_equal(told.err, ERR_OK);
    }
}

static void ask(struct small *small, enum receipt_verb verb, uint64_t offset, struct told *told)
{
    struct letter_receipt in = {.verb = (uint8_t)verb,
                                .channel = CHANNEL,
                                .user = B,
                                .offset = offset,
                                .is_hidden = offset != 0};
    ask_receipt(small, 0, in, told);
}

static struct receipt_state state_of(struct small *small)
{
    struct told told;
    struct bytes channel = CHANNEL;
    ask_states(small, B, &channel, 1, &told);
    small_run(small);
    assert_true(told.is_here);
    assert_int_equal(told.states[0].err, ERR_OK);
    return told.states[0];
}

static uint32_t eligible_at(struct small *small, uint64_t offset)
{
    struct told told;
    struct letter_receipt in = {
        .verb = RECEIPT_COUNTS, .channel = CHANNEL, .offsets = &offset, .offsets_count = 1};
    ask_receipt(small, 0, in, &told);
    small_run(small);
    assert_int_equal(told.err, ERR_OK);
    return told.eligible[0];
}

static void the_last_word_about_hiding_counts(void **state)
{
    (void)state;
    struct small *small = begin();
    struct told first, second;
    say(small, 1);
    assert_int_equal(eligible_at(small, 1), 1);
    ask(small, RECEIPT_HIDE, 1, &first);
    ask(small, RECEIPT_HIDE, 0, &second);
    small_run(small);
    assert_int_equal(eligible_at(small, 1), 1);
    ask(small, RECEIPT_HIDE, 1, &first);
    small_run(small);
    ask(small, RECEIPT_HIDE, 0, &first);
    ask(small, RECEIPT_HIDE, 1, &second);
    small_run(small);
    assert_int_equal(second.err, ERR_OK);
    assert_int_equal(eligible_at(small, 1), 0);
    small_end(small);
}

static void a_mark_is_taken_off_while_it_is_put_on(void **state)
{
    (void)state;
    struct small *small = begin();
    struct told first, second;
    say(small, 3);
    ask(small, RECEIPT_READ, 3, &first);
    small_run(small);
    ask(small, RECEIPT_MARK_UNREAD, 1, &first);
    ask(small, RECEIPT_MARK_UNREAD, 0, &second);
    small_run(small);
    assert_int_equal(first.offset, 1);
    assert_int_equal(second.offset, 0);
    assert_int_equal(state_of(small).unread, 0);
    ask(small, RECEIPT_MARK_UNREAD, 2, &first);
    ask(small, RECEIPT_READ, 3, &second); /* nothing new to read, and it ends the mark */
    small_run(small);
    assert_int_equal(second.offset, 3);
    assert_int_equal(state_of(small).unread, 0);
    small_end(small);
}

static void what_is_being_read_can_be_marked(void **state)
{
    (void)state;
    struct small *small = begin();
    struct told first, second;
    say(small, 3);
    ask(small, RECEIPT_READ, 2, &first);
    ask(small, RECEIPT_MARK_UNREAD, 2, &second);
    small_run(small);
    assert_int_equal(first.offset, 2);
    assert_int_equal(second.offset, 2);
    assert_int_equal(state_of(small).read, 2);
    assert_int_equal(state_of(small).first_unread, 2);
    /* Above what is read by then it is still none. */
    ask(small, RECEIPT_READ, 2, &first);
    ask(small, RECEIPT_MARK_UNREAD, 3, &second);
    small_run(small);
    assert_int_equal(second.offset, 0);
    assert_int_equal(state_of(small).first_unread, 3);
    small_end(small);
}

/* A device that is behind says what it has read: that ends no mark above it, whether the mark
 * is there or on its way. */
static void a_lower_read_leaves_a_mark_of_unread_alone(void **state)
{
    (void)state;
    struct small *small = begin();
    struct told first, second;
    say(small, 10);
    ask(small, RECEIPT_READ, 10, &first);
    small_run(small);
    ask(small, RECEIPT_MARK_UNREAD, 8, &first);
    ask(small, RECEIPT_READ, 7, &second);
    small_run(small);
    assert_int_equal(second.offset, 10);
    assert_int_equal(state_of(small).first_unread, 8);
    ask(small, RECEIPT_READ, 3, &first);
    ask(small, RECEIPT_READ, 0, &second);
    small_run(small);
    assert_int_equal(first.offset, 10);
    assert_int_equal(second.offset, 10);
    assert_int_equal(state_of(small).unread, 3);
    ask(small, RECEIPT_READ, 8, &first); /* not lower than the mark */
    small_run(small);
    assert_int_equal(first.offset, 10);
    assert_int_equal(state_of(small).unread, 0);
    small_end(small);
}

/* What damage has taken away costs the counts of no other. */
static void one_that_cannot_be_read_spoils_no_other_count(void **state)
{
    (void)state;
    struct small *small = begin();
    struct told told;
    say(small, 10);
    ask(small, RECEIPT_READ, 5, &told);
    small_run(small);
    small->gates[small_home(CHANNEL)].hole = 3;
    uint64_t offsets[] = {2, 9, 4, 6, 3};
    struct letter_receipt in = {
        .verb = RECEIPT_COUNTS, .channel = CHANNEL, .offsets = offsets, .offsets_count = 4};
    ask_receipt(small, 0, in, &told);
    small_run(small);
    assert_int_equal(told.err, ERR_OK);
    for (uint32_t i = 0; i < 4; i++) {
        assert_int_equal(told.readers[i], offsets[i] <= 5);
        assert_int_equal(told.eligible[i], 1);
    }
    in.offsets_count = 5;
    ask_receipt(small, 0, in, &told);
    small_run(small);
    assert_int_equal(told.err, ERR_RECEIPT_TOO_OLD);
    small_end(small);
}

/* A question that reads the store and then the times of moves needs one op all the while. */
static void every_credit_may_ask_for_readers(void **state)
{
    (void)state;
    enum { ASKED = SMALL_SHARDS * MESH_CREDITS };
    struct small *small = begin();
    struct told *told = calloc(ASKED, sizeof *told);
    say(small, 10);
    struct gate *gate = &small->gates[small_home(CHANNEL)];
    gate->is_shut = true;
    for (uint32_t i = 0; i < ASKED; i++) {
        struct letter_receipt in = {.verb = RECEIPT_NONREADERS, .channel = CHANNEL, .offset = 2};
        ask_receipt(small, i % SMALL_SHARDS, in, &told[i]);
    }
    small_run(small);
    assert_int_equal(gate->held_count, ASKED);
    gate->is_shut = false;
    small_run(small);
    for (uint32_t i = 0; i < ASKED; i++) {
        assert_true(told[i].is_here);
        assert_int_equal(told[i].err, ERR_OK);
        assert_string_equal(told[i].list, "bob");
    }
    free(told);
    small_end(small);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_last_word_about_hiding_counts),
        cmocka_unit_test(a_mark_is_taken_off_while_it_is_put_on),
        cmocka_unit_test(what_is_being_read_can_be_marked),
        cmocka_unit_test(a_lower_read_leaves_a_mark_of_unread_alone),
        cmocka_unit_test(one_that_cannot_be_read_spoils_no_other_count),
        cmocka_unit_test(every_credit_may_ask_for_readers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
