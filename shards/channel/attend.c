/*
 * attend: who comes and goes, and who asks for them.
 *
 * A subscription that is listed or told has an entry from the turn of its reply
 * to its LEAVE (presence.h).  Its join is told behind the reply and its leave
 * behind the last push that it may have had, on the same FIFOs, so whoever hears
 * both hears them in order.
 *
 * Above channel.presence_max_clients nobody is listed (ERR_PRESENCE_TOO_BIG) and
 * nobody is told: a crowd of n that comes and goes would cost n² pushes.  Counts
 * go on.  A leave is told only of whom the join was told; one whose channel has
 * grown above the limit since then goes without.
 *
 * These questions need no store, so they are answered whatever the channel's
 * state is, and a channel that nobody listens to is not opened for them.
 */
#include "core/mem.h"
#include "shards/channel/channel_parts.h"
#include "shards/fanout/fanout.h"

static bool is_crowded(const struct channel *channel)
{
    return channel->presence->clients.count > channel->shard->config->channel_presence_max_clients;
}

static bool has_hearers(struct channel *channel)
{
    for (uint32_t i = 0; i < channel->listeners_count; i++)
        if (channel_listeners(channel)[i].hears > 0) return true;
    return false;
}

void attend_enter(struct channel *channel, const struct letter_subscribe *in)
{
    struct shard *shard = channel->shard;
    if (!in->has_presence && !in->tells_joins) return;
    struct wire_info who = {
        .user = in->user, .conn_info = in->conn_info, .chan_info = in->chan_info};
    memcpy(who.client, in->client, sizeof who.client);
    if (channel->presence == NULL) channel->presence = mem_alloc(sizeof *channel->presence);
    /* The newcomer counts. */
    bool is_told = in->tells_joins &&
                   channel->presence->clients.count < shard->config->channel_presence_max_clients;
    presence_add(&shard->channels.presences, channel->presence, &who,
                 (in->has_presence ? PRESENCE_LISTED : 0) | (is_told ? PRESENCE_TOLD : 0));
    metric_add(&shard->metrics, METRIC_PRESENCE, 1);
    metric_add(&shard->metrics, METRIC_ACTIONS_ADD_PRESENCE, in->has_presence);
    if (is_told && has_hearers(channel)) fanout_join(shard, channel, PUSH_JOIN, &who);
}

void attend_leave(struct channel *channel, const struct letter_leave *in)
{
    struct shard *shard = channel->shard;
    struct presences *all = &shard->channels.presences;
    if (!in->has_presence && !in->tells_joins) return;
    check(channel->presence != NULL);
    struct wire_info who;
    uint32_t flags;
    bool is_found =
        presence_find(all, channel->presence, in->client, in->has_presence, &who, &flags);
    check(is_found); /* one LEAVE for each that was answered as live */
    if ((flags & PRESENCE_TOLD) && !is_crowded(channel) && has_hearers(channel))
        fanout_join(shard, channel, PUSH_LEAVE, &who);
    presence_remove(all, channel->presence, in->client, in->has_presence);
    metric_sub(&shard->metrics, METRIC_PRESENCE, 1);
    metric_add(&shard->metrics, METRIC_ACTIONS_REMOVE_PRESENCE, in->has_presence);
    if (channel->presence->clients.count > 0) return;
    check(channel->presence->users.count == 0);
    mem_free(channel->presence);
    channel->presence = NULL;
}

/* A zeroed presence is what a channel without entries has. */
static const struct presence nobody;

static const struct presence *presence_of(struct shard *shard, struct bytes name)
{
    const struct channel *channel = channel_find(shard, name);
    return channel == NULL || channel->presence == NULL ? &nobody : channel->presence;
}

void channel_on_presence(void *context, struct letter *letter)
{
    struct shard *shard = context;
    struct letter_ask in;
    letter_read_ask(letter, &in);
    const struct presence *presence = presence_of(shard, in.channel);
    metric_add(&shard->metrics, METRIC_ACTIONS_PRESENCE, 1);
    struct answer answer = {.call = in.call};
    if (presence->clients.count > shard->config->channel_presence_max_clients) {
        question_refuse(shard, letter->from, in.call, ERR_PRESENCE_TOO_BIG);
        return;
    }
    answer.infos_count = presence_clients(presence);
    answer.infos = presence_list(&shard->channels.presences, presence, &shard->arena);
    size_t bytes = 0;
    for (uint32_t i = 0; i < answer.infos_count; i++) {
        const struct wire_info *who = &answer.infos[i];
        bytes += 64 + who->user.size + who->conn_info.size + who->chan_info.size;
    }
    if (bytes > HISTORY_BYTES_MAX) {
        question_refuse(shard, letter->from, in.call, ERR_PRESENCE_TOO_BIG);
        return;
    }
    call_answer(shard, letter, &answer);
}

void channel_on_presence_stats(void *context, struct letter *letter)
{
    struct shard *shard = context;
    struct letter_ask in;
    letter_read_ask(letter, &in);
    const struct presence *presence = presence_of(shard, in.channel);
    metric_add(&shard->metrics, METRIC_ACTIONS_PRESENCE_STATS, 1);
    call_answer(shard, letter,
                &(struct answer){
                    .call = in.call,
                    .clients_count = presence_clients(presence),
                    .users_count = presence_users(presence),
                });
}
