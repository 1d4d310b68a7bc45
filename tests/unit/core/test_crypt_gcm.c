/*
 * test_crypt_gcm: the vectors of RFC 5869 and of NIST's GCM documents, and that
 * nothing opens that was changed anywhere.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "core/crypt.h"

static size_t unhex(const char *text, uint8_t *out)
{
    size_t size = strlen(text) / 2;
    assert_true(crypt_hex_decode(bytes_of_text(text), out, size));
    return size;
}

static void assert_hex(const uint8_t *data, size_t size, const char *expected)
{
    char text[201];
    assert_true(size <= 100);
    crypt_hex(bytes_of(data, size), text);
    assert_string_equal(text, expected);
}

static void hkdf_gives_the_vectors_of_rfc_5869(void **state)
{
    (void)state;
    uint8_t key[80], salt[80], info[80], out[82];
    size_t key_size = unhex("0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b", key);
    size_t salt_size = unhex("000102030405060708090a0b0c", salt);
    size_t info_size = unhex("f0f1f2f3f4f5f6f7f8f9", info);
    crypt_hkdf_sha256(bytes_of(key, key_size), bytes_of(salt, salt_size), bytes_of(info, info_size),
                      out, 42);
    assert_hex(
        out, 42,
        "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865");
    for (int i = 0; i < 80; i++) {
        key[i] = (uint8_t)i;
        salt[i] = (uint8_t)(0x60 + i);
        info[i] = (uint8_t)(0xb0 + i);
    }
    crypt_hkdf_sha256(bytes_of(key, 80), bytes_of(salt, 80), bytes_of(info, 80), out, 82);
    assert_hex(
        out, 82,
        "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb"
        "41c65e590e09da3275600c2f09b8367793a9aca3db71cc30c58179ec3e87c14c01d5c1f3434f1d87");
    crypt_hkdf_sha256(bytes_of(key, 0), BYTES_NONE, BYTES_NONE, out, 0);
}

/* NIST SP 800-38D's test cases 13 to 16 for 256-bit keys. */
static void gcm_gives_the_vectors_of_nist(void **state)
{
    (void)state;
    uint8_t key[32] = {0}, nonce[12] = {0}, plain[64], sealed[64], tag[16], bound[20];
    struct crypt_gcm *gcm = crypt_gcm_create(key, true);
    crypt_gcm_seal(gcm, nonce, NULL, 0, BYTES_NONE, sealed, tag);
    assert_hex(tag, 16, "530f8afbc74536b9a963b4f1c4cb738b");
    memset(plain, 0, 16);
    crypt_gcm_seal(gcm, nonce, NULL, 0, bytes_of(plain, 16), sealed, tag);
    assert_hex(sealed, 16, "cea7403d4d606b6e074ec5d3baf39d18");
    assert_hex(tag, 16, "d0d1c8a799996bf0265b98b5d48ab919");
    crypt_gcm_destroy(gcm);

    unhex("feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308", key);
    unhex("cafebabefacedbaddecaf888", nonce);
    size_t size = unhex("d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
                        "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39",
                        plain);
    unhex("feedfacedeadbeeffeedfacedeadbeefabaddad2", bound);
    struct bytes pieces[] = {bytes_of(bound, 7), BYTES_NONE, bytes_of(bound + 7, 13)};
    gcm = crypt_gcm_create(key, true);
    crypt_gcm_seal(gcm, nonce, pieces, 3, bytes_of(plain, size), plain, tag); /* in place */
    assert_hex(plain, size,
               "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
               "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662");
    assert_hex(tag, 16, "76fc6ece0f4e1768cddf8853bb2d551b");
    crypt_gcm_destroy(gcm);
    crypt_gcm_destroy(NULL);
}

static void gcm_opens_only_what_was_sealed(void **state)
{
    (void)state;
    uint8_t key[32], nonce[12] = {1}, sealed[40], plain[40], tag[16];
    memset(key, 7, sizeof key);
    struct bytes text = BYTES_LITERAL("forty bytes that nobody else should read");
    struct bytes bound[] = {BYTES_LITERAL("room:1"), BYTES_LITERAL("ann")};
    struct crypt_gcm *sealing = crypt_gcm_create(key, true);
    struct crypt_gcm *opening = crypt_gcm_create(key, false);
    assert_int_equal(text.size, 40);
    crypt_gcm_seal(sealing, nonce, bound, 2, text, sealed, tag);
    struct bytes box = bytes_of(sealed, 40);
    assert_true(crypt_gcm_open(opening, nonce, bound, 2, box, plain, tag));
    assert_memory_equal(plain, text.at, 40);
    for (uint32_t bit = 0; bit < 40 * 8; bit += 3) {
        sealed[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_false(crypt_gcm_open(opening, nonce, bound, 2, box, plain, tag));
        sealed[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    for (uint32_t bit = 0; bit < 128; bit++) {
        tag[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_false(crypt_gcm_open(opening, nonce, bound, 2, box, plain, tag));
        tag[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    assert_false(crypt_gcm_open(opening, nonce, bound, 1, box, plain, tag));
    nonce[0] = 2;
    assert_false(crypt_gcm_open(opening, nonce, bound, 2, box, plain, tag));
    nonce[0] = 1;
    assert_true(crypt_gcm_open(opening, nonce, bound, 2, box, plain, tag));
    crypt_gcm_destroy(sealing);
    crypt_gcm_destroy(opening);
}

static void hex_is_read_whole_or_not_at_all(void **state)
{
    (void)state;
    uint8_t out[2];
    assert_true(crypt_hex_decode(BYTES_LITERAL("0aFf"), out, 2));
    assert_int_equal(out[0], 10);
    assert_int_equal(out[1], 255);
    assert_false(crypt_hex_decode(BYTES_LITERAL("0aF"), out, 2));
    assert_false(crypt_hex_decode(BYTES_LITERAL("0aFf0"), out, 2));
    assert_false(crypt_hex_decode(BYTES_LITERAL("0aFg"), out, 2));
    assert_true(crypt_hex_decode(BYTES_NONE, out, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hkdf_gives_the_vectors_of_rfc_5869),
        cmocka_unit_test(gcm_gives_the_vectors_of_nist),
        cmocka_unit_test(gcm_opens_only_what_was_sealed),
        cmocka_unit_test(hex_is_read_whole_or_not_at_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
