/*
 * words: the Centrifuge protocol as a load client speaks it, in either form.
 *
 * Written from the protocol, without the gateway's codecs, so that a fault of
 * theirs is not its own witness.  Commands are added to a message, which goes out
 * as one frame; a frame that came is told reply by reply.
 *
 * Thread:  any; pure.
 */
#pragma once

#include "text.h"
#include "wire.h"

struct position {
    char epoch[40];
    uint64_t offset;
    bool is_known;
};

struct span {
    const char *at;
    uint32_t size;
};

/* One reply or push.  Views are valid for the call. */
struct heard {
    uint32_t id; /* 0: a push, or a ping when nothing else is said */
    bool is_ping;
    struct span error;   /* its text; empty: none */
    struct span channel; /* of a push */
    struct span data;    /* of a pushed publication; empty: another push */
    struct span result;  /* of an RPC: JSON */
    uint64_t offset;     /* of the publication, of a subscribe, history or send reply */
    struct span epoch;   /* of a subscribe or history reply */
    bool is_recovered;   /* a subscribe reply */
};

struct hearer {
    void *context;
    void (*on_heard)(void *context, const struct heard *heard);
    /* A publication of the subscribe reply that follows; `data` as in a push. */
    void (*on_missed)(void *context, struct span data, uint64_t offset);
};

struct words {
    enum opcode opcode;
    const char *subprotocol; /* NULL: none */
    void (*connect)(struct text *message, uint32_t id, const char *token);
    void (*subscribe)(struct text *message, uint32_t id, const char *channel,
                      const struct position *from);
    void (*publish)(struct text *message, uint32_t id, const char *channel, struct span data);
    /* NULL where no server relays the form: the publication as the server would push it. */
    void (*push)(struct text *message, const char *channel, struct span data);
    void (*send)(struct text *message, uint32_t id, const char *channel, struct span data,
                 const char *key);
    void (*rpc)(struct text *message, uint32_t id, const char *method, struct span data);
    /* Where a channel stands. */
    void (*history)(struct text *message, uint32_t id, const char *channel);
    void (*pong)(struct text *message);
    /* False when the frame is not of the protocol. */
    bool (*hear)(struct span frame, const struct hearer *hearer);
};

extern const struct words words_json, words_protobuf;
