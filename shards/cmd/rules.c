/*
 * rules: permission checks.
 */
#include "shards/cmd/rules.h"

#include "shards/cmd/subscription.h"
#include "shards/shard.h"

enum err rules_channel(const struct shard *shard, struct bytes channel,
                       const struct config_namespace **options)
{
    if (channel.size == 0 || channel.size > shard->config->channel_max_length)
        return ERR_BAD_CHANNEL;
    const struct config_namespace *found = config_namespace_of(shard->config, channel);
    if (found == NULL) return ERR_UNKNOWN_CHANNEL;
    /* Printable ASCII, the default rule of names. */
    for (size_t i = 0; i < channel.size; i++)
        if (channel.at[i] < 0x20 || channel.at[i] > 0x7e) return ERR_BAD_CHANNEL;
    *options = found;
    return ERR_OK;
}

/* '#' names users and '$' asks for a token; neither is open to all. */
static bool is_restricted(struct bytes channel)
{
    return channel.at[0] == '$' || memchr(channel.at, '#', channel.size) != NULL;
}

static bool is_subscriber(const struct shard *shard, const struct conn *conn, struct bytes channel)
{
    return subscription_find(shard, conn, channel) != UINT32_MAX;
}

enum err rules_may_subscribe(const struct shard *shard, const struct conn *conn,
                             struct bytes channel, const struct config_namespace *options)
{
    if (channel.at[0] == '$') return ERR_DENIED; /* by token only */
    bool is_known = conn->user_size > 0 || options->allow_subscribe_for_anonymous;
    if (options->allow_subscribe_for_client && is_known && !is_restricted(channel)) return ERR_OK;
    return shard->config->client_insecure ? ERR_OK : ERR_DENIED;
}

enum err rules_may_publish(const struct shard *shard, const struct conn *conn, struct bytes channel,
                           const struct config_namespace *options)
{
    bool is_known = conn->user_size > 0 || options->allow_publish_for_anonymous;
    if (options->allow_publish_for_client && is_known) return ERR_OK;
    if (options->allow_publish_for_subscriber && is_known && is_subscriber(shard, conn, channel))
        return ERR_OK;
    return shard->config->client_insecure ? ERR_OK : ERR_DENIED;
}

enum err rules_may_read_history(const struct shard *shard, const struct conn *conn,
                                struct bytes channel, const struct config_namespace *options)
{
    if (!config_has_history(options)) return ERR_NOT_AVAILABLE;
    bool is_known = conn->user_size > 0 || options->allow_history_for_anonymous;
    if (options->allow_history_for_client && is_known) return ERR_OK;
    if (options->allow_history_for_subscriber && is_known && is_subscriber(shard, conn, channel))
        return ERR_OK;
    return shard->config->client_insecure ? ERR_OK : ERR_DENIED;
}
