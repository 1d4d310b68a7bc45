/*
 * jwt_parts: what the files of jwt share; nobody else includes this.
 *
 * Thread:  any; pure.
 */
#pragma once

#include "proto/jwt.h"

/* Reads a payload whose signature is good.  `user_claim` names the claim that is
 * the user.  ERR_TOKEN_INVALID for what is no object or has a claim of a wrong
 * type; ERR_TOKEN_EXPIRED for times. */
must_use enum err jwt_claims_read(struct bytes payload, const char *user_claim, uint64_t now_s,
                                  struct arena *arena, struct jwt_claims *claims);
