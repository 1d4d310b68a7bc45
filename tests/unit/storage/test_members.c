/* Members: lists replace each other, cursors only grow. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "storage/members.h"

static uint64_t read_of(const struct members *members, const char *user, uint64_t *joined)
{
    struct store_member list[16];
    check(members->map.count <= array_count(list));
    members_list(members, list);
    for (uint32_t i = 0; i < members->map.count; i++) {
        if (!bytes_equal_text(list[i].user, user)) continue;
        if (joined != NULL) *joined = list[i].joined;
        return list[i].read;
    }
    return UINT64_MAX;
}

/* The list in force after the publication `head`, asked for as engines are. */
static void members_ask(struct members *members, enum members_kind kind, const struct bytes *users,
                        const struct member_join *joins, uint32_t count, uint64_t head)
{
    static uint8_t bytes[1 << 18];
    struct members_ask ask = {.kind = kind, .users = users, .joins = joins, .count = count};
    struct members_change change;
    struct writer writer = writer_of(bytes, sizeof bytes);
    members_ask_write(&writer, &ask);
    assert_false(writer.failed);
    assert_int_equal(writer.used, members_ask_size(&ask));
    assert_int_equal(members_change_read(writer_bytes(&writer), kind, head, &change), ERR_OK);
    assert_int_equal(change.count, count);
    members_apply(members, &change);
    members_change_fini(&change);
}

static void members_set(struct members *members, const struct bytes *users, uint32_t count,
                        uint64_t head)
{
    members_ask(members, MEMBERS_SET, users, NULL, count, head);
}

static void members_read(struct members *members, struct bytes user, uint64_t offset)
{
    members_move(members, user, CURSOR_READ, offset, UINT64_MAX);
}

static void a_list_replaces_the_one_before(void **state)
{
    (void)state;
    struct members members;
    uint64_t joined;
    members_init(&members, 3);
    const struct bytes first[] = {BYTES_LITERAL("ann"), BYTES_LITERAL("bob"), BYTES_LITERAL("ann")};
    const struct bytes second[] = {BYTES_LITERAL("cid"), BYTES_LITERAL("ann")};
    members_set(&members, first, 3, 10);
    assert_int_equal(members.map.count, 2);
    assert_int_equal(read_of(&members, "ann", &joined), 10);
    assert_int_equal(joined, 11);
    members_read(&members, first[0], 12);
    members_read(&members, first[0], 11);
    members_set(&members, second, 2, 20);
    assert_int_equal(members.map.count, 2);
    assert_int_equal(read_of(&members, "ann", &joined), 12);
    assert_int_equal(joined, 11);
    assert_int_equal(read_of(&members, "cid", &joined), 20);
    assert_int_equal(joined, 21);
    assert_true(read_of(&members, "bob", NULL) == UINT64_MAX);
    members_read(&members, first[1], 30); /* no member: passed over */
    assert_int_equal(members.map.count, 2);
    members_set(&members, NULL, 0, 20);
    assert_int_equal(members.map.count, 0);
    members_fini(&members);
}

static void many_members_leave_at_once(void **state)
{
    (void)state;
    static char names[5000][8];
    static struct bytes users[5000];
    struct members members;
    members_init(&members, 3);
    for (int i = 0; i < 5000; i++) {
        for (int at = 0, rest = i; at < 4; at++, rest /= 10) names[i][at] = (char)('0' + rest % 10);
        users[i] = bytes_of(names[i], 4);
    }
    members_set(&members, users, 5000, 1);
    assert_int_equal(members.map.count, 5000);
    members_set(&members, users, 3, 2);
    assert_int_equal(members.map.count, 3);
    map_verify(&members.map);
    members_fini(&members);
}

static void lists_add_and_remove(void **state)
{
    (void)state;
    struct members members;
    const struct bytes users[] = {BYTES_LITERAL("ann"), BYTES_LITERAL("bob"), BYTES_LITERAL("cid")};
    const struct member_join joins[] = {{5, 3}, {5, 8}, {99, 99}};
    uint64_t joined;
    members_init(&members, 3);
    members_set(&members, users, 1, 20);
    members_ask(&members, MEMBERS_ADD, users, joins, 3, 30);
    assert_int_equal(read_of(&members, "ann", &joined), 20); /* stays as she is */
    assert_int_equal(joined, 21);
    assert_int_equal(read_of(&members, "bob", &joined), 8);
    assert_int_equal(joined, 5);
    assert_int_equal(read_of(&members, "cid", &joined), 30); /* cut to the head */
    assert_int_equal(joined, 31);
    members_ask(&members, MEMBERS_REMOVE, users, NULL, 2, 30);
    assert_int_equal(members.map.count, 1);
    members_ask(&members, MEMBERS_REMOVE, users, NULL, 2, 30);
    members_ask(&members, MEMBERS_ADD, users + 1, NULL, 1, 40);
    assert_int_equal(read_of(&members, "bob", &joined), 40); /* a new join */
    assert_int_equal(joined, 41);
    members_fini(&members);
}

static void a_list_may_speak_of_some_only(void **state)
{
    (void)state;
    struct members members;
    const struct bytes users[] = {BYTES_LITERAL("a"), BYTES_LITERAL("b"), BYTES_LITERAL("c"),
                                  BYTES_LITERAL("d"), BYTES_LITERAL("e")};
    members_init(&members, 3);
    members_set(&members, users, 5, 1);
    struct store_member named = member_begin(BYTES_LITERAL("bb"), (struct member_join){0}, 7);
    struct members_change change = {.kind = MEMBERS_SET_BETWEEN,
                                    .after = users[1],
                                    .upto = users[3],
                                    .list = &named,
                                    .count = 1};
    members_apply(&members, &change);
    assert_int_equal(members.map.count, 4); /* a b bb e */
    assert_non_null(members_find(&members, users[1]));
    assert_null(members_find(&members, users[3]));
    assert_int_equal(read_of(&members, "bb", NULL), 7);
    change = (struct members_change){.kind = MEMBERS_SET_BETWEEN, .after = users[1]};
    members_apply(&members, &change);
    assert_int_equal(members.map.count, 2);
    assert_null(members_find(&members, users[4]));
    members_fini(&members);
}

static void marks_move_what_they_name(void **state)
{
    (void)state;
    struct store_member ann = member_begin(BYTES_LITERAL("ann"), (struct member_join){0}, 10);
    assert_true(ann.joined == 11 && ann.read == 10 && ann.delivered == 10);
    assert_false(member_move(&ann, CURSOR_UNREAD, 5, 20)); /* before she joined */
    assert_int_equal(ann.unread_from, 0);
    assert_true(member_move(&ann, CURSOR_DELIVERED, 15, 20));
    assert_true(ann.read == 10 && ann.delivered == 15);
    assert_true(member_move(&ann, CURSOR_READ, 14, 20));
    assert_true(ann.read == 14 && ann.delivered == 15);
    assert_false(member_move(&ann, CURSOR_UNREAD, 15, 20)); /* above what is read: no mark */
    assert_true(member_move(&ann, CURSOR_UNREAD, 3, 20));
    assert_true(ann.unread_from == 11 && ann.read == 14); /* the receipt stays */
    assert_false(member_move(&ann, CURSOR_READ, 10, 20));
    assert_int_equal(ann.unread_from, 11);
    assert_false(member_move(&ann, CURSOR_READ, 11, 20)); /* read again: the mark goes */
    assert_true(ann.unread_from == 0 && ann.read == 14);
    assert_true(member_move(&ann, CURSOR_READ, 99, 20)); /* cut to the head */
    assert_true(ann.read == 20 && ann.delivered == 20);
    assert_true(member_move(&ann, CURSOR_HIDDEN, 1, 20));
    assert_false(member_move(&ann, CURSOR_HIDDEN, 1, 20));
    assert_true(ann.is_hidden && ann.read == 20);
    assert_true(member_move(&ann, CURSOR_HIDDEN, 0, 20));
    assert_false(ann.is_hidden);
}

static void malformed_lists_are_refused(void **state)
{
    (void)state;
    static const uint8_t bytes[] = {1, 0, 0, 0, 'a', 2, 0, 0, 0, 'b', 'c'};
    struct members_change change;
    for (size_t size = 1; size < sizeof bytes; size++) {
        if (size == 5) continue; /* a whole one */
        assert_int_equal(members_change_read(bytes_of(bytes, size), MEMBERS_SET, 1, &change),
                         ERR_STORE_CORRUPT);
    }
    static const uint8_t nobody[] = {0, 0, 0, 0};
    assert_int_equal(members_change_read(bytes_of(nobody, 4), MEMBERS_SET, 1, &change),
                     ERR_STORE_CORRUPT);
    assert_int_equal(members_change_read(BYTES_NONE, MEMBERS_STATE, 1, &change), ERR_STORE_CORRUPT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_list_replaces_the_one_before),
        cmocka_unit_test(many_members_leave_at_once),
        cmocka_unit_test(lists_add_and_remove),
        cmocka_unit_test(a_list_may_speak_of_some_only),
        cmocka_unit_test(marks_move_what_they_name),
        cmocka_unit_test(malformed_lists_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
