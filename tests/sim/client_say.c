/*
 * client_say: commands of simulated clients.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client_sim.h"
#include "core/check.h"
#include "core/mem.h"
#include "net_sim.h"
#include "proto/jwt.h"
#include "tokens_sim.h"
#include "wire_pb.h"
#include "world.h"

static struct ask *ask_new(struct client_sim *client, enum ask_kind kind, uint32_t channel)
{
    if (client->asks_count == ASKS_MAX) return NULL;
    struct ask *ask = &client->asks[client->asks_count++];
    *ask = (struct ask){.id = ++client->ids, .kind = kind, .channel = channel};
    if (channel != UINT32_MAX) ask->head_before = book.channels[channel].head;
    return ask;
}

static void say_frame(struct client_sim *client, enum ws_opcode opcode, struct bytes payload)
{
    uint8_t *out = malloc(payload.size + 64);
    check(out != NULL);
    size_t used = 0, done = 0;
    /* A control frame may stand between fragments; a data frame may not. */
    while (opcode < WS_CLOSE && payload.size - done > 1 && used < 40 &&
           chance(book.plan->fragment_percent)) {
        size_t part = 1 + chance_below(min_u64(payload.size - done - 1, 8));
        used += ws_put(out + used, done == 0 ? opcode : WS_CONTINUE, false,
                       bytes_of(payload.at + done, part), (uint32_t)rng_next(&world.rng));
        done += part;
        if (used > 20) break;
    }
    used +=
        ws_put(out + used, done == 0 ? opcode : WS_CONTINUE, true,
               bytes_of(payload.at + done, payload.size - done), (uint32_t)rng_next(&world.rng));
    net_write(client->link, out, used);
    free(out);
}

void client_say(struct client_sim *client, enum ws_opcode opcode, struct bytes payload)
{
    if (opcode != WS_TEXT || !client->is_binary) {
        say_frame(client, opcode, payload);
        return;
    }
    struct intake binary = {NULL, 0, 0};
    pb_put_command(&binary, payload);
    say_frame(client, WS_BINARY, bytes_of(binary.bytes, binary.size));
    intake_free(&binary);
}

static void say_text(struct client_sim *client, const char *text, int size)
{
    check(size > 0);
    client_say(client, WS_TEXT, bytes_of(text, (size_t)size));
}

/* SDKs make tokens with a library; ours is the gateway's own, on the heap of
 * this program. */
static const char *client_token(struct client_sim *client)
{
    if (client->token == NULL) {
        char user[16], *text;
        if (book.plan->has_key_sets) {
            static_assert(array_count(tokens_sim) == USERS_SIM_MAX, "one for each user");
            size_t room = sizeof(TOKEN_SIM_HEADER) + strlen(tokens_sim[client->user]);
            client->token = malloc(room);
            snprintf(client->token, room, "%s%s", TOKEN_SIM_HEADER, tokens_sim[client->user]);
            return client->token;
        }
        snprintf(user, sizeof(user), "u%u", client->user);
        /* Good wherever the wall clock jumps to. */
        enum err err = jwt_sign(BYTES_LITERAL("a simulated secret of 32 bytes.."), user, NULL,
                                WALL_START_MS / 1000 - 50 * 86400, 100 * 86400, &text);
        check(err == ERR_OK);
        client->token = strdup(text);
        mem_free(text);
    }
    return client->token;
}

/* ,"subs":{…}: subscriptions that the server is to begin, from where they were. */
static int write_named(struct client_sim *client, uint32_t id, char *text, size_t size)
{
    int used = 0;
    for (uint32_t i = 0; i < client->subs_count; i++) {
        struct sub_sim *sub = &client->subs[i];
        if (!sub->is_wanted || !chance(book.plan->named_percent)) continue;
        check(sub->state == SUB_SIM_OFF);
        sub->state = SUB_SIM_ASKED;
        sub->is_named = true;
        sub->asked = (struct ask){
            .id = id,
            .kind = ASK_SUBSCRIBE,
            .channel = sub->channel,
            .offset = sub->has_position ? sub->offset : 0,
            .is_recovering = sub->has_position,
            .head_before = book.channels[sub->channel].head,
        };
        used += snprintf(text + used, size - (size_t)used, "%s\"%s\":{",
                         used == 0 ? ",\"subs\":{" : ",", book.plan->channels[sub->channel].name);
        if (sub->has_position)
            used += snprintf(text + used, size - (size_t)used,
                             "\"recover\":true,\"epoch\":\"%s\",\"offset\":%" PRIu64, sub->epoch,
                             sub->offset);
        used += snprintf(text + used, size - (size_t)used, "}");
        world_note(TRACE_SUBSCRIBE, client->number, sub->channel, sub->offset);
    }
    if (used > 0) used += snprintf(text + used, size - (size_t)used, "}");
    return used;
}

bool client_say_connect(struct client_sim *client)
{
    char text[2048];
    const struct ask *ask = ask_new(client, ASK_CONNECT, UINT32_MAX);
    if (ask == NULL) return false;
    int used = snprintf(text, sizeof(text), "{\"id\":%u,\"connect\":{\"name\":\"sim\"", ask->id);
    if (book.plan->has_tokens)
        used += snprintf(text + used, sizeof(text) - (size_t)used, ",\"token\":\"%s\"",
                         client_token(client));
    used += write_named(client, ask->id, text + used, sizeof(text) - 3 - (size_t)used);
    memcpy(text + used, "}}", 3);
    say_text(client, text, used + 2);
    /* Some SDKs do not wait for the answer. */
    for (uint32_t i = 0; i < client->subs_count && chance(30); i++)
        if (client->subs[i].is_wanted && client->subs[i].state == SUB_SIM_OFF)
            (void)client_say_subscribe(client, &client->subs[i]);
    return true;
}

bool client_say_subscribe(struct client_sim *client, struct sub_sim *sub)
{
    char text[512];
    struct ask *ask = ask_new(client, ASK_SUBSCRIBE, sub->channel);
    if (ask == NULL) return false;
    const char *name = book.plan->channels[sub->channel].name;
    check(sub->state == SUB_SIM_OFF);
    sub->state = SUB_SIM_ASKED;
    sub->is_named = false;
    world_note(TRACE_SUBSCRIBE, client->number, sub->channel, sub->offset);
    if (sub->has_position) {
        ask->is_recovering = true;
        ask->offset = sub->offset;
        say_text(client, text,
                 snprintf(text, sizeof(text),
                          "{\"id\":%u,\"subscribe\":{\"channel\":\"%s\",\"recover\":true,\"epoch\":"
                          "\"%s\",\"offset\":%" PRIu64 "}}",
                          ask->id, name, sub->epoch, sub->offset));
    } else {
        say_text(client, text,
                 snprintf(text, sizeof(text), "{\"id\":%u,\"subscribe\":{\"channel\":\"%s\"}}",
                          ask->id, name));
    }
    return true;
}

bool client_say_unsubscribe(struct client_sim *client, struct sub_sim *sub)
{
    char text[128];
    const struct ask *ask = ask_new(client, ASK_UNSUBSCRIBE, sub->channel);
    if (ask == NULL) return false;
    sub->state = SUB_SIM_LEAVING;
    world_note(TRACE_UNSUBSCRIBE, client->number, sub->channel, 0);
    say_text(client, text,
             snprintf(text, sizeof(text), "{\"id\":%u,\"unsubscribe\":{\"channel\":\"%s\"}}",
                      ask->id, book.plan->channels[sub->channel].name));
    return true;
}

static uint32_t message_pad(void)
{
    bool is_large = chance(book.plan->large_percent);
    return (uint32_t)chance_below(is_large ? book.plan->large_max : 60);
}

uint32_t message_write(char *out, size_t size, uint32_t number, uint32_t pad)
{
    int used = snprintf(out, size, "{\"m\":%u,\"s\":%u,\"p\":\"", number, pad);
    check(used > 0 && (size_t)used + pad + 3 <= size);
    memset(out + used, 'a' + (int)(number % 26), pad);
    memcpy(out + used + pad, "\"}", 3);
    return (uint32_t)used + pad + 2;
}

bool client_say_publish(struct client_sim *client, uint32_t channel, bool is_forbidden)
{
    char *text = malloc(MESSAGE_ROOM);
    check(text != NULL);
    struct ask *ask = ask_new(client, ASK_PUBLISH, channel);
    if (ask != NULL) {
        ask->number = book_message_new(channel, client->number);
        book.messages[ask->number].session = client->session;
        ask->is_forbidden = is_forbidden;
        world_note(TRACE_PUBLISH, client->number, channel, ask->number);
        int used = snprintf(text, MESSAGE_ROOM,
                            "{\"id\":%u,\"publish\":{\"channel\":\"%s\",\"data\":", ask->id,
                            book.plan->channels[channel].name);
        used += (int)message_write(text + used, MESSAGE_ROOM - (size_t)used - 3, ask->number,
                                   message_pad());
        memcpy(text + used, "}}", 3);
        say_text(client, text, used + 2);
    }
    free(text);
    return ask != NULL;
}

bool client_say_history(struct client_sim *client, uint32_t channel, bool is_forbidden)
{
    char text[256];
    struct ask *ask = ask_new(client, ASK_HISTORY, channel);
    if (ask == NULL) return false;
    ask->is_forbidden = is_forbidden;
    uint32_t limit = (uint32_t)chance_below(20);
    const struct book_channel *known = &book.channels[channel];
    int used =
        snprintf(text, sizeof(text), "{\"id\":%u,\"history\":{\"channel\":\"%s\",\"limit\":%u",
                 ask->id, known->plan->name, limit);
    if (known->epoch[0] != '\0' && chance(50)) {
        ask->offset = chance_below(known->head + 1);
        used += snprintf(text + used, sizeof(text) - (size_t)used,
                         ",\"since\":{\"offset\":%" PRIu64 ",\"epoch\":\"%s\"}", ask->offset,
                         known->epoch);
    }
    used += snprintf(text + used, sizeof(text) - (size_t)used, "}}");
    say_text(client, text, used);
    return true;
}

bool client_say_read(struct client_sim *client, uint32_t channel, uint64_t offset)
{
    char text[256];
    struct ask *ask = ask_new(client, ASK_READ, channel);
    if (ask == NULL) return false;
    uint64_t *asked = &book.channels[channel].read_asked[client->user];
    *asked = max_u64(*asked, offset);
    ask->offset = offset;
    ask->floor = book.channels[channel].read_acked[client->user];
    say_text(client, text,
             snprintf(text, sizeof(text),
                      "{\"id\":%u,\"rpc\":{\"method\":\"receipt.read\",\"data\":{\"channel\":\"%"
                      "s\",\"offset\":%" PRIu64 "}}}",
                      ask->id, book.plan->channels[channel].name, offset));
    return true;
}

bool client_say_ping(struct client_sim *client)
{
    uint8_t data[4] = {'s', 'i', 'm', 0};
    client_say(client, WS_PING, bytes_of(data, chance_below(5)));
    return true;
}

bool client_say_keyed(struct client_sim *client)
{
    char text[512];
    check(client->keyed != 0);
    uint32_t number = client->keyed - 1, channel = book.messages[number].channel;
    struct ask *ask = ask_new(client, ASK_SEND, channel);
    if (ask == NULL) return false;
    ask->number = number;
    world_note(TRACE_PUBLISH, client->number, channel, number);
    int used =
        snprintf(text, sizeof(text),
                 "{\"id\":%u,\"rpc\":{\"method\":\"message.send\",\"data\":{\"channel\":\"%s\","
                 "\"key\":\"c%u\",\"data\":",
                 ask->id, book.plan->channels[channel].name, number);
    /* The same bytes each time: the pad follows from the number. */
    used += (int)message_write(text + used, sizeof(text) - (size_t)used - 4, number, number % 60);
    memcpy(text + used, "}}}", 4);
    say_text(client, text, used + 3);
    return true;
}

bool client_say_counts(struct client_sim *client, uint32_t channel, uint64_t offset)
{
    char text[256];
    struct ask *ask = ask_new(client, ASK_COUNTS, channel);
    if (ask == NULL) return false;
    ask->offset = offset;
    int used = snprintf(text, sizeof(text),
                        "{\"id\":%u,\"rpc\":{\"method\":\"receipt.counts\",\"data\":{\"channel\":"
                        "\"%s\",\"offsets\":[%" PRIu64 "]}}}",
                        ask->id, book.plan->channels[channel].name, offset);
    say_text(client, text, used);
    return true;
}

bool client_say_forbidden(struct client_sim *client, uint32_t channel)
{
    char text[128];
    struct ask *ask = ask_new(client, ASK_SUBSCRIBE, channel);
    if (ask == NULL) return false;
    ask->is_forbidden = true;
    say_text(client, text,
             snprintf(text, sizeof(text), "{\"id\":%u,\"subscribe\":{\"channel\":\"%s\"}}", ask->id,
                      book.plan->channels[channel].name));
    return true;
}
