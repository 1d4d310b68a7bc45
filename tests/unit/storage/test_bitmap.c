/*
 * Bitmaps: against an array of bools, over sets that are arrays, bitsets, and change
 * from one to the other; the reader word by word and with leaps; and the portable form as
 * another reader of the format takes it.
 */
#include "death.h"

#include <roaring/roaring.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/rng.h"
#include "storage/bitmap.h"

#define SLOTS (3u * 65536)

static bool model[SLOTS];

static uint64_t model_word(uint32_t word)
{
    uint64_t bits = 0;
    for (uint32_t i = 0; i < SCAN_WORD; i++) bits |= (uint64_t)model[word * SCAN_WORD + i] << i;
    return bits;
}

/* Words one after the other, and with leaps of up to `leap`. */
static void expect_words(const struct bitmap *bitmap, struct rng *rng, uint32_t leap)
{
    struct bitmap_reader reader = bitmap_reader_of(bitmap, leap % 2 ? &scan_plain : scan_best());
    uint32_t rank = 0, next = 0;
    for (uint32_t word = 0; word < SLOTS / SCAN_WORD;) {
        for (; next < word * SCAN_WORD; next++) rank += model[next];
        uint64_t bits = bitmap_reader_word(&reader, word);
        assert_true(bits == model_word(word));
        assert_int_equal(reader.rank, rank);
        word += 1 + (uint32_t)rng_below(rng, leap);
    }
    assert_true(bitmap_reader_word(&reader, SLOTS / SCAN_WORD + 5000) == 0);
}

static void expect_equal(const struct bitmap *bitmap, struct rng *rng)
{
    uint32_t count = 0;
    for (uint32_t slot = 0; slot < SLOTS; slot++) {
        if (slot % 997 == 0) {
            assert_int_equal(bitmap_rank(bitmap, slot), count);
            assert_true(bitmap_has(bitmap, slot) == model[slot]);
        }
        count += model[slot];
    }
    assert_int_equal(bitmap_count(bitmap), count);
    uint32_t *slots = malloc((count + 1) * sizeof *slots);
    bitmap_list(bitmap, slots);
    for (uint32_t i = 0; i < count; i++) {
        assert_true(model[slots[i]]);
        if (i > 0) assert_true(slots[i - 1] < slots[i]);
    }
    free(slots);
    expect_words(bitmap, rng, 1);
    expect_words(bitmap, rng, 2);
    expect_words(bitmap, rng, 40);
    expect_words(bitmap, rng, 2000);
}

/* Sparse, dense, dense in the middle third only, and back to sparse. */
static void bitmap_is_what_an_array_says(void **state)
{
    (void)state;
    static const uint32_t adds[] = {0, 1, 60, 3000, 30000, 400000};
    struct rng rng;
    rng_seed(&rng, 3);
    for (uint32_t round = 0; round < array_count(adds); round++) {
        struct bitmap *bitmap = bitmap_create();
        memset(model, 0, sizeof model);
        for (uint32_t i = 0; i < adds[round]; i++) {
            uint32_t slot = (uint32_t)rng_below(&rng, SLOTS);
            if (round == 4) slot = 65536 + slot % 65536;
            bitmap_add(bitmap, slot);
            model[slot] = true;
        }
        expect_equal(bitmap, &rng);
        for (uint32_t slot = 0; slot < SLOTS; slot++) {
            if (rng_chance(&rng, 10)) continue;
            bitmap_remove(bitmap, slot);
            model[slot] = false;
        }
        expect_equal(bitmap, &rng);
        bitmap_destroy(bitmap);
    }
    bitmap_destroy(NULL);
}

static void words_are_added_bit_by_bit(void **state)
{
    (void)state;
    struct bitmap *bitmap = bitmap_create();
    bitmap_add_word(bitmap, 3, UINT64_C(0x8000000000000001));
    bitmap_add_word(bitmap, 4, 0);
    assert_int_equal(bitmap_count(bitmap), 2);
    assert_true(bitmap_has(bitmap, 192) && bitmap_has(bitmap, 255));
    bitmap_add_word(bitmap, 3, ~UINT64_C(0));
    assert_int_equal(bitmap_count(bitmap), 64);
    bitmap_destroy(bitmap);
}

static void portable_form_is_read_by_others(void **state)
{
    (void)state;
    struct bitmap *bitmap = bitmap_create();
    for (uint32_t slot = 0; slot < 100000; slot++)
        if (slot % 9 != 0 || slot > 40000) bitmap_add(bitmap, slot);
    size_t loose = bitmap_portable_bytes(bitmap);
    bitmap_pack(bitmap);
    size_t size = bitmap_portable_bytes(bitmap);
    assert_true(size < loose);
    uint8_t *bytes = malloc(size);
    bitmap_portable_write(bitmap, bytes);
    roaring_bitmap_t *other = roaring_bitmap_portable_deserialize_safe((char *)bytes, size);
    assert_non_null(other);
    assert_int_equal(roaring_bitmap_get_cardinality(other), bitmap_count(bitmap));
    for (uint32_t slot = 0; slot < 100100; slot++)
        assert_true(roaring_bitmap_contains(other, slot) == bitmap_has(bitmap, slot));
    assert_true(bitmap_bytes(bitmap) > size);
    roaring_bitmap_free(other);
    free(bytes);
    bitmap_destroy(bitmap);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bitmap_is_what_an_array_says),
        cmocka_unit_test(words_are_added_bit_by_bit),
        cmocka_unit_test(portable_form_is_read_by_others),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
