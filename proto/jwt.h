/*
 * jwt: verify a token, read its claims; make one.
 *
 * The key fixes the algorithm, never the token.  Before cjose sees a byte:
 * three parts of canonical base64url, header an object whose `alg` equals the
 * key's, no `crit`, bounded sizes.  Times are checked against the given now.
 *
 * Thread:  any; keys are read-only after creation.
 * Source:  RFC 7515, 7519; Centrifugo's claims.
 * Tests:   tests/unit/proto/test_jwt.c, tests/fuzz/fuzz_jwt.c
 */
#pragma once

#include "core/arena.h"
#include "core/err.h"

struct jwt_key;

struct jwt_claims {
    struct bytes user;    /* sub, may be empty */
    struct bytes channel; /* only in subscription tokens */
    struct bytes client;
    struct bytes info; /* raw JSON, may be empty */
    struct bytes data; /* raw JSON, may be empty */
    bool has_exp, has_channel, has_expire_at;
    uint64_t exp, expire_at; /* Unix seconds */
};

/* HS256 with `secret`; ERR_BAD_REQUEST when it is empty. */
must_use enum err jwt_key_hmac(struct bytes secret, struct jwt_key **key);
/* Accepts NULL. */
void jwt_key_destroy(struct jwt_key *key);

/* ERR_TOKEN_INVALID, or ERR_TOKEN_EXPIRED for a good signature whose exp is past
 * or whose nbf is to come.  Claims live in `arena`. */
must_use enum err jwt_verify(const struct jwt_key *key, struct bytes token, uint64_t now_s,
                             struct arena *arena, struct jwt_claims *claims);

/* Signs {"sub", "exp"?, "channel"?, "iat"}; text is NUL-terminated, mem_free it. */
must_use enum err jwt_sign(struct bytes secret, const char *user, const char *channel,
                           uint64_t now_s, uint64_t ttl_s, char **text);
