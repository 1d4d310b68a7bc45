/*
 * jwt_parts: what the files of jwt share; nobody else includes this.
 *
 * Thread:  any; pure.
 */
#pragma once

#include "core/pattern.h"
#include "proto/jwt.h"

enum jwt_alg {
    JWT_HS256,
    JWT_HS384,
    JWT_HS512,
    JWT_RS256,
    JWT_RS384,
    JWT_RS512,
    JWT_ES256,
    JWT_ES384,
    JWT_ES512,
    JWT_EDDSA,
    JWT_ALG_COUNT,
};
#define JWT_ALG_BIT(alg) (1u << (alg))
#define JWT_ALGS_HMAC    (JWT_ALG_BIT(JWT_HS256) | JWT_ALG_BIT(JWT_HS384) | JWT_ALG_BIT(JWT_HS512))
#define JWT_ALGS_RSA     (JWT_ALG_BIT(JWT_RS256) | JWT_ALG_BIT(JWT_RS384) | JWT_ALG_BIT(JWT_RS512))
#define JWT_KID_MAX      255

/* One key.  What it is fixes `algs`, so that no key is ever used as another kind. */
struct jwt_key {
    struct jwt_key *next;
    void *jwk; /* cjose's; NULL: Ed25519 */
    uint8_t ed25519[32];
    uint32_t algs;          /* JWT_ALG_BIT of each that it verifies */
    uint64_t valid_until_s; /* 0: for ever */
    uint8_t kid_size;
    uint8_t kid[JWT_KID_MAX];
};

struct jwt_set {
    struct jwt_key *keys;
    uint32_t count;
};

struct jwt_rules {
    struct jwt_key *keys;
    bool has_set;                         /* keys come from a JWK set and no others count */
    bool skips_signature;                 /* for development */
    char *audience, *issuer, *user_claim; /* "" demands nothing */
    struct pattern *audience_regex, *issuer_regex; /* NULL demands nothing */
};

/* A token taken apart: each part canonical base64url and not empty. */
struct jwt_token {
    struct bytes text;
    struct bytes header, payload, signature; /* decoded */
    struct bytes kid;                        /* may be empty */
    enum jwt_alg alg;
};

/* NULL when the parts are no key that tokens may be signed with.  Freed with
 * jwt_keys_free. */
must_use struct jwt_key *jwt_key_hmac(struct bytes secret);
must_use struct jwt_key *jwt_key_rsa(struct bytes modulus, struct bytes exponent);
must_use struct jwt_key *jwt_key_ec(uint32_t bits, struct bytes x, struct bytes y);
must_use struct jwt_key *jwt_key_ed25519(struct bytes x);
/* A list; accepts NULL. */
void jwt_keys_free(struct jwt_key *keys);
/* True exactly when `key` may verify token->alg and does. */
must_use bool jwt_key_verifies(const struct jwt_key *key, const struct jwt_token *token);

/* The name as it stands in a header; JWT_ALG_COUNT for any other. */
enum jwt_alg jwt_alg_of(struct bytes name);

/* Reads a payload whose signature is good.  ERR_TOKEN_INVALID for what is no
 * object, has a claim of a wrong type or names others as audience or issuer;
 * ERR_TOKEN_EXPIRED for times. */
must_use enum err jwt_claims_read(struct bytes payload, const struct jwt_rules *rules,
                                  uint64_t now_s, struct arena *arena, struct jwt_claims *claims);
