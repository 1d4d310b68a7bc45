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
 *
 * With other nodes the entries of all of them stand at the store (storage/peers.h).
 * What happens here is told to our own listeners at once and to the store, which
 * tells the other nodes and is asked for the roll.
 */
#include "core/mem.h"
#include "shards/channel/channel_parts.h"
#include "shards/fanout/fanout.h"
#include "storage/peers.h"

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

static void tell_peers(struct channel *channel, const struct wire_info *who, uint32_t flags,
                       bool is_again)
{
    struct store *store = channel->shard->store;
    if (!store_has_peers(store)) return;
    struct store_present present = {
        .user = who->user, .conn_info = who->conn_info, .chan_info = who->chan_info};
    memcpy(present.client, who->client, sizeof present.client);
    store_enter(store, channel_name(channel), &present,
                (flags & PRESENCE_LISTED ? STORE_PRESENT_LISTED : 0) |
                    (flags & PRESENCE_TOLD ? STORE_PRESENT_TOLD : 0) |
                    (is_again ? STORE_PRESENT_QUIET : 0));
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
    uint32_t flags = (in->has_presence ? PRESENCE_LISTED : 0) | (is_told ? PRESENCE_TOLD : 0);
    presence_add(&shard->channels.presences, channel->presence, &who, flags);
    tell_peers(channel, &who, flags, false);
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
    /* One that left and came back before the first answer has another entry. */
    bool is_back =
        presence_find(all, channel->presence, in->client, in->has_presence, &who, &flags);
    if (store_has_peers(shard->store) && !is_back)
        store_leave(shard->store, channel_name(channel), in->client, in->has_presence);
    metric_sub(&shard->metrics, METRIC_PRESENCE, 1);
    metric_add(&shard->metrics, METRIC_ACTIONS_REMOVE_PRESENCE, in->has_presence);
    if (channel->presence->clients.count > 0) return;
    check(channel->presence->users.count == 0);
    mem_free(channel->presence);
    channel->presence = NULL;
}

void attend_again(struct channel *channel, bool is_quiet)
{
    const struct presences *all = &channel->shard->channels.presences;
    struct wire_info who;
    uint32_t at = 0, flags;
    if (channel->presence == NULL || !store_has_peers(channel->shard->store)) return;
    while (presence_next(all, channel->presence, &at, &who, &flags))
        tell_peers(channel, &who, flags, is_quiet);
}

/* --- from other nodes ------------------------------------------------------------- */

void channel_on_reenter(void *shard, struct store_channel *store)
{
    struct channel *channel = channel_of_store(store);
    check(channel->shard == shard);
    attend_again(channel, false);
}

/* A client of ours may be spoken of by another node that takes us for dead. */
static bool is_ours(const struct channel *channel, const uint8_t client[16])
{
    const struct presences *all = &channel->shard->channels.presences;
    struct wire_info who;
    uint32_t flags;
    return channel->presence != NULL &&
           (presence_find(all, channel->presence, client, true, &who, &flags) ||
            presence_find(all, channel->presence, client, false, &who, &flags));
}

void channel_on_join(void *context, struct store_channel *store, const struct store_present *who,
                     bool is_leave)
{
    struct shard *shard = context;
    struct channel *channel = channel_of_store(store);
    if (channel->listeners_count == 0 || !has_hearers(channel) || is_ours(channel, who->client))
        return;
    struct wire_info info = {
        .user = who->user, .conn_info = who->conn_info, .chan_info = who->chan_info};
    memcpy(info.client, who->client, sizeof info.client);
    fanout_join(shard, channel, is_leave ? PUSH_LEAVE : PUSH_JOIN, &info);
}

/* A question about a channel's roll, at the store. */
struct roll_ask {
    struct store_roll op;
    struct shard *shard;
    uint32_t to;
    struct handle call;
    uint8_t name[];
};

static void roll_end(struct roll_ask *ask, const struct answer *answer)
{
    call_answer_to(ask->shard, ask->to, answer);
    mem_free(ask);
}

static void on_roll(struct store_roll *op, enum err err, uint32_t clients, uint32_t users,
                    const struct store_present *present, uint32_t count)
{
    struct roll_ask *ask = container_of(op, struct roll_ask, op);
    struct shard *shard = ask->shard;
    struct answer answer = {
        .call = ask->call, .err = err, .clients_count = clients, .users_count = users};
    if (err != ERR_OK || op->is_count) {
        roll_end(ask, &answer);
        return;
    }
    struct wire_info *infos = arena_get(&shard->arena, (count + (size_t)1) * sizeof *infos);
    size_t bytes = 0;
    for (uint32_t i = 0; i < count; i++) {
        infos[i] = (struct wire_info){.user = present[i].user,
                                      .conn_info = present[i].conn_info,
                                      .chan_info = present[i].chan_info};
        memcpy(infos[i].client, present[i].client, sizeof infos[i].client);
        bytes += 64 + infos[i].user.size + infos[i].conn_info.size + infos[i].chan_info.size;
    }
    answer.infos = infos;
    answer.infos_count = count;
    if (clients > op->clients_max || bytes > HISTORY_BYTES_MAX)
        answer = (struct answer){.call = ask->call, .err = ERR_PRESENCE_TOO_BIG};
    roll_end(ask, &answer);
}

static void ask_roll(struct shard *shard, const struct letter *letter, const struct letter_ask *in,
                     bool is_count)
{
    struct roll_ask *ask = mem_alloc(sizeof *ask + in->channel.size);
    memcpy(ask->name, in->channel.at, in->channel.size);
    ask->shard = shard;
    ask->to = letter->from;
    ask->call = in->call;
    ask->op = (struct store_roll){
        .channel = bytes_of(ask->name, in->channel.size),
        .is_count = is_count,
        .clients_max = shard->config->channel_presence_max_clients,
        .on_roll = on_roll,
    };
    store_roll(shard->store, &ask->op);
}

/* --- questions -------------------------------------------------------------------- */

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
    metric_add(&shard->metrics, METRIC_ACTIONS_PRESENCE, 1);
    if (store_has_peers(shard->store)) {
        ask_roll(shard, letter, &in, false);
        return;
    }
    const struct presence *presence = presence_of(shard, in.channel);
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
    metric_add(&shard->metrics, METRIC_ACTIONS_PRESENCE_STATS, 1);
    if (store_has_peers(shard->store)) {
        ask_roll(shard, letter, &in, true);
        return;
    }
    const struct presence *presence = presence_of(shard, in.channel);
    call_answer(shard, letter,
                &(struct answer){
                    .call = in.call,
                    .clients_count = presence_clients(presence),
                    .users_count = presence_users(presence),
                });
}
