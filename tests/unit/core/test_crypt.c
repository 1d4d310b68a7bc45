/*
 * test_crypt: the vectors of the documents, and what the readers refuse.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "core/crypt.h"
#include "core/rng.h"

static void assert_hex(const uint8_t *data, size_t size, const char *expected)
{
    char text[129];
    assert_true(size <= 64);
    crypt_hex(bytes_of(data, size), text);
    assert_string_equal(text, expected);
}

static void sha1_gives_the_vectors_of_rfc_3174(void **state)
{
    (void)state;
    uint8_t digest[20];
    crypt_sha1(bytes_of_text("abc"), digest);
    assert_hex(digest, 20, "a9993e364706816aba3e25717850c26c9cd0d89d");
    crypt_sha1(bytes_of_text("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"), digest);
    assert_hex(digest, 20, "84983e441c3bd26ebaae4aa1f95129e5e54670f1");
    crypt_sha1(BYTES_NONE, digest);
    assert_hex(digest, 20, "da39a3ee5e6b4b0d3255bfef95601890afd80709");
}

static void sha1_gives_the_websocket_accept_of_rfc_6455(void **state)
{
    (void)state;
    uint8_t digest[20];
    char text[28];
    crypt_sha1(bytes_of_text("dGhlIHNhbXBsZSBub25jZQ==258EAFA5-E914-47DA-95CA-C5AB0DC85B11"),
               digest);
    assert_int_equal(crypt_base64(bytes_of(digest, 20), text, sizeof(text)), 28);
    assert_memory_equal(text, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", 28);
}

static void sha256_gives_the_vectors_of_fips_180(void **state)
{
    (void)state;
    uint8_t digest[32];
    crypt_sha256(bytes_of_text("abc"), digest);
    assert_hex(digest, 32, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    crypt_sha256(BYTES_NONE, digest);
    assert_hex(digest, 32, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

static void hmac_gives_the_vectors_of_rfc_4231(void **state)
{
    (void)state;
    uint8_t key[131], data[50], mac[32];
    memset(key, 0x0b, 20);
    crypt_hmac_sha256(bytes_of(key, 20), bytes_of_text("Hi There"), mac);
    assert_hex(mac, 32, "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
    crypt_hmac_sha256(bytes_of_text("Jefe"), bytes_of_text("what do ya want for nothing?"), mac);
    assert_hex(mac, 32, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    memset(key, 0xaa, sizeof(key));
    memset(data, 0xdd, sizeof(data));
    crypt_hmac_sha256(bytes_of(key, 20), bytes_of(data, 50), mac);
    assert_hex(mac, 32, "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe");
    crypt_hmac_sha256(bytes_of(key, 131),
                      bytes_of_text("Test Using Larger Than Block-Size Key - Hash Key First"), mac);
    assert_hex(mac, 32, "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
    /* An empty key is a key, not the key of the call before. */
    crypt_hmac_sha256(BYTES_NONE, BYTES_NONE, mac);
    assert_hex(mac, 32, "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad");
}

static void equal_compares_every_byte(void **state)
{
    (void)state;
    assert_true(crypt_equal(bytes_of_text("abc"), bytes_of_text("abc")));
    assert_false(crypt_equal(bytes_of_text("abc"), bytes_of_text("abd")));
    assert_false(crypt_equal(bytes_of_text("abc"), bytes_of_text("ab")));
    assert_true(crypt_equal(BYTES_NONE, BYTES_NONE));
}

static void wipe_leaves_zeros(void **state)
{
    (void)state;
    char secret[8] = "secret!";
    static const char zeros[8];
    crypt_wipe(secret, sizeof(secret));
    assert_memory_equal(secret, zeros, sizeof(secret));
    crypt_wipe(NULL, 0);
}

static const char *const plain[] = {"", "f", "fo", "foo", "foob", "fooba", "foobar"};
static const char *const coded[] = {"", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"};

static void base64_gives_the_vectors_of_rfc_4648(void **state)
{
    (void)state;
    for (size_t i = 0; i < array_count(plain); i++) {
        char text[16];
        size_t size = crypt_base64(bytes_of_text(plain[i]), text, strlen(coded[i]));
        assert_true(bytes_equal_text(bytes_of(text, size), coded[i]));
        uint8_t back[16];
        size_t used = 99;
        assert_int_equal(crypt_base64_decode(bytes_of_text(coded[i]), false, back, 16, &used),
                         ERR_OK);
        assert_true(bytes_equal_text(bytes_of(back, used), plain[i]));
    }
    char text[8];
    size_t size = crypt_base64url(bytes_of("\xfb\xff\xfe", 3), text, 4);
    assert_true(bytes_equal_text(bytes_of(text, size), "-__-"));
    assert_int_equal(crypt_base64url(bytes_of_text("f"), text, 2), 2);
}

static void base64_refuses_all_but_the_canonical_form(void **state)
{
    (void)state;
    static const char *const standard[] = {"Zg",   "Zg=",  "Zg===",    "=",     "====",
                                           "Zh==", "Zm9=", "Zm 8",     "Zm8\n", "Zm9v\n",
                                           "-__-", "Z===", "Zg==Zg==", "Zm=v"};
    static const char *const url[] = {"Zg==", "Zh", "Zm9", "+//+", "Z", "Zm9vY", "Zm8=", "Zm8 "};
    uint8_t out[16];
    size_t used;
    for (size_t i = 0; i < array_count(standard); i++)
        assert_int_equal(crypt_base64_decode(bytes_of_text(standard[i]), false, out, 16, &used),
                         ERR_BAD_REQUEST);
    for (size_t i = 0; i < array_count(url); i++)
        assert_int_equal(crypt_base64_decode(bytes_of_text(url[i]), true, out, 16, &used),
                         ERR_BAD_REQUEST);
    assert_int_equal(crypt_base64_decode(bytes_of_text("Zm9v"), true, out, 2, &used),
                     ERR_LIMIT_SIZE);
    assert_int_equal(crypt_base64_decode(bytes_of_text("Zm9v"), true, out, 3, &used), ERR_OK);
}

/* Any text that is accepted must encode back to itself: one value, one text. */
static void base64_has_one_text_for_each_value(void **state)
{
    (void)state;
    static const char letters[] = "ABZaz09+/-_=\n ";
    struct rng rng;
    rng_seed(&rng, 4648);
    uint32_t accepted = 0;
    for (uint32_t round = 0; round < 200000; round++) {
        char text[9], again[16];
        uint8_t out[8];
        size_t size = rng_below(&rng, 9), used;
        for (size_t i = 0; i < size; i++) text[i] = letters[rng_below(&rng, sizeof(letters) - 1)];
        bool url = round % 2 == 0;
        if (crypt_base64_decode(bytes_of(text, size), url, out, sizeof(out), &used) != ERR_OK)
            continue;
        accepted++;
        size_t back = url ? crypt_base64url(bytes_of(out, used), again, sizeof(again))
                          : crypt_base64(bytes_of(out, used), again, sizeof(again));
        assert_int_equal(back, size);
        assert_memory_equal(again, text, size);
    }
    assert_true(accepted > 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sha1_gives_the_vectors_of_rfc_3174),
        cmocka_unit_test(sha1_gives_the_websocket_accept_of_rfc_6455),
        cmocka_unit_test(sha256_gives_the_vectors_of_fips_180),
        cmocka_unit_test(hmac_gives_the_vectors_of_rfc_4231),
        cmocka_unit_test(equal_compares_every_byte),
        cmocka_unit_test(wipe_leaves_zeros),
        cmocka_unit_test(base64_gives_the_vectors_of_rfc_4648),
        cmocka_unit_test(base64_refuses_all_but_the_canonical_form),
        cmocka_unit_test(base64_has_one_text_for_each_value),
    };
    return cmocka_run_group_tests_name("crypt", tests, NULL, NULL);
}
