/*
 * The intern table, with the cells and the compact set under it: one string per
 * content, counts, every size at the edge of its class, memory given back.
 */
#include "death.h"

#include <cmocka.h>

#include "core/intern.h"
#include "core/mem.h"

static void the_empty_string_is_name_zero(void **state)
{
    (void)state;
    struct intern intern;
    intern_init(&intern, 1);
    assert_int_equal(intern_take(&intern, BYTES_NONE), 0);
    assert_int_equal(intern_text(&intern, 0).size, 0);
    intern_give(&intern, 0);
    assert_int_equal(intern_count(&intern), 0);
    intern_fini(&intern);
}

static void one_content_is_one_string(void **state)
{
    (void)state;
    struct intern intern;
    intern_init(&intern, 1);
    uint32_t name = intern_take(&intern, BYTES_LITERAL("ann"));
    char other[] = "ann"; /* the same bytes elsewhere */
    assert_int_equal(intern_take(&intern, bytes_of(other, 3)), name);
    assert_int_not_equal(intern_take(&intern, BYTES_LITERAL("bob")), name);
    assert_int_equal(intern_count(&intern), 2);
    assert_true(bytes_equal_text(intern_text(&intern, name), "ann"));

    intern_give(&intern, name);
    assert_true(bytes_equal_text(intern_text(&intern, name), "ann"));
    intern_give(&intern, name);
    assert_int_equal(intern_count(&intern), 1);
    intern_verify(&intern);
    intern_give(&intern, intern_take(&intern, BYTES_LITERAL("bob")));
    intern_give(&intern, intern_take(&intern, BYTES_LITERAL("ann")));
    uint32_t bob = intern_take(&intern, BYTES_LITERAL("bob"));
    intern_give(&intern, bob);
    intern_give(&intern, bob);
    assert_int_equal(intern_count(&intern), 0);
    intern_fini(&intern);
}

static void every_size_comes_back(void **state)
{
    (void)state;
    struct intern intern;
    static uint8_t text[1200];
    uint32_t names[1200];
    for (size_t i = 0; i < sizeof text; i++) text[i] = (uint8_t)(i * 7);
    intern_init(&intern, 99);
    for (uint32_t size = 1; size < array_count(names); size++)
        names[size] = intern_take(&intern, bytes_of(text, size));
    intern_verify(&intern);
    for (uint32_t size = 1; size < array_count(names); size++) {
        assert_true(names[size] < 0x80000000u);
        assert_true(bytes_equal(intern_text(&intern, names[size]), bytes_of(text, size)));
        intern_give(&intern, names[size]);
    }
    assert_int_equal(intern_count(&intern), 0);
    intern_fini(&intern);
}

/* 2^24 uses are one too many for one string: a second one of the same content. */
static void a_count_at_its_end_begins_another_string(void **state)
{
    (void)state;
    struct intern intern;
    intern_init(&intern, 5);
    uint32_t first = intern_take(&intern, BYTES_LITERAL("crowd"));
    for (uint32_t i = 1; i < (1u << 24) - 1; i++) {
        uint32_t name = intern_take(&intern, BYTES_LITERAL("crowd"));
        if (name != first) fail_msg("another string at use %u", i);
    }
    uint32_t second = intern_take(&intern, BYTES_LITERAL("crowd"));
    assert_int_not_equal(second, first);
    assert_true(bytes_equal_text(intern_text(&intern, second), "crowd"));
    intern_verify(&intern);
    intern_give(&intern, second);
    for (uint32_t i = 0; i < (1u << 24) - 1; i++) intern_give(&intern, first);
    assert_int_equal(intern_count(&intern), 0);
    intern_fini(&intern);
}

static void a_twelve_byte_id_takes_about_21_bytes(void **state)
{
    (void)state;
    enum { IDS = 100000 };
    static uint32_t names[IDS];
    struct intern intern;
    intern_init(&intern, 7);
    uint64_t before = mem_used();
    for (uint32_t i = 0; i < IDS; i++) {
        char id[16];
        snprintf(id, sizeof id, "user%08u", i);
        names[i] = intern_take(&intern, bytes_of(id, 12));
    }
    uint64_t each = (mem_used() - before) / IDS;
    print_message("bytes of an interned 12-byte id: %llu\n", (unsigned long long)each);
    assert_in_range(each, 16, 24);
    for (uint32_t i = 0; i < IDS; i++) intern_give(&intern, names[i]);
    intern_fini(&intern);
}

static void leave_one_behind(void)
{
    struct intern intern;
    intern_init(&intern, 1);
    (void)!intern_take(&intern, BYTES_LITERAL("left"));
    intern_fini(&intern);
}

static void give_back_twice(void)
{
    struct intern intern;
    intern_init(&intern, 1);
    uint32_t name = intern_take(&intern, BYTES_LITERAL("once"));
    intern_give(&intern, name);
    intern_give(&intern, name);
}

static void strings_left_behind_and_given_twice_are_bugs(void **state)
{
    (void)state;
    assert_true(dies(leave_one_behind));
    assert_true(dies(give_back_twice));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_empty_string_is_name_zero),
        cmocka_unit_test(one_content_is_one_string),
        cmocka_unit_test(every_size_comes_back),
        cmocka_unit_test(a_count_at_its_end_begins_another_string),
        cmocka_unit_test(a_twelve_byte_id_takes_about_21_bytes),
        cmocka_unit_test(strings_left_behind_and_given_twice_are_bugs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
