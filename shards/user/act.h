/*
 * act: what a user-addressed call of the server API does to connections, and the
 * letters it travels in.
 *
 *   API's shard ── USER_ACT ──▶ home of the user ── USER_DO ──▶ each shard with
 *                                                               sessions of it
 *               ◀── ANSWER ───                  ◀── ANSWER ───
 *
 * Thread:  any; plain data.
 * Tests:   tests/unit/shards/test_act.c
 */
#pragma once

#include "core/mesh.h"
#include "core/slab.h"
#include "proto/jwt.h"

struct arena;

enum act_verb {
    ACT_DISCONNECT,
    ACT_SUBSCRIBE,
    ACT_UNSUBSCRIBE,
    ACT_REFRESH,
    ACT_MESSAGE, /* `data` as a Message push */
    ACT_VERB_COUNT,
};

/* Views are borrowed. */
struct act {
    uint8_t verb; /* enum act_verb */
    struct bytes user;
    /* Which of the user's connections: `client` (16 bytes), or all when it is empty, but
     * not those of `whitelist` (16 bytes each). */
    struct bytes client, whitelist;
    uint16_t code; /* DISCONNECT: close code; UNSUBSCRIBE: of the push */
    struct bytes reason;
    struct bytes channel; /* UNSUBSCRIBE: empty is every one */
    bool is_single;       /* DISCONNECT: another connection took their place */
    bool is_expired;      /* REFRESH */
    bool has_info;        /* REFRESH: `info` replaces the connection's */
    uint32_t expires_s;   /* SUBSCRIBE, REFRESH: Unix second; 0: never */
    /* SUBSCRIBE; `info` of REFRESH and `data` of MESSAGE are raw JSON */
    struct jwt_payload info, data;
    bool recovers; /* SUBSCRIBE: from `offset` of `epoch` */
    uint64_t offset;
    struct bytes epoch;
    struct jwt_override override; /* SUBSCRIBE: in place of the namespace's */
};

/* The packed form. */
size_t act_size(const struct act *act);
void act_write(struct writer *writer, const struct act *act);
void act_read(struct reader *reader, struct act *act);
/* The same for bytes that another node wrote: false when they are none. */
must_use bool act_parse(struct reader *reader, struct act *act);

/* A connection asks its user's home to be registered; answered with the name of the
 * session in `offset`; ERR_REVOKED: with a close code in `offset` and a reason in `epoch`. */
struct letter_user_enter {
    struct handle call;
    struct handle conn;
    uint64_t began_ns; /* when its connect command was read */
    struct bytes user;
};
/* A registered connection has ended. */
struct letter_user_leave {
    struct handle conn;
    uint32_t session;
};
struct letter_user_act {
    struct handle call;
    struct act act;
};
/* A channel's home tells a user's connections something, and hears nothing of it. */
struct letter_user_tell {
    bool is_of_this_node; /* the other nodes' homes say it themselves */
    struct act act;
};
/* Without a call (generation 0) it is told, not asked. */
struct letter_user_do {
    struct handle call;
    struct bytes packed; /* an act */
    const struct handle *conns;
    uint32_t conns_count;
    bool is_anonymous; /* in place of `conns`: every connected client without a user */
};

struct letter *letter_pack_user_enter(struct post *post, uint32_t to,
                                      const struct letter_user_enter *in);
struct letter *letter_pack_user_leave(struct post *post, uint32_t to,
                                      const struct letter_user_leave *in);
struct letter *letter_pack_user_act(struct post *post, uint32_t to,
                                    const struct letter_user_act *in);
struct letter *letter_pack_user_tell(struct post *post, uint32_t to, const struct act *act,
                                     bool is_of_this_node);
struct letter *letter_pack_user_do(struct post *post, uint32_t to, const struct letter_user_do *in);

void letter_read_user_enter(const struct letter *letter, struct letter_user_enter *out);
void letter_read_user_leave(const struct letter *letter, struct letter_user_leave *out);
void letter_read_user_act(const struct letter *letter, struct letter_user_act *out);
void letter_read_user_tell(const struct letter *letter, struct letter_user_tell *out);
/* `conns` come from `arena`. */
void letter_read_user_do(const struct letter *letter, struct arena *arena,
                         struct letter_user_do *out);
