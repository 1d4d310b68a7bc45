/*
 * fuzz_jwt: only what the signer signed verifies, and it means what jansson reads.
 *
 * The bytes are a token as they stand; and, split at the first NUL, a header and
 * a payload that are signed here, so that only the gate and the claims decide.
 */
#include "proto/jwt_parts.h"

#include "core/check.h"
#include "core/crypt.h"
#include "core/doc.h"
#include "core/mem.h"

#define NOW 1700000000u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct bytes secret = {(const uint8_t *)"a secret of the fuzzer", 22};

/* True when the last part is the MAC of what stands before it. */
static bool is_signed(struct bytes token)
{
    uint8_t mac[32], given[64];
    size_t used;
    const uint8_t *dot = memrchr(token.at, '.', token.size);
    if (dot == NULL) return false;
    size_t before = (size_t)(dot - token.at);
    crypt_hmac_sha256(secret, bytes_of(token.at, before), mac);
    return crypt_base64_decode(bytes_of(dot + 1, token.size - before - 1), true, given,
                               sizeof(given), &used) == ERR_OK &&
           used == 32 && memcmp(mac, given, 32) == 0;
}

static void compare_claims(struct bytes payload, const struct jwt_claims *claims)
{
    struct doc *doc;
    char where[160];
    if (doc_parse(payload, &doc, where) != ERR_OK)
        return; /* what jansson cannot hold: fuzz_json's matter */
    struct bytes text = BYTES_NONE;
    check(doc_is_object(doc));
    struct doc *sub = doc_get(doc, "sub");
    if (sub != NULL && doc_text(sub, &text))
        check(bytes_equal(text, claims->user));
    else
        check(claims->user.size == 0);
    check(claims->has_channel ==
          (doc_get(doc, "channel") != NULL && doc_is_text(doc_get(doc, "channel"))));
    check(claims->has_exp == (doc_get(doc, "exp") != NULL && doc_is_number(doc_get(doc, "exp"))));
    doc_free(doc);
}

static void signed_parts(const struct jwt_rules *rules, struct bytes header, struct bytes payload,
                         struct arena *arena)
{
    uint8_t mac[32];
    size_t room = 2 * (header.size + payload.size) + 128;
    char *token = mem_alloc(room);
    size_t used = crypt_base64url(header, token, room);
    token[used++] = '.';
    used += crypt_base64url(payload, token + used, room - used);
    crypt_hmac_sha256(secret, bytes_of(token, used), mac);
    token[used++] = '.';
    used += crypt_base64url(bytes_of(mac, sizeof(mac)), token + used, room - used);
    struct jwt_claims claims;
    if (jwt_verify(rules, NULL, bytes_of(token, used), NOW, arena, &claims) == ERR_OK) {
        check(!claims.has_exp || claims.exp > NOW);
        compare_claims(payload, &claims);
        /* One bit off and it is not the signer's. */
        token[used / 2] ^= 1;
        check(jwt_verify(rules, NULL, bytes_of(token, used), NOW, arena, &claims) ==
              ERR_TOKEN_INVALID);
    }
    mem_free(token);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > 8192) return 0;
    char none[] = "", sub[] = "sub";
    struct jwt_rules made = {
        .keys = jwt_key_hmac(secret), .audience = none, .issuer = none, .user_claim = sub};
    const struct jwt_rules *rules = &made;
    struct jwt_claims claims;
    struct arena arena;
    arena_init(&arena, 64 << 10);
    enum err err = jwt_verify(rules, NULL, bytes_of(data, size), NOW, &arena, &claims);
    if (err == ERR_OK || err == ERR_TOKEN_EXPIRED)
        check(is_signed(bytes_of(data, size)));
    else
        check(err == ERR_TOKEN_INVALID && claims.user.size == 0);

    const uint8_t *nul = size > 0 ? memchr(data, 0, size) : NULL;
    if (nul != NULL) {
        size_t first = (size_t)(nul - data);
        signed_parts(rules, bytes_of(data, first), bytes_of(nul + 1, size - first - 1), &arena);
    }
    jwt_keys_free(made.keys);
    arena_fini(&arena);
    return 0;
}
