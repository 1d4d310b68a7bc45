/*
 * connect_identify: who is this?
 *
 * Centrifuge client protocol, connect: a token decides when there is one
 * (expired: error 109, so that the SDK fetches a new one; invalid: 3500);
 * without one, insecure mode or the anonymous option; else 3501.
 *
 * Thread:  the connection's shard.
 * Tests:   tests/conformance/codes.test.mjs
 */
#pragma once

#include "core/bytes.h"
#include "core/err.h"

struct shard;
struct jwt_claims;

/* What `token` says of its bearer, an empty one: whether that is allowed.
 * ERR_TOKEN_EXPIRED (109), ERR_TOKEN_INVALID (3500), ERR_UNAUTHORIZED (3501),
 * ERR_DENIED (3507), and what token_verify says of keys.  Claims live in the turn's
 * arena. */
must_use enum err identify_token(struct shard *shard, struct bytes token,
                                 struct jwt_claims *claims);
/* Unix second at which a bearer of `claims` must bring a new token; 0: never.
 * ERR_EXPIRED (110) when that is past, though the token is not. */
must_use enum err identify_expiry(const struct shard *shard, const struct jwt_claims *claims,
                                  uint32_t *expires_s);
