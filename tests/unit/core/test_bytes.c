/*
 * Views, readers and writers: each at its bound, one below and one above.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/bytes.h"

static void views_compare_by_content(void **state)
{
    (void)state;
    assert_true(bytes_equal(BYTES_NONE, bytes_of_text("")));
    assert_true(bytes_equal(BYTES_NONE, bytes_of_text(NULL)));
    assert_true(bytes_equal_text(BYTES_LITERAL("chat:1"), "chat:1"));
    assert_false(bytes_equal_text(BYTES_LITERAL("chat:1"), "chat:12"));
    assert_false(bytes_equal_text(BYTES_LITERAL("chat:1"), "chat:2"));
    assert_true(bytes_equal_nocase(BYTES_LITERAL("UpGrade"), BYTES_LITERAL("upgrade")));
    assert_false(bytes_equal_nocase(BYTES_LITERAL("a["), BYTES_LITERAL("a{")));
    assert_false(bytes_equal_nocase(BYTES_LITERAL("@"), BYTES_LITERAL("`")));
    assert_false(bytes_equal_nocase(BYTES_LITERAL("ab"), BYTES_LITERAL("abc")));
}

static void views_order_like_memcmp_shorter_first(void **state)
{
    (void)state;
    assert_true(bytes_compare(BYTES_LITERAL("a"), BYTES_LITERAL("b")) < 0);
    assert_true(bytes_compare(BYTES_LITERAL("b"), BYTES_LITERAL("ab")) > 0);
    assert_true(bytes_compare(BYTES_LITERAL("a"), BYTES_LITERAL("ab")) < 0);
    assert_true(bytes_compare(BYTES_LITERAL("ab"), BYTES_LITERAL("a")) > 0);
    assert_true(bytes_compare(BYTES_LITERAL("\xff"), BYTES_LITERAL("a")) > 0);
    assert_int_equal(bytes_compare(BYTES_NONE, BYTES_NONE), 0);
    assert_true(bytes_compare(BYTES_NONE, BYTES_LITERAL("a")) < 0);
}

static void decimal_is_the_whole_view_and_fits(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool is_number;
        uint64_t value;
    } rows[] = {
        {"0", true, 0},
        {"007", true, 7},
        {"18446744073709551615", true, UINT64_MAX},
        {"18446744073709551616", false, 0},
        {"99999999999999999999", false, 0},
        {"184467440737095516150", false, 0},
        {"", false, 0},
        {"-1", false, 0},
        {"+1", false, 0},
        {" 1", false, 0},
        {"1 ", false, 0},
        {"1a", false, 0},
        {"0x1", false, 0},
    };
    for (size_t i = 0; i < array_count(rows); i++) {
        uint64_t value = 4711;
        assert_int_equal(bytes_to_u64(bytes_of_text(rows[i].text), &value), rows[i].is_number);
        assert_int_equal(value, rows[i].is_number ? rows[i].value : 4711);
    }
}

static void what_is_written_is_read_back(void **state)
{
    (void)state;
    uint8_t buffer[64];
    struct writer w = writer_of(buffer, sizeof buffer);
    write_u8(&w, 0x01);
    write_u16(&w, 0x2345);
    write_u32(&w, 0x6789abcd);
    write_u64(&w, 0xef01234567890a0bu);
    write_sized(&w, BYTES_LITERAL("payload"));
    write_text(&w, "t=");
    write_decimal(&w, UINT64_MAX);
    write_bytes(&w, BYTES_NONE);
    assert_false(w.failed);
    assert_int_equal(buffer[1], 0x45); /* little-endian */
    assert_int_equal(buffer[2], 0x23);

    struct reader r = reader_of(writer_bytes(&w));
    assert_int_equal(read_u8(&r), 0x01);
    assert_int_equal(read_u16(&r), 0x2345);
    assert_int_equal(read_u32(&r), 0x6789abcd);
    assert_int_equal(read_u64(&r), 0xef01234567890a0bu);
    assert_true(bytes_equal_text(read_sized(&r), "payload"));
    assert_true(bytes_equal_text(read_bytes(&r, r.left), "t=18446744073709551615"));
    assert_false(r.failed);
    assert_int_equal(r.left, 0);
}

static void reader_latches_when_it_asks_for_more_than_is_left(void **state)
{
    (void)state;
    for (size_t size = 0; size < 15; size++) {
        uint8_t *input = malloc(size + 1);
        memset(input, 0, size + 1);
        struct reader r = reader_of(bytes_of(input, size));
        read_u64(&r);
        read_u32(&r);
        read_u16(&r);
        read_u8(&r);
        assert_true(r.failed); /* 15 bytes were wanted */
        assert_int_equal(read_u8(&r), 0);
        assert_ptr_equal(read_bytes(&r, 0).at, NULL);
        free(input);
    }
    static const uint8_t lie[] = {5, 0, 0, 0, 'a', 'b', 'c', 'd'};
    struct reader r = reader_of(bytes_of(lie, sizeof lie));
    assert_int_equal(read_sized(&r).size, 0);
    assert_true(r.failed);
    static const uint8_t huge[] = {0xff, 0xff, 0xff, 0xff};
    r = reader_of(bytes_of(huge, sizeof huge));
    read_sized(&r);
    assert_true(r.failed);
    r = reader_of(BYTES_NONE);
    assert_int_equal(read_bytes(&r, 0).size, 0);
    assert_false(r.failed);
}

static void writer_latches_and_writes_nothing_after(void **state)
{
    (void)state;
    uint8_t buffer[8] = {0};
    struct writer w = writer_of(buffer, 7);
    write_u32(&w, UINT32_MAX);
    assert_false(w.failed);
    write_u32(&w, UINT32_MAX);
    assert_true(w.failed);
    write_u8(&w, 0xff); /* would fit, but what was before it did not */
    assert_int_equal(w.used, 4);
    assert_int_equal(buffer[4], 0);

    w = writer_of(buffer, 7);
    write_sized(&w, BYTES_LITERAL("abc"));
    assert_false(w.failed);
    w = writer_of(buffer, 6);
    write_sized(&w, BYTES_LITERAL("abc"));
    assert_true(w.failed);
    assert_int_equal(w.used, 0); /* no length without its bytes */
    w = writer_of(buffer, 3);
    write_sized(&w, BYTES_NONE);
    assert_true(w.failed);
    w = writer_of(NULL, 0);
    write_bytes(&w, BYTES_NONE);
    assert_false(w.failed);
    write_u8(&w, 1);
    assert_true(w.failed);
}

static void hexadecimal_digits_of_either_case_have_a_value(void **state)
{
    (void)state;
    static const char digits[] = "0123456789abcdef", upper[] = "0123456789ABCDEF";
    uint8_t value;
    for (uint8_t i = 0; i < 16; i++) {
        assert_true(bytes_hex_digit((uint8_t)digits[i], &value) && value == i);
        assert_true(bytes_hex_digit((uint8_t)upper[i], &value) && value == i);
    }
    for (uint32_t c = 0; c < 256; c++)
        if (c == 0 || (strchr(digits, (int)c) == NULL && strchr(upper, (int)c) == NULL))
            assert_false(bytes_hex_digit((uint8_t)c, &value));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hexadecimal_digits_of_either_case_have_a_value),
        cmocka_unit_test(views_compare_by_content),
        cmocka_unit_test(views_order_like_memcmp_shorter_first),
        cmocka_unit_test(decimal_is_the_whole_view_and_fits),
        cmocka_unit_test(what_is_written_is_read_back),
        cmocka_unit_test(reader_latches_when_it_asks_for_more_than_is_left),
        cmocka_unit_test(writer_latches_and_writes_nothing_after),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
