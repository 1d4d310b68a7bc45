/*
 * codec_json_write: replies and pushes → one line of JSON.
 *
 * Fields stand in the order of their numbers in client.proto.  A `struct body`
 * knows whether a comma is due, so that each field is one call which leaves
 * zero values out; `always` says which are written regardless.
 *
 * The bounds count every field at its longest: a short line of arithmetic here
 * spares a second pass over the values.
 */
#include "core/check.h"
#include "proto/codec_json.h"
#include "proto/json.h"

/* `"was_recovering":` is the longest key; with a comma, and twenty digits. */
#define KEY_BOUND    20
#define NUMBER_BOUND 20
#define FIELD_BOUND  (KEY_BOUND + NUMBER_BOUND)
#define UUID_BOUND   40

struct body {
    struct writer *writer;
    bool is_first;
};

static struct body open_body(struct writer *writer)
{
    write_u8(writer, '{');
    return (struct body){writer, true};
}

static void close_body(struct body *body)
{
    write_u8(body->writer, '}');
}

static void key(struct body *body, const char *name)
{
    if (!body->is_first) write_u8(body->writer, ',');
    body->is_first = false;
    write_u8(body->writer, '"');
    write_text(body->writer, name);
    write_bytes(body->writer, BYTES_LITERAL("\":"));
}

static void always_number(struct body *body, const char *name, uint64_t value)
{
    key(body, name);
    write_decimal(body->writer, value);
}

static void number(struct body *body, const char *name, uint64_t value)
{
    if (value != 0) always_number(body, name, value);
}

static void always_text(struct body *body, const char *name, struct bytes value)
{
    key(body, name);
    json_write_text(body->writer, value);
}

static void text(struct body *body, const char *name, struct bytes value)
{
    if (value.size > 0) always_text(body, name, value);
}

static void raw(struct body *body, const char *name, struct bytes value)
{
    if (value.size == 0) return;
    key(body, name);
    json_write_raw(body->writer, value);
}

static void flag(struct body *body, const char *name, bool value)
{
    if (!value) return;
    key(body, name);
    write_text(body->writer, "true");
}

static struct body nested(struct body *body, const char *name)
{
    key(body, name);
    return open_body(body->writer);
}

static void uuid(struct body *body, const char *name, const uint8_t id[16])
{
    char digits[1 + 37];
    key(body, name);
    digits[0] = '"';
    codec_uuid(id, digits + 1);
    digits[37] = '"';
    write_bytes(body->writer, bytes_of(digits, sizeof(digits)));
}

/* A member whose name is somebody's: of a map. */
static struct body nested_at(struct body *body, struct bytes name)
{
    if (!body->is_first) write_u8(body->writer, ',');
    body->is_first = false;
    json_write_text(body->writer, name);
    write_u8(body->writer, ':');
    return open_body(body->writer);
}

static size_t info_bound(const struct wire_info *info)
{
    return 5 * KEY_BOUND + UUID_BOUND + json_text_bound(info->user) + info->conn_info.size +
           info->chan_info.size;
}

static void write_info_body(struct body *body, const struct wire_info *info)
{
    always_text(body, "user", info->user);
    uuid(body, "client", info->client);
    raw(body, "conn_info", info->conn_info);
    raw(body, "chan_info", info->chan_info);
    close_body(body);
}

static void write_info(struct body *outer, const struct wire_info *info)
{
    struct body body = nested(outer, "info");
    write_info_body(&body, info);
}

static size_t publication_bound(const struct wire_publication *publication)
{
    size_t size = 6 * FIELD_BOUND + publication->data.size + publication->tags.size +
                  json_text_bound(publication->epoch);
    return size + (publication->has_info ? info_bound(&publication->info) : 0);
}

static void write_publication(struct writer *writer, const struct wire_publication *publication)
{
    /* The epoch travels with the first offset only: a client that subscribed to
     * an empty stream learns it there. */
    check(publication->epoch.size == 0 || publication->offset == 1);
    check(!publication->is_opaque);
    struct body body = open_body(writer);
    raw(&body, "data", publication->data);
    if (publication->has_info) write_info(&body, &publication->info);
    number(&body, "offset", publication->offset);
    raw(&body, "tags", publication->tags);
    text(&body, "epoch", publication->epoch);
    number(&body, "version", publication->version);
    close_body(&body);
}

static size_t publications_bound(const struct wire_publication *publications, uint32_t count)
{
    size_t size = KEY_BOUND;
    for (uint32_t i = 0; i < count; i++) size += publication_bound(&publications[i]) + 1;
    return size;
}

static void write_publications(struct body *body, const struct wire_publication *publications,
                               uint32_t count)
{
    check(count == 0 || publications != NULL);
    key(body, "publications");
    write_u8(body->writer, '[');
    for (uint32_t i = 0; i < count; i++) {
        if (i > 0) write_u8(body->writer, ',');
        write_publication(body->writer, &publications[i]);
    }
    write_u8(body->writer, ']');
}

static size_t subscribe_bound(const struct reply_subscribe *subscribe)
{
    return 11 * FIELD_BOUND + json_text_bound(subscribe->epoch) + subscribe->data.size +
           publications_bound(subscribe->publications, subscribe->publications_count);
}

static size_t connect_bound(const struct reply *reply)
{
    size_t size = 11 * FIELD_BOUND + UUID_BOUND + json_text_bound(reply->connect.version) +
                  reply->connect.data.size + json_text_bound(reply->connect.session) +
                  json_text_bound(reply->connect.node);
    for (uint32_t i = 0; i < reply->connect.subs_count; i++)
        size += FIELD_BOUND + json_text_bound(reply->connect.subs[i].channel) +
                subscribe_bound(&reply->connect.subs[i].subscribe);
    return size;
}

static size_t presence_bound(const struct reply *reply)
{
    size_t size = KEY_BOUND;
    for (uint32_t i = 0; i < reply->presence.infos_count; i++)
        size += UUID_BOUND + info_bound(&reply->presence.infos[i]);
    return size;
}

size_t codec_json_reply_bound(const struct reply *reply)
{
    size_t size = 3 * FIELD_BOUND;
    if (reply->error_code != 0)
        return size + 3 * FIELD_BOUND + json_text_bound(bytes_of_text(reply->error_text));
    switch (reply->kind) {
    case CMD_CONNECT: return size + connect_bound(reply);
    case CMD_SUBSCRIBE: return size + subscribe_bound(&reply->subscribe);
    case CMD_PRESENCE: return size + presence_bound(reply);
    case CMD_PRESENCE_STATS: return size + 2 * FIELD_BOUND;
    case CMD_HISTORY:
        return size + 2 * FIELD_BOUND + json_text_bound(reply->history.epoch) +
               publications_bound(reply->history.publications, reply->history.publications_count);
    case CMD_RPC: return size + KEY_BOUND + reply->rpc.data.size;
    case CMD_REFRESH:
    case CMD_SUB_REFRESH: return size + 2 * FIELD_BOUND;
    default: return size;
    }
}

static void write_subscribe(struct body *body, const struct reply_subscribe *subscribe)
{
    check(subscribe->id >= 0);
    flag(body, "expires", subscribe->expires);
    number(body, "ttl", subscribe->ttl);
    flag(body, "recoverable", subscribe->recoverable);
    text(body, "epoch", subscribe->epoch);
    if (subscribe->publications_count > 0)
        write_publications(body, subscribe->publications, subscribe->publications_count);
    flag(body, "recovered", subscribe->recovered);
    number(body, "offset", subscribe->offset);
    flag(body, "positioned", subscribe->positioned);
    raw(body, "data", subscribe->data);
    flag(body, "was_recovering", subscribe->was_recovering);
    number(body, "id", (uint64_t)subscribe->id);
}

static void write_connect_subs(struct body *outer, const struct reply *reply)
{
    struct body body = nested(outer, "subs");
    check(reply->connect.subs != NULL);
    for (uint32_t i = 0; i < reply->connect.subs_count; i++) {
        struct body sub = nested_at(&body, reply->connect.subs[i].channel);
        write_subscribe(&sub, &reply->connect.subs[i].subscribe);
        close_body(&sub);
    }
    close_body(&body);
}

static void write_connect(struct body *body, const struct reply *reply)
{
    uuid(body, "client", reply->connect.client);
    text(body, "version", reply->connect.version);
    flag(body, "expires", reply->connect.expires);
    number(body, "ttl", reply->connect.ttl);
    raw(body, "data", reply->connect.data);
    if (reply->connect.subs_count > 0) write_connect_subs(body, reply);
    number(body, "ping", reply->connect.ping);
    flag(body, "pong", reply->connect.pong);
    text(body, "session", reply->connect.session);
    text(body, "node", reply->connect.node);
    number(body, "time", reply->connect.time_ms);
}

/* map<client id, ClientInfo>, also when nobody is there. */
static void write_presence(struct body *outer, const struct reply *reply)
{
    struct body body = nested(outer, "presence");
    check(reply->presence.infos_count == 0 || reply->presence.infos != NULL);
    for (uint32_t i = 0; i < reply->presence.infos_count; i++) {
        char client[37];
        codec_uuid(reply->presence.infos[i].client, client);
        struct body info = nested_at(&body, bytes_of_text(client));
        write_info_body(&info, &reply->presence.infos[i]);
    }
    close_body(&body);
}

static void write_result(struct body *body, const struct reply *reply)
{
    switch (reply->kind) {
    case CMD_CONNECT: write_connect(body, reply); break;
    case CMD_SUBSCRIBE: write_subscribe(body, &reply->subscribe); break;
    case CMD_UNSUBSCRIBE:
    case CMD_PUBLISH: break; /* an empty result, but present */
    case CMD_PRESENCE: write_presence(body, reply); break;
    case CMD_PRESENCE_STATS:
        always_number(body, "num_clients", reply->presence_stats.clients_count);
        always_number(body, "num_users", reply->presence_stats.users_count);
        break;
    case CMD_HISTORY:
        write_publications(body, reply->history.publications, reply->history.publications_count);
        always_text(body, "epoch", reply->history.epoch);
        always_number(body, "offset", reply->history.offset);
        break;
    case CMD_RPC: raw(body, "data", reply->rpc.data); break;
    case CMD_REFRESH:
    case CMD_SUB_REFRESH:
        flag(body, "expires", reply->refresh.expires);
        number(body, "ttl", reply->refresh.ttl);
        break;
    default: impossible("this command has no result");
    }
}

void codec_json_reply(struct writer *writer, const struct reply *reply)
{
    check(reply->kind < CMD_COUNT);
    struct body body = open_body(writer);
    number(&body, "id", reply->id);
    if (reply->error_code != 0) {
        struct body error = nested(&body, "error");
        number(&error, "code", reply->error_code);
        text(&error, "message", bytes_of_text(reply->error_text));
        flag(&error, "temporary", reply->error_temporary);
        close_body(&error);
    } else {
        struct body result = nested(&body, cmd_name(reply->kind));
        write_result(&result, reply);
        close_body(&result);
    }
    close_body(&body);
}

size_t codec_json_push_bound(const struct push *push)
{
    size_t size = 5 * FIELD_BOUND + json_text_bound(push->channel);
    switch (push->kind) {
    case PUSH_PUBLICATION: return size + publication_bound(&push->publication);
    case PUSH_JOIN:
    case PUSH_LEAVE: return size + info_bound(&push->info);
    case PUSH_UNSUBSCRIBE:
        return size + FIELD_BOUND + json_text_bound(bytes_of_text(push->unsubscribe.reason));
    case PUSH_SUBSCRIBE:
        return size + 5 * FIELD_BOUND + json_text_bound(push->subscribe.epoch) +
               push->subscribe.data.size;
    case PUSH_REFRESH: return size + 2 * FIELD_BOUND;
    case PUSH_MESSAGE: return size + push->message.data.size;
    case PUSH_DISCONNECT:
        return size + 2 * FIELD_BOUND + json_text_bound(bytes_of_text(push->disconnect.reason));
    }
    impossible("no such push");
}

/* The push's own member; a publication is written as it stands in a list too. */
static void write_push_body(struct body *body, const struct push *push)
{
    static const char *const names[] = {
        [PUSH_JOIN] = "join",
        [PUSH_LEAVE] = "leave",
        [PUSH_UNSUBSCRIBE] = "unsubscribe",
        [PUSH_SUBSCRIBE] = "subscribe",
        [PUSH_MESSAGE] = "message",
        [PUSH_REFRESH] = "refresh",
        [PUSH_DISCONNECT] = "disconnect",
    };
    check(push->kind < array_count(names) && names[push->kind] != NULL);
    struct body inner = nested(body, names[push->kind]);
    switch (push->kind) {
    case PUSH_JOIN:
    case PUSH_LEAVE: write_info(&inner, &push->info); break;
    case PUSH_UNSUBSCRIBE:
        number(&inner, "code", push->unsubscribe.code);
        text(&inner, "reason", bytes_of_text(push->unsubscribe.reason));
        break;
    case PUSH_SUBSCRIBE:
        flag(&inner, "recoverable", push->subscribe.recoverable);
        text(&inner, "epoch", push->subscribe.epoch);
        number(&inner, "offset", push->subscribe.offset);
        flag(&inner, "positioned", push->subscribe.positioned);
        raw(&inner, "data", push->subscribe.data);
        break;
    case PUSH_MESSAGE: raw(&inner, "data", push->message.data); break;
    case PUSH_REFRESH:
        flag(&inner, "expires", push->refresh.expires);
        number(&inner, "ttl", push->refresh.ttl);
        break;
    case PUSH_DISCONNECT:
        number(&inner, "code", push->disconnect.code);
        text(&inner, "reason", bytes_of_text(push->disconnect.reason));
        flag(&inner, "reconnect", push->disconnect.reconnect);
        break;
    case PUSH_PUBLICATION: impossible("written by the caller");
    }
    close_body(&inner);
}

void codec_json_push(struct writer *writer, const struct push *push)
{
    struct body body = open_body(writer);
    struct body envelope = nested(&body, "push");
    check(push->id >= 0);
    if (push->id > 0)
        number(&envelope, "id", (uint64_t)push->id);
    else
        text(&envelope, "channel", push->channel);
    if (push->kind == PUSH_PUBLICATION) {
        key(&envelope, "pub");
        write_publication(writer, &push->publication);
    } else {
        write_push_body(&envelope, push);
    }
    close_body(&envelope);
    close_body(&body);
}
