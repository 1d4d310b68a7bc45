/*
 * crypt: digests, MACs and text forms, on OpenSSL.
 *
 * Thread:  any.
 * Tests:   tests/unit/core/test_crypt.c (RFC 4231, RFC 3174, RFC 4648 vectors)
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
