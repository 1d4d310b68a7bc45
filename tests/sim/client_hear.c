/*
 * client_hear: what simulated clients are told, and what must hold of it.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "client_sim.h"
#include "core/check.h"
#include "wire_pb.h"
#include "world.h"

static struct ask ask_take(struct client_sim *client, uint32_t id)
{
    for (uint32_t i = 0; i < client->asks_count; i++) {
        if (client->asks[i].id != id) continue;
        struct ask ask = client->asks[i];
        client->asks[i] = client->asks[--client->asks_count];
        return ask;
    }
    world_fail("each command has one reply", "client %u: reply %u", client->number, id);
}

void client_forget_asks(struct client_sim *client)
{
    for (uint32_t i = 0; i < client->asks_count; i++)
        if (client->asks[i].kind == ASK_PUBLISH || client->asks[i].kind == ASK_SEND)
            check_refused(client->asks[i].number, 0);
    client->asks_count = 0;
}

/* A publication at its place in the channel's order. */
static void hear_publication(struct client_sim *client, struct sub_sim *sub,
                             struct bytes publication)
{
    struct bytes data;
    if (!peek_get(publication, "data", &data))
        world_fail("a publication has data", "client %u", client->number);
    uint32_t number = book_number_of(data);
    uint64_t offset = peek_number(publication, "offset", 0);
    world_note(TRACE_DELIVERED, client->number, sub->channel, offset);
    check_seen(sub->channel, offset, number);
    book.delivered++;
    if (offset == 0) {
        check_live(client, sub, number);
        return;
    }
    if (offset != sub->offset + 1)
        world_fail("each client gets a channel in order, without gaps or doubles",
                   "client %u channel %s: offset %" PRIu64 " after %" PRIu64, client->number,
                   book.plan->channels[sub->channel].name, offset, sub->offset);
    sub->offset = offset;
    char epoch[EPOCH_SIM_MAX];
    peek_text(publication, "epoch", epoch, sizeof(epoch));
    check_epoch(sub->channel, epoch);
}

/* Centrifuge client protocol: after a recovery `offset` repeats the request's
 * and the publications lead from there to the head; without one it is the head. */
static void hear_recovered(struct client_sim *client, struct sub_sim *sub, const struct ask *ask,
                           struct bytes result)
{
    const char *name = book.plan->channels[sub->channel].name;
    uint64_t offset = peek_number(result, "offset", 0);
    struct bytes list, publication;
    if (peek_true(result, "recovered")) {
        book.recovered++;
        if (offset != ask->offset)
            world_fail("a recovery begins at the offset asked for",
                       "client %u channel %s: %" PRIu64 " not %" PRIu64, client->number, name,
                       offset, ask->offset);
        sub->offset = offset;
        if (peek_get(result, "publications", &list))
            for (size_t at = 0; peek_each(list, &at, &publication);)
                hear_publication(client, sub, publication);
        return;
    }
    book.unrecovered++;
    uint64_t missed = offset - ask->offset,
             kept = plan_history(book.plan, book.plan->channels[sub->channel].kind);
    if (missed <= kept && missed <= RECOVERY_MAX)
        world_fail("what is kept is recovered",
                   "client %u channel %s: %" PRIu64 " missed after %" PRIu64 ", %" PRIu64 " kept",
                   client->number, name, missed, ask->offset, kept);
    sub->offset = offset;
}

static void hear_subscribed(struct client_sim *client, const struct ask *ask, struct bytes result)
{
    struct sub_sim *sub = client_sub(client, ask->channel);
    enum channel_kind kind = book.plan->channels[ask->channel].kind;
    if (ask->is_forbidden)
        world_fail("nobody subscribes where it may not", "client %u channel %s", client->number,
                   book.plan->channels[ask->channel].name);
    check(sub != NULL && sub->state == SUB_SIM_ASKED);
    char epoch[EPOCH_SIM_MAX];
    peek_text(result, "epoch", epoch, sizeof(epoch));
    sub->state = SUB_SIM_LIVE;
    sub->heard_count = 0;
    if (sub->newest != NULL)
        memset(sub->newest, 0, (CLIENTS_SIM_MAX + APIS_SIM_MAX) * sizeof(*sub->newest));
    if (plan_has_history(kind)) {
        if (epoch[0] == '\0')
            world_fail("a position has an epoch", "channel %s",
                       book.plan->channels[ask->channel].name);
        check_epoch(sub->channel, epoch);
        if (ask->is_recovering)
            hear_recovered(client, sub, ask, result);
        else
            sub->offset = peek_number(result, "offset", 0);
        check_position(sub->channel, sub->offset, ask->head_before);
        sub->has_position = true;
        memcpy(sub->epoch, epoch, sizeof(epoch));
    }
    world_note(TRACE_SUBSCRIBED, client->number, sub->channel, sub->offset);
    if (!sub->is_wanted)
        (void)client_say_unsubscribe(client, sub);
    else if (client->keyed != 0)
        client_send_keyed(client);
}

static void hear_history(struct client_sim *client, const struct ask *ask, struct bytes result)
{
    struct bytes list, publication, data;
    char epoch[EPOCH_SIM_MAX];
    peek_text(result, "epoch", epoch, sizeof(epoch));
    check_epoch(ask->channel, epoch);
    uint64_t head = peek_number(result, "offset", 0), last = 0;
    check_position(ask->channel, head, ask->head_before);
    if (!peek_get(result, "publications", &list))
        world_fail("history has publications", "client %u", client->number);
    for (size_t at = 0; peek_each(list, &at, &publication);) {
        uint64_t offset = peek_number(publication, "offset", 0);
        if (!peek_get(publication, "data", &data))
            world_fail("a publication has data", "client %u", client->number);
        check_seen(ask->channel, offset, book_number_of(data));
        if (last != 0 && offset != last + 1)
            world_fail("history is in order, without gaps",
                       "channel %s: %" PRIu64 " after %" PRIu64,
                       book.plan->channels[ask->channel].name, offset, last);
        if (offset <= ask->offset && ask->offset != 0)
            world_fail("history begins after since", "offset %" PRIu64 " since %" PRIu64, offset,
                       ask->offset);
        last = offset;
    }
    if (last > head)
        world_fail("history ends at the head", "%" PRIu64 " beyond %" PRIu64, last, head);
}

static void hear_sent(struct client_sim *client, const struct ask *ask, struct bytes result)
{
    struct bytes data;
    char epoch[EPOCH_SIM_MAX];
    if (!peek_get(result, "data", &data))
        world_fail("a sent message is answered", "client %u", client->number);
    peek_text(data, "epoch", epoch, sizeof(epoch));
    uint64_t offset = peek_number(data, "offset", 0);
    if (offset == 0) world_fail("a sent message has an offset", "message %u", ask->number);
    world_note(TRACE_PUBLISHED, client->number, ask->number, offset);
    check_acked(ask->number, offset, epoch);
    client->keyed = 0;
}

static void hear_counts(const struct ask *ask, struct bytes result)
{
    struct bytes data, list, first, eligible;
    size_t at = 0, at_eligible = 0;
    uint64_t count, most;
    if (!peek_get(result, "data", &data) || !peek_get(data, "counts", &list) ||
        !peek_each(list, &at, &first) || !bytes_to_u64(first, &count) ||
        !peek_get(data, "eligible", &list) || !peek_each(list, &at_eligible, &eligible) ||
        !bytes_to_u64(eligible, &most))
        world_fail("receipt counts are answered", "channel %u", ask->channel);
    check_counts(ask->channel, ask->offset, count, most);
}

/* What the server began: an entry for each that was named, as a subscribe's result. */
static void hear_named(struct client_sim *client, struct bytes result)
{
    struct bytes subs, entry;
    bool has_subs = peek_get(result, "subs", &subs);
    for (uint32_t i = 0; i < client->subs_count; i++) {
        struct sub_sim *sub = &client->subs[i];
        if (sub->state != SUB_SIM_ASKED || !sub->is_named) continue;
        const char *name = book.plan->channels[sub->channel].name;
        if (!has_subs || !peek_get(subs, name, &entry))
            world_fail("what a client may have it is given when it connects",
                       "client %u channel %s", client->number, name);
        hear_subscribed(client, &sub->asked, entry);
    }
}

/* The channel of its own, that nobody asked for. */
static void hear_personal(const struct client_sim *client, struct bytes result)
{
    struct bytes subs, entry;
    char name[16];
    snprintf(name, sizeof(name), "#u%u", client->user);
    if (!peek_get(result, "subs", &subs) || !peek_get(subs, name, &entry))
        world_fail("every user has the personal channel", "client %u", client->number);
}

static void hear_connected(struct client_sim *client, struct bytes result)
{
    if (book.plan->is_single) hear_personal(client, result);
    client->state = CLIENT_ON;
    client->tries = 0;
    world_note(TRACE_CONNECTED, client->number, 0, 0);
    hear_named(client, result);
    for (uint32_t i = 0; i < client->subs_count; i++)
        if (client->subs[i].is_wanted && client->subs[i].state == SUB_SIM_OFF)
            (void)client_say_subscribe(client, &client->subs[i]);
}

static void hear_result(struct client_sim *client, const struct ask *ask, struct bytes reply)
{
    static const char *const names[] = {"connect", "subscribe", "unsubscribe", "publish",
                                        "history", "rpc",       "rpc",         "rpc"};
    struct bytes result, data;
    if (!peek_get(reply, names[ask->kind], &result))
        world_fail("a reply holds the result of its command", "client %u: %s", client->number,
                   names[ask->kind]);
    switch (ask->kind) {
    case ASK_CONNECT: hear_connected(client, result); break;
    case ASK_SUBSCRIBE: hear_subscribed(client, ask, result); break;
    case ASK_UNSUBSCRIBE: {
        struct sub_sim *sub = client_sub(client, ask->channel);
        if (sub->state != SUB_SIM_LEAVING) break; /* a push was faster */
        sub->state = SUB_SIM_OFF;
        if (sub->is_wanted) (void)client_say_subscribe(client, sub);
        break;
    }
    case ASK_PUBLISH:
        if (ask->is_forbidden)
            world_fail("nobody publishes where it may not", "client %u channel %s", client->number,
                       book.plan->channels[ask->channel].name);
        world_note(TRACE_PUBLISHED, client->number, ask->number, 0);
        check_acked(ask->number, 0, "");
        break;
    case ASK_HISTORY: hear_history(client, ask, result); break;
    case ASK_READ:
        if (!peek_get(result, "data", &data))
            world_fail("a receipt is answered", "client %u", client->number);
        check_cursor(ask->channel, client->user, max_u64(ask->offset, ask->floor),
                     peek_number(data, "offset", 0));
        break;
    case ASK_SEND: hear_sent(client, ask, result); break;
    case ASK_COUNTS: hear_counts(ask, result); break;
    default: impossible("a command of no kind");
    }
}

static void subscribe_again(void *context, uint64_t session)
{
    struct client_sim *client = context;
    if (client->session != session || client->state != CLIENT_ON) return;
    for (uint32_t i = 0; i < client->subs_count; i++)
        if (client->subs[i].is_wanted && client->subs[i].state == SUB_SIM_OFF)
            (void)client_say_subscribe(client, &client->subs[i]);
}

static void send_again(void *context, uint64_t session)
{
    struct client_sim *client = context;
    if (client->session == session && client->keyed != 0) client_send_keyed(client);
}

void client_send_keyed(struct client_sim *client)
{
    for (uint32_t i = 0; i < client->asks_count; i++)
        if (client->asks[i].kind == ASK_SEND) return;
    const struct sub_sim *sub = client_sub(client, book.messages[client->keyed - 1].channel);
    if (sub != NULL && sub->state == SUB_SIM_LIVE) (void)client_say_keyed(client);
}

/* A publish that was not done: given up, or sent again with its key. */
static void hear_unpublished(struct client_sim *client, const struct ask *ask, uint32_t code)
{
    check_refused(ask->number, code);
    if (ask->kind != ASK_SEND) return;
    if (code == 103)
        client->keyed = 0;
    else
        world_at(world.now_ns + 1000000u * chance_between(5, 200), send_again, client,
                 client->session);
}

static void hear_error(struct client_sim *client, const struct ask *ask, struct bytes error)
{
    uint32_t code = (uint32_t)peek_number(error, "code", 0);
    bool is_temporary = peek_true(error, "temporary");
    world_note(TRACE_ANSWER, client->number, ask->kind, code);
    if (code == 0) world_fail("an error has a code", "client %u", client->number);
    if (ask->kind == ASK_PUBLISH || ask->kind == ASK_SEND) hear_unpublished(client, ask, code);
    /* What a client may do is never refused but for a while. */
    bool is_unsubscribed_race = code == 103 && (ask->kind == ASK_PUBLISH || ask->kind == ASK_SEND ||
                                                ask->kind == ASK_HISTORY);
    if (!ask->is_forbidden && !is_temporary && !is_unsubscribed_race)
        world_fail("what is allowed is not refused", "client %u command %d channel %u: code %u",
                   client->number, ask->kind, ask->channel, code);
    /* Its commands would end the connection now: an SDK connects anew. */
    if (ask->kind == ASK_CONNECT) {
        client_leave(client, false);
        return;
    }
    struct sub_sim *sub =
        ask->is_forbidden || ask->channel == UINT32_MAX ? NULL : client_sub(client, ask->channel);
    if (ask->kind == ASK_SUBSCRIBE && sub != NULL) {
        sub->state = SUB_SIM_OFF;
        world_at(world.now_ns + 1000000u * chance_between(10, 500), subscribe_again, client,
                 client->session);
    }
}

static void hear_join(struct client_sim *client, struct sub_sim *sub, bool is_join,
                      struct bytes body)
{
    struct bytes info, id;
    if (!peek_get(body, "info", &info) || !peek_get(info, "client", &id))
        world_fail("a join says whose it is", "client %u", client->number);
    world_note(TRACE_JOIN, client->number, sub->channel, is_join);
    check_join(client, sub, is_join, id);
}

/* What concerns the user, wherever it is: another device has read. */
static void hear_device(struct client_sim *client, struct bytes message)
{
    struct bytes data, receipt, channel;
    if (!peek_get(message, "data", &data) || !peek_get(data, "receipt", &receipt) ||
        !peek_get(receipt, "channel", &channel) || channel.size < 2)
        world_fail("a device hears what was read where", "client %u", client->number);
    uint64_t read = peek_number(receipt, "read", 0), head = peek_number(receipt, "head", 0);
    if (read > head || peek_number(receipt, "unread", 0) > head - read)
        world_fail("nobody has read more than there is", "client %u", client->number);
}

static void hear_push(struct client_sim *client, struct bytes push)
{
    struct bytes channel, body;
    if (peek_get(push, "message", &body)) {
        hear_device(client, body);
        return;
    }
    if (!peek_get(push, "channel", &channel) || channel.size < 2)
        world_fail("a push has a channel", "client %u", client->number);
    channel = bytes_of(channel.at + 1, channel.size - 2);
    struct sub_sim *sub = check_receiver(client, channel);
    if (peek_get(push, "pub", &body)) {
        hear_publication(client, sub, body);
    } else if (peek_get(push, "join", &body)) {
        hear_join(client, sub, true, body);
    } else if (peek_get(push, "leave", &body)) {
        hear_join(client, sub, false, body);
    } else if (peek_get(push, "unsubscribe", &body)) {
        /* 2500 and above: subscribe again from the position. */
        sub->state = SUB_SIM_OFF;
        world_at(world.now_ns + 1000000u * chance_between(10, 500), subscribe_again, client,
                 client->session);
    }
}

static void pong_later(void *context, uint64_t session)
{
    struct client_sim *client = context;
    if (client->session == session && client->state == CLIENT_ON)
        client_say(client, WS_TEXT, BYTES_LITERAL("{}"));
}

static void hear_reply(struct client_sim *client, struct bytes reply)
{
    struct bytes body;
    uint64_t id = peek_number(reply, "id", 0);
    if (id != 0) {
        struct ask ask = ask_take(client, (uint32_t)id);
        if (peek_get(reply, "error", &body))
            hear_error(client, &ask, body);
        else
            hear_result(client, &ask, reply);
    } else if (peek_get(reply, "push", &body)) {
        hear_push(client, body);
    } else {
        if (reply.size != 2)
            world_fail("a reply is a result, an error, a push or a ping", "%.*s",
                       (int)min_u64(reply.size, 80), (const char *)reply.at);
        world_at(world.now_ns + chance_below(300000000), pong_later, client, client->session);
    }
}

static void hear_text(struct client_sim *client, struct bytes rest)
{
    for (uint64_t session = client->session; rest.size > 0 && client->session == session;) {
        const uint8_t *end = memchr(rest.at, '\n', rest.size);
        size_t size = end == NULL ? rest.size : (size_t)(end - rest.at);
        hear_reply(client, bytes_of(rest.at, size));
        size_t skip = end == NULL ? size : size + 1;
        rest = bytes_of(rest.at + skip, rest.size - skip);
    }
}

static void hear_binary(struct client_sim *client, struct bytes rest)
{
    struct intake json = {NULL, 0, 0};
    for (uint64_t session = client->session; rest.size > 0 && client->session == session;) {
        pb_take_reply(&rest, &json);
        hear_reply(client, bytes_of(json.bytes, json.size));
    }
    intake_free(&json);
}

void client_hear(struct client_sim *client, const struct ws_message *message)
{
    struct bytes rest = message->payload;
    if (message->opcode == (client->is_binary ? WS_TEXT : WS_BINARY))
        world_fail("frames are of the client's wire", "client %u: opcode %d", client->number,
                   message->opcode);
    switch (message->opcode) {
    case WS_TEXT: hear_text(client, rest); break;
    case WS_BINARY: hear_binary(client, rest); break;
    case WS_CLOSE:
        client->close_code = rest.size < 2 ? 1005 : (uint32_t)rest.at[0] << 8 | rest.at[1];
        client_say(client, WS_CLOSE, bytes_of(rest.at, rest.size < 2 ? 0 : 2));
        break;
    case WS_PING: client_say(client, WS_PONG, rest); break;
    case WS_PONG: break;
    default: world_fail("frames of the server are whole", "opcode %d", message->opcode);
    }
}
