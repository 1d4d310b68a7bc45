/* words_json: a line a command, a line a reply.
 *
 * What is heard is looked for, not parsed: the server's answers are known, and a
 * generator that parses costs more than the server it measures. */
#include "words.h"

#include <stdio.h>

static void add_line(struct text *message, const char *line, int size)
{
    if (message->used > 0) text_add(message, "\n", 1);
    text_add(message, line, (uint32_t)size);
}

static void say_connect(struct text *message, uint32_t id, const char *token)
{
    char line[1200];
    int size = *token == 0 ? snprintf(line, sizeof line, "{\"id\":%u,\"connect\":{}}", id)
                           : snprintf(line, sizeof line,
                                      "{\"id\":%u,\"connect\":{\"token\":\"%s\"}}", id, token);
    add_line(message, line, size);
}

static void say_subscribe(struct text *message, uint32_t id, const char *channel,
                          const struct position *from)
{
    char line[512];
    int size = from != NULL && from->is_known
                   ? snprintf(line, sizeof line,
                              "{\"id\":%u,\"subscribe\":{\"channel\":\"%s\",\"recoverable\":true,"
                              "\"recover\":true,\"epoch\":\"%s\",\"offset\":%llu}}",
                              id, channel, from->epoch, (unsigned long long)from->offset)
                   : snprintf(line, sizeof line, "{\"id\":%u,\"subscribe\":{\"channel\":\"%s\"%s}}",
                              id, channel, from != NULL ? ",\"recoverable\":true" : "");
    add_line(message, line, size);
}

#define ADD(message, literal) text_add(message, literal, sizeof(literal) - 1)

/* Begins a command of `id`. */
static void begin_line(struct text *message, uint32_t id)
{
    if (message->used > 0) ADD(message, "\n");
    ADD(message, "{\"id\":");
    text_add_number(message, id);
}

static void say_publish(struct text *message, uint32_t id, const char *channel, struct span data)
{
    begin_line(message, id);
    ADD(message, ",\"publish\":{\"channel\":\"");
    text_add_text(message, channel);
    ADD(message, "\",\"data\":");
    text_add(message, data.at, data.size);
    ADD(message, "}}");
}

/* As the gateway pushes what a client of ours published, and as long. */
static void say_push(struct text *message, const char *channel, struct span data)
{
    char line[256];
    int size =
        snprintf(line, sizeof line, "{\"push\":{\"channel\":\"%s\",\"pub\":{\"data\":", channel);
    add_line(message, line, size);
    text_add(message, data.at, data.size);
    static const char info[] = ",\"info\":{\"user\":\"u00000000000\","
                               "\"client\":\"00000000-0000-4000-8000-000000000000\"}}}}";
    text_add(message, info, sizeof info - 1);
}

static void say_send(struct text *message, uint32_t id, const char *channel, struct span data,
                     const char *key)
{
    begin_line(message, id);
    ADD(message, ",\"rpc\":{\"method\":\"message.send\",\"data\":{\"channel\":\"");
    text_add_text(message, channel);
    ADD(message, "\",\"key\":\"");
    text_add_text(message, key);
    ADD(message, "\",\"data\":");
    text_add(message, data.at, data.size);
    ADD(message, "}}}");
}

static void say_rpc(struct text *message, uint32_t id, const char *method, struct span data)
{
    begin_line(message, id);
    ADD(message, ",\"rpc\":{\"method\":\"");
    text_add_text(message, method);
    ADD(message, "\",\"data\":");
    text_add(message, data.at, data.size);
    ADD(message, "}}");
}

static void say_history(struct text *message, uint32_t id, const char *channel)
{
    char line[256];
    int size =
        snprintf(line, sizeof line, "{\"id\":%u,\"history\":{\"channel\":\"%s\"}}", id, channel);
    add_line(message, line, size);
}

static void say_pong(struct text *message)
{
    add_line(message, "{}", 2);
}

/* What follows `name` in the line, up to `end`; empty when it is not there. */
static struct span after(struct span line, const char *name, char end)
{
    size_t length = strlen(name);
    const char *at = memmem(line.at, line.size, name, length);
    if (at == NULL) return (struct span){NULL, 0};
    at += length;
    size_t left = (size_t)(line.at + line.size - at);
    const char *stop = memchr(at, end, left);
    return (struct span){at, (uint32_t)(stop != NULL ? (size_t)(stop - at) : left)};
}

static uint64_t number_of(struct span text)
{
    uint64_t number = 0;
    for (uint32_t i = 0; i < text.size && text.at[i] >= '0' && text.at[i] <= '9'; i++)
        number = number * 10 + (uint64_t)(text.at[i] - '0');
    return number;
}

/* A quoted text with its quotes, from the place behind `name`. */
static struct span quoted_after(struct span line, const char *name)
{
    struct span text = after(line, name, '"');
    if (text.at == NULL) return text;
    uint32_t quotes = text.at + text.size < line.at + line.size; /* the closing one */
    return (struct span){text.at - 1, text.size + 1 + quotes};
}

/* A nested object with its braces, from the place behind `name`; no text in it has any. */
static struct span object_after(struct span line, const char *name)
{
    size_t length = strlen(name);
    const char *at = memmem(line.at, line.size, name, length), *end = line.at + line.size;
    if (at == NULL) return (struct span){NULL, 0};
    at += length - 1;
    uint32_t depth = 0;
    for (const char *stop = at; stop < end; stop++) {
        if (*stop == '{') depth++;
        if (*stop == '}' && --depth == 0) return (struct span){at, (uint32_t)(stop + 1 - at)};
    }
    return (struct span){NULL, 0};
}

static void hear_push(struct span line, struct heard *heard)
{
    heard->channel = after(line, "\"channel\":\"", '"');
    heard->data = quoted_after(line, "\"data\":\"");
    if (heard->data.at == NULL) heard->data = object_after(line, "\"data\":{");
    if (heard->data.at == NULL) return;
    const char *rest = heard->data.at + heard->data.size;
    heard->offset = number_of(
        after((struct span){rest, (uint32_t)(line.at + line.size - rest)}, "\"offset\":", '}'));
}

/* The publications of a subscribe reply; false when it has none. */
static bool hear_missed(struct span line, const struct hearer *hearer)
{
    const char *end = line.at + line.size;
    const char *list = memmem(line.at, line.size, "\"publications\":[{", 17);
    if (list == NULL) return false;
    struct span rest = {list, (uint32_t)(end - list)};
    for (struct span data; (data = quoted_after(rest, "\"data\":\"")).at != NULL;) {
        const char *behind = data.at + data.size;
        rest = (struct span){behind, (uint32_t)(end - behind)};
        hearer->on_missed(hearer->context, data, number_of(after(rest, "\"offset\":", '}')));
    }
    return true;
}

static void hear_reply(struct span line, const struct hearer *hearer, struct heard *heard)
{
    static const char published[] = ",\"publish\":{}}";
    const char *rest = line.at + 6;
    const char *end = line.at + line.size;
    while (rest < end && *rest >= '0' && *rest <= '9')
        heard->id = heard->id * 10 + (uint32_t)(*rest++ - '0');
    /* All that a publication is answered: nothing has to be looked for. */
    if ((size_t)(end - rest) == sizeof published - 1 &&
        memcmp(rest, published, sizeof published - 1) == 0)
        return;
    if (memmem(line.at, line.size, "\"error\":{", 9) != NULL) {
        heard->error = line;
        return;
    }
    heard->result = object_after(line, "\"rpc\":{\"data\":{");
    heard->epoch = after(line, "\"epoch\":\"", '"');
    heard->is_recovered = memmem(line.at, line.size, "\"recovered\":true", 16) != NULL;
    /* The first offset of a reply with publications may be one of theirs. */
    if (!hear_missed(line, hearer)) heard->offset = number_of(after(line, "\"offset\":", '}'));
}

static bool hear(struct span frame, const struct hearer *hearer)
{
    const char *at = frame.at, *end = frame.at + frame.size;
    while (at < end) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        if (stop == NULL) stop = end;
        struct span line = {at, (uint32_t)(stop - at)};
        struct heard heard = {0};
        if (line.size == 2 && memcmp(at, "{}", 2) == 0)
            heard.is_ping = true;
        else if (line.size > 8 && memcmp(at, "{\"push\":", 8) == 0)
            hear_push(line, &heard);
        else if (line.size > 6 && memcmp(at, "{\"id\":", 6) == 0)
            hear_reply(line, hearer, &heard);
        else
            return false;
        hearer->on_heard(hearer->context, &heard);
        at = stop + 1;
    }
    return true;
}

const struct words words_json = {
    .opcode = OPCODE_TEXT,
    .connect = say_connect,
    .subscribe = say_subscribe,
    .publish = say_publish,
    .push = say_push,
    .send = say_send,
    .rpc = say_rpc,
    .history = say_history,
    .pong = say_pong,
    .hear = hear,
};
