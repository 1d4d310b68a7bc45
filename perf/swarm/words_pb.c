/* words_pb: a length and a message, commands and replies by their field numbers. */
#include "words.h"

#include <stdio.h>

enum { VARINT = 0, WIDE = 1, SIZED = 2, NARROW = 5 };

/* --- writing ------------------------------------------------------------------------------ */

static void put_varint(struct text *out, uint64_t value)
{
    char *at = text_room(out, 10);
    uint32_t size = 0;
    for (; value >= 0x80; value >>= 7) at[size++] = (char)(value | 0x80);
    at[size++] = (char)value;
    out->used += size;
}

static void put_number(struct text *out, uint32_t field, uint64_t value)
{
    if (value == 0) return;
    put_varint(out, field << 3 | VARINT);
    put_varint(out, value);
}

static void put_sized(struct text *out, uint32_t field, const void *at, uint32_t size)
{
    put_varint(out, field << 3 | SIZED);
    put_varint(out, size);
    text_add(out, at, size);
}

static void put_name(struct text *out, uint32_t field, const char *name)
{
    if (*name != 0) put_sized(out, field, name, (uint32_t)strlen(name));
}

/* A command of `id` with one request, whole, behind its length. */
static void put_command(struct text *message, uint32_t id, uint32_t field, struct text *request)
{
    struct text command = {0};
    put_number(&command, 1, id);
    put_sized(&command, field, request->at, request->used);
    put_varint(message, command.used);
    text_add(message, command.at, command.used);
    text_free(&command);
    text_free(request);
}

static void say_connect(struct text *message, uint32_t id, const char *token)
{
    struct text request = {0};
    put_name(&request, 1, token);
    put_command(message, id, 4, &request);
}

static void say_subscribe(struct text *message, uint32_t id, const char *channel,
                          const struct position *from)
{
    struct text request = {0};
    put_name(&request, 1, channel);
    if (from != NULL) {
        if (from->is_known) {
            put_number(&request, 3, 1);
            put_name(&request, 6, from->epoch);
            put_number(&request, 7, from->offset);
        }
        put_number(&request, 10, 1);
    }
    put_command(message, id, 5, &request);
}

static uint32_t varint_size(uint64_t value)
{
    uint32_t size = 1;
    while ((value >>= 7) > 0) size++;
    return size;
}

static uint32_t sized_size(uint32_t size)
{
    return 1 + varint_size(size) + size;
}

/* The command that is said most: its sizes are known before, so it is written in place. */
static void say_publish(struct text *message, uint32_t id, const char *channel, struct span data)
{
    uint32_t name_size = (uint32_t)strlen(channel);
    uint32_t request_size = sized_size(name_size) + sized_size(data.size);
    put_varint(message, 1 + varint_size(id) + sized_size(request_size));
    put_number(message, 1, id);
    put_varint(message, 7 << 3 | SIZED);
    put_varint(message, request_size);
    put_sized(message, 1, channel, name_size);
    put_sized(message, 2, data.at, data.size);
}

static void say_rpc(struct text *message, uint32_t id, const char *method, struct span data)
{
    struct text request = {0};
    put_sized(&request, 1, data.at, data.size);
    put_name(&request, 2, method);
    put_command(message, id, 13, &request);
}

static void say_send(struct text *message, uint32_t id, const char *channel, struct span data,
                     const char *key)
{
    struct text body = {0};
    char head[256];
    int size =
        snprintf(head, sizeof head, "{\"channel\":\"%s\",\"key\":\"%s\",\"data\":", channel, key);
    text_add(&body, head, (uint32_t)size);
    text_add(&body, data.at, data.size);
    text_add(&body, "}", 1);
    say_rpc(message, id, "message.send", (struct span){body.at, body.used});
    text_free(&body);
}

static void say_history(struct text *message, uint32_t id, const char *channel)
{
    struct text request = {0};
    put_name(&request, 1, channel);
    put_command(message, id, 10, &request);
}

static void say_pong(struct text *message)
{
    text_add(message, "", 1);
}

/* --- reading ------------------------------------------------------------------------------ */

/* One field: its number, and its value or its bytes.  False at the end and when it is broken;
 * broken leaves something behind. */
struct field {
    uint32_t number;
    uint64_t value;
    struct span bytes;
};

static bool take_varint(struct span *from, uint64_t *value)
{
    *value = 0;
    for (uint32_t shift = 0; shift < 64 && from->size > 0; shift += 7) {
        uint8_t byte = (uint8_t)*from->at;
        from->at++;
        from->size--;
        *value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) return true;
    }
    return false;
}

static bool take_bytes(struct span *from, uint64_t size, struct span *bytes)
{
    if (size > from->size) return false;
    *bytes = (struct span){from->at, (uint32_t)size};
    from->at += size;
    from->size -= (uint32_t)size;
    return true;
}

static bool take_field(struct span *from, struct field *field)
{
    uint64_t key;
    *field = (struct field){0};
    if (from->size == 0 || !take_varint(from, &key)) return false;
    field->number = (uint32_t)(key >> 3);
    switch (key & 7) {
    case VARINT: return take_varint(from, &field->value);
    case WIDE: return take_bytes(from, 8, &field->bytes);
    case NARROW: return take_bytes(from, 4, &field->bytes);
    case SIZED:
        return take_varint(from, &field->value) && take_bytes(from, field->value, &field->bytes);
    default: return false;
    }
}

static void hear_publication(struct span from, struct span *data, uint64_t *offset)
{
    for (struct field field; take_field(&from, &field);) {
        if (field.number == 4) *data = field.bytes;
        if (field.number == 6) *offset = field.value;
    }
}

static void hear_push(struct span from, struct heard *heard)
{
    for (struct field field; take_field(&from, &field);) {
        if (field.number == 2) heard->channel = field.bytes;
        if (field.number == 4) hear_publication(field.bytes, &heard->data, &heard->offset);
    }
}

static void hear_subscribed(struct span from, const struct hearer *hearer, struct heard *heard)
{
    for (struct field field; take_field(&from, &field);) {
        if (field.number == 6) heard->epoch = field.bytes;
        if (field.number == 8) heard->is_recovered = field.value != 0;
        if (field.number == 9) heard->offset = field.value;
        if (field.number == 7) {
            struct span data = {NULL, 0};
            uint64_t offset = 0;
            hear_publication(field.bytes, &data, &offset);
            hearer->on_missed(hearer->context, data, offset);
        }
    }
}

static void hear_history(struct span from, struct heard *heard)
{
    for (struct field field; take_field(&from, &field);) {
        if (field.number == 2) heard->epoch = field.bytes;
        if (field.number == 3) heard->offset = field.value;
    }
}

/* The result of an RPC is JSON in either form. */
static void hear_rpc(struct span from, struct heard *heard)
{
    for (struct field field; take_field(&from, &field);) {
        if (field.number != 1) continue;
        heard->result = field.bytes;
        const char *at = memmem(field.bytes.at, field.bytes.size, "\"offset\":", 9);
        if (at == NULL) continue;
        for (at += 9; at < field.bytes.at + field.bytes.size && *at >= '0' && *at <= '9'; at++)
            heard->offset = heard->offset * 10 + (uint64_t)(*at - '0');
    }
}

static void hear_error(struct span from, struct heard *heard)
{
    heard->error = (struct span){"no text", 7};
    for (struct field field; take_field(&from, &field);)
        if (field.number == 2) heard->error = field.bytes;
}

static bool hear_reply(struct span from, const struct hearer *hearer)
{
    struct heard heard = {.is_ping = from.size == 0};
    for (struct field field; take_field(&from, &field);) {
        switch (field.number) {
        case 1: heard.id = (uint32_t)field.value; break;
        case 2: hear_error(field.bytes, &heard); break;
        case 4: hear_push(field.bytes, &heard); break;
        case 6: hear_subscribed(field.bytes, hearer, &heard); break;
        case 11: hear_history(field.bytes, &heard); break;
        case 13: hear_rpc(field.bytes, &heard); break;
        default: break;
        }
    }
    if (from.size > 0) return false;
    hearer->on_heard(hearer->context, &heard);
    return true;
}

static bool hear(struct span frame, const struct hearer *hearer)
{
    while (frame.size > 0) {
        uint64_t size;
        struct span reply;
        if (!take_varint(&frame, &size) || !take_bytes(&frame, size, &reply)) return false;
        if (!hear_reply(reply, hearer)) return false;
    }
    return true;
}

const struct words words_protobuf = {
    .opcode = OPCODE_BINARY,
    .subprotocol = "centrifuge-protobuf",
    .connect = say_connect,
    .subscribe = say_subscribe,
    .publish = say_publish,
    .send = say_send,
    .rpc = say_rpc,
    .history = say_history,
    .pong = say_pong,
    .hear = hear,
};
