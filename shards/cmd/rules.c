/*
 * rules: permission checks.
 */
#include "shards/cmd/rules.h"

#include <string.h>

#include "core/check.h"
#include "proto/json.h"
#include "shards/cmd/subscription.h"
#include "shards/home.h"
#include "shards/shard.h"

/* What follows the namespace's boundary; the whole name where there is none. */
static struct bytes name_after_namespace(const struct config *config, struct bytes channel)
{
    size_t prefix = channel.at[0] == '$' ? 1 : 0;
    const uint8_t *end =
        memchr(channel.at + prefix, config_boundary(config), channel.size - prefix);
    if (end == NULL) return channel;
    return bytes_of(end + 1, channel.size - (size_t)(end + 1 - channel.at));
}

static bool is_printable(struct bytes channel)
{
    for (size_t i = 0; i < channel.size; i++)
        if (channel.at[i] < 0x20 || channel.at[i] > 0x7e) return false;
    return true;
}

enum err rules_channel(struct shard *shard, struct bytes channel,
                       const struct config_namespace **options)
{
    struct bytes base;
    home_is_receipts(channel, &base); /* the prefix is ours and does not count */
    if (base.size == 0 || base.size > shard->config->channel_max_length ||
        channel.size > CHANNEL_NAME_MAX)
        return ERR_BAD_CHANNEL;
    const struct config_namespace *found = config_namespace_of(shard->config, channel);
    if (found == NULL) return ERR_UNKNOWN_CHANNEL;
    bool is_fine = found->channel_regex[0] == '\0'
                       ? is_printable(channel)
                       : pattern_match(&shard->patterns, found->channel_regex,
                                       name_after_namespace(shard->config, base));
    if (!is_fine) return ERR_BAD_CHANNEL;
    *options = found;
    return ERR_OK;
}

enum err rules_space(const struct shard *shard, struct bytes channel,
                     const struct config_namespace **options)
{
    if (channel.size == 0 || channel.size > CHANNEL_NAME_MAX) return ERR_BAD_CHANNEL;
    const struct config_namespace *found = config_namespace_of(shard->config, channel);
    if (found == NULL) return ERR_UNKNOWN_CHANNEL;
    *options = found;
    return ERR_OK;
}

/* The users' list of a name: what follows its last '#'.  NULL: it names none. */
static const uint8_t *users_of(struct bytes channel)
{
    return memrchr(channel.at, '#', channel.size);
}

/* Ids between commas; the empty id is nobody. */
static bool is_listed(struct bytes channel, struct bytes user)
{
    const uint8_t *at = users_of(channel), *end = channel.at + channel.size;
    check(at != NULL);
    if (user.size == 0) return false;
    while (at < end) {
        at++;
        const uint8_t *comma = at < end ? memchr(at, ',', (size_t)(end - at)) : NULL;
        const uint8_t *stop = comma != NULL ? comma : end;
        if (bytes_equal(bytes_of(at, (size_t)(stop - at)), user)) return true;
        at = stop;
    }
    return false;
}

static bool is_subscriber(const struct shard *shard, const struct conn *conn, struct bytes channel)
{
    return subscription_find(shard, conn, channel) != UINT32_MAX;
}

/* The home has said yes: it is a member, where only members are let in. */
static bool is_live_subscriber(const struct shard *shard, const struct conn *conn,
                               struct bytes channel)
{
    uint32_t index = subscription_find(shard, conn, channel);
    if (index == UINT32_MAX) return false;
    const struct sub *sub = slab_at(&shard->subs, index);
    check(sub != NULL);
    return sub->state == SUB_LIVE;
}

/* The home knows its members; the client without a user is none of them. */
static enum err members_only(const struct conn *conn)
{
    return conn->user_size > 0 ? ERR_OK : ERR_NOT_MEMBER;
}

enum err rules_may_subscribe(const struct shard *shard, const struct conn *conn,
                             struct bytes channel, const struct config_namespace *options)
{
    if (options->members_only) return members_only(conn);
    if (channel.at[0] == '$') return ERR_DENIED; /* by token only */
    bool names_users = users_of(channel) != NULL;
    if (names_users && options->allow_user_limited_channels && is_listed(channel, conn_user(conn)))
        return ERR_OK;
    bool is_known = conn->user_size > 0 || options->allow_subscribe_for_anonymous;
    if (options->allow_subscribe_for_client && is_known && !names_users) return ERR_OK;
    return shard->config->client_insecure ? ERR_OK : ERR_DENIED;
}

enum err rules_may_publish(const struct shard *shard, const struct conn *conn, struct bytes channel,
                           const struct config_namespace *options)
{
    struct bytes base;
    if (home_is_receipts(channel, &base)) return ERR_DENIED;
    if (options->members_only) return members_only(conn);
    bool is_known = conn->user_size > 0 || options->allow_publish_for_anonymous;
    if (options->allow_publish_for_client && is_known) return ERR_OK;
    if (options->allow_publish_for_subscriber && is_known && is_subscriber(shard, conn, channel))
        return ERR_OK;
    return shard->config->client_insecure ? ERR_OK : ERR_DENIED;
}

bool rules_subscriber_reads_history(const struct shard *shard, const struct conn *conn,
                                    const struct config_namespace *options)
{
    if (options->members_only) return true; /* that it is one makes it a member */
    bool is_known = conn->user_size > 0 || options->allow_history_for_anonymous;
    bool is_allowed = options->allow_history_for_client || options->allow_history_for_subscriber;
    return (is_allowed && is_known) || shard->config->client_insecure;
}

bool rules_subscriber_sees_presence(const struct shard *shard, const struct conn *conn,
                                    const struct config_namespace *options)
{
    if (options->members_only) return true;
    bool is_known = conn->user_size > 0 || options->allow_presence_for_anonymous;
    bool is_allowed = options->allow_presence_for_client || options->allow_presence_for_subscriber;
    return (is_allowed && is_known) || shard->config->client_insecure;
}

enum err rules_may_read_history(const struct shard *shard, const struct conn *conn,
                                struct bytes channel, const struct config_namespace *options)
{
    if (!config_has_history(options)) return ERR_NOT_AVAILABLE;
    if (options->members_only) return members_only(conn);
    bool is_known = conn->user_size > 0 || options->allow_history_for_anonymous;
    if (options->allow_history_for_client && is_known) return ERR_OK;
    if (options->allow_history_for_subscriber && is_known && is_subscriber(shard, conn, channel))
        return ERR_OK;
    return shard->config->client_insecure ? ERR_OK : ERR_DENIED;
}

enum err rules_may_see_presence(const struct shard *shard, const struct conn *conn,
                                struct bytes channel, const struct config_namespace *options)
{
    if (!options->presence) return ERR_NOT_AVAILABLE;
    /* Who is subscribed is a member, and is unsubscribed with the membership. */
    if (options->members_only)
        return is_live_subscriber(shard, conn, channel) ? ERR_OK : ERR_NOT_MEMBER;
    bool is_known = conn->user_size > 0 || options->allow_presence_for_anonymous;
    if (options->allow_presence_for_client && is_known) return ERR_OK;
    if (options->allow_presence_for_subscriber && is_known && is_subscriber(shard, conn, channel))
        return ERR_OK;
    return shard->config->client_insecure ? ERR_OK : ERR_DENIED;
}

enum err rules_data(struct bytes data, bool is_json, const struct config_namespace *options,
                    bool *is_opaque)
{
    enum config_data format = (enum config_data)options->publication_data_format;
    *is_opaque = false;
    /* Nothing at all is no JSON, but a JSON listener can be told of it: without data. */
    if (data.size == 0) return format == CONFIG_DATA_BINARY ? ERR_OK : ERR_BAD_REQUEST;
    *is_opaque = !is_json && !json_is_valid(data);
    switch (format) {
    case CONFIG_DATA_JSON: return *is_opaque ? ERR_BAD_REQUEST : ERR_OK;
    case CONFIG_DATA_OBJECT: {
        struct json json;
        json_open(&json, data);
        return *is_opaque || json_peek(&json) != JSON_OBJECT ? ERR_BAD_REQUEST : ERR_OK;
    }
    case CONFIG_DATA_ANY:
    case CONFIG_DATA_BINARY: return ERR_OK;
    }
    impossible("an option has one of its values");
}
