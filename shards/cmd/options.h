/*
 * options: what one subscription gets.
 *
 * The namespace says what every subscription has and what may be asked for; a
 * token or the server API may overrule the namespace; a client's own wishes are
 * added last, as far as they are allowed.
 *
 *    positioned   force_positioning, or asked and (allow_positioning or may read history)
 *    recoverable  force_recovery, or asked and (allow_recovery or may read history)
 *    hears joins  force_push_join_leave, or asked and join_leave and may see presence
 *
 * Channels of the type stream only: another type asks for what is not served, 103.
 *
 * channel compaction (SUBSCRIBE_FLAG_COMPACT) is not offered: a publication is
 * encoded once per wire for all listeners, and clients that take an id in place of
 * the name and clients that do not would double that, and the letters of frames
 * with it, to save the name's bytes.  Clients that offer it must do without.
 *
 * Thread:  the connection's shard; pure but for reading its configuration.
 * Source:  Centrifugo: namespace options, subscription tokens, server API subscribe
 * Tests:   tests/unit/shards/test_options.c, tests/conformance
 */
#pragma once

#include "core/bytes.h"
#include "proto/jwt.h"

struct shard;
struct conn;
struct config_namespace;
struct cmd_subscribe;

struct sub_options {
    bool is_positioned;  /* the client is told where it is, and of every gap */
    bool is_recoverable; /* and what it missed, when it comes back */
    bool is_cache;       /* of which it gets the newest publication only */
    bool is_unasked;     /* with is_cache: and gets that without asking */
    bool has_presence, tells_joins, hears_joins;
    uint32_t expires_s;           /* Unix second; 0: never */
    struct bytes chan_info, data; /* raw JSON (Protobuf: any bytes), or empty */
};

/* What every subscription of the namespace has. */
void options_of_namespace(const struct config_namespace *space, struct sub_options *options);
/* A token's or the server's own choice in place of the namespace's. */
void options_override(struct sub_options *options, const struct jwt_override *override);
/* What a token or the server says of the subscriber and to it, as far as that can be
 * shown: bytes that are no JSON stand in no JSON frame, and listeners of both wires
 * see the same chan_info. */
void options_say(struct sub_options *options, const struct conn *conn,
                 const struct jwt_payload *info, const struct jwt_payload *data);
/* Adds what the client asks for and may have. */
void options_add_wishes(const struct shard *shard, const struct conn *conn,
                        const struct config_namespace *space, const struct cmd_subscribe *request,
                        struct sub_options *options);
