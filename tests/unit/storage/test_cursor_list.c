/*
 * The read index beyond counts: pages and what ends them, who is hidden, delivered and
 * unread, messages that are none, every named error, and what it may weigh.
 */
#include "death.h"

#include <cmocka.h>

#include "core/mem.h"
#include "storage/bitmap.h"
#include "storage/cursor_parts.h"

static struct bytes user(uint32_t i)
{
    static char names[4][16];
    static uint32_t turn;
    char *name = names[turn++ % 4];
    snprintf(name, sizeof names[0], "user-%05u", i);
    return bytes_of_text(name);
}

/* `members` who have read nothing of `head` messages. */
static struct cursor_index *channel(uint32_t members, uint64_t head)
{
    struct cursor_index *index = cursor_create(head);
    for (uint32_t i = 0; i < members; i++)
        assert_int_equal(cursor_join(index, user(i), 1, 0), ERR_OK);
    return index;
}

static void move(struct cursor_index *index, uint32_t i, uint64_t to)
{
    uint64_t before, after;
    assert_int_equal(cursor_move(index, user(i), to, &before, &after), ERR_OK);
}

static void expect_counts(const struct cursor_index *index, uint64_t offset, uint32_t readers,
                          uint32_t eligible)
{
    uint32_t r = 0, e = 0;
    cursor_verify(index);
    assert_int_equal(cursor_counts(index, offset, BYTES_NONE, &r, &e), ERR_OK);
    assert_int_equal(r, readers);
    assert_int_equal(e, eligible);
}

static void expect_unread(const struct cursor_index *index, uint32_t i, uint64_t count,
                          uint64_t first)
{
    struct cursor_unread unread;
    assert_int_equal(cursor_unread(index, user(i), &unread), ERR_OK);
    assert_int_equal(unread.unread, count);
    assert_int_equal(unread.first, first);
}

static uint32_t slots[1000];

static struct cursor_list ask(enum cursor_side side, uint64_t offset, uint32_t limit)
{
    return (struct cursor_list){.side = side, .offset = offset, .limit = limit, .slots = slots};
}

static void expect_slot_is(const struct cursor_index *index, uint32_t slot, uint32_t i)
{
    struct cursor_member member;
    cursor_at(index, slot, &member);
    assert_true(bytes_equal(member.user, user(i)));
}

static void pages_go_on_where_the_last_one_ended(void **state)
{
    (void)state;
    struct cursor_index *index = channel(300, 10);
    for (uint32_t i = 0; i < 300; i += 3) move(index, i, 10);
    struct cursor_list list = ask(CURSOR_READERS, 10, 50);
    assert_int_equal(cursor_list(index, &list), ERR_OK);
    assert_int_equal(list.count, 50);
    expect_slot_is(index, slots[49], 147);
    /* Whoever leaves is not there, whoever joins comes last, nobody comes twice. */
    assert_int_equal(cursor_leave(index, user(150)), ERR_OK);
    assert_int_equal(cursor_leave(index, user(0)), ERR_OK);
    assert_int_equal(cursor_join(index, user(0), 1, 10), ERR_OK);
    list.after = list.next;
    assert_int_equal(cursor_list(index, &list), ERR_OK);
    assert_int_equal(list.count, 50);
    assert_int_equal(list.next, 0); /* full, and the last: nobody asks again for nothing */
    expect_slot_is(index, slots[0], 153);
    expect_slot_is(index, slots[49], 0);
    cursor_destroy(index);
}

static void pages_end_when_slots_are_numbered_anew(void **state)
{
    (void)state;
    struct cursor_index *index = channel(300, 10), *other = channel(300, 10);
    struct cursor_list list = ask(CURSOR_NONREADERS, 10, 100);
    assert_int_equal(cursor_list(index, &list), ERR_OK);
    list.after = list.next;
    assert_int_equal(cursor_list(other, &list), ERR_RECEIPT_PAGE); /* another life */
    assert_int_equal(list.count, 0);
    assert_int_equal(list.next, 0);
    uint32_t version = cursor_version(index);
    for (uint32_t i = 0; i < 80; i++) assert_int_equal(cursor_leave(index, user(i)), ERR_OK);
    assert_true(cursor_version(index) != version);
    assert_int_equal(cursor_list(index, &list), ERR_RECEIPT_PAGE);
    list.side = CURSOR_EVERYBODY;
    assert_int_equal(cursor_list(index, &list), ERR_RECEIPT_PAGE);
    list.after = (uint64_t)cursor_version(index) << 20 | 999999; /* made up */
    assert_int_equal(cursor_list(index, &list), ERR_RECEIPT_PAGE);
    list.after = UINT64_MAX;
    assert_int_equal(cursor_list(index, &list), ERR_RECEIPT_PAGE);
    list.after = 0;
    assert_int_equal(cursor_list(index, &list), ERR_OK);
    assert_int_equal(list.count, 100);
    cursor_destroy(index);
    cursor_destroy(other);
}

static void big_channels_count_and_list_nobody(void **state)
{
    (void)state;
    struct cursor_index *index = channel(11, 10);
    struct cursor_rules rules = *cursor_rules(index);
    struct cursor_list list = ask(CURSOR_READERS, 10, 5);
    uint64_t before, after;
    rules.lists_max = rules.delivered_max = 11;
    cursor_configure(index, &rules);
    assert_int_equal(cursor_list(index, &list), ERR_OK);
    assert_int_equal(cursor_deliver(index, user(1), 4, &before, &after), ERR_OK);
    assert_int_equal(cursor_join(index, user(11), 1, 0), ERR_OK);
    assert_int_equal(cursor_list(index, &list), ERR_CHANNEL_TOO_BIG);
    assert_int_equal(cursor_deliver(index, user(1), 5, &before, &after), ERR_CHANNEL_TOO_BIG);
    list.side = CURSOR_EVERYBODY;
    assert_int_equal(cursor_list(index, &list), ERR_OK);
    expect_counts(index, 10, 0, 12);
    assert_int_equal(cursor_leave(index, user(11)), ERR_OK);
    assert_int_equal(cursor_deliver(index, user(1), 3, &before, &after), ERR_OK);
    assert_int_equal(before, 4); /* as before, like the log */
    assert_int_equal(after, 4);
    cursor_destroy(index);
}

static void every_question_names_what_is_wrong(void **state)
{
    (void)state;
    struct cursor_index *index = channel(3, 3000);
    struct cursor_rules rules = *cursor_rules(index);
    rules.window = 1000;
    cursor_configure(index, &rules);
    cursor_delete(index, 2500);
    static const struct {
        uint64_t offset;
        enum err err;
    } rows[] = {
        {0, ERR_BAD_REQUEST},
        {3001, ERR_BAD_REQUEST},
        {UINT64_MAX, ERR_BAD_REQUEST},
        {2000, ERR_RECEIPT_TOO_OLD},
        {2001, ERR_OK},
        {2500, ERR_RECEIPT_DELETED},
        {3000, ERR_OK},
    };
    for (size_t i = 0; i < array_count(rows); i++) {
        uint32_t readers, eligible;
        struct bitmap *set;
        struct cursor_list list = ask(CURSOR_READERS, rows[i].offset, 5);
        assert_int_equal(cursor_counts(index, list.offset, BYTES_NONE, &readers, &eligible),
                         rows[i].err);
        assert_int_equal(cursor_list(index, &list), rows[i].err);
        assert_int_equal(cursor_set(index, CURSOR_READERS, list.offset, BYTES_NONE, &set),
                         rows[i].err);
        assert_true((set != NULL) == (rows[i].err == ERR_OK));
        bitmap_destroy(set);
    }
    struct cursor_unread unread;
    struct cursor_member member;
    uint64_t before, after;
    assert_int_equal(cursor_unread(index, user(3), &unread), ERR_NOT_MEMBER);
    assert_int_equal(cursor_find(index, user(3), &member), ERR_NOT_MEMBER);
    assert_int_equal(cursor_find(index, BYTES_NONE, &member), ERR_NOT_MEMBER);
    assert_int_equal(cursor_deliver(index, user(3), 1, &before, &after), ERR_NOT_MEMBER);
    assert_int_equal(cursor_mark_unread(index, user(3), 1), ERR_NOT_MEMBER);
    assert_int_equal(cursor_hide(index, user(3), true), ERR_NOT_MEMBER);
    cursor_destroy(index);
}

static void hidden_members_read_and_are_not_seen(void **state)
{
    (void)state;
    struct cursor_index *index = channel(4, 10);
    move(index, 1, 8);
    for (uint32_t i = 0; i < 2; i++) assert_int_equal(cursor_hide(index, user(1), true), ERR_OK);
    expect_counts(index, 8, 0, 3);
    expect_unread(index, 1, 2, 9);
    move(index, 1, 9);
    expect_unread(index, 1, 1, 10);
    uint32_t readers, eligible;
    assert_int_equal(cursor_counts(index, 8, user(1), &readers, &eligible), ERR_OK);
    assert_int_equal(eligible, 3); /* who sent it is not taken out twice */
    struct cursor_list list = ask(CURSOR_NONREADERS, 8, 10);
    assert_int_equal(cursor_list(index, &list), ERR_OK);
    assert_int_equal(list.count, 3);
    list.side = CURSOR_EVERYBODY;
    assert_int_equal(cursor_list(index, &list), ERR_OK);
    assert_int_equal(list.count, 4);
    assert_int_equal(cursor_hide(index, user(1), false), ERR_OK);
    expect_counts(index, 9, 1, 4);
    assert_int_equal(cursor_hide(index, user(2), true), ERR_OK);
    assert_int_equal(cursor_leave(index, user(2)), ERR_OK);
    assert_int_equal(cursor_join(index, user(2), 1, 9), ERR_OK); /* comes back unhidden */
    expect_counts(index, 9, 2, 4);
    cursor_destroy(index);
}

static void unread_can_be_asked_back(void **state)
{
    (void)state;
    struct cursor_index *index = channel(2, 100);
    struct cursor_member member;
    move(index, 0, 80);
    expect_unread(index, 0, 20, 81);
    assert_int_equal(cursor_mark_unread(index, user(0), 51), ERR_OK);
    expect_unread(index, 0, 50, 51);
    expect_counts(index, 80, 1, 2); /* for the others it stays read */
    move(index, 0, 50);
    expect_unread(index, 0, 50, 51);
    move(index, 0, 51); /* no move, but an end of the mark */
    expect_unread(index, 0, 20, 81);
    assert_int_equal(cursor_mark_unread(index, user(0), 81), ERR_OK); /* is unread anyway */
    assert_int_equal(cursor_find(index, user(0), &member), ERR_OK);
    assert_int_equal(member.unread_from, 0);
    assert_int_equal(cursor_mark_unread(index, user(0), 1), ERR_OK);
    expect_unread(index, 0, 100, 1);
    cursor_send(index, 101, user(0)); /* who writes has read */
    expect_unread(index, 0, 0, 0);
    expect_unread(index, 1, 101, 1);
    cursor_destroy(index);
}

static void system_and_deleted_messages_are_unread_for_nobody(void **state)
{
    (void)state;
    struct cursor_index *index = channel(2, 10);
    cursor_uncount(index, 1);
    cursor_uncount(index, 10);
    cursor_delete(index, 2);
    cursor_delete(index, 0);
    cursor_uncount(index, 11);
    expect_unread(index, 0, 7, 3);
    move(index, 0, 9);
    expect_unread(index, 0, 0, 0);
    struct cursor_rules rules = *cursor_rules(index);
    rules.deleted_is_unread = true;
    cursor_configure(index, &rules);
    expect_unread(index, 1, 8, 2);
    cursor_delete_to(index, 5);
    expect_unread(index, 1, 8, 2);
    rules.deleted_is_unread = false;
    cursor_configure(index, &rules);
    expect_unread(index, 1, 4, 6);
    uint32_t readers, eligible;
    assert_int_equal(cursor_counts(index, 5, BYTES_NONE, &readers, &eligible), ERR_RECEIPT_DELETED);
    expect_counts(index, 10, 0, 2); /* a system message can be read like any other */
    cursor_post(index, 11);
    expect_unread(index, 1, 5, 6); /* the new one counts, whatever was said of it before */
    cursor_post(index, 10 + RECEIPT_WINDOW);
    expect_unread(index, 1, RECEIPT_WINDOW + 5, 6); /* left the window: counts like any */
    cursor_destroy(index);
}

/* A cursor that stood behind the origin comes back to about the origin. */
static void who_comes_back_stands_where_he_says(void **state)
{
    (void)state;
    for (uint64_t by = 0; by < 5; by++) {
        struct cursor_index *index = channel(3, 70);
        move(index, 0, 7);
        cursor_post(index, 60001);
        assert_true(index->origin > 1000);
        uint64_t to = index->origin - 2 + by, read;
        move(index, 0, to);
        assert_int_equal(cursor_read(index, user(0), &read), ERR_OK);
        assert_int_equal(read, to);
        cursor_post(index, 130000); /* and stays there when the origin moves */
        assert_int_equal(cursor_read(index, user(0), &read), ERR_OK);
        assert_int_equal(read, to);
        assert_int_equal(cursor_read(index, user(1), &read), ERR_OK);
        assert_int_equal(read, 0);
        assert_int_equal(cursor_leave(index, user(2)), ERR_OK);
        cursor_post(index, 5000000); /* a leap beyond what two bytes hold, over a hole */
        assert_int_equal(cursor_read(index, user(0), &read), ERR_OK);
        assert_int_equal(read, to);
        cursor_verify(index);
        cursor_destroy(index);
    }
}

/* Somebody joins all the time, through several moves of the origin, and is late for what
 * came before each time. */
static void newcomers_are_late_at_any_distance(void **state)
{
    (void)state;
    struct cursor_index *index = channel(10, 0);
    uint64_t head = 0;
    for (uint32_t i = 10; head < 200000; i++) {
        cursor_post(index, head += 10);
        assert_int_equal(cursor_join(index, user(i), head + 1, head), ERR_OK);
        if (head <= 900) continue;
        uint32_t readers, eligible;
        assert_int_equal(cursor_counts(index, head - 900, BYTES_NONE, &readers, &eligible), ERR_OK);
        assert_int_equal(eligible, i + 1 - 91); /* the last 91 came after it */
        assert_int_equal(readers, 0);
    }
    cursor_verify(index);
    cursor_destroy(index);
}

/* More members at one offset than 16 bits count. */
static void crowd_at_one_offset_is_counted(void **state)
{
    (void)state;
    struct cursor_index *index = channel(66000, 5);
    for (uint32_t i = 0; i < 66000; i++) move(index, i, 5);
    expect_counts(index, 5, 66000, 66000);
    cursor_post(index, 6);
    move(index, 65999, 6);
    expect_counts(index, 5, 66000, 66000);
    expect_counts(index, 6, 1, 66000);
    cursor_destroy(index);
}

static void index_weighs_what_it_may(void **state)
{
    (void)state;
    for (uint32_t members = 2; members <= 10; members++) {
        struct cursor_index *index = channel(members, 0);
        cursor_post(index, 50000);
        assert_true(cursor_bytes(index) <= 700);
        cursor_destroy(index);
    }
    if (VERIFY) return;                             /* its cells are wide early */
    struct cursor_index *index = channel(10000, 0); /* one by one, with no room reserved */
    cursor_post(index, 1000);
    for (uint32_t i = 0; i < 10000; i++) move(index, i, i % 1001);
    assert_true(cursor_bytes(index) <= 22500);
    expect_counts(index, 1, 9990, 10000);
    cursor_destroy(index);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pages_go_on_where_the_last_one_ended),
        cmocka_unit_test(pages_end_when_slots_are_numbered_anew),
        cmocka_unit_test(big_channels_count_and_list_nobody),
        cmocka_unit_test(every_question_names_what_is_wrong),
        cmocka_unit_test(hidden_members_read_and_are_not_seen),
        cmocka_unit_test(unread_can_be_asked_back),
        cmocka_unit_test(system_and_deleted_messages_are_unread_for_nobody),
        cmocka_unit_test(who_comes_back_stands_where_he_says),
        cmocka_unit_test(newcomers_are_late_at_any_distance),
        cmocka_unit_test(crowd_at_one_offset_is_counted),
        cmocka_unit_test(index_weighs_what_it_may),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
