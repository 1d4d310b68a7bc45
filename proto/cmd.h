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

struct cmd_connect {
    struct bytes token, data, name, version;
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
    struct bytes conn_info, chan_info; /* raw JSON, may be empty */
};

struct wire_publication {
    uint64_t offset; /* 0: the channel keeps no history */
    struct bytes data;
    struct bytes epoch; /* set only when offset is 1 */
    struct bytes tags;  /* raw JSON object of strings, may be empty */
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
            bool expires, pong;
            uint32_t ttl, ping; /* seconds */
        } connect;
        struct reply_subscribe subscribe;
        struct {
            const struct wire_publication *publications;
            uint32_t publications_count;
            struct bytes epoch;
            uint64_t offset;
        } history;
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
    PUSH_MESSAGE,
    PUSH_DISCONNECT,
};

struct push {
    enum push_kind kind;
    struct bytes channel;
    union {
        struct wire_publication publication;
        struct wire_info info; /* join, leave */
        struct {
            uint32_t code;
            const char *reason;
        } unsubscribe;
        struct {
            struct bytes data;
        } message;
        struct {
            uint32_t code;
            const char *reason;
            bool reconnect;
        } disconnect;
    };
};
