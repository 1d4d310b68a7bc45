/*
 * fuzz_parts: what the files of fuzz_gateway share.
 *
 * Thread:  one.
 */
#pragma once

#include "core/base.h"

#define HMAC_KEY   "a secret that only fuzzing knows."
#define JWT_HEAD   "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9."
#define TOKEN_SELF JWT_HEAD "eyJzdWIiOiJ3aXRuZXNzIn0." TOKEN_SELF_SIGN
#define TOKEN_FUZZ JWT_HEAD "eyJzdWIiOiJmdXp6IiwiaW5mbyI6eyJhIjoxfX0." TOKEN_FUZZ_SIGN
#define TOKEN_ENDS JWT_HEAD "eyJzdWIiOiJmdXp6IiwiZXhwIjoxODAwMDAwMDMwfQ." TOKEN_ENDS_SIGN

#define TOKEN_SELF_SIGN "uZcIWRaugs5f_wzyqMT-3y7xIb0_0qBr9Yel6iOscbo"
#define TOKEN_FUZZ_SIGN "Yx9InZixBLQVimA07GBr2hJ6qg6JXhX8Fdf0HKXBb-A"
#define TOKEN_ENDS_SIGN "E0fhGVNajfDCDQ_lEDX5x2UYcaJgZofQOwREgWsNYoY"

/* fuzz_witness.c: the client that keeps the rules. */
struct witness {
    uint32_t said, acked, heard; /* messages */
    bool is_in;                  /* connected and subscribed */
};
extern struct witness witness;

void witness_start(void);
/* Publishes one message more. */
void witness_say(void);
/* It goes; from now on nothing is wrong with its end. */
void witness_end(void);
void witness_fini(void);
