/*
 * crypt_key: public keys out of PEM, and the one signature that cjose lacks.
 *
 * OpenSSL's decoder takes every form that people have at hand and checks that a
 * point lies on its curve; what comes out are plain numbers, so nothing above
 * knows OpenSSL.
 */
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/decoder.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdio.h>

#include "core/check.h"
#include "core/crypt.h"

#define PEM_MAX 16384

static enum err refuse(char why[CRYPT_WHY_MAX], const char *clause)
{
    snprintf(why, CRYPT_WHY_MAX, "%s", clause);
    return ERR_BAD_REQUEST;
}

/* A certificate's key; NULL when the text is none. */
static EVP_PKEY *key_of_certificate(struct bytes pem)
{
    BIO *bio = BIO_new_mem_buf(pem.at, (int)pem.size);
    X509 *certificate = PEM_read_bio_X509(bio, NULL, NULL, NULL);
    EVP_PKEY *key = certificate != NULL ? X509_get_pubkey(certificate) : NULL;
    X509_free(certificate);
    BIO_free(bio);
    return key;
}

/* A bare public key; NULL when the text is none. */
static EVP_PKEY *key_of_text(struct bytes pem)
{
    EVP_PKEY *key = NULL;
    const unsigned char *at = pem.at;
    size_t left = pem.size;
    OSSL_DECODER_CTX *decoder = OSSL_DECODER_CTX_new_for_pkey(
        &key, "PEM", NULL, NULL, OSSL_KEYMGMT_SELECT_PUBLIC_KEY, NULL, NULL);
    if (decoder == NULL || OSSL_DECODER_from_data(decoder, &at, &left) != 1) {
        EVP_PKEY_free(key);
        key = NULL;
    }
    OSSL_DECODER_CTX_free(decoder);
    return key;
}

/* The parameter `name` as a big-endian number of `size` bytes, or of as many as
 * it needs when `size` is 0; 0 when it is absent or does not fit. */
static uint32_t number_of(const EVP_PKEY *pkey, const char *name, uint32_t size, uint8_t *out,
                          size_t room)
{
    BIGNUM *number = NULL;
    uint32_t used = 0;
    if (EVP_PKEY_get_bn_param(pkey, name, &number) == 1) {
        uint32_t bytes = size > 0 ? size : (uint32_t)BN_num_bytes(number);
        if (bytes > 0 && bytes <= room && BN_bn2binpad(number, out, (int)bytes) >= 0) used = bytes;
    }
    BN_free(number);
    return used;
}

static enum err read_rsa(const EVP_PKEY *pkey, struct crypt_public_key *key,
                         char why[CRYPT_WHY_MAX])
{
    key->kind = CRYPT_RSA;
    key->bits = (uint32_t)EVP_PKEY_get_bits(pkey);
    if (key->bits < CRYPT_RSA_BITS_MIN)
        return refuse(why, "is too short: wants an RSA key of 2048 bits or more");
    key->a_size = number_of(pkey, OSSL_PKEY_PARAM_RSA_N, 0, key->a, sizeof(key->a));
    key->b_size = number_of(pkey, OSSL_PKEY_PARAM_RSA_E, 0, key->b, 8);
    if (key->a_size == 0 || key->b_size == 0)
        return refuse(why, "is too long: wants an RSA key of 8192 bits or less");
    /* With an exponent of 1 every message would be its own signature. */
    uint8_t low = key->b[key->b_size - 1];
    if ((low & 1) == 0 || (key->b_size == 1 && low < 3))
        return refuse(why, "has a public exponent that protects nothing");
    return ERR_OK;
}

static enum err read_ec(const EVP_PKEY *pkey, struct crypt_public_key *key, char why[CRYPT_WHY_MAX])
{
    char group[64] = "";
    size_t used;
    (void)EVP_PKEY_get_utf8_string_param(pkey, OSSL_PKEY_PARAM_GROUP_NAME, group, sizeof(group),
                                         &used);
    key->kind = CRYPT_EC;
    struct bytes name = bytes_of_text(group);
    key->bits = bytes_equal_text(name, "prime256v1")  ? 256
                : bytes_equal_text(name, "secp384r1") ? 384
                : bytes_equal_text(name, "secp521r1") ? 521
                                                      : 0;
    if (key->bits == 0)
        return refuse(why, "is on another curve: wants one of P-256, P-384 and P-521");
    uint32_t size = (key->bits + 7) / 8;
    key->a_size = number_of(pkey, OSSL_PKEY_PARAM_EC_PUB_X, size, key->a, sizeof(key->a));
    key->b_size = number_of(pkey, OSSL_PKEY_PARAM_EC_PUB_Y, size, key->b, sizeof(key->b));
    if (key->a_size == 0 || key->b_size == 0) return refuse(why, "names no point of its curve");
    return ERR_OK;
}

enum err crypt_public_key_read(struct bytes pem, struct crypt_public_key *key,
                               char why[CRYPT_WHY_MAX])
{
    *key = (struct crypt_public_key){0};
    why[0] = '\0';
    if (pem.size > PEM_MAX) return refuse(why, "is too long for a key");
    if (memmem(pem.at, pem.size, "-----BEGIN ", 11) == NULL)
        return refuse(why, "is no PEM: wants the text from -----BEGIN PUBLIC KEY----- to its END");
    if (memmem(pem.at, pem.size, "PRIVATE KEY-----", 16) != NULL)
        return refuse(why, "holds a private key: keep that where tokens are made, and give its "
                           "public half, openssl pkey -pubout");
    bool is_certificate = memmem(pem.at, pem.size, "BEGIN CERTIFICATE", 17) != NULL;
    EVP_PKEY *pkey = is_certificate ? key_of_certificate(pem) : key_of_text(pem);
    ERR_clear_error();
    if (pkey == NULL)
        return refuse(why, "is damaged: wants a whole PEM, every line of it, as openssl pkey "
                           "-pubout writes it");
    enum err err;
    if (EVP_PKEY_is_a(pkey, "RSA"))
        err = read_rsa(pkey, key, why);
    else if (EVP_PKEY_is_a(pkey, "EC"))
        err = read_ec(pkey, key, why);
    else
        err = refuse(why, "is neither an RSA nor an elliptic curve key");
    EVP_PKEY_free(pkey);
    ERR_clear_error();
    return err;
}

bool crypt_ed25519_verify(const uint8_t key[32], struct bytes data, struct bytes signature)
{
    if (signature.size != 64) return false;
    EVP_PKEY *pkey = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, key, 32);
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    check(context != NULL);
    bool is_fine = pkey != NULL && EVP_DigestVerifyInit(context, NULL, NULL, NULL, pkey) == 1 &&
                   EVP_DigestVerify(context, signature.at, signature.size, data.at, data.size) == 1;
    EVP_MD_CTX_free(context);
    EVP_PKEY_free(pkey);
    ERR_clear_error();
    return is_fine;
}
