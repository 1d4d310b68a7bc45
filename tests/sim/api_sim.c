/*
 * api_sim: simulated backends on the server API.
 *
 * One request at a time on a kept-alive connection.  A publish carries an
 * idempotency key and is sent again with it until an answer comes, over
 * errors, resets and restarts: so every message of a backend must end up
 * acknowledged, once.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client_sim.h"
#include "core/check.h"
#include "host.h"
#include "net_sim.h"
#include "world.h"

enum task_kind {
    TASK_NONE,
    TASK_PUBLISH,
    TASK_HISTORY,
    TASK_MEMBERS,
    TASK_INFO,
    TASK_BAN,
    TASK_EXPIRE,
    TASK_UNSUBSCRIBE
};

struct api_sim {
    uint32_t number;
    struct link *link;
    bool is_open, is_asked; /* a request is on the wire */
    uint64_t session;
    struct intake intake;
    enum task_kind kind;
    uint32_t channel;
    uint32_t message;
    uint32_t tries;
    uint32_t user;     /* TASK_BAN, TASK_EXPIRE, TASK_UNSUBSCRIBE */
    uint64_t asked_ns; /* when the request was sent */
    bool is_whole;     /* TASK_HISTORY: everything, and the final check */
    uint64_t head_before;
    uint64_t members_left; /* channels of KIND_TEAM without members yet */
    char *body;
};

static struct {
    const struct plan *plan;
    struct api_sim apis[APIS_SIM_MAX];
    bool is_calm, is_stopped;
    bool is_counted; /* info told the right numbers after the reading */
    uint64_t counted_clients, counted_subs;
    uint32_t reading; /* next channel of the final reading; UINT32_MAX before */
} office;

static void api_go(struct api_sim *api);

static void api_again(void *context, uint64_t session)
{
    struct api_sim *api = context;
    if (api->session == session) api_go(api);
}

static void api_go_later(struct api_sim *api)
{
    uint64_t wait_ms = chance_between(1, api->tries < 6 ? 20ull << api->tries : 1000);
    api->tries++;
    world_at(world.now_ns + wait_ms * 1000000u, api_again, api, api->session);
}

static void api_off(struct api_sim *api)
{
    api->link = NULL;
    api->is_open = api->is_asked = false;
    api->session++;
    api->intake.size = 0;
    if (!office.is_stopped) api_go_later(api);
}

static uint32_t body_write(struct api_sim *api)
{
    char *out = api->body;
    const char *name = office.plan->channels[api->channel].name;
    int used = 0;
    switch (api->kind) {
    case TASK_PUBLISH: {
        /* The same bytes each time: the pad is drawn from the number. */
        uint32_t pad = api->message % 50;
        used = snprintf(out, MESSAGE_ROOM,
                        "{\"channel\":\"%s\",%s%u%s\"data\":{\"m\":%u,\"s\":%u,\"p\":\"", name,
                        "\"idempotency_key\":\"k", api->message, "\",", api->message, pad);
        memset(out + used, 'a' + (int)(api->message % 26), pad);
        used += (int)pad;
        used += snprintf(out + used, 8, "\"}}");
        break;
    }
    case TASK_HISTORY:
        used = snprintf(out, MESSAGE_ROOM, "{\"channel\":\"%s\",\"limit\":%d}", name,
                        api->is_whole ? -1 : (int)chance_below(30));
        break;
    case TASK_INFO: used = snprintf(out, MESSAGE_ROOM, "{}"); break;
    case TASK_MEMBERS:
        used = snprintf(out, MESSAGE_ROOM, "{\"channel\":\"%s\",\"members\":[", name);
        for (uint32_t i = 0; i < office.plan->users_count; i++)
            used += snprintf(out + used, 32, "%s\"u%u\"", i == 0 ? "" : ",", i);
        used += snprintf(out + used, 8, "]}");
        break;
    case TASK_BAN: used = snprintf(out, MESSAGE_ROOM, "{\"user\":\"u%u\"}", api->user); break;
    case TASK_EXPIRE:
        used = snprintf(out, MESSAGE_ROOM, "{\"user\":\"u%u\",\"expired\":true}", api->user);
        break;
    case TASK_UNSUBSCRIBE:
        used =
            snprintf(out, MESSAGE_ROOM, "{\"user\":\"u%u\",\"channel\":\"%s\"}", api->user, name);
        break;
    default: impossible("no task");
    }
    return (uint32_t)used;
}

static void api_send(struct api_sim *api)
{
    static const char *const methods[] = {"",     "publish",    "history", "members_set",
                                          "info", "disconnect", "refresh", "unsubscribe"};
    char head[256];
    uint32_t size = body_write(api);
    int used = snprintf(head, sizeof(head),
                        "POST /api/%s HTTP/1.1\r\nHost: sim\r\nX-API-Key: simulated "
                        "key\r\nContent-Type: application/json\r\nContent-Length: %u\r\n\r\n",
                        methods[api->kind], size);
    api->head_before = book.channels[api->channel].head;
    api->is_asked = true;
    api->asked_ns = world.now_ns;
    net_write(api->link, head, (size_t)used);
    net_write(api->link, api->body, size);
}

static void hear_publish(struct api_sim *api, struct bytes result)
{
    char epoch[EPOCH_SIM_MAX];
    peek_text(result, "epoch", epoch, sizeof(epoch));
    uint64_t offset = peek_number(result, "offset", 0);
    if (plan_has_history(office.plan->channels[api->channel].kind) != (offset != 0))
        world_fail("a publish into history is told its offset", "message %u offset %" PRIu64,
                   api->message, offset);
    world_note(TRACE_PUBLISHED, CLIENTS_SIM_MAX + api->number, api->message, offset);
    check_acked(api->message, offset, epoch);
}

static void hear_history(struct api_sim *api, struct bytes result)
{
    struct bytes list, publication, data;
    char epoch[EPOCH_SIM_MAX];
    peek_text(result, "epoch", epoch, sizeof(epoch));
    check_epoch(api->channel, epoch);
    uint64_t head = peek_number(result, "offset", 0), first = 0, last = 0;
    check_position(api->channel, head, api->head_before);
    if (!peek_get(result, "publications", &list))
        world_fail("history has publications", "backend %u", api->number);
    for (size_t at = 0; peek_each(list, &at, &publication);) {
        uint64_t offset = peek_number(publication, "offset", 0);
        if (!peek_get(publication, "data", &data))
            world_fail("a publication has data", "backend %u", api->number);
        check_seen(api->channel, offset, book_number_of(data));
        if (last != 0 && offset != last + 1)
            world_fail("history is in order, without gaps",
                       "channel %s: %" PRIu64 " after %" PRIu64,
                       office.plan->channels[api->channel].name, offset, last);
        if (first == 0) first = offset;
        last = offset;
    }
    if (!api->is_whole) return;
    if (last != head)
        world_fail("whole history ends at the head", "channel %s: %" PRIu64 " of %" PRIu64,
                   office.plan->channels[api->channel].name, last, head);
    check_complete(api->channel, first, head);
}

/* What info counts, once everything has settled. */
static bool hear_info(struct bytes result)
{
    struct bytes nodes, node;
    size_t at = 0;
    if (!peek_get(result, "nodes", &nodes) || !peek_each(nodes, &at, &node))
        world_fail("info tells about the node", "%.*s", (int)min_u64(result.size, 80),
                   (const char *)result.at);
    uint32_t subs, on = clients_on(&subs);
    office.counted_clients = peek_number(node, "num_clients", UINT64_MAX);
    office.counted_subs = peek_number(node, "num_subs", UINT64_MAX);
    return office.counted_clients == on && office.counted_subs == subs;
}

static void task_end(struct api_sim *api)
{
    api->kind = TASK_NONE;
    api->tries = 0;
    api->is_whole = false;
    if (office.reading != UINT32_MAX) api_go(api);
}

static void api_hear(struct api_sim *api, const struct http_answer *answer)
{
    struct bytes result, error;
    api->is_asked = false;
    if (answer->status != 200 && answer->status != 503 && answer->status != 500)
        world_fail("a correct call is answered", "backend %u task %d: status %u", api->number,
                   api->kind, answer->status);
    if (answer->status != 200 || peek_get(answer->body, "error", &error)) {
        uint32_t code =
            answer->status != 200 ? answer->status : (uint32_t)peek_number(error, "code", 0);
        world_note(TRACE_ANSWER, CLIENTS_SIM_MAX + api->number, api->kind, code);
        if (code != 100 && code != 111 && code != 500 && code != 503)
            world_fail("what is allowed is not refused", "backend %u task %d: code %u", api->number,
                       api->kind, code);
        api_go_later(api);
        return;
    }
    if (!peek_get(answer->body, "result", &result))
        world_fail("an answer has a result", "backend %u", api->number);
    if (api->kind == TASK_PUBLISH) hear_publish(api, result);
    if (api->kind == TASK_HISTORY) hear_history(api, result);
    if (api->kind == TASK_INFO) {
        /* A reset may still be on its way to the gateway: ask again. */
        if (!hear_info(result)) {
            api_go_later(api);
            return;
        }
        office.is_counted = true;
    }
    if ((api->kind == TASK_BAN || api->kind == TASK_EXPIRE) && host_node() != NULL)
        check_banned(host_node(), api->user, api->asked_ns);
    if (api->kind == TASK_MEMBERS) {
        book.channels[api->channel].has_members = true;
        book.channels[api->channel].members_since = book.messages_count;
    }
    task_end(api);
}

static void on_open(void *owner)
{
    struct api_sim *api = owner;
    api->is_open = true;
    api_go(api);
}

static void on_data(void *owner, const uint8_t *data, size_t size)
{
    struct api_sim *api = owner;
    struct http_answer answer;
    intake_put(&api->intake, data, size);
    if (!http_take(&api->intake, &answer)) return;
    if (!api->is_asked) world_fail("an answer follows a request", "backend %u", api->number);
    uint64_t session = api->session;
    size_t whole = answer.size;
    api_hear(api, &answer);
    if (api->session == session) intake_drop(&api->intake, whole);
}

static void on_end(void *owner, bool is_orderly)
{
    (void)is_orderly;
    api_off(owner);
}

static const struct net_peer peer = {on_open, on_data, on_end};

/* The next task of this backend, if there is none under way. */
static void task_pick(struct api_sim *api)
{
    if (office.reading != UINT32_MAX) {
        while (office.reading < office.plan->channels_count &&
               !plan_has_history(office.plan->channels[office.reading].kind))
            office.reading++;
        if (office.reading >= office.plan->channels_count) {
            if (api->number == 0 && !office.is_counted) api->kind = TASK_INFO;
            return;
        }
        api->kind = TASK_HISTORY;
        api->channel = office.reading++;
        api->is_whole = true;
        return;
    }
    for (uint32_t i = 0; api->members_left != 0; i++) {
        if (!(api->members_left & 1ull << i)) continue;
        api->members_left &= ~(1ull << i);
        api->kind = TASK_MEMBERS;
        api->channel = i;
        return;
    }
    if (office.is_calm) return;
    if (chance(office.plan->ban_percent)) {
        api->kind = chance(50) ? TASK_BAN : chance(40) ? TASK_EXPIRE : TASK_UNSUBSCRIBE;
        api->channel = (uint32_t)chance_below(office.plan->channels_count);
        /* Best while one of the user's clients is on its way in. */
        api->user =
            chance(70) ? clients_greeting_user() : (uint32_t)chance_below(office.plan->users_count);
        return;
    }
    api->channel = (uint32_t)chance_below(office.plan->channels_count);
    api->kind = plan_has_history(office.plan->channels[api->channel].kind) && chance(10)
                    ? TASK_HISTORY
                    : TASK_PUBLISH;
    if (api->kind != TASK_PUBLISH) return;
    api->message = book_message_new(api->channel, CLIENTS_SIM_MAX + api->number);
    book.messages[api->message].session = api->session;
    world_note(TRACE_PUBLISH, CLIENTS_SIM_MAX + api->number, api->channel, api->message);
}

static void api_go(struct api_sim *api)
{
    if (office.is_stopped) return;
    if (api->link == NULL) {
        api->link = net_connect(&peer, api);
        return;
    }
    if (!api->is_open || api->is_asked) return;
    if (api->kind == TASK_PUBLISH && api->tries > 0 &&
        office.plan->channels[api->channel].kind == KIND_LIVE) {
        /* Keys of live channels are not durable: an attempt is the last one. */
        check_refused(api->message, 0);
        task_end(api);
    }
    if (api->kind == TASK_NONE) task_pick(api);
    if (api->kind != TASK_NONE) api_send(api);
}

static void api_act(void *context, uint64_t number)
{
    struct api_sim *api = context;
    if (office.is_calm) return;
    world_at(world.now_ns + chance_below(2 * office.plan->api_act_ns), api_act, api, number);
    if (api->kind == TASK_NONE)
        api_go(api);
    else if (api->is_asked && chance(1))
        net_reset(api->link);
}

void apis_init(const struct plan *plan)
{
    memset(&office, 0, sizeof(office));
    office.plan = plan;
    office.reading = UINT32_MAX;
    for (uint32_t i = 0; i < plan->apis_count; i++) {
        struct api_sim *api = &office.apis[i];
        api->number = i;
        api->body = malloc(MESSAGE_ROOM);
        check(api->body != NULL);
        for (uint32_t k = 0; i == 0 && k < plan->channels_count; k++)
            if (plan->channels[k].kind == KIND_TEAM) api->members_left |= 1ull << k;
        world_at(world.now_ns + chance_below(100000000), api_act, api, 0);
    }
}

void apis_fini(void)
{
    for (uint32_t i = 0; i < office.plan->apis_count; i++) {
        free(office.apis[i].body);
        intake_free(&office.apis[i].intake);
    }
}

void apis_calm(void)
{
    office.is_calm = true;
}

bool apis_are_idle(char *why, size_t size)
{
    uint32_t subs, on = clients_on(&subs);
    snprintf(why, size,
             "a backend waits for an answer, or info counts %" PRIu64 " clients and %" PRIu64
             " subscriptions, not %u and %u",
             office.counted_clients, office.counted_subs, on, subs);
    if (office.reading != UINT32_MAX && !office.is_counted) return false;
    for (uint32_t i = 0; i < office.plan->apis_count; i++)
        if (office.apis[i].kind != TASK_NONE) return false;
    return true;
}

void apis_read_all(void)
{
    office.reading = 0;
    office.is_counted = false;
    for (uint32_t i = 0; i < office.plan->apis_count; i++) api_go(&office.apis[i]);
}

void apis_stop(void)
{
    office.is_stopped = true;
    for (uint32_t i = 0; i < office.plan->apis_count; i++) {
        struct api_sim *api = &office.apis[i];
        if (api->link == NULL) continue;
        net_close(api->link, chance(20));
        api_off(api);
    }
}
