/*
 * fuzz_codec_pb: any bytes as a frame of Protobuf.
 *
 * Decoding ends, in commands or in an error, and takes no view outside the frame.
 * Each command is written again by the plain encoder below and must read back equal,
 * field by field; one whose data is JSON is written in JSON too and must read there as
 * the same struct.  Replies and pushes made of its parts stay within their bound, and the
 * publications among them read back as whole messages.
 */
#include "proto/codec.h"

#include "core/check.h"
#include "proto/json.h"
#include "unit/proto/cmd_show.h"
#include "unit/proto/pb_bytes.h"

#define COMMANDS_MAX 8

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void write_all(const struct cmd *cmd, struct arena *arena)
{
    const struct codec *codec = codec_of(WIRE_PROTOBUF);
    struct bytes any = cmd->kind == CMD_RPC ? cmd->rpc.method : BYTES_LITERAL("e");
    struct bytes raw = cmd->kind == CMD_RPC ? cmd->rpc.data : BYTES_NONE;
    struct wire_publication publication = {
        .offset = 1,
        .epoch = any,
        .data = raw,
        .tags = BYTES_LITERAL("{\"a\\n\":\"b\",\"\":\"\"}"),
        .has_info = true,
        .info = {.user = any, .conn_info = raw, .chan_info = raw}};
    struct reply_connect_sub sub = {any, {.epoch = any, .publications = &publication}};
    sub.subscribe.publications_count = 1;
    struct reply replies[] = {
        {.id = cmd->id, .kind = CMD_RPC, .rpc = {raw}},
        {.id = UINT32_MAX, .kind = CMD_HISTORY, .history = {&publication, 1, any, UINT64_MAX}},
        {.id = cmd->id, .kind = CMD_SUBSCRIBE, .subscribe = sub.subscribe},
        {.id = cmd->id, .kind = CMD_CONNECT, .connect = {.version = any, .data = raw, .node = any}},
        {.id = cmd->id, .kind = CMD_PRESENCE, .presence = {&publication.info, 1}},
        {.id = cmd->id, .error_code = 100, .error_text = "text"},
    };
    replies[3].connect.subs = &sub;
    replies[3].connect.subs_count = 1;
    for (size_t i = 0; i < array_count(replies); i++) {
        size_t bound = codec->reply_bound(&replies[i]);
        struct writer writer = writer_of(arena_get(arena, bound), bound);
        codec->reply(&writer, &replies[i]);
        check(!writer.failed && writer.used > 0);
    }
    struct push pushes[] = {
        {.kind = PUSH_PUBLICATION, .channel = any, .publication = publication},
        {.kind = PUSH_JOIN, .id = INT64_MAX, .info = publication.info},
        {.kind = PUSH_MESSAGE, .message = {raw}},
    };
    for (size_t i = 0; i < array_count(pushes); i++) {
        size_t bound = codec->push_bound(&pushes[i]);
        struct writer writer = writer_of(arena_get(arena, bound), bound);
        codec->push(&writer, &pushes[i]);
        check(!writer.failed && writer.used > 0);
    }
}

static bool is_inside(struct bytes view, struct bytes frame)
{
    return view.size == 0 || (view.at >= frame.at && view.at + view.size <= frame.at + frame.size);
}

/* --- there and back ------------------------------------------------------------------- */

static struct writer room_of(struct arena *arena, size_t size)
{
    return writer_of(arena_get(arena, size), size);
}

static void put_text(struct writer *w, uint32_t field, struct bytes text)
{
    if (text.size > 0) pb_sized(w, field, text);
}

static void put_number(struct writer *w, uint32_t field, uint64_t value)
{
    if (value != 0) pb_number(w, field, value);
}

static void put_connect(struct writer *w, const struct cmd_connect *c, struct arena *arena)
{
    put_text(w, 1, c->token);
    put_text(w, 2, c->data);
    for (uint32_t i = 0; i < c->subs_count; i++) {
        const struct cmd_connect_sub *sub = &c->subs[i];
        struct writer value = room_of(arena, 32 + sub->epoch.size);
        struct writer entry = room_of(arena, 64 + sub->epoch.size + sub->channel.size);
        put_number(&value, 3, sub->recover);
        put_text(&value, 6, sub->epoch);
        put_number(&value, 7, sub->offset);
        put_text(&entry, 1, sub->channel);
        pb_sized(&entry, 2, writer_bytes(&value));
        check(!value.failed && !entry.failed);
        pb_sized(w, 3, writer_bytes(&entry));
    }
    put_text(w, 4, c->name);
    put_text(w, 5, c->version);
    put_number(w, 7, (uint64_t)c->flag);
}

static void put_subscribe(struct writer *w, const struct cmd_subscribe *s)
{
    put_text(w, 1, s->channel);
    put_text(w, 2, s->token);
    put_number(w, 3, s->recover);
    put_text(w, 6, s->epoch);
    put_number(w, 7, s->offset);
    put_text(w, 8, s->data);
    put_number(w, 9, s->positioned);
    put_number(w, 10, s->recoverable);
    put_number(w, 11, s->join_leave);
    put_text(w, 12, s->delta);
    if (s->has_filter) pb_sized(w, 13, BYTES_NONE);
    put_number(w, 14, (uint64_t)s->flag);
    put_number(w, 15, (uint64_t)(int64_t)s->type);
}

static void put_history(struct writer *w, const struct cmd_history *h, struct arena *arena)
{
    put_text(w, 1, h->channel);
    put_number(w, 7, (uint64_t)(int64_t)h->limit);
    if (h->has_since) {
        struct writer since = room_of(arena, 32 + h->since_epoch.size);
        put_number(&since, 1, h->since_offset);
        put_text(&since, 2, h->since_epoch);
        check(!since.failed);
        pb_sized(w, 8, writer_bytes(&since));
    }
    put_number(w, 9, h->reverse);
}

static void put_body(struct writer *w, const struct cmd *cmd, struct arena *arena)
{
    switch (cmd->kind) {
    case CMD_CONNECT: put_connect(w, &cmd->connect, arena); break;
    case CMD_SUBSCRIBE: put_subscribe(w, &cmd->subscribe); break;
    case CMD_HISTORY: put_history(w, &cmd->history, arena); break;
    case CMD_UNSUBSCRIBE: put_text(w, 1, cmd->unsubscribe.channel); break;
    case CMD_PRESENCE: put_text(w, 1, cmd->presence.channel); break;
    case CMD_PRESENCE_STATS: put_text(w, 1, cmd->presence_stats.channel); break;
    case CMD_PUBLISH:
        put_text(w, 1, cmd->publish.channel);
        put_text(w, 2, cmd->publish.data);
        put_number(w, 3, (uint64_t)(int64_t)cmd->publish.type);
        break;
    case CMD_RPC:
        put_text(w, 1, cmd->rpc.data);
        put_text(w, 2, cmd->rpc.method);
        break;
    case CMD_SEND: put_text(w, 1, cmd->send.data); break;
    case CMD_REFRESH: put_text(w, 1, cmd->refresh.token); break;
    case CMD_SUB_REFRESH:
        put_text(w, 1, cmd->sub_refresh.channel);
        put_text(w, 2, cmd->sub_refresh.token);
        put_number(w, 3, (uint64_t)(int64_t)cmd->sub_refresh.type);
        break;
    default: check(cmd->kind == CMD_PING || cmd->kind == CMD_PONG);
    }
}

static struct bytes shown(const struct cmd *cmd, size_t room, struct arena *arena)
{
    struct writer writer = room_of(arena, room);
    cmd_show(&writer, cmd);
    return writer_bytes(&writer);
}

static void round_trip(const struct cmd *cmd, struct bytes frame, struct arena *arena)
{
    static const uint8_t fields[CMD_COUNT] = {
#define CMD(id, name, field) [CMD_##id] = (field),
#include "proto/cmd.def"
#undef CMD
    };
    /* An entry of connect.subs may be shorter than what says it here. */
    size_t room = 512 + 16 * frame.size;
    struct writer body = room_of(arena, room), message = room_of(arena, room),
                  framed = room_of(arena, room);
    put_body(&body, cmd, arena);
    put_number(&message, 1, cmd->id);
    if (cmd->kind != CMD_PONG) pb_sized(&message, fields[cmd->kind], writer_bytes(&body));
    pb_delimited(&framed, writer_bytes(&message));
    check(!body.failed && !message.failed && !framed.failed);
    struct cmd back;
    struct reader reader = reader_of(writer_bytes(&framed));
    check(codec_of(WIRE_PROTOBUF)->next(&reader, true, arena, &back) == ERR_OK);
    check(reader.left == 0);
    check(bytes_equal(shown(cmd, room, arena), shown(&back, room, arena)));
}

/* --- in the other wire ------------------------------------------------------------------ */

/* The small commands, which JSON can say whatever they hold. */
static void same_in_json(const struct cmd *cmd, struct bytes frame, struct arena *arena)
{
    struct bytes channel = BYTES_NONE, value = BYTES_NONE;
    const char *name = NULL;
    if (cmd->kind == CMD_PUBLISH && cmd->publish.type == 0) {
        channel = cmd->publish.channel, value = cmd->publish.data, name = "data";
        if (value.size == 0 || !json_is_valid(value) || bytes_equal_text(value, "null")) return;
    } else if (cmd->kind == CMD_SUB_REFRESH && cmd->sub_refresh.type == 0) {
        channel = cmd->sub_refresh.channel, value = cmd->sub_refresh.token, name = "token";
    } else {
        return;
    }
    check(is_inside(channel, frame) && is_inside(value, frame));
    size_t room = 256 + 6 * frame.size;
    struct writer line = writer_of(arena_get(arena, room), room);
    write_text(&line, "{\"id\":");
    write_decimal(&line, cmd->id);
    write_text(&line, ",\"");
    write_text(&line, cmd_name(cmd->kind));
    write_text(&line, "\":{\"channel\":");
    json_write_text(&line, channel);
    write_text(&line, ",\"");
    write_text(&line, name);
    write_text(&line, "\":");
    if (cmd->kind == CMD_PUBLISH)
        write_bytes(&line, value);
    else
        json_write_text(&line, value);
    write_text(&line, "}}");
    check(!line.failed);
    /* Lines end at a newline, and raw values have no space around them. */
    if (memchr(line.start, '\n', line.used) != NULL) return;
    struct cmd back;
    struct reader reader = reader_of(writer_bytes(&line));
    check(codec_of(WIRE_JSON)->next(&reader, true, arena, &back) == ERR_OK);
    if (cmd->kind == CMD_PUBLISH) back.publish.data = value;
    struct writer one = writer_of(arena_get(arena, room), room);
    struct writer two = writer_of(arena_get(arena, room), room);
    cmd_show(&one, cmd);
    cmd_show(&two, &back);
    check(bytes_equal(writer_bytes(&one), writer_bytes(&two)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena;
    arena_init(&arena, 64 << 10);
    struct bytes whole = bytes_of(data, size);
    struct reader frame = reader_of(whole);
    struct cmd cmd;
    uint32_t count = 0;
    while (codec_of(WIRE_PROTOBUF)->next(&frame, count == 0, &arena, &cmd) == ERR_OK) {
        check(cmd.kind < CMD_COUNT);
        check(cmd.kind != CMD_PONG || cmd.id == 0);
        if (cmd.kind == CMD_RPC) check(is_inside(cmd.rpc.method, whole));
        /* A frame of pongs has thousands. */
        if (count++ >= COMMANDS_MAX) continue;
        round_trip(&cmd, whole, &arena);
        same_in_json(&cmd, whole, &arena);
        write_all(&cmd, &arena);
    }
    arena_fini(&arena);
    return 0;
}
