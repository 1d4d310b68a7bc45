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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_list_replaces_the_one_before),
        cmocka_unit_test(many_members_leave_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
