/*
 * cmd: the vocabulary of the Centrifuge client protocol as plain structs.
 *
 * Both codecs decode into struct cmd and encode from struct reply and struct
 * push, so nothing above proto/ knows which wire a client speaks.  Views point
 * into the frame or the arena of the decode call.
 *
 * Thread:  any; plain data.
 * Source:  centrifugal.centrifuge.protocol, client.proto (field names and rules).
 */
#pragma once

#include "core/bytes.h"

enum cmd_kind {
    CMD_PONG, /* an empty command: the answer to a ping */
#define CMD(id, name, field) CMD_##id,
#include "proto/cmd.def"
#undef CMD
    CMD_COUNT,
};

/* "connect"; "pong" for CMD_PONG. */
const char *cmd_name(enum cmd_kind kind);

/* A position from which a server-side subscription is to be recovered. */
struct cmd_connect_sub {
    struct bytes channel, epoch;
    uint64_t offset;
    bool recover;
};

/* What one connect command may ask for by name. */
#define CONNECT_SUBS_MAX 1024

struct arena;
/* Room for more: the `count` entries of `subs` in a larger array of the arena. */
struct cmd_connect_sub *cmd_grow_subs(struct arena *arena, const struct cmd_connect_sub *subs,
                                      uint32_t count, uint32_t *room);

struct cmd_connect {
    struct bytes token, data, name, version;
    const struct cmd_connect_sub *subs; /* in the arena; a channel may stand twice */
    uint32_t subs_count;                /* above CONNECT_SUBS_MAX: ERR_BAD_FRAME */
    int64_t flag;
};

struct cmd_subscribe {
    struct bytes channel, token, data, epoch, delta;
    uint64_t offset;
    int64_t flag; /* SUBSCRIBE_FLAG_… */
    int32_t type; /* 0: stream */
    bool recover, positioned, recoverable, join_leave;
    bool has_filter;
};

#define SUBSCRIBE_FLAG_COMPACT            1
#define SUBSCRIBE_FLAG_REJECT_UNRECOVERED 2

struct cmd_history {
    struct bytes channel, since_epoch;
    uint64_t since_offset;
    int32_t limit;
    bool has_since, reverse;
};

struct cmd {
    enum cmd_kind kind;
    uint32_t id; /* 0: none given */
    union {
        struct cmd_connect connect;
        struct cmd_subscribe subscribe;
        struct cmd_history history;
        struct {
            struct bytes channel;
        } unsubscribe, presence, presence_stats;
        struct {
            struct bytes channel, data;
            int32_t type;
            bool is_opaque; /* `data` is not known to be JSON: it came by Protobuf */
        } publish;
        struct {
            struct bytes method, data;
        } rpc;
        struct {
            struct bytes data;
        } send;
        struct {
            struct bytes token;
        } refresh;
        struct {
            struct bytes channel, token;
            int32_t type;
        } sub_refresh;
    };
};

/* Who published: absent when published by the server API. */
struct wire_info {
    struct bytes user;
    uint8_t client[16];                /* shown as a UUID */
    struct bytes conn_info, chan_info; /* raw JSON (Protobuf: any bytes), may be empty */
};

struct wire_publication {
    uint64_t offset; /* 0: the channel keeps no history */
    struct bytes data;
    bool is_opaque;     /* `data` is not JSON; the JSON wire has no place for it */
    struct bytes epoch; /* set only when offset is 1 */
    struct bytes tags;  /* raw JSON object of strings, may be empty */
    uint64_t version;   /* of the state that it shows; 0: none */
    bool has_info;
    struct wire_info info;
};

struct reply_subscribe {
    bool recoverable, positioned, recovered, was_recovering, expires;
    uint32_t ttl;
    struct bytes epoch, data;
    uint64_t offset;
    const struct wire_publication *publications;
    uint32_t publications_count;
    int64_t id; /* > 0: pushes of the channel name it by this number */
};

/* One server-side subscription in a connect reply. */
struct reply_connect_sub {
    struct bytes channel;
    struct reply_subscribe subscribe;
};

/* A reply: `error_code` 0 means the result of `kind`. */
struct reply {
    uint32_t id;
    enum cmd_kind kind;
    uint32_t error_code;
    const char *error_text;
    bool error_temporary;
    union {
        struct {
            uint8_t client[16];
            struct bytes version, data;
            struct bytes session, node; /* emulated transports only */
            bool expires, pong;
            uint32_t ttl, ping; /* seconds */
            uint64_t time_ms;   /* Unix milliseconds; 0: not told */
            const struct reply_connect_sub *subs;
            uint32_t subs_count;
        } connect;
        struct reply_subscribe subscribe;
        struct {
            const struct wire_publication *publications;
            uint32_t publications_count;
            struct bytes epoch;
            uint64_t offset;
        } history;
        struct {
            const struct wire_info *infos; /* by client id, each once */
            uint32_t infos_count;
        } presence;
        struct {
            uint32_t clients_count, users_count;
        } presence_stats;
        struct {
            struct bytes data;
        } rpc;
        struct {
            bool expires;
            uint32_t ttl;
        } refresh, sub_refresh;
    };
};

enum push_kind {
    PUSH_PUBLICATION,
    PUSH_JOIN,
    PUSH_LEAVE,
    PUSH_UNSUBSCRIBE,
    PUSH_SUBSCRIBE, /* the server has subscribed the client */
    PUSH_MESSAGE,
    PUSH_REFRESH,
    PUSH_DISCONNECT,
};

struct push {
    enum push_kind kind;
    struct bytes channel;
    int64_t id; /* > 0: said in place of the channel (reply_subscribe.id) */
    union {
        struct wire_publication publication;
        struct wire_info info; /* join, leave */
        struct {
            uint32_t code;
            const char *reason;
        } unsubscribe;
        struct {
            bool recoverable, positioned;
            struct bytes epoch, data;
            uint64_t offset;
        } subscribe;
        struct {
            struct bytes data;
        } message;
        struct {
            bool expires;
            uint32_t ttl;
        } refresh;
        struct {
            uint32_t code;
            const char *reason;
            bool reconnect;
        } disconnect;
    };
};
