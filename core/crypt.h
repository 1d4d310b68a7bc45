/*
 * crypt: digests, MACs and text forms, on OpenSSL.
 *
 * Thread:  any.
 * Source:  crypt.c, crypt_key.c, crypt_gcm.c
 * Tests:   tests/unit/core/test_crypt.c (RFC 4231, RFC 3174, RFC 4648, RFC 8032
 *          vectors), test_crypt_key.c, test_crypt_gcm.c (RFC 5869, NIST vectors)
 */
#pragma once

#include "core/bytes.h"
#include "core/err.h"

void crypt_sha1(struct bytes data, uint8_t digest[20]);
void crypt_sha256(struct bytes data, uint8_t digest[32]);
void crypt_hmac_sha256(struct bytes key, struct bytes data, uint8_t mac[32]);
/* RFC 5869 with SHA-256: extract and expand.  `info` has at most 128 bytes, out_size at
 * most 255 * 32. */
void crypt_hkdf_sha256(struct bytes key, struct bytes salt, struct bytes info, uint8_t *out,
                       size_t out_size);

/* AES-256-GCM under one key (NIST SP 800-38D), for sealing or for opening.  No nonce may
 * ever be given twice to keys that are equal: that is the caller's to see to.
 * Thread: one at a time. */
#define CRYPT_GCM_KEY   32
#define CRYPT_GCM_NONCE 12
#define CRYPT_GCM_TAG   16
struct crypt_gcm;
struct crypt_gcm *crypt_gcm_create(const uint8_t key[CRYPT_GCM_KEY], bool is_sealing);
/* Accepts NULL. */
void crypt_gcm_destroy(struct crypt_gcm *gcm);
/* Writes plain.size bytes to `sealed`, which may be where `plain` stands, and the tag.
 * `bound` is one text in `bound_count` pieces: not written, but without it nothing opens. */
void crypt_gcm_seal(struct crypt_gcm *gcm, const uint8_t nonce[CRYPT_GCM_NONCE],
                    const struct bytes *bound, uint32_t bound_count, struct bytes plain,
                    uint8_t *sealed, uint8_t tag[CRYPT_GCM_TAG]);
/* True when it is what was sealed.  Otherwise plain[sealed.size] is of no use. */
must_use bool crypt_gcm_open(struct crypt_gcm *gcm, const uint8_t nonce[CRYPT_GCM_NONCE],
                             const struct bytes *bound, uint32_t bound_count, struct bytes sealed,
                             uint8_t *plain, const uint8_t tag[CRYPT_GCM_TAG]);
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
/* Exactly `size` bytes out of 2 * size digits of either case; false: it is not that. */
must_use bool crypt_hex_decode(struct bytes text, uint8_t *out, size_t size);
