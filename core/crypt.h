/*
 * crypt: digests, MACs and text forms, on OpenSSL.
 *
 * Thread:  any.
 * Source:  crypt.c, crypt_key.c
 * Tests:   tests/unit/core/test_crypt.c (RFC 4231, RFC 3174, RFC 4648, RFC 8032
 *          vectors), tests/unit/core/test_crypt_key.c
 */
#pragma once

#include "core/bytes.h"
#include "core/err.h"

void crypt_sha1(struct bytes data, uint8_t digest[20]);
void crypt_sha256(struct bytes data, uint8_t digest[32]);
void crypt_hmac_sha256(struct bytes key, struct bytes data, uint8_t mac[32]);
/* Compares in constant time; lengths are not secret. */
bool crypt_equal(struct bytes a, struct bytes b);
/* Overwrites a secret; not optimised away. */
void crypt_wipe(void *at, size_t size);
/* A public key out of a text, as the big-endian numbers that JWKs are made of. */
enum crypt_key_kind { CRYPT_RSA, CRYPT_EC };
#define CRYPT_RSA_BITS_MIN 2048
#define CRYPT_RSA_BITS_MAX 8192
struct crypt_public_key {
    enum crypt_key_kind kind;
    uint32_t bits;                            /* of the modulus; of the curve: 256, 384 or 521 */
    uint8_t a[CRYPT_RSA_BITS_MAX / 8], b[66]; /* modulus, exponent; or x, y */
    uint32_t a_size, b_size;
};
/* Reads a PEM text: "PUBLIC KEY", "RSA PUBLIC KEY" or "CERTIFICATE".
 * ERR_BAD_REQUEST with a clause for people in `why` ("holds a private key; …"),
 * also for keys that are too short and curves that tokens do not use. */
#define CRYPT_WHY_MAX 200
must_use enum err crypt_public_key_read(struct bytes pem, struct crypt_public_key *key,
                                        char why[CRYPT_WHY_MAX]);
/* RFC 8032, section 5.1. */
must_use bool crypt_ed25519_verify(const uint8_t key[32], struct bytes data,
                                   struct bytes signature);

/* Standard base64 with padding into text[]; returns its length; `size` must hold
 * 4 * ((n + 2) / 3). */
size_t crypt_base64(struct bytes data, char *text, size_t size);
/* Canonical only: right padding, no stray bits, nothing else.  `url`: the URL
 * alphabet without padding (RFC 4648 section 5). */
must_use enum err crypt_base64_decode(struct bytes text, bool url, uint8_t *out, size_t out_size,
                                      size_t *out_used);
size_t crypt_base64url(struct bytes data, char *text, size_t size);
/* "0123456789abcdef" pairs, NUL-terminated; text[2 * n + 1]. */
void crypt_hex(struct bytes data, char *text);
