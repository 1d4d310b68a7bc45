/*
 * jwt: verify a token, read its claims; make one.
 *
 * A key fixes the algorithms that it verifies, never the token: HMAC secrets HS256,
 * HS384, HS512; RSA keys RS256, RS384, RS512; P-256, P-384, P-521 keys ES256, ES384,
 * ES512 each; Ed25519 keys of a JWK set EdDSA.  Before a signature is computed:
 * three parts of canonical base64url, one `alg` that we know, no `crit`, bounded
 * sizes.  Times are checked against the given now.
 *
 *   config ─ jwt_rules_create ─▶ rules ─┐
 *   text of a JWK set ─ jwt_set_parse ─▶ set ─┴─ jwt_verify ─▶ claims
 *
 * Thread:  any; rules and sets are read-only after creation.
 * Source:  RFC 7515, 7517, 7518, 7519, 8037; Centrifugo's claims.  jwt.c (the gate),
 *          jwt_key.c (keys, signatures), jwt_rules.c, jwt_set.c, jwt_claims.c
 * Tests:   tests/unit/proto/test_jwt*.c, tests/fuzz/fuzz_jwt.c, tests/fuzz/fuzz_jwks.c
 */
#pragma once

#include "core/arena.h"
#include "core/err.h"

struct config;
struct jwt_rules;
struct jwt_set;

/* Keys of a set that are kept, and the size of its text. */
#define JWT_SET_KEYS_MAX  256
#define JWT_SET_BYTES_MAX (256u << 10)

/* What a token says about an option of a subscription, in place of the namespace. */
enum jwt_choice { JWT_UNSET, JWT_OFF, JWT_ON };

struct jwt_override {
    uint8_t presence, join_leave, force_push_join_leave; /* enum jwt_choice */
    uint8_t force_positioning, force_recovery;
};

/* What the claims info and data carry: raw JSON; or, from b64info and b64data, which
 * win, any bytes, and `is_opaque` exactly when these are not JSON.  Empty: none. */
struct jwt_payload {
    struct bytes bytes;
    bool is_opaque;
};

/* A server-side subscription that a connection token brings. */
struct jwt_sub {
    struct bytes channel; /* never empty */
    struct jwt_payload info, data;
    struct jwt_override override;
};

struct jwt_claims {
    struct bytes kid;     /* with ERR_KEY_UNKNOWN: the key that is missing */
    struct bytes user;    /* sub, or the claim that stands in for it; may be empty */
    struct bytes channel; /* only in subscription tokens */
    struct bytes client;
    struct jwt_payload info, data;
    struct jwt_override override; /* of a subscription token */
    /* The claim subs; without it the claim channels.  In the order of the token; a
     * channel may stand twice. */
    const struct jwt_sub *subs;
    uint32_t subs_count;
    bool has_exp, has_channel, has_expire_at;
    uint64_t exp, expire_at; /* Unix seconds; an expire_at of 0 is never */
};

/* What a token is for. */
enum jwt_use { JWT_CONNECTION, JWT_SUBSCRIPTION, JWT_USE_COUNT };

/* The keys and the demands of a use: client.token, or for subscriptions
 * client.subscription_token when that is enabled.  ERR_BAD_REQUEST for a key or an
 * expression that config_check would have refused.  Without any key every token is
 * invalid. */
must_use enum err jwt_rules_create(const struct config *config, enum jwt_use use,
                                   struct jwt_rules **rules);
/* Accepts NULL. */
void jwt_rules_destroy(struct jwt_rules *rules);
/* Where the keys of a use are fetched as a JWK set; "" when they are not. */
const char *jwt_set_url(const struct config *config, enum jwt_use use);

/* ERR_BAD_JSON, ERR_TOO_DEEP, ERR_LIMIT_SIZE or ERR_BAD_REQUEST for what is no JWK set.
 * Keys that no token could name or that are for something else are passed over. */
must_use enum err jwt_set_parse(struct bytes text, struct jwt_set **set);
bool jwt_set_has(const struct jwt_set *set, struct bytes kid);
uint32_t jwt_set_count(const struct jwt_set *set);
/* The name of key `index`, below jwt_set_count. */
struct bytes jwt_set_kid(const struct jwt_set *set, uint32_t index);
/* Accepts NULL. */
void jwt_set_destroy(struct jwt_set *set);

/* ERR_TOKEN_INVALID; ERR_TOKEN_EXPIRED for a good signature whose exp is past or
 * whose nbf is to come; ERR_KEY_UNKNOWN when the keys come as a JWK set and `set`,
 * which may be NULL, has none of that name.  Claims live in `arena`;
 * those of an expired token are there too. */
must_use enum err jwt_verify(const struct jwt_rules *rules, const struct jwt_set *set,
                             struct bytes token, uint64_t now_s, struct arena *arena,
                             struct jwt_claims *claims);

/* Signs {"sub", "exp"?, "channel"?, "iat"} with HS256; text is NUL-terminated,
 * mem_free it.  ERR_BAD_REQUEST for an empty secret. */
must_use enum err jwt_sign(struct bytes secret, const char *user, const char *channel,
                           uint64_t now_s, uint64_t ttl_s, char **text);
