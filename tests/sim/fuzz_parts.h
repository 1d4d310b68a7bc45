/*
 * fuzz_parts: what the files of fuzz_gateway share.
 *
 * Thread:  one.
 */
#pragma once

#include "core/bytes.h"

#define API_KEY   "key that no input knows: 7f3d9a"
#define PEERS     8
#define SECOND_NS UINT64_C(1000000000)

#define HMAC_KEY   "a secret that only fuzzing knows."
#define JWT_HEAD   "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9."
#define TOKEN_SELF JWT_HEAD "eyJzdWIiOiJ3aXRuZXNzIn0." TOKEN_SELF_SIGN
#define TOKEN_FUZZ JWT_HEAD "eyJzdWIiOiJmdXp6IiwiaW5mbyI6eyJhIjoxfX0." TOKEN_FUZZ_SIGN
#define TOKEN_ENDS JWT_HEAD "eyJzdWIiOiJmdXp6IiwiZXhwIjoxODAwMDAwMDMwfQ." TOKEN_ENDS_SIGN

#define TOKEN_SELF_SIGN "uZcIWRaugs5f_wzyqMT-3y7xIb0_0qBr9Yel6iOscbo"
#define TOKEN_FUZZ_SIGN "Yx9InZixBLQVimA07GBr2hJ6qg6JXhX8Fdf0HKXBb-A"
#define TOKEN_ENDS_SIGN "E0fhGVNajfDCDQ_lEDX5x2UYcaJgZofQOwREgWsNYoY"

/* User fuzz: server-side subscriptions with an info, data and options of their own;
 * user many: by the short claim; then subscription tokens. */
#define TOKEN_SUBS                                                                                 \
    JWT_HEAD                                                                                       \
    "eyJzdWIiOiJmdXp6Iiwic3VicyI6eyJhbGw6YSI6e30sImFsbDpiIjp7ImluZm8iOnsiaSI6MX0sImRh"             \
    "dGEiOnsiZCI6MX0sIm92ZXJyaWRlIjp7InByZXNlbmNlIjp7InZhbHVlIjpmYWxzZX0sImZvcmNlX3Jl"             \
    "Y292ZXJ5Ijp7InZhbHVlIjp0cnVlfX19LCJsaXZlOngiOnt9fX0.gMXMU0X3f6Mfh2ugCkRffynGE2xN"             \
    "JyMyGb_i1gUePIc"

#define TOKEN_MANY                                                                                 \
    JWT_HEAD                                                                                       \
    "eyJzdWIiOiJtYW55IiwiY2hhbm5lbHMiOlsiYWxsOmEiLCJzaHV0OnMiXSwiZXhwIjoxODAwMDAwMDYw"             \
    "LCJpbmZvIjp7Im0iOlsxXX19.xm6110QyOI3he1Gn6y0P15_FlnnfJypMUgVDqL_cccY"

#define TOKEN_SHUT                                                                                 \
    JWT_HEAD                                                                                       \
    "eyJzdWIiOiJmdXp6IiwiY2hhbm5lbCI6InNodXQ6cyIsImluZm8iOnsicyI6MX19.lMmZeFok-"                   \
    "i_4E23lDIr58ql8RzkU_AJ80ocyG_HLHu0"

#define TOKEN_SHUT_ENDS                                                                            \
    JWT_HEAD                                                                                       \
    "eyJzdWIiOiJmdXp6IiwiY2hhbm5lbCI6InNodXQ6cyIsImV4cCI6MTgwMDAwMDAzMH0.yywojgoRXycE"             \
    "wMJ81NofXQS6i9kT47QqQ599itCiJDU"

#define TOKEN_SHUT_LEAVES                                                                          \
    JWT_HEAD                                                                                       \
    "eyJzdWIiOiJtYW55IiwiY2hhbm5lbCI6InNodXQ6cyIsImV4cCI6MTgwMDAwMDA2MCwiZXhwaXJlX2F0"             \
    "IjoxODAwMDAwMDIwfQ.bATg_XASL-MVoB3MTJtHdaV92BllznNHu0j4vtzM2CQ"

/* fuzz_gateway.c: one step of the world, and as many as `span_ns` has; an input may
 * let only so much time go by in all. */
void fuzz_step(void);
void fuzz_pass(uint64_t span_ns);

struct script {
    const uint8_t *at, *end;
};

/* fuzz_peers.c: the sockets of the script. */
void peers_init(void);
/* One word of the script. */
void peers_play(struct script *script);
/* Everyone is gone for good. */
void peers_go(void);
void peers_fini(void);

/* fuzz_words.c: what is hard to guess. */
struct fuzz_list {
    const char *const *texts;
    uint32_t count;
};
/* Paths; the third and the fifth speak Protobuf. */
extern const struct fuzz_list fuzz_upgrades;
extern const struct fuzz_list fuzz_connects, fuzz_commands; /* JSON, one a line */
extern const struct fuzz_list fuzz_requests;
extern const struct fuzz_list fuzz_methods;      /* of the server API */
extern const struct fuzz_list fuzz_user_methods; /* those that speak of a user */
extern const struct fuzz_list fuzz_acts;         /* "method {body}" of these */

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
