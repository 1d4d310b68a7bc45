/*
 * client_sim: the life of simulated clients.
 */
#include "client_sim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "speak.h"
#include "world.h"

struct client_sim clients[CLIENTS_SIM_MAX];
static struct {
    const struct plan *plan;
    bool is_calm, is_stopped;
} crowd;

static void client_dial(void *context, uint64_t session);

/* Long names of what an SDK must never be told by a gateway that it did not
 * wrong. */
static bool code_is_blame(uint32_t code)
{
    return code == 1002 || code == 1007 || code == 1009 || code == 3500 || code == 3501 ||
           code == 3507;
}

static void client_off(struct client_sim *client)
{
    if (code_is_blame(client->close_code))
        world_fail("a client that keeps the protocol is not blamed", "client %u: code %u",
                   client->number, client->close_code);
    world_note(TRACE_GONE, client->number, client->close_code, 0);
    client->state = CLIENT_OFF;
    client->link = NULL;
    client->session++;
    client->is_paused = false;
    client->close_code = 0;
    client->intake.size = 0;
    client_forget_asks(client);
    for (uint32_t i = 0; i < client->subs_count; i++) client->subs[i].state = SUB_SIM_OFF;
    if (crowd.is_stopped) return;
    uint64_t wait_ns =
        1000000u * chance_between(1, client->tries < 6 ? 30ull << client->tries : 2000);
    client->tries++;
    world_at(world.now_ns + wait_ns, client_dial, client, client->session);
}

static void on_open(void *owner)
{
    const struct client_sim *client = owner;
    speak_upgrade(client->link, client->is_binary);
}

static bool take_upgrade(struct client_sim *client)
{
    struct http_answer answer;
    if (!http_take(&client->intake, &answer)) return false;
    if (answer.status != 101) {
        /* 503 while draining or starting: come again. */
        if (answer.status != 503) world_fail("an upgrade is answered", "status %u", answer.status);
        net_close(client->link, false);
        client_off(client);
        return false;
    }
    intake_drop(&client->intake, answer.size);
    client->state = CLIENT_GREETING;
    if (!client_say_connect(client)) impossible("a new connection has no waiting commands");
    return true;
}

static void on_data(void *owner, const uint8_t *data, size_t size)
{
    struct client_sim *client = owner;
    intake_put(&client->intake, data, size);
    if (client->state == CLIENT_DIALING && !take_upgrade(client)) return;
    struct ws_message message;
    uint64_t session = client->session;
    while (client->session == session && ws_take(&client->intake, &message)) {
        client_hear(client, &message);
        if (client->session == session) intake_drop(&client->intake, message.size);
    }
}

static void on_end(void *owner, bool is_orderly)
{
    struct client_sim *client = owner;
    (void)is_orderly;
    client_off(client);
}

static const struct net_peer peer = {on_open, on_data, on_end};

static void client_dial(void *context, uint64_t session)
{
    struct client_sim *client = context;
    if (client->session != session || client->state != CLIENT_OFF || crowd.is_stopped) return;
    world_note(TRACE_CONNECT, client->number, client->tries, 0);
    client->state = CLIENT_DIALING;
    client->link = net_connect(&peer, client);
}

static void client_unpause(void *context, uint64_t session)
{
    struct client_sim *client = context;
    if (client->session != session || !client->is_paused) return;
    client->is_paused = false;
    net_pause(client->link, false);
}

void client_leave(struct client_sim *client, bool is_reset)
{
    net_close(client->link, is_reset);
    client_off(client);
}

static void act_leave(struct client_sim *client, bool is_reset)
{
    if (is_reset && chance(50))
        net_reset(client->link);
    else
        client_leave(client, is_reset);
}

static void act_subscribe(struct client_sim *client)
{
    struct sub_sim *sub = &client->subs[chance_below(client->subs_count)];
    if (sub->state == SUB_SIM_LIVE) {
        sub->is_wanted = false;
        (void)client_say_unsubscribe(client, sub);
    } else if (sub->state == SUB_SIM_OFF) {
        sub->is_wanted = true;
        /* A fresh start, or from where it was. */
        if (chance(50)) sub->has_position = false;
        (void)client_say_subscribe(client, sub);
    }
}

static void act_forbidden(struct client_sim *client)
{
    uint32_t channel = (uint32_t)chance_below(crowd.plan->channels_count);
    if (crowd.plan->is_insecure) return; /* everything is allowed */
    struct sub_sim *sub = client_sub(client, channel);
    if (crowd.plan->channels[channel].kind == KIND_SHUT)
        (void)client_say_forbidden(client, channel);
    else if (crowd.plan->channels[channel].kind == KIND_MUTE || sub == NULL)
        (void)client_say_publish(client, channel, true);
}

static void act_on_channel(struct client_sim *client, bool is_read)
{
    struct sub_sim *sub = &client->subs[chance_below(client->subs_count)];
    enum channel_kind kind = crowd.plan->channels[sub->channel].kind;
    if (sub->state != SUB_SIM_LIVE) return;
    if (is_read && kind == KIND_TEAM && crowd.plan->has_tokens &&
        book.channels[sub->channel].has_members && sub->offset > 0)
        (void)client_say_read(client, sub->channel, 1 + chance_below(sub->offset));
    else if (!is_read && plan_has_history(kind))
        (void)client_say_history(client, sub->channel, false);
}

static void act_slow(struct client_sim *client)
{
    if (client->is_paused) return;
    client->is_paused = true;
    net_pause(client->link, true);
    world_at(world.now_ns + chance_below(crowd.plan->slow_ns_max), client_unpause, client,
             client->session);
}

static void act_publish(struct client_sim *client)
{
    const struct sub_sim *sub = &client->subs[chance_below(client->subs_count)];
    if (sub->state != SUB_SIM_LIVE || crowd.plan->channels[sub->channel].kind == KIND_MUTE) return;
    enum channel_kind kind = crowd.plan->channels[sub->channel].kind;
    if (plan_has_history(kind) && client->keyed == 0 && chance(crowd.plan->keyed_percent)) {
        uint32_t number = book_message_new(sub->channel, client->number);
        client->keyed = number + 1;
        client_send_keyed(client);
        return;
    }
    (void)client_say_publish(client, sub->channel, false);
}

static void client_act(void *context, uint64_t number)
{
    struct client_sim *client = context;
    const struct plan *plan = crowd.plan;
    if (crowd.is_calm) return;
    world_at(world.now_ns + chance_below(2 * plan->act_ns), client_act, client, number);
    /* Some leave while they are still being asked who they are. */
    if (client->state == CLIENT_GREETING && plan->weight_reset > 0 && chance(20))
        act_leave(client, true);
    if (client->state != CLIENT_ON) return;
    const uint32_t weights[] = {plan->weight_publish, plan->weight_subscribe, plan->weight_history,
                                plan->weight_read,    plan->weight_forbidden, plan->weight_reset,
                                plan->weight_leave,   plan->weight_slow,      plan->weight_ping};
    uint32_t sum = 0, act = 0;
    for (uint32_t i = 0; i < array_count(weights); i++) sum += weights[i];
    for (uint64_t pick = chance_below(sum); pick >= weights[act]; act++) pick -= weights[act];
    switch (act) {
    case 0: act_publish(client); break;
    case 1: act_subscribe(client); break;
    case 2: act_on_channel(client, false); break;
    case 3: act_on_channel(client, true); break;
    case 4: act_forbidden(client); break;
    case 5: act_leave(client, true); break;
    case 6: act_leave(client, false); break;
    case 7: act_slow(client); break;
    default: (void)client_say_ping(client); break;
    }
}

static void client_init(struct client_sim *client, uint32_t number)
{
    const struct plan *plan = crowd.plan;
    memset(client, 0, sizeof(*client));
    client->number = number;
    client->user = number % plan->users_count;
    client->is_binary = number * 37 % 100 < plan->binary_percent;
    for (uint32_t i = 0; i < plan->channels_per_client; i++) {
        uint32_t channel = (uint32_t)chance_below(plan->channels_count);
        if (plan->channels[channel].kind == KIND_SHUT || client_sub(client, channel) != NULL)
            continue;
        client->subs[client->subs_count++] =
            (struct sub_sim){.channel = channel, .is_wanted = true};
    }
    if (client->subs_count == 0)
        client->subs[client->subs_count++] =
            (struct sub_sim){.channel = KIND_KEEP, .is_wanted = true};
    world_at(world.now_ns + chance_below(200000000), client_dial, client, 0);
    world_at(world.now_ns + chance_below(2 * plan->act_ns), client_act, client, 0);
}

void clients_init(const struct plan *plan)
{
    crowd.plan = plan;
    crowd.is_calm = crowd.is_stopped = false;
    for (uint32_t i = 0; i < plan->clients_count; i++) client_init(&clients[i], i);
}

void clients_fini(void)
{
    for (uint32_t i = 0; i < crowd.plan->clients_count; i++) {
        intake_free(&clients[i].intake);
        free(clients[i].token);
        for (uint32_t k = 0; k < clients[i].subs_count; k++) {
            free(clients[i].subs[k].newest);
            free(clients[i].subs[k].heard);
        }
    }
}

void clients_calm(void)
{
    crowd.is_calm = true;
    for (uint32_t i = 0; i < crowd.plan->clients_count; i++) {
        client_unpause(&clients[i], clients[i].session);
        for (uint32_t k = 0; k < clients[i].subs_count; k++) {
            struct sub_sim *sub = &clients[i].subs[k];
            if (!sub->is_wanted && sub->state == SUB_SIM_OFF && clients[i].state == CLIENT_ON)
                (void)client_say_subscribe(&clients[i], sub);
            sub->is_wanted = true;
        }
    }
}

void clients_ask_counts(void)
{
    for (uint32_t i = 0; i < crowd.plan->clients_count && crowd.plan->has_tokens; i++) {
        struct client_sim *client = &clients[i];
        for (uint32_t k = 0; k < client->subs_count; k++) {
            const struct book_channel *channel = &book.channels[client->subs[k].channel];
            uint64_t head = channel->head;
            /* Members count for what came after they joined. */
            if (!channel->has_members || head == 0 || head >= channel->numbers_room) continue;
            if (channel->numbers[head] <= channel->members_since) continue;
            if (client->state != CLIENT_ON) continue;
            (void)client_say_counts(client, client->subs[k].channel, head);
        }
    }
}

void clients_stop(void)
{
    crowd.is_calm = crowd.is_stopped = true;
    for (uint32_t i = 0; i < crowd.plan->clients_count; i++) {
        struct client_sim *client = &clients[i];
        if (client->state == CLIENT_OFF) continue;
        net_close(client->link, chance(20));
        client_off(client);
    }
}

struct sub_sim *client_sub(struct client_sim *client, uint32_t channel)
{
    for (uint32_t i = 0; i < client->subs_count; i++)
        if (client->subs[i].channel == channel) return &client->subs[i];
    return NULL;
}

uint32_t clients_on(uint32_t *subs)
{
    uint32_t count = 0;
    *subs = 0;
    for (uint32_t i = 0; i < crowd.plan->clients_count; i++) {
        if (clients[i].state != CLIENT_ON) continue;
        count++;
        *subs += crowd.plan->is_single; /* the personal channel */
        for (uint32_t k = 0; k < clients[i].subs_count; k++)
            *subs += clients[i].subs[k].state == SUB_SIM_LIVE;
    }
    return count;
}

uint32_t clients_greeting_user(void)
{
    uint32_t count = crowd.plan->clients_count, first = (uint32_t)chance_below(count);
    for (uint32_t i = 0; i < count; i++)
        if (clients[(first + i) % count].state == CLIENT_GREETING)
            return clients[(first + i) % count].user;
    return clients[first].user;
}

bool clients_are_complete(char *why, size_t size)
{
    for (uint32_t i = 0; i < crowd.plan->clients_count; i++) {
        const struct client_sim *client = &clients[i];
        if (client->state != CLIENT_ON || client->asks_count > 0 || client->keyed != 0) {
            snprintf(why, size, "client %u: state %d, %u commands unanswered, %u tries", i,
                     client->state, client->asks_count, client->tries);
            return false;
        }
        for (uint32_t k = 0; k < client->subs_count; k++) {
            const struct sub_sim *sub = &client->subs[k];
            const struct book_channel *channel = &book.channels[sub->channel];
            bool is_behind = plan_has_history(channel->plan->kind) && sub->offset < channel->head;
            if (sub->state == SUB_SIM_LIVE && !is_behind) continue;
            snprintf(why, size, "client %u: channel %s state %d offset %llu of %llu", i,
                     channel->plan->name, sub->state, (unsigned long long)sub->offset,
                     (unsigned long long)channel->head);
            return false;
        }
    }
    return true;
}
