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
