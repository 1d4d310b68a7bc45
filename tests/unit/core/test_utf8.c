/*
 * UTF-8: every code point, every sequence of up to three bytes against a
 * decoder written from the definition, and every way to split a text.
 */
#include "death.h"

#include <cmocka.h>

#include "core/rng.h"
#include "core/utf8.h"

/* Encodes anything up to 21 bits, well-formed or not. */
static size_t encode(uint32_t code, size_t size, uint8_t *to)
{
    static const uint8_t marks[] = {0, 0x00, 0xc0, 0xe0, 0xf0};
    for (size_t i = size; i-- > 1; code >>= 6) to[i] = (uint8_t)(0x80 | (code & 0x3f));
    to[0] = (uint8_t)(marks[size] | code);
    return size;
}

static size_t shortest(uint32_t code)
{
    return code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
}

/* The definition: decode, then ask whether encoding gives the same bytes back. */
static bool model_is_valid(const uint8_t *at, size_t size)
{
    for (size_t i = 0; i < size;) {
        uint32_t code = 0;
        size_t bytes = at[i] < 0x80   ? 1
                       : at[i] < 0xc0 ? 0
                       : at[i] < 0xe0 ? 2
                       : at[i] < 0xf0 ? 3
                       : at[i] < 0xf8 ? 4
                                      : 0;
        if (bytes == 0 || bytes > size - i) return false;
        code = bytes == 1 ? at[i] : at[i] & (0x7f >> bytes);
        for (size_t k = 1; k < bytes; k++) {
            if ((at[i + k] & 0xc0) != 0x80) return false;
            code = code << 6 | (at[i + k] & 0x3f);
        }
        if (bytes != shortest(code) || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff))
            return false;
        i += bytes;
    }
    return true;
}

static void each_code_point_in_each_length(void **state)
{
    (void)state;
    uint8_t text[4];
    for (uint32_t code = 0; code < 1u << 21; code++) {
        bool is_scalar = code <= 0x10ffff && !(code >= 0xd800 && code <= 0xdfff);
        for (size_t size = 1; size <= 4; size++) {
            if (size < 4 && code >= 1u << (size == 1 ? 7 : 5 * size + 1)) continue;
            encode(code, size, text);
            assert_int_equal(utf8_is_valid(bytes_of(text, size)),
                             is_scalar && size == shortest(code));
        }
    }
}

static void each_sequence_of_three_bytes(void **state)
{
    (void)state;
    uint8_t text[3];
    for (uint32_t n = 0; n < 1u << 24; n += 1 + (n >> 16 < 0xc0 ? 6 : 0)) {
        text[0] = (uint8_t)(n >> 16);
        text[1] = (uint8_t)(n >> 8);
        text[2] = (uint8_t)n;
        if (utf8_is_valid(bytes_of(text, 3)) != model_is_valid(text, 3)) fail_msg("%06x", n);
    }
}

/* Before other text, where whole characters are looked at without state. */
static void each_sequence_stands_before_text(void **state)
{
    (void)state;
    uint8_t text[8];
    memcpy(text + 4, "abcd", 4);
    for (uint32_t code = 0; code < 1u << 21; code++) {
        bool is_scalar = code <= 0x10ffff && !(code >= 0xd800 && code <= 0xdfff);
        for (size_t size = 1; size <= 4; size++) {
            if (size < 4 && code >= 1u << (size == 1 ? 7 : 5 * size + 1)) continue;
            encode(code, size, text + 4 - size);
            assert_int_equal(utf8_is_valid(bytes_of(text + 4 - size, size + 4)),
                             is_scalar && size == shortest(code));
        }
    }
    for (uint32_t n = 0; n < 1u << 24; n += 1 + (n >> 16 < 0xc0 ? 6 : 0)) {
        text[1] = (uint8_t)(n >> 16);
        text[2] = (uint8_t)(n >> 8);
        text[3] = (uint8_t)n;
        if (utf8_is_valid(bytes_of(text + 1, 7)) != model_is_valid(text + 1, 3))
            fail_msg("%06x", n);
    }
}

static const char *const samples[] = {
    "plain ASCII that is longer than one word of eight bytes, and than thirty-two",
    "gr\xc3\xbc\xc3\x9f dich",
    "\xe4\xbd\xa0\xe5\xa5\xbd\xef\xbc\x8c\xe4\xb8\x96\xe7\x95\x8c",
    "\xf0\x9f\x91\x8b\xf0\x9f\x8f\xbd",
    "12345678901234567890123456789012\xf4\x8f\xbf\xbf",
    "\xed\x9f\xbf\xee\x80\x80\xef\xbf\xbf\xf0\x90\x80\x80",
};

static void text_may_be_split_anywhere(void **state)
{
    (void)state;
    for (size_t s = 0; s < array_count(samples); s++) {
        struct bytes text = bytes_of_text(samples[s]);
        assert_true(utf8_is_valid(text));
        for (size_t first = 0; first <= text.size; first++) {
            for (size_t second = first; second <= text.size; second++) {
                struct utf8 utf8 = {0};
                assert_true(utf8_feed(&utf8, bytes_of(text.at, first)));
                assert_int_equal(utf8_is_whole(&utf8), model_is_valid(text.at, first));
                assert_true(utf8_feed(&utf8, bytes_of(text.at + first, second - first)));
                assert_true(utf8_feed(&utf8, bytes_of(text.at + second, text.size - second)));
                assert_true(utf8_is_whole(&utf8));
            }
        }
    }
}

static void cut_text_is_not_whole(void **state)
{
    (void)state;
    for (size_t s = 0; s < array_count(samples); s++) {
        size_t size = strlen(samples[s]);
        for (size_t cut = 0; cut < size; cut++) {
            const uint8_t *at = bytes_of_text(samples[s]).at;
            assert_int_equal(utf8_is_valid(bytes_of(at, cut)), model_is_valid(at, cut));
        }
    }
}

static void failure_stays(void **state)
{
    (void)state;
    struct utf8 utf8 = {0};
    assert_false(utf8_feed(&utf8, BYTES_LITERAL("a\xff")));
    assert_false(utf8_feed(&utf8, BYTES_LITERAL("abc")));
    assert_false(utf8_is_whole(&utf8));
    assert_true(utf8_is_valid(BYTES_NONE));
    assert_true(utf8_is_valid(BYTES_LITERAL("\0")));
}

static void flipped_bytes_agree_with_the_definition(void **state)
{
    (void)state;
    struct rng rng;
    rng_seed(&rng, 1);
    for (uint32_t round = 0; round < 100000; round++) {
        uint8_t text[128];
        const char *sample = samples[rng_below(&rng, array_count(samples))];
        size_t size = strlen(sample);
        memcpy(text, sample, size);
        for (uint32_t flips = 0; flips < 2; flips++)
            text[rng_below(&rng, size)] ^= (uint8_t)(1u << rng_below(&rng, 8));
        assert_int_equal(utf8_is_valid(bytes_of(text, size)), model_is_valid(text, size));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_code_point_in_each_length),
        cmocka_unit_test(each_sequence_of_three_bytes),
        cmocka_unit_test(each_sequence_stands_before_text),
        cmocka_unit_test(text_may_be_split_anywhere),
        cmocka_unit_test(cut_text_is_not_whole),
        cmocka_unit_test(failure_stays),
        cmocka_unit_test(flipped_bytes_agree_with_the_definition),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
