/*
 * The read index: who counts and who does not, at the bounds of the window,
 * through leaves, rebases and the change from scans to rings.
 */
#include "death.h"

#include <cmocka.h>

#include "core/mem.h"
#include "core/rng.h"
#include "storage/cursor.h"

static struct bytes user(uint32_t i)
{
    static char names[4][16];
    static uint32_t turn;
    char *name = names[turn++ % 4];
    snprintf(name, sizeof names[0], "user-%u", i);
    return bytes_of_text(name);
}

static void expect(const struct cursor_index *index, uint64_t offset, struct bytes sender,
                   uint32_t readers, uint32_t eligible)
{
    uint32_t r = 99, e = 99;
    cursor_verify(index);
    assert_int_equal(cursor_counts(index, offset, sender, &r, &e), ERR_OK);
    assert_int_equal(r, readers);
    assert_int_equal(e, eligible);
}

static void join(struct cursor_index *index, uint32_t i, uint64_t joined, uint64_t read)
{
    assert_int_equal(cursor_join(index, user(i), joined, read), ERR_OK);
}

static void move(struct cursor_index *index, uint32_t i, uint64_t to, uint64_t want)
{
    uint64_t before, after;
    assert_int_equal(cursor_move(index, user(i), to, &before, &after), ERR_OK);
    assert_int_equal(after, want);
    assert_true(before <= after);
}

static void cursor_moves_forward_only_and_not_past_the_head(void **state)
{
    (void)state;
    struct cursor_index *index = cursor_create(0);
    join(index, 1, 1, 0);
    move(index, 1, 5, 0);
    cursor_post(index, 10);
    cursor_post(index, 7); /* lower: nothing */
    assert_int_equal(cursor_head(index), 10);
    move(index, 1, 5, 5);
    move(index, 1, 3, 5);
    move(index, 1, UINT64_MAX, 10);
    uint64_t offset;
    assert_int_equal(cursor_read(index, user(1), &offset), ERR_OK);
    assert_int_equal(offset, 10);
    uint64_t before, after;
    assert_int_equal(cursor_move(index, user(2), 1, &before, &after), ERR_NOT_MEMBER);
    assert_int_equal(cursor_read(index, user(2), &offset), ERR_NOT_MEMBER);
    cursor_destroy(index);
}

static void sender_is_in_neither_count(void **state)
{
    (void)state;
    struct cursor_index *index = cursor_create(0);
    for (uint32_t i = 0; i < 3; i++) join(index, i, 1, 0);
    cursor_post(index, 2);
    move(index, 0, 2, 2);
    move(index, 1, 1, 1);
    expect(index, 1, BYTES_NONE, 2, 3);
    expect(index, 1, user(0), 1, 2);
    expect(index, 1, user(2), 2, 2);
    expect(index, 2, user(0), 0, 2);
    expect(index, 2, user(77), 1, 3); /* a backend, or one who left */
    cursor_destroy(index);
}

static void late_joiner_is_not_asked_about_earlier_messages(void **state)
{
    (void)state;
    struct cursor_index *index = cursor_create(0);
    join(index, 0, 1, 0);
    cursor_post(index, 5);
    join(index, 1, 6, 0);     /* late: sees from 6 */
    join(index, 2, 1, 0);     /* reads the history */
    join(index, 3, 999, 999); /* cut to head + 1 and head */
    cursor_post(index, 6);
    expect(index, 5, BYTES_NONE, 0, 2);
    expect(index, 6, BYTES_NONE, 0, 4);
    expect(index, 5, user(1), 0, 2); /* not eligible anyway */
    uint64_t offset;
    assert_int_equal(cursor_read(index, user(1), &offset), ERR_OK);
    assert_int_equal(offset, 5);
    move(index, 1, 6, 6);
    move(index, 2, 5, 5);
    expect(index, 5, BYTES_NONE, 1, 2);
    expect(index, 6, BYTES_NONE, 1, 4);
    cursor_destroy(index);
}

static void who_leaves_is_out_at_once_and_returns_as_new(void **state)
{
    (void)state;
    struct cursor_index *index = cursor_create(0);
    for (uint32_t i = 0; i < 4; i++) join(index, i, 1, 0);
    cursor_post(index, 3);
    for (uint32_t i = 0; i < 4; i++) move(index, i, 3, 3);
    assert_int_equal(cursor_leave(index, user(1)), ERR_OK);
    assert_int_equal(cursor_leave(index, user(1)), ERR_NOT_MEMBER);
    assert_false(cursor_is_member(index, user(1)));
    assert_int_equal(cursor_members(index), 3);
    expect(index, 3, BYTES_NONE, 3, 3);
    join(index, 1, 4, 0);
    expect(index, 3, BYTES_NONE, 3, 3);
    cursor_post(index, 4);
    expect(index, 4, BYTES_NONE, 0, 4);
    assert_int_equal(cursor_join(index, user(1), 1, 0), ERR_CONFLICT);
    cursor_destroy(index);
}

static void window_ends_where_it_says(void **state)
{
    (void)state;
    for (uint64_t head = RECEIPT_WINDOW - 1; head < 3 * RECEIPT_WINDOW; head += 511) {
        struct cursor_index *index = cursor_create(0);
        join(index, 0, 1, 0);
        cursor_post(index, head);
        move(index, 0, head / 2, head / 2);
        uint32_t readers, eligible;
        assert_int_equal(cursor_counts(index, 0, BYTES_NONE, &readers, &eligible), ERR_BAD_REQUEST);
        assert_int_equal(cursor_counts(index, head + 1, BYTES_NONE, &readers, &eligible),
                         ERR_BAD_REQUEST);
        uint64_t first = head < RECEIPT_WINDOW ? 1 : head - RECEIPT_WINDOW + 1;
        expect(index, first, BYTES_NONE, head / 2 >= first, 1);
        expect(index, head, BYTES_NONE, 0, 1);
        if (first > 1)
            assert_int_equal(cursor_counts(index, first - 1, BYTES_NONE, &readers, &eligible),
                             ERR_RECEIPT_TOO_OLD);
        cursor_destroy(index);
    }
}

static void names_have_their_bounds(void **state)
{
    (void)state;
    struct cursor_index *index = cursor_create(0);
    char name[USER_ID_MAX + 1];
    memset(name, 'x', sizeof name);
    assert_int_equal(cursor_join(index, BYTES_NONE, 1, 0), ERR_BAD_REQUEST);
    assert_int_equal(cursor_join(index, bytes_of(name, USER_ID_MAX + 1), 1, 0), ERR_BAD_REQUEST);
    assert_int_equal(cursor_join(index, bytes_of(name, USER_ID_MAX), 1, 0), ERR_OK);
    assert_int_equal(cursor_join(index, bytes_of(name, USER_ID_MAX - 1), 1, 0), ERR_OK);
    assert_int_equal(cursor_join(index, BYTES_LITERAL("\0"), 1, 0), ERR_OK);
    assert_int_equal(cursor_members(index), 3);
    cursor_verify(index);
    cursor_destroy(index);
    cursor_destroy(NULL);
}

static void members_are_limited(void **state)
{
    (void)state;
    struct cursor_index *index = cursor_create(7);
    for (uint32_t i = 0; i < MEMBERS_MAX; i++) join(index, i, 1, i % 8);
    assert_int_equal(cursor_join(index, user(MEMBERS_MAX), 1, 0), ERR_LIMIT_MEMBERS);
    expect(index, 4, BYTES_NONE, MEMBERS_MAX / 2, MEMBERS_MAX);
    assert_int_equal(cursor_leave(index, user(0)), ERR_OK);
    join(index, MEMBERS_MAX, 1, 0);
    cursor_verify(index);
    cursor_destroy(index);
}

/* Cursors that fall below the origin keep their exact value. */
static void dormant_member_keeps_an_exact_cursor(void **state)
{
    (void)state;
    struct cursor_index *index = cursor_create(100);
    join(index, 0, 1, 42);
    join(index, 1, 1, 100);
    join(index, 2, 1, 7);
    uint64_t heads[] = {60000, 130000, 131000, 5000000, UINT64_C(1) << 40};
    for (size_t i = 0; i < array_count(heads); i++) {
        cursor_post(index, heads[i]);
        cursor_verify(index);
        uint64_t offset;
        assert_int_equal(cursor_read(index, user(0), &offset), ERR_OK);
        assert_int_equal(offset, 42);
        move(index, 1, heads[i] - 5, heads[i] - 5);
        expect(index, heads[i] - 5, BYTES_NONE, 1, 3);
        expect(index, heads[i] - 4, BYTES_NONE, 0, 3);
    }
    move(index, 2, 2000, 2000); /* still far behind */
    move(index, 2, 3000, 3000);
    assert_int_equal(cursor_leave(index, user(2)), ERR_OK);
    move(index, 0, UINT64_MAX, UINT64_C(1) << 40);
    expect(index, UINT64_C(1) << 40, BYTES_NONE, 1, 2);
    cursor_destroy(index);
}

static struct cursor_index *copy_to;
static void copy_each(void *context, const struct cursor_member *member)
{
    ++*(uint32_t *)context;
    assert_int_equal(cursor_add(copy_to, member), ERR_OK);
}

static void snapshot_brings_everything_back(void **state)
{
    (void)state;
    struct rng rng;
    rng_seed(&rng, 5);
    struct cursor_index *index = cursor_create(70000);
    for (uint32_t i = 0; i < 1000; i++)
        join(index, i, rng_below(&rng, 70002), rng_below(&rng, 70002));
    for (uint32_t i = 0; i < 1000; i += 3) assert_int_equal(cursor_leave(index, user(i)), ERR_OK);
    cursor_post(index, 140000);
    for (uint32_t i = 1; i < 1000; i += 6) move(index, i, 139000 + i, 139000 + i);

    copy_to = cursor_create(140000);
    uint32_t count = 0;
    cursor_each(index, copy_each, &count);
    assert_int_equal(count, cursor_members(index));
    cursor_verify(copy_to);
    for (uint64_t offset = 139000; offset <= 140000; offset += 13) {
        uint32_t readers, eligible;
        assert_int_equal(cursor_counts(index, offset, user(1), &readers, &eligible), ERR_OK);
        expect(copy_to, offset, user(1), readers, eligible);
    }
    for (uint32_t i = 0; i < 1000; i++) {
        uint64_t a = 0, b = 0;
        assert_int_equal(cursor_read(index, user(i), &a), cursor_read(copy_to, user(i), &b));
        assert_int_equal(a, b);
    }
    cursor_destroy(copy_to);
    cursor_destroy(index);
}

static void memory_comes_back_and_is_counted(void **state)
{
    (void)state;
    uint64_t before = mem_used();
    struct cursor_index *index = cursor_create(5000);
    for (uint32_t i = 0; i < 10000; i++) join(index, i, 1, i % 5000);
    uint64_t used = mem_used() - before;
    size_t said = cursor_bytes(index) + cursor_directory_bytes(index);
    assert_true(said <= used);
    assert_true(said + 4096 >= used); /* the heap's own rounding */
    cursor_destroy(index);
    assert_int_equal(mem_used(), before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cursor_moves_forward_only_and_not_past_the_head),
        cmocka_unit_test(sender_is_in_neither_count),
        cmocka_unit_test(late_joiner_is_not_asked_about_earlier_messages),
        cmocka_unit_test(who_leaves_is_out_at_once_and_returns_as_new),
        cmocka_unit_test(window_ends_where_it_says),
        cmocka_unit_test(names_have_their_bounds),
        cmocka_unit_test(members_are_limited),
        cmocka_unit_test(dormant_member_keeps_an_exact_cursor),
        cmocka_unit_test(snapshot_brings_everything_back),
        cmocka_unit_test(memory_comes_back_and_is_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
