/*
 * token: a JWT for a user, signed with HS256.
 *
 * Thread:  any.
 */
#pragma once

#include <stdint.h>

#define TOKEN_MAX 1024
/* `info`: bytes of info that everybody has; 0: none. */
void token_make(const char *secret, const char *user, uint32_t info, char token[TOKEN_MAX]);
