/*
 * wire_pb: a client's Protobuf, by way of its JSON.
 */
#include "wire_pb.h"

#include <inttypes.h>
#include <stdio.h>

#include "core/check.h"
#include "world.h"

enum pb_kind {
    PB_NUMBER,
    PB_BOOL,
    PB_TEXT,    /* JSON: quoted; names of the simulator need no escapes */
    PB_RAW,     /* JSON: as it is */
    PB_ONE,     /* a message */
    PB_LIST,    /* repeated messages; JSON: an array */
    PB_MAP,     /* of messages by text; JSON: an object */
    PB_LITERAL, /* repeated, passed over */
};

struct pb_field {
    const char *name;
    uint32_t number;
    enum pb_kind kind;
    const struct pb_message *of;
    bool is_always; /* JSON shows it empty too */
};

struct pb_message {
    const char *name;
    uint32_t count;
    struct pb_field fields[16];
};

#define MESSAGE(id, ...)                                                                           \
    static const struct pb_message id = {#id,                                                      \
                                         sizeof((const struct pb_field[]){__VA_ARGS__}) /          \
                                             sizeof(struct pb_field),                              \
                                         {__VA_ARGS__}}
#define NUMBER(name, number)                                                                       \
    {                                                                                              \
#name, number, PB_NUMBER, NULL, false                                                      \
    }
#define BOOL(name, number)                                                                         \
    {                                                                                              \
#name, number, PB_BOOL, NULL, false                                                        \
    }
#define TEXT(name, number)                                                                         \
    {                                                                                              \
#name, number, PB_TEXT, NULL, false                                                        \
    }
#define RAW(name, number)                                                                          \
    {                                                                                              \
#name, number, PB_RAW, NULL, false                                                         \
    }
#define ONE(name, number, of)                                                                      \
    {                                                                                              \
#name, number, PB_ONE, &(of), false                                                        \
    }
#define LIST(name, number, of)                                                                     \
    {                                                                                              \
#name, number, PB_LIST, &(of), false                                                       \
    }
#define MAP(name, number, of)                                                                      \
    {                                                                                              \
#name, number, PB_MAP, &(of), false                                                        \
    }

static const struct pb_message nothing = {"nothing", 0, {{0}}};

/* What a client says. */
MESSAGE(position, NUMBER(offset, 1), TEXT(epoch, 2));
MESSAGE(filter, TEXT(op, 1), TEXT(key, 2), TEXT(cmp, 3), TEXT(val, 4));
MESSAGE(subscribe, TEXT(channel, 1), TEXT(token, 2), BOOL(recover, 3), TEXT(epoch, 6),
        NUMBER(offset, 7), RAW(data, 8), BOOL(positioned, 9), BOOL(recoverable, 10),
        BOOL(join_leave, 11), TEXT(delta, 12), ONE(tf, 13, filter), NUMBER(flag, 14),
        NUMBER(type, 15));
MESSAGE(connect, TEXT(token, 1), RAW(data, 2), MAP(subs, 3, subscribe), TEXT(name, 4),
        TEXT(version, 5), NUMBER(flag, 7));
MESSAGE(of_channel, TEXT(channel, 1));
MESSAGE(publish, TEXT(channel, 1), RAW(data, 2), NUMBER(type, 3));
MESSAGE(history, TEXT(channel, 1), NUMBER(limit, 7), ONE(since, 8, position), BOOL(reverse, 9));
MESSAGE(data_alone, RAW(data, 1));
MESSAGE(rpc, RAW(data, 1), TEXT(method, 2));
MESSAGE(refresh, TEXT(token, 1));
MESSAGE(sub_refresh, TEXT(channel, 1), TEXT(token, 2), NUMBER(type, 3));
MESSAGE(command, NUMBER(id, 1), ONE(connect, 4, connect), ONE(subscribe, 5, subscribe),
        ONE(unsubscribe, 6, of_channel), ONE(publish, 7, publish), ONE(presence, 8, of_channel),
        ONE(presence_stats, 9, of_channel), ONE(history, 10, history), ONE(ping, 11, nothing),
        ONE(send, 12, data_alone), ONE(rpc, 13, rpc), ONE(refresh, 14, refresh),
        ONE(sub_refresh, 15, sub_refresh));

/* What it hears. */
MESSAGE(client_info, TEXT(user, 1), TEXT(client, 2), RAW(conn_info, 3), RAW(chan_info, 4));
MESSAGE(publication, RAW(data, 4), ONE(info, 5, client_info), NUMBER(offset, 6),
        {"tags", 7, PB_LITERAL, NULL, false}, TEXT(epoch, 14));
MESSAGE(subscribed, BOOL(expires, 1), NUMBER(ttl, 2), BOOL(recoverable, 3), TEXT(epoch, 6),
        LIST(publications, 7, publication), BOOL(recovered, 8), NUMBER(offset, 9),
        BOOL(positioned, 10), RAW(data, 11), BOOL(was_recovering, 12), NUMBER(id, 14));
MESSAGE(connected, TEXT(client, 1), TEXT(version, 2), BOOL(expires, 3), NUMBER(ttl, 4),
        RAW(data, 5), MAP(subs, 6, subscribed), NUMBER(ping, 7), BOOL(pong, 8), TEXT(session, 9),
        TEXT(node, 10), NUMBER(time, 11));
MESSAGE(presence, MAP(presence, 1, client_info));
MESSAGE(presence_stats, NUMBER(num_clients, 1), NUMBER(num_users, 2));
MESSAGE(histories, {"publications", 1, PB_LIST, &publication, true}, TEXT(epoch, 2),
        NUMBER(offset, 3));
MESSAGE(refreshed, TEXT(client, 1), TEXT(version, 2), BOOL(expires, 3), NUMBER(ttl, 4));
MESSAGE(sub_refreshed, BOOL(expires, 1), NUMBER(ttl, 2));
MESSAGE(error, NUMBER(code, 1), TEXT(message, 2), BOOL(temporary, 3));
MESSAGE(joined, ONE(info, 1, client_info));
MESSAGE(unsubscribed, NUMBER(code, 2), TEXT(reason, 3));
MESSAGE(pushed_sub, BOOL(recoverable, 1), TEXT(epoch, 4), NUMBER(offset, 5), BOOL(positioned, 6),
        RAW(data, 7));
MESSAGE(expiring, BOOL(expires, 1), NUMBER(ttl, 2));
MESSAGE(push, NUMBER(id, 1), TEXT(channel, 2), ONE(pub, 4, publication), ONE(join, 5, joined),
        ONE(leave, 6, joined), ONE(unsubscribe, 7, unsubscribed), ONE(message, 8, data_alone),
        ONE(subscribe, 9, pushed_sub), ONE(refresh, 12, expiring));
MESSAGE(reply, NUMBER(id, 1), ONE(error, 2, error), ONE(push, 4, push), ONE(connect, 5, connected),
        ONE(subscribe, 6, subscribed), ONE(unsubscribe, 7, nothing), ONE(publish, 8, nothing),
        ONE(presence, 9, presence), ONE(presence_stats, 10, presence_stats),
        ONE(history, 11, histories), ONE(rpc, 13, data_alone), ONE(refresh, 14, refreshed),
        ONE(sub_refresh, 15, sub_refreshed));

/* --- commands ---------------------------------------------------------------------- */

static void put_varint(struct intake *out, uint64_t value)
{
    for (; value >= 128; value /= 128) {
        uint8_t byte = (uint8_t)(value % 128 + 128);
        intake_put(out, &byte, 1);
    }
    uint8_t last = (uint8_t)value;
    intake_put(out, &last, 1);
}

static void put_sized(struct intake *out, uint32_t number, struct bytes bytes)
{
    put_varint(out, number * 8u + 2);
    put_varint(out, bytes.size);
    intake_put(out, bytes.at, bytes.size);
}

static void put_intake(struct intake *out, uint32_t number, struct intake *inner)
{
    put_sized(out, number, bytes_of(inner->bytes, inner->size));
    intake_free(inner);
}

static const struct pb_field *field_named(const struct pb_message *message, struct bytes name)
{
    for (uint32_t i = 0; i < message->count; i++)
        if (bytes_equal_text(name, message->fields[i].name)) return &message->fields[i];
    world_fail("commands of the simulator are in its schema", "%.*s of %s", (int)name.size,
               (const char *)name.at, message->name);
}

static struct bytes unquoted(struct bytes text)
{
    check(text.size >= 2 && text.at[0] == '"' && memchr(text.at, '\\', text.size) == NULL);
    return bytes_of(text.at + 1, text.size - 2);
}

static void put_message(struct intake *out, const struct pb_message *message, struct bytes object);

static void put_field(struct intake *out, const struct pb_field *field, struct bytes value)
{
    struct intake inner = {NULL, 0, 0};
    uint64_t number;
    switch (field->kind) {
    case PB_NUMBER:
    case PB_BOOL:
        number = bytes_equal_text(value, "true");
        if (field->kind == PB_NUMBER && !bytes_to_u64(value, &number)) impossible("no number");
        put_varint(out, field->number * 8u);
        put_varint(out, number);
        break;
    case PB_TEXT: put_sized(out, field->number, unquoted(value)); break;
    case PB_RAW: put_sized(out, field->number, value); break;
    case PB_ONE:
        put_message(&inner, field->of, value);
        put_intake(out, field->number, &inner);
        break;
    case PB_MAP: {
        struct bytes key, of_key;
        for (size_t at = 0; peek_member(value, &at, &key, &of_key);) {
            struct intake entry = {NULL, 0, 0};
            put_sized(&entry, 1, key);
            put_message(&inner, field->of, of_key);
            put_intake(&entry, 2, &inner);
            put_intake(out, field->number, &entry);
        }
        break;
    }
    case PB_LIST:
    case PB_LITERAL: impossible("no command has one");
    }
}

static void put_message(struct intake *out, const struct pb_message *message, struct bytes object)
{
    struct bytes name, value;
    for (size_t at = 0; peek_member(object, &at, &name, &value);)
        put_field(out, field_named(message, name), value);
}

void pb_put_command(struct intake *out, struct bytes json)
{
    struct intake inner = {NULL, 0, 0};
    put_message(&inner, &command, json);
    put_varint(out, inner.size);
    intake_put(out, inner.bytes, inner.size);
    intake_free(&inner);
}

/* --- replies ------------------------------------------------------------------------ */

static _Noreturn void not_protobuf(const char *why)
{
    world_fail("replies are Protobuf", "%s", why);
}

static uint64_t take_varint(struct bytes *in)
{
    uint64_t value = 0;
    for (uint32_t shift = 0; shift < 64; shift += 7) {
        if (in->size == 0) not_protobuf("a number is cut off");
        uint8_t byte = in->at[0];
        *in = bytes_of(in->at + 1, in->size - 1);
        value |= (uint64_t)(byte & 127u) << shift;
        if (byte >= 128) continue;
        if (byte == 0 && shift > 0) not_protobuf("a number is longer than it needs to be");
        return value;
    }
    not_protobuf("a number is too long");
}

static struct bytes take_bytes(struct bytes *in)
{
    uint64_t size = take_varint(in);
    if (size > in->size) not_protobuf("a length is beyond the end");
    struct bytes bytes = bytes_of(in->at, size);
    *in = bytes_of(in->at + size, in->size - size);
    return bytes;
}

/* One field as it stands on the wire. */
struct pb_value {
    uint32_t number;
    uint64_t value; /* of a varint */
    struct bytes bytes;
};

static bool take_value(struct bytes *in, const struct pb_message *message, struct pb_value *out)
{
    if (in->size == 0) return false;
    uint64_t key = take_varint(in);
    *out = (struct pb_value){.number = (uint32_t)(key >> 3)};
    const struct pb_field *field = NULL;
    for (uint32_t i = 0; i < message->count; i++)
        if (message->fields[i].number == out->number) field = &message->fields[i];
    if (field == NULL)
        world_fail("replies are Protobuf", "field %u of %s", out->number, message->name);
    bool is_varint = field->kind == PB_NUMBER || field->kind == PB_BOOL;
    if ((key & 7) != (is_varint ? 0u : 2u)) not_protobuf("a field has another type");
    if (is_varint)
        out->value = take_varint(in);
    else
        out->bytes = take_bytes(in);
    return true;
}

static void say(struct intake *out, const char *text)
{
    intake_put(out, (const uint8_t *)text, strlen(text));
}

static void say_quoted(struct intake *out, struct bytes text)
{
    for (size_t i = 0; i < text.size; i++)
        if (text.at[i] < ' ' || text.at[i] == '"' || text.at[i] == '\\')
            not_protobuf("a text of this world needs no escapes");
    say(out, "\"");
    intake_put(out, text.at, text.size);
    say(out, "\"");
}

static void say_message(struct intake *out, const struct pb_message *message, struct bytes in);

/* "key":{…} */
static void say_entry(struct intake *out, const struct pb_message *of, struct bytes in)
{
    static const struct pb_message entry = {"entry", 2, {TEXT(key, 1), RAW(value, 2)}};
    struct pb_value value;
    struct bytes key = BYTES_NONE, body = BYTES_NONE;
    while (take_value(&in, &entry, &value)) *(value.number == 1 ? &key : &body) = value.bytes;
    say_quoted(out, key);
    say(out, ":");
    say_message(out, of, body);
}

static void say_value(struct intake *out, const struct pb_field *field,
                      const struct pb_value *value)
{
    char text[24];
    switch (field->kind) {
    case PB_NUMBER:
        snprintf(text, sizeof text, "%" PRIu64, value->value);
        say(out, text);
        break;
    case PB_BOOL:
        if (value->value > 1) not_protobuf("a fact is true or false");
        say(out, value->value == 1 ? "true" : "false");
        break;
    case PB_TEXT: say_quoted(out, value->bytes); break;
    case PB_RAW: intake_put(out, value->bytes.at, value->bytes.size); break;
    case PB_ONE:
    case PB_LIST: say_message(out, field->of, value->bytes); break;
    case PB_MAP: say_entry(out, field->of, value->bytes); break;
    case PB_LITERAL: break;
    }
}

/* Every value of one field; nothing when it has none. */
static void say_field(struct intake *out, const struct pb_message *message, uint32_t index,
                      struct bytes in, bool *is_first)
{
    const struct pb_field *field = &message->fields[index];
    bool is_many = field->kind == PB_LIST || field->kind == PB_MAP;
    struct pb_value value;
    uint32_t count = 0;
    while (take_value(&in, message, &value)) {
        if (value.number != field->number || field->kind == PB_LITERAL) continue;
        if (count > 0 && !is_many) not_protobuf("a field stands twice");
        if (count == 0) {
            say(out, *is_first ? "\"" : ",\"");
            say(out, field->name);
            say(out, field->kind == PB_LIST ? "\":[" : field->kind == PB_MAP ? "\":{" : "\":");
            *is_first = false;
        } else {
            say(out, ",");
        }
        say_value(out, field, &value);
        count++;
    }
    if (count > 0 && is_many) say(out, field->kind == PB_LIST ? "]" : "}");
    if (count > 0 || !field->is_always) return;
    say(out, *is_first ? "\"" : ",\"");
    say(out, field->name);
    say(out, "\":[]");
    *is_first = false;
}

static void say_message(struct intake *out, const struct pb_message *message, struct bytes in)
{
    bool is_first = true;
    say(out, "{");
    for (uint32_t i = 0; i < message->count; i++) say_field(out, message, i, in, &is_first);
    say(out, "}");
}

void pb_take_reply(struct bytes *frame, struct intake *out)
{
    struct bytes message = take_bytes(frame);
    out->size = 0;
    say_message(out, &reply, message);
}
