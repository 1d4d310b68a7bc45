/*
 * rules: may this client do that in this channel?
 *
 * The order of Centrifugo's permission checks, as one function per action.
 * Pure but for reading the shard's configuration snapshot and, for
 * subscribers' rights, the connection's subscriptions.
 *
 * Thread:  the connection's shard.
 * Source:  Centrifugo's behaviour: namespace, name, private channels, tokens,
 *          allow_… options, insecure mode.
 * Tests:   tests/unit/shards/test_rules.c, tests/conformance
 */
#pragma once

#include "core/bytes.h"
#include "core/err.h"

struct shard;
struct conn;
struct config_namespace;

/* ERR_UNKNOWN_CHANNEL (102) or ERR_BAD_CHANNEL (107); else the channel's options.
 * The name after the namespace must match channel_regex where there is one; else
 * the whole name is printable ASCII. */
must_use enum err rules_channel(struct shard *shard, struct bytes channel,
                                const struct config_namespace **options);

/* A channel that a backend names, by a call or a token: any name is good, as the personal
 * channels of users whose ids are not ASCII have to be reached. */
must_use enum err rules_space(const struct shard *shard, struct bytes channel,
                              const struct config_namespace **options);

/* Without a token.  With members_only, and of "receipts:X", whoever has a user may try:
 * membership, which the home knows, is the permission.  Else `$…` is never open; `…#u1,u2`
 * to these users where allow_user_limited_channels says so, and never by
 * allow_subscribe_for_client. */
must_use enum err rules_may_subscribe(const struct shard *shard, const struct conn *conn,
                                      struct bytes channel, const struct config_namespace *options);
must_use enum err rules_may_publish(const struct shard *shard, const struct conn *conn,
                                    struct bytes channel, const struct config_namespace *options);
/* Rights of a client that is, or is about to be, a subscriber. */
bool rules_subscriber_reads_history(const struct shard *shard, const struct conn *conn,
                                    const struct config_namespace *options);
bool rules_subscriber_sees_presence(const struct shard *shard, const struct conn *conn,
                                    const struct config_namespace *options);
/* ERR_NOT_AVAILABLE (108) when the channel lists nobody; before permission.  With
 * members_only its subscribers may, who are members, and nobody else. */
must_use enum err rules_may_see_presence(const struct shard *shard, const struct conn *conn,
                                         struct bytes channel,
                                         const struct config_namespace *options);
/* ERR_NOT_AVAILABLE (108) when the channel keeps none; before permission. */
must_use enum err rules_may_read_history(const struct shard *shard, const struct conn *conn,
                                         struct bytes channel,
                                         const struct config_namespace *options);
/* May `data` be published here (publication_data_format)?  `is_json`: it is known to
 * be JSON; else that is looked at now, once, and told in `is_opaque`. */
must_use enum err rules_data(struct bytes data, bool is_json,
                             const struct config_namespace *options, bool *is_opaque);
