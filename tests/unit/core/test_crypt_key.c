/*
 * Public keys out of PEM: every form that people have, each refusal with the words
 * that help; Ed25519 by the vectors of RFC 8032.
 */
#include "unit/proto/wire.h"

#include "core/crypt.h"
#include "unit/proto/jwt_tokens.h"

static struct crypt_public_key key;
static char why[CRYPT_WHY_MAX];

static enum err read_pem(const char *pem)
{
    size_t size = strlen(pem);
    uint8_t *copy = tight_copy(pem, size);
    enum err err = crypt_public_key_read(bytes_of(copy, size), &key, why);
    free(copy);
    return err;
}

static void keys_are_read(void **state)
{
    (void)state;
    assert_int_equal(read_pem(rsa_pem), ERR_OK);
    assert_true(key.kind == CRYPT_RSA && key.bits == 2048);
    assert_true(key.a_size == 256 && key.b_size == 3);
    char n[400];
    size_t used = crypt_base64url(bytes_of(key.a, key.a_size), n, sizeof(n));
    assert_true(bytes_equal_text(bytes_of(n, used), jwk_rsa_n));
    assert_int_equal(read_pem(rsa_pkcs1_pem), ERR_OK);
    assert_int_equal(key.a_size, 256);
    static const struct {
        const char *pem;
        uint32_t bits, size;
    } curves[] = {{ec256_pem, 256, 32}, {ec384_pem, 384, 48}, {ec521_pem, 521, 66}};
    for (size_t i = 0; i < array_count(curves); i++) {
        assert_int_equal(read_pem(curves[i].pem), ERR_OK);
        assert_true(key.kind == CRYPT_EC && key.bits == curves[i].bits);
        assert_true(key.a_size == curves[i].size && key.b_size == curves[i].size);
    }
}

static void what_is_no_key_is_told(void **state)
{
    (void)state;
    char cut[2048], big[20000];
    static const struct {
        const char *pem, *words;
    } rows[] = {
        {"", "is no PEM"},
        {"secret", "is no PEM"},
        {rsa_small_pem, "2048 bits or more"},
        {ec_other_curve_pem, "on another curve"},
        {ed_pem, "neither an RSA nor an elliptic curve key"},
        {"-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----\n", "holds a private key"},
        {"-----BEGIN EC PRIVATE KEY-----\nAA==\n-----END EC PRIVATE KEY-----\n",
         "holds a private key"},
        {"-----BEGIN PUBLIC KEY-----\nAA==\n-----END PUBLIC KEY-----\n", "is damaged"},
        {"-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n", "is damaged"},
        {"-----BEGIN PUBLIC KEY-----\n", "is damaged"},
    };
    for (size_t i = 0; i < array_count(rows); i++) {
        assert_int_equal(read_pem(rows[i].pem), ERR_BAD_REQUEST);
        if (strstr(why, rows[i].words) == NULL) fail_msg("%s: %s", rows[i].pem, why);
    }
    for (size_t size = 0; size < strlen(rsa_pem) - 2; size += 5) {
        snprintf(cut, sizeof(cut), "%.*s", (int)size, rsa_pem);
        assert_int_equal(read_pem(cut), ERR_BAD_REQUEST);
    }
    memset(big, 'A', sizeof(big) - 1);
    big[sizeof(big) - 1] = 0;
    assert_int_equal(read_pem(big), ERR_BAD_REQUEST);
}

static void hex(const char *text, uint8_t *out)
{
    for (size_t i = 0; text[2 * i] != 0; i++) {
        uint8_t high, low;
        assert_true(bytes_hex_digit((uint8_t)text[2 * i], &high));
        assert_true(bytes_hex_digit((uint8_t)text[2 * i + 1], &low));
        out[i] = (uint8_t)(high << 4 | low);
    }
}

static void ed25519_verifies(void **state)
{
    (void)state;
    /* RFC 8032 section 7.1, TEST 2. */
    uint8_t public[32], signature[64], message[1] = {0x72};
    hex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c", public);
    hex("92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
        signature);
    struct bytes data = bytes_of(message, 1);
    assert_true(crypt_ed25519_verify(public, data, bytes_of(signature, 64)));
    assert_false(crypt_ed25519_verify(public, data, bytes_of(signature, 63)));
    assert_false(crypt_ed25519_verify(public, BYTES_NONE, bytes_of(signature, 64)));
    for (size_t i = 0; i < 64; i++) {
        signature[i] ^= 1;
        assert_false(crypt_ed25519_verify(public, data, bytes_of(signature, 64)));
        signature[i] ^= 1;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_are_read),
        cmocka_unit_test(what_is_no_key_is_told),
        cmocka_unit_test(ed25519_verifies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
