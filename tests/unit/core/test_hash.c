/*
 * Hashes: pinned values (they name partitions in stores), spread, the balance
 * of jump hash, and CRC32C by instruction against CRC32C by table.
 */
#include "death.h"

#include <cmocka.h>

#include "core/hash.h"
#include "core/rng.h"

static void crc32c_matches_known_answers(void **state)
{
    (void)state;
    /* RFC 3720, B.4 */
    uint8_t block[32] = {0};
    assert_int_equal(hash_crc32c(0, block, 32), 0x8a9136aa);
    memset(block, 0xff, 32);
    assert_int_equal(hash_crc32c(0, block, 32), 0x62a8ab43);
    for (int i = 0; i < 32; i++) block[i] = (uint8_t)i;
    assert_int_equal(hash_crc32c(0, block, 32), 0x46dd794e);
    assert_int_equal(hash_crc32c(0, "123456789", 9), 0xe3069283);
    assert_int_equal(hash_crc32c_table(0, "123456789", 9), 0xe3069283);
    assert_int_equal(hash_crc32c(0, NULL, 0), 0);
}

static void crc32c_twins_agree_and_continue(void **state)
{
    (void)state;
    struct rng rng;
    rng_seed(&rng, 1);
    uint8_t data[300];
    for (size_t i = 0; i < sizeof data; i++) data[i] = (uint8_t)rng_next(&rng);
    for (size_t size = 0; size <= 128; size++) {
        for (size_t skew = 0; skew < 9; skew++) {
            uint32_t whole = hash_crc32c(0, data + skew, size);
            assert_int_equal(whole, hash_crc32c_table(0, data + skew, size));
            uint32_t part = hash_crc32c(0, data + skew, size / 3);
            part = hash_crc32c(part, data + skew + size / 3, size - size / 3);
            assert_int_equal(part, whole);
        }
    }
}

static void hash_depends_on_every_byte_on_size_and_on_seed(void **state)
{
    (void)state;
    uint8_t data[100] = {0};
    for (size_t size = 0; size <= sizeof data; size++) {
        uint64_t hash = hash_bytes(bytes_of(data, size), 9);
        assert_true(hash != hash_bytes(bytes_of(data, size), 10));
        if (size > 0) assert_true(hash != hash_bytes(bytes_of(data, size - 1), 9));
        for (size_t i = 0; i < size; i++) {
            data[i] ^= 0x10;
            assert_true(hash_bytes(bytes_of(data, size), 9) != hash);
            data[i] ^= 0x10;
        }
    }
}

/* A key that holds the hash's own constants must not get past the seed. */
static void no_key_is_the_same_under_all_seeds(void **state)
{
    (void)state;
    static const uint64_t constants[] = {0x6a09e667f3bcc909u, 0xbb67ae8584caa73bu,
                                         0x3c6ef372fe94f82bu, 0xa54ff53a5f1d36f1u};
    for (size_t i = 0; i < array_count(constants); i++) {
        uint64_t key[5] = {constants[i], constants[i], constants[i], constants[i], 7};
        for (size_t size = 8; size <= sizeof key; size++)
            assert_true(hash_bytes(bytes_of(key, size), 1) != hash_bytes(bytes_of(key, size), 2));
    }
}

/* Similar keys must not crowd: 64 K keys over 4,096 buckets give 16 each, and
 * chance alone gives no bucket more than about 40. */
static void similar_keys_spread_evenly(void **state)
{
    (void)state;
    static uint32_t low[4096], high[4096], numbers[4096];
    for (uint32_t i = 0; i < 65536; i++) {
        char key[32];
        int size = snprintf(key, sizeof key, "chat:room-%u", i);
        uint64_t hash = hash_bytes(bytes_of(key, (size_t)size), 0);
        low[hash % 4096]++;
        high[hash >> 52]++;
        numbers[hash_u64(i, 0) % 4096]++;
    }
    for (uint32_t i = 0; i < 4096; i++) {
        assert_in_range(low[i], 1, 44);
        assert_in_range(high[i], 1, 44);
        assert_in_range(numbers[i], 1, 44);
    }
}

static void each_input_bit_flips_half_of_the_output(void **state)
{
    (void)state;
    struct rng rng;
    rng_seed(&rng, 2);
    for (uint32_t bit = 0; bit < 64; bit++) {
        uint32_t flipped_bytes = 0, flipped_u64 = 0;
        for (uint32_t i = 0; i < 1000; i++) {
            uint64_t a = rng_next(&rng), b = a ^ UINT64_C(1) << bit;
            flipped_u64 += (uint32_t)__builtin_popcountll(hash_u64(a, 0) ^ hash_u64(b, 0));
            flipped_bytes += (uint32_t)__builtin_popcountll(hash_bytes(bytes_of(&a, 8), 0) ^
                                                            hash_bytes(bytes_of(&b, 8), 0));
        }
        assert_in_range(flipped_bytes, 31000, 33000);
        assert_in_range(flipped_u64, 31000, 33000);
    }
}

static void hash_is_the_same_for_ever(void **state)
{
    (void)state;
    assert_int_equal(hash_bytes(BYTES_NONE, 0), 0xbece05f804e08995u);
    assert_int_equal(hash_bytes(BYTES_LITERAL("a"), 0), 0x4f72676c1142292au);
    assert_int_equal(hash_bytes(BYTES_LITERAL("chat:1"), 0), 0xa359cbe0bde2db7cu);
    assert_int_equal(hash_bytes(BYTES_LITERAL("chat:room-12"), 0), 0x35f52a96dfc112f6u);
    assert_int_equal(hash_bytes(BYTES_LITERAL("a name that is longer than two words"), 1),
                     0xd698f9c3e762c2aau);
    assert_int_equal(hash_u64(1, 0), 0xd3ac795d26ac8407u);
}

static void jump_hash_moves_only_to_the_new_bucket(void **state)
{
    (void)state;
    struct rng rng;
    rng_seed(&rng, 3);
    for (uint32_t i = 0; i < 1000; i++) {
        uint64_t key = rng_next(&rng);
        assert_int_equal(hash_jump(key, 1), 0);
        for (uint32_t buckets = 1; buckets < 64; buckets++) {
            uint32_t before = hash_jump(key, buckets), after = hash_jump(key, buckets + 1);
            assert_true(before < buckets);
            assert_true(after == before || after == buckets);
        }
    }
}

static void jump_hash_is_even(void **state)
{
    (void)state;
    uint32_t counts[10] = {0};
    for (uint64_t i = 0; i < 100000; i++) counts[hash_jump(hash_u64(i, 0), 10)]++;
    for (uint32_t i = 0; i < 10; i++) assert_in_range(counts[i], 9500, 10500);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(crc32c_matches_known_answers),
        cmocka_unit_test(crc32c_twins_agree_and_continue),
        cmocka_unit_test(hash_depends_on_every_byte_on_size_and_on_seed),
        cmocka_unit_test(no_key_is_the_same_under_all_seeds),
        cmocka_unit_test(similar_keys_spread_evenly),
        cmocka_unit_test(each_input_bit_flips_half_of_the_output),
        cmocka_unit_test(hash_is_the_same_for_ever),
        cmocka_unit_test(jump_hash_moves_only_to_the_new_bucket),
        cmocka_unit_test(jump_hash_is_even),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
