/*
 * users: sessions by their names, ids near and far, the end of a user with its
 * last session, room.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "shards/user/users.h"

static struct user_place place(uint32_t shard, uint32_t index, uint32_t generation)
{
    return (struct user_place){.shard = shard, .conn = {index, generation}};
}

static uint32_t enter(struct users *users, const char *id, struct user_place at)
{
    uint32_t session;
    assert_int_equal(users_enter(users, bytes_of_text(id), &at, &session), ERR_OK);
    return session;
}

static void a_user_is_there_while_it_has_a_session(void **state)
{
    (void)state;
    struct users users;
    users_init(&users, 1, 8);
    assert_null(users_find(&users, BYTES_LITERAL("ann")));
    uint32_t first = enter(&users, "ann", place(3, 7, 1)),
             second = enter(&users, "ann", place(0, 7, 5));
    const struct user *ann = users_find(&users, BYTES_LITERAL("ann"));
    assert_non_null(ann);
    assert_true(bytes_equal_text(users_id(ann), "ann"));
    assert_int_equal(users_count_of(ann), 2);
    assert_int_equal(users.users_count, 1);
    users_leave(&users, first, (struct handle){7, 1});
    assert_int_equal(users_count_of(ann), 1);
    assert_int_equal(users_place(&users, second).shard, 0);
    users_verify(&users);
    users_leave(&users, second, (struct handle){7, 5});
    assert_null(users_find(&users, BYTES_LITERAL("ann")));
    assert_int_equal(users.users_count, 0);
    users_fini(&users);
}

static void the_place_of_a_session_is_what_it_entered_with(void **state)
{
    (void)state;
    struct users users;
    users_init(&users, 2, 8);
    const struct user_place places[] = {place(0, 0, 1), place(63, (1u << 25) - 1, UINT32_MAX),
                                        place(17, 65536, 12345)};
    uint32_t sessions[3];
    for (int i = 0; i < 3; i++) sessions[i] = enter(&users, "bob", places[i]);
    uint32_t seen = 0;
    struct user *bob = users_find(&users, BYTES_LITERAL("bob"));
    for (uint32_t at = users_first(&users, bob); at != SESSION_NONE;
         at = users_next(&users, bob, at))
        seen++;
    assert_int_equal(seen, 3);
    for (int i = 0; i < 3; i++) {
        struct user_place got = users_place(&users, sessions[i]);
        assert_int_equal(got.shard, places[i].shard);
        assert_int_equal(got.conn.index, places[i].conn.index);
        assert_int_equal(got.conn.generation, places[i].conn.generation);
        assert_false(got.is_ended);
        users_leave(&users, sessions[i], got.conn);
    }
    users_fini(&users);
}

static void ids_of_every_length_are_kept(void **state)
{
    (void)state;
    struct users users;
    users_init(&users, 3, 256);
    char id[256];
    memset(id, 'x', sizeof id);
    uint32_t sessions[256];
    for (uint32_t size = 1; size <= 255; size++) {
        struct user_place at = place(0, size, 1);
        assert_int_equal(users_enter(&users, bytes_of(id, size), &at, &sessions[size]), ERR_OK);
    }
    for (uint32_t size = 1; size <= 255; size++) {
        const struct user *user = users_find(&users, bytes_of(id, size));
        assert_non_null(user);
        assert_int_equal(users_id(user).size, size);
    }
    users_verify(&users);
    for (uint32_t size = 1; size <= 255; size++)
        users_leave(&users, sessions[size], (struct handle){size, 1});
    users_fini(&users);
}

static void a_session_told_to_end_counts_in_no_limit(void **state)
{
    (void)state;
    struct users users;
    users_init(&users, 4, 8);
    uint32_t near = enter(&users, "eve", place(0, 1, 1)),
             far = enter(&users, "eve", place(0, 2, 1));
    struct user *eve = users_find(&users, BYTES_LITERAL("eve"));
    users_end(&users, eve, near);
    users_end(&users, eve, near);
    assert_int_equal(users_count_of(eve), 1);
    assert_true(users_place(&users, near).is_ended);
    users_end(&users, eve, far);
    assert_int_equal(users_count_of(eve), 0);
    users_verify(&users);
    users_leave(&users, near, (struct handle){1, 1});
    users_leave(&users, far, (struct handle){2, 1});
    users_fini(&users);
}

static void without_room_a_session_is_refused(void **state)
{
    (void)state;
    struct users users;
    users_init(&users, 5, 2);
    uint32_t session;
    struct user_place at = place(0, 9, 1);
    uint32_t ann = enter(&users, "ann", place(0, 1, 1)), bob = enter(&users, "bob", place(0, 2, 1));
    assert_int_equal(users_enter(&users, BYTES_LITERAL("cem"), &at, &session), ERR_LIMIT_MEMORY);
    uint32_t second = enter(&users, "ann", place(0, 3, 1)),
             third = enter(&users, "bob", place(0, 4, 1));
    assert_int_equal(users_enter(&users, BYTES_LITERAL("ann"), &at, &session), ERR_LIMIT_MEMORY);
    users_verify(&users);
    users_leave(&users, second, (struct handle){3, 1});
    uint32_t again = enter(&users, "ann", place(0, 9, 1));
    users_leave(&users, ann, (struct handle){1, 1});
    users_leave(&users, again, (struct handle){9, 1});
    users_leave(&users, bob, (struct handle){2, 1});
    users_leave(&users, third, (struct handle){4, 1});
    users_fini(&users);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_user_is_there_while_it_has_a_session),
        cmocka_unit_test(the_place_of_a_session_is_what_it_entered_with),
        cmocka_unit_test(ids_of_every_length_are_kept),
        cmocka_unit_test(a_session_told_to_end_counts_in_no_limit),
        cmocka_unit_test(without_room_a_session_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
